"""Spans and roles of the simulated teacher: its own boundaries, labels confused, rare surfaces missed, names made up."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.simulated_teacher import RARE_WORD, SimulatedTeacher, most_prone, words_of
from stillhouse.records import CharSpan, Item, Vote

MERGED_GAP = 4  # characters between two spans that may be taken for one


@dataclass(frozen=True, slots=True)
class SpanHabits:
    """How a teacher marks spans. Rates are shares of the true spans; `confused` says what a label is taken for."""

    error_rate: float
    spurious_rate: float
    confused: Mapping[str, tuple[str, ...]]
    boundary: float = 0.45  # of the errors; the rest is split between another label and a miss
    relabel: float = 0.3


def spans(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    habits: SpanHabits,
) -> list[Vote]:
    """Spans with errors of boundary, label and existence; never two that overlap, and never over an item's focus."""
    marked = span_values(teacher, items, truths, labels, habits)
    return [teacher.vote(item, value=value) for item, value in zip(items, marked, strict=True)]


def span_values(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    habits: SpanHabits,
) -> list[list[dict[str, Any]]]:
    """As `spans`, without the votes around them."""
    words = [list(item.tokens) if item.tokens is not None else words_of(item.text) for item in items]
    heads = [[_head(item.text, span) for span in truth] for item, truth in zip(items, truths, strict=True)]
    seen = Counter(head for row in heads for head in row)
    places = [(at, number) for at, truth in enumerate(truths) for number in range(len(truth))]
    prone = [teacher.proneness(truths[at][n]["label"], heads[at][n], items[at].id, n) for at, n in places]
    wrong = {place for place, errs in zip(places, most_prone(prone, habits.error_rate), strict=True) if errs}
    values: list[list[dict[str, Any]]] = []
    for at, (item, truth) in enumerate(zip(items, truths, strict=True)):
        page = _Page(item, words[at])
        for span in truth:
            page.take(span["start"], span["end"])
        out, merged = [], False
        for number, span in enumerate(truth):
            if merged:  # it went into the span before it
                merged = False
                continue
            rare = seen[heads[at][number]] < RARE_WORD
            is_wrong = (at, number) in wrong
            after = truth[number + 1] if number + 1 < len(truth) else None
            merged = is_wrong and after is not None and _merges(teacher, span, after, heads[at][number])
            said: dict[str, Any] | None = dict(span)
            if merged and after is not None:
                said = {**span, "end": after["end"]}
            elif is_wrong:
                said = _wrong_span(teacher, habits, page, span, heads[at][number], rare)
            if said is not None:
                out.append(said | {"p": teacher.sure(not is_wrong, item.id, number)})
        values.append(out)
    _add_spurious(teacher, items, words, truths, values, labels, round(habits.spurious_rate * len(places)))
    return [sorted(value, key=lambda span: (span["start"], span["end"], span["label"])) for value in values]


class _Page:
    """Which characters of an item's text are spoken for; its focus always is."""

    def __init__(self, item: Item, words: Sequence[CharSpan]) -> None:
        self.text = item.text
        self.words = words
        self.taken = [False] * len(item.text)
        if item.focus is not None:
            self.take(*item.focus)

    def take(self, start: int, end: int) -> None:
        self.taken[start:end] = [True] * (end - start)

    def inside(self, start: int, end: int) -> list[CharSpan]:
        return [word for word in self.words if word[0] >= start and word[1] <= end]

    def free_word(self, *, before: int | None = None, after: int | None = None) -> CharSpan | None:
        """The word just before or just after a position, if it is one and nobody has it."""
        side = [w for w in self.words if (before is None or w[1] <= before) and (after is None or w[0] >= after)]
        if not side:
            return None
        word = side[-1] if before is not None else side[0]
        return word if not any(self.taken[word[0] : word[1]]) and self.text[word[0]].isalnum() else None


def _head(text: str, span: Mapping[str, Any]) -> str:
    """The last word of a span, by which a surface is known."""
    surface = text[span["start"] : span["end"]].casefold().split()
    return surface[-1] if surface else ""


def _merges(teacher: SimulatedTeacher, span: Mapping[str, Any], after: Mapping[str, Any], head: str) -> bool:
    """Whether two spans that stand close, with at most a short word between, are taken for one."""
    return 0 < after["start"] - span["end"] <= MERGED_GAP and teacher.chance("merge", span["label"], head) < 0.5


def _wrong_span(
    teacher: SimulatedTeacher, habits: SpanHabits, page: _Page, span: Mapping[str, Any], head: str, rare: bool
) -> dict[str, Any] | None:
    """Another boundary, another label, or None for a miss; a rare surface is missed more often."""
    how = teacher.chance("how", span["label"], head) / (1.0 if rare else 1.2)
    if how < habits.boundary:
        moved = _moved(teacher, page, span, head)
        if moved is not None:
            page.take(moved["start"], moved["end"])
            return moved
    if how < habits.boundary + habits.relabel and span["label"] in habits.confused:
        return {**span, "label": teacher.one_of(habits.confused[span["label"]], span["label"], head)}
    return None


def _moved(teacher: SimulatedTeacher, page: _Page, span: Mapping[str, Any], head: str) -> dict[str, Any] | None:
    """A convention of its own: the first word left out, a word before or after taken in, the last word left out."""
    inner = page.inside(span["start"], span["end"])
    ways: list[Callable[[], tuple[int, int] | None]] = [
        lambda: (inner[1][0], span["end"]) if len(inner) > 1 else None,
        lambda: (word[0], span["end"]) if (word := page.free_word(before=span["start"])) else None,
        lambda: (span["start"], inner[-2][1]) if len(inner) > 1 else None,
        lambda: (span["start"], word[1]) if (word := page.free_word(after=span["end"])) else None,
    ]
    first = int(teacher.chance("way", span["label"], head) * len(ways))
    for way in ways[first:] + ways[:first]:
        bounds = way()
        if bounds is not None:
            return {**span, "start": bounds[0], "end": bounds[1]}
    return None


def _add_spurious(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    words: Sequence[Sequence[CharSpan]],
    truths: Sequence[Sequence[Mapping[str, Any]]],
    values: list[list[dict[str, Any]]],
    labels: Sequence[str],
    count: int,
) -> None:
    """Mark the most tempting words that nobody has: names (capitals, digits) first."""
    found: list[tuple[float, int, CharSpan]] = []
    for at, item in enumerate(items):
        page = _Page(item, words[at])
        for span in (*truths[at], *values[at]):
            page.take(span["start"], span["end"])
        for start, end in words[at]:
            word = item.text[start:end]
            if len(word) > 2 and word[0].isalnum() and not any(page.taken[start:end]):
                looks = 1.0 if start and (word[0].isupper() or word[0].isdigit()) else 0.0
                prone = teacher.proneness("spurious", word.casefold(), item.id, start, difficulty=looks)
                found.append((-prone, at, (start, end)))
    for _, at, (start, end) in sorted(found)[:count]:
        word = items[at].text[start:end].casefold()
        label = teacher.one_of(labels, "spurious", word)
        p = teacher.sure(False, items[at].id, start)
        values[at].append({"start": start, "end": end, "label": label, "p": p})
