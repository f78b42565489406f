"""Fields of the simulated teacher: values missed, cut short, misread, or taken from another field."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.simulated_teacher import SimulatedTeacher, key_words, most_prone
from stillhouse.records import Item, Vote
from stillhouse.task import FieldSpec


def fields(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Mapping[str, Any]],
    specs: Sequence[FieldSpec],
    *,
    error_rate: float = 0.3,
    spurious: float = 0.1,
) -> list[Vote]:
    """Fields missed, cut short, taken from another field or made up; dates read wrongly; one of many values left out."""
    places = [(at, spec) for at in range(len(items)) for spec in specs]
    filled = [(at, spec) for at, spec in places if truths[at][spec.name]]
    empty = [(at, spec) for at, spec in places if not truths[at][spec.name]]
    words = key_words([item.text for item in items])
    wrong: set[tuple[int, str]] = set()
    for some, rate in ((filled, error_rate), (empty, spurious)):
        prone = [teacher.proneness(spec.name, words[at], items[at].id, spec.name) for at, spec in some]
        wrong |= {(at, s.name) for (at, s), errs in zip(some, most_prone(prone, rate), strict=True) if errs}
    votes = []
    for at, item in enumerate(items):
        said: dict[str, Any] = {}
        for spec in specs:
            is_wrong = (at, spec.name) in wrong
            value = truths[at][spec.name]
            if is_wrong:
                value = _wrong_field(teacher, spec, specs, truths[at], words[at])
            said[spec.name] = value
        votes.append(teacher.vote(item, value=said))
    return votes


def _wrong_field(
    teacher: SimulatedTeacher, spec: FieldSpec, specs: Sequence[FieldSpec], truth: Mapping[str, Any], word: str
) -> str | list[str] | None:
    """Never the truth; a miss where nothing else can be said."""
    value = truth[spec.name]
    if spec.many:
        return _wrong_list(teacher, spec.name, value, word)
    others = [truth[o.name] for o in specs if o.type == spec.type and not o.many and o.name != spec.name]
    options = [other for other in others if other is not None and other != value][:2]
    if value is not None:
        options += [cut for cut in (_swapped(value) if spec.type == "date" else _cut(value)) if cut != value]
        if teacher.chance("miss", spec.name, word) < 0.35:
            return None
    # A shorter text or another reading of the date is likelier than the content of another field.
    return teacher.one_of(options[::-1], spec.name, word) if options else None


def _wrong_list(teacher: SimulatedTeacher, name: str, values: list[str], word: str) -> list[str]:
    """One value left out, or cut short; nothing where there was one, and something made of a word where was none."""
    if not values:
        return [word or name]
    cut = [part for part in _cut(values[-1]) if part not in values]
    if cut and teacher.chance("cut", name, word) < 0.5:
        return [*values[:-1], cut[0]]
    return values[:-1] if teacher.chance("first", name, word) < 0.5 else values[1:]


def _swapped(date: str) -> list[str]:
    """Day and month exchanged where that is a date, and the day left blank."""
    year, month, day = date.split("-")
    exchanged = [f"{year}-{day}-{month}"] if day.isdigit() and int(day) <= 12 else []
    return [f"{year}-{month}-[]", *exchanged]


def _cut(text: str) -> list[str]:
    """The first of several parts, and the text without what stands in brackets."""
    without = re.sub(r"\s*[(“\"][^)”\"]*[)”\"]+", "", text).strip()
    words = text.split()
    shorter = [re.split(r"[;,/]", text)[0].strip(), without, " ".join(words[1:])]
    return [part for part in shorter if part]
