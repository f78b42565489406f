"""Values carried from a text to its rewritten form and back: spans move, and fields say what stands there."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stillhouse.field_values import normal_value, places
from stillhouse.records import CharSpan, Value
from stillhouse.task import FieldSpec, Task
from teacher.privacy_table import Form
from teacher.privacy_text import Rewritten

_NOT_SAID = re.compile(r"[\W_]+")


def value_back(task: Task, form: Form, value: Value) -> Value:
    """What a teacher said of the rewritten text, as said of the original."""
    if isinstance(value, list):
        return _spans(value, form.text.back)
    if isinstance(value, dict):
        return _fields(task, value, lambda spec, said: _field_back(spec, said, form))
    return value


def value_to(task: Task, form: Form, value: Value) -> Value:
    """What is said of the original, as it is said of the rewritten text: for examples in a prompt."""
    if isinstance(value, list):
        return _spans(value, form.text.to)
    if isinstance(value, dict):
        return _fields(task, value, lambda spec, said: _field_to(spec, said, form))
    return value


def _spans(value: list[Any], moved: Callable[[int, int], CharSpan]) -> list[Any]:
    """Tags and names stay as they are; two spans that become one, because each was a part of it, are one."""
    out: list[Any] = []
    seen = set()
    for span in value:
        if not (isinstance(span, Mapping) and "start" in span and "end" in span):
            out.append(span)
            continue
        start, end = moved(int(span["start"]), int(span["end"]))
        if (start, end, span.get("label")) not in seen:
            seen.add((start, end, span.get("label")))
            out.append({**span, "start": start, "end": end})
    return out


def _fields(task: Task, value: Mapping[str, Any], carried: Callable[[FieldSpec, str], str | None]) -> dict[str, Any]:
    """A value that cannot be carried in the form of its field is left out, as one that cannot be read is."""
    specs = {spec.name: spec for spec in task.fields}
    out: dict[str, Any] = {}
    for name, said in value.items():
        spec = specs.get(name)
        if spec is None or spec.type == "choice" or not said:
            out[name] = said
            continue
        moved = [carried(spec, str(one)) for one in (said if isinstance(said, list) else [said])]
        there = list(dict.fromkeys(one for one in moved if one is not None))
        if there:
            out[name] = there if isinstance(said, list) else there[0]
    return out


def _field_back(spec: FieldSpec, said: str, form: Form) -> str | None:
    text = form.text
    for start, end in places(spec, said, text.text):
        if not text.changed(start, end):
            return said
        return normal_value(spec, text.original[slice(*text.back(start, end))])
    return _exchanged(spec, said, [*_pairs(form.text), *_pairs(form.pair)])


def _field_to(spec: FieldSpec, said: str, form: Form) -> str | None:
    text = form.text
    for start, end in places(spec, said, text.original):
        there = text.to(start, end)
        return normal_value(spec, text.text[slice(*there)]) if text.changed(*there) else said
    return _exchanged(spec, said, [(new, old) for old, new in (*_pairs(form.text), *_pairs(form.pair))])


def _exchanged(spec: FieldSpec, said: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    """A value that stands nowhere in the text: the surrogates in it are exchanged, in whatever order and form they are.

    `pairs` are (surrogate, original), whole entities before their pieces.
    """
    by_folded: dict[str, str] = {}
    bare: dict[str, str] = {}
    for surrogate, original in pairs:
        by_folded.setdefault(surrogate.casefold(), original)
        bare.setdefault(_NOT_SAID.sub("", surrogate).casefold(), original)
    if (whole := bare.get(_NOT_SAID.sub("", said).casefold())) is not None:
        return normal_value(spec, whole)  # the same number, written another way
    wordy = sorted((key for key in by_folded if any(char.isalpha() for char in key)), key=len, reverse=True)
    if not wordy:
        return said
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, wordy))})(?!\w)"

    def exchange(found: re.Match[str]) -> str:
        return by_folded.get(found.group().casefold(), found.group())

    exchanged = re.sub(pattern, exchange, said, flags=re.IGNORECASE)
    return said if exchanged == said else normal_value(spec, exchanged)


def _pairs(text: Rewritten) -> list[tuple[str, str]]:
    """(surrogate, original) of every entity, and then of its pieces."""
    whole = []
    for start, end in text.entities:
        a, b = text.to(start, end)
        whole.append((text.text[a:b], text.original[start:end]))
    return whole + [(piece.surrogate, text.original[piece.start : piece.end]) for piece in text.pieces]
