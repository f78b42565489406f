"""What people's answers amount to where several answered an item: each weighed by how good the person is."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consensus.annotators import BLIND, UNKNOWN, Judgements, Quality, consensus_of
from kinds.kind import Kind, Layout
from stillhouse.probabilities import Floats, blocks
from stillhouse.records import Answer, Interval, Item, Value

# How probable the likeliest value must be to count: below, the item is in conflict, and its answers teach as odds.
SETTLED = 2 / 3
# Whoever is right less often than this, by the upper end of the interval, is not taken at their word alone.
TRUSTED = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """`labels` are what counts, by item id; `conflicts` are items that the answers do not settle, and `probs` (r, k) what is
    thought of them, on `rows` (r,) of the pool. `probability` is that of the likeliest value where people differ. `people`
    are the figures of who answered items that others answered too.
    """

    labels: dict[str, Value]
    conflicts: tuple[str, ...]
    probability: Mapping[str, float] = field(default_factory=dict)
    rows: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    probs: Floats = field(default_factory=lambda: np.empty((0, 0)))
    people: tuple[Quality, ...] = ()

    def accuracies(self) -> dict[str, Interval]:
        """By person: how often an answer of their own is right, on the items they share with others."""
        return {
            one.name: Interval(
                one.accuracy, one.lo, one.hi, one.answers, "decisions that others judged too", "Dawid-Skene"
            )
            for one in self.people
            if one.answers
        }


def agreed(answers: Iterable[Answer]) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The last word on each item, else its most frequent value; a tie is a conflict and counts as no answer."""
    labels, conflicts = {}, []
    for item_id, said in _said(answers).items():
        (first, most), *others = Counter(_written(answer) for answer in _counted(said)).most_common(2)
        if others and others[0][1] == most:
            conflicts.append(item_id)
        else:
            labels[item_id] = json.loads(first)
    return labels, tuple(sorted(conflicts))


def disputed(answers: Iterable[Answer]) -> frozenset[str]:
    """Items of which people said different things, without a last word."""
    said = _said(answers).items()
    return frozenset(item_id for item_id, given in said if len({_written(answer) for answer in _counted(given)}) > 1)


def several(answers: Iterable[Answer]) -> bool:
    """Whether some item was answered by more people than one."""
    return any(len({answer.annotator for answer in said}) > 1 for said in _said(answers).values())


def weighed(
    kind: Kind, items: Sequence[Item], layout: Layout, answers: Iterable[Answer], opinion: Floats, confidence: float
) -> Weighed:
    """`opinion` (u, k) has not seen the answers to the row's own item.

    Who answers alone is judged on what they share with others: items are picked for being hard, so who differs from the
    opinion there is not worse for it.
    """
    said = _said(answers)
    labels, conflicts = agreed(answer for given in said.values() for answer in given)
    shared = [
        (number, said[item.id])
        for number, item in enumerate(items)
        if len({answer.annotator for answer in said.get(item.id, ())}) > 1
    ]
    if not shared:
        return Weighed(labels, conflicts)
    desk = _Desk.of(kind, items, layout, shared)
    found = consensus_of(
        blocks(opinion[desk.rows], kind.width), desk.judgements, known=desk.known, confidence=confidence
    )
    probs = found.probs.reshape(len(desk.rows), -1)
    doubtful = {one.name for one in found.qualities if one.hi < TRUSTED}
    probability: dict[str, float] = {}
    for (number, given), part in zip(shared, desk.parts, strict=True):
        item, counted = items[number], _counted(given)
        if len({_written(answer) for answer in counted}) > 1:
            spans = layout.spans[layout.rows(number)]
            labels[item.id], probability[item.id] = _likeliest(kind, item, spans, counted, probs[part])
    unsettled = {item_id for item_id, sure in probability.items() if sure < SETTLED}
    unsettled |= {
        item_id
        for item_id, given in said.items()
        if item_id not in probability and not _decided(given) and {a.annotator for a in given} <= doubtful
    }
    open_ = [part for (number, _), part in zip(shared, desk.parts, strict=True) if items[number].id in unsettled]
    kept = np.concatenate([np.empty(0, dtype=np.intp), *(np.arange(part.start, part.stop) for part in open_)])
    return Weighed(
        {item_id: value for item_id, value in labels.items() if item_id not in unsettled},
        tuple(sorted(unsettled)),
        probability,
        desk.rows[kept],
        probs[kept],
        found.qualities,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    """Shared items as decisions: `rows` (r,) of the pool, `parts` which of them each item has, every row several blocks."""

    rows: NDArray[np.intp]
    parts: tuple[slice, ...]
    judgements: Judgements
    known: NDArray[np.intp]

    @staticmethod
    def of(kind: Kind, items: Sequence[Item], layout: Layout, shared: Sequence[tuple[int, list[Answer]]]) -> "_Desk":
        names = sorted({answer.annotator for _, given in shared for answer in given})
        each = len(kind.columns) // kind.width
        parts, rows, columns, last = [], [], [], []
        start = 0
        for number, given in shared:
            span = layout.rows(number)
            units = span.stop - span.start
            known = np.full(units * each, UNKNOWN, dtype=np.intp)
            decided = _decided(given)
            if decided:
                known = _choices(kind, items[number], layout.spans[span], decided[-1].label)
            for answer in given:
                if answer.way == "adjudicate":
                    continue
                chosen = _choices(kind, items[number], layout.spans[span], answer.label)
                shown = _choices(kind, items[number], layout.spans[span], None if answer.blind else answer.suggested)
                at = np.flatnonzero(chosen != UNKNOWN)
                who = np.full(len(at), names.index(answer.annotator))
                columns.append(np.stack([start * each + at, who, chosen[at], shown[at]]))
            parts.append(slice(start, start + units))
            rows.append(np.arange(span.start, span.stop, dtype=np.intp))
            last.append(known)
            start += units
        table = np.concatenate(columns, axis=1).astype(np.intp) if columns else np.zeros((4, 0), dtype=np.intp)
        at, who, said, shown = table
        judgements = Judgements(tuple(names), at, who, said, shown, np.arange(len(names)))
        return _Desk(np.concatenate(rows), tuple(parts), judgements, np.concatenate(last))


def _choices(kind: Kind, item: Item, spans: NDArray[np.int64], value: Value | None) -> NDArray[np.intp]:
    """The column that a value chooses in each block of an item's units, UNKNOWN (which is BLIND) where it says nothing."""
    assert UNKNOWN == BLIND
    if value is None:
        return np.full(len(spans) * (len(kind.columns) // kind.width), UNKNOWN, dtype=np.intp)
    said = blocks(kind.encode(item, spans, value), kind.width)
    chosen: NDArray[np.intp] = np.nan_to_num(said).argmax(axis=1)
    chosen[np.isnan(said.sum(axis=1))] = UNKNOWN
    return chosen


def _likeliest(
    kind: Kind, item: Item, spans: NDArray[np.int64], given: Sequence[Answer], probs: Floats
) -> tuple[Value, float]:
    """Of the values that people gave the likeliest, and how probable all of it is in which they differ: the product over the
    decisions. Where those cannot be told apart by decisions, the share of people who gave it.
    """
    counts = Counter(_written(answer) for answer in given)
    values = sorted(counts, key=lambda written: (-counts[written], written))
    chosen = np.stack([_choices(kind, item, spans, json.loads(written)) for written in values])
    differ = np.any(chosen != chosen[0], axis=0) & np.all(chosen != UNKNOWN, axis=0)
    if not np.any(differ):
        return json.loads(values[0]), counts[values[0]] / len(given)
    at = np.flatnonzero(differ)
    logs = np.log(blocks(probs, kind.width)[at, chosen[:, at]] + 1e-12).sum(axis=1)
    best = int(logs.argmax())
    return json.loads(values[best]), float(np.exp(logs[best]))


def _said(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """The answers that say something, by item, as they came."""
    said: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.label is not None:
            said[answer.item_id].append(answer)
    return said


def _decided(given: Sequence[Answer]) -> list[Answer]:
    """The last word on an item, if somebody had it."""
    decisions = sorted((a for a in given if a.way == "adjudicate"), key=lambda a: (a.answered_at, a.annotator))
    return decisions[-1:]


def _counted(given: Sequence[Answer]) -> Sequence[Answer]:
    """The answers that count: the last word, or all."""
    return _decided(given) or given


def _written(answer: Answer) -> str:
    return json.dumps(answer.label, sort_keys=True)
