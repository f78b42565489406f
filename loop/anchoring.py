"""Whether people take over what they are shown: how often suggestions are kept, beside how often blind answers say the same.

Who is shown a suggestion is not drawn by lot: the random share is blind, and what is shown was picked because it is
hard. So shown and blind answers are compared where the belief was equally sure of what it suggested, or would have.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinds.kind import Layout
from loop.kept import kept
from loop.project import Project
from stillhouse.measures import wilson
from stillhouse.records import Answer, Interval, Item, Pick, Value, Way
from stillhouse.strata import stratified_difference

STRATA = 5  # as many leave about a tenth of what an unequal choice would bias (Cochran 1968)


@dataclass(frozen=True, slots=True)
class Believed:
    """What was believed of an item when it was picked, before anybody answered it: a value, and its expected score."""

    value: Value
    sure: float


@dataclass(frozen=True, slots=True)
class Stratum:
    """Answers to suggestions of about one sureness, `lo` to `hi`: (kept, all) of shown ones; (the same, all) of blind ones."""

    lo: float
    hi: float
    shown: tuple[int, int]
    blind: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Anchoring:
    """`kept` and `blind` are plain shares, which are not comparable; `difference` is: in points of the shown answers for
    which there are blind ones of like sureness, `compared` of them. None where there are none.
    """

    kept: Interval
    blind: Interval | None
    difference: Interval | None
    compared: int
    strata: tuple[Stratum, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.kept.to_json(),
            "blind": self.blind.to_json() if self.blind else None,
            "difference": self.difference.to_json() if self.difference else None,
            "compared": self.compared,
            "strata": [{"lo": s.lo, "hi": s.hi, "shown": list(s.shown), "blind": list(s.blind)} for s in self.strata],
        }


@dataclass(frozen=True, slots=True)
class Reaction:
    """One answer beside what was suggested, or would have been: whether it says the same as it stands. `way` is how the item
    was first asked.
    """

    annotator: str
    way: Way
    blind: bool
    sure: float
    same: bool


def believed_before(project: Project, items: Sequence[Item], picks: Iterable[Pick]) -> dict[str, Believed]:
    """What each picked item would have been suggested as; nothing where that was not kept, or the pool has changed."""
    kind, layout = project.kind, Layout.of(project.kind, items)
    at = {item.id: number for number, item in enumerate(items)}
    found: dict[str, Believed] = {}
    by_round: dict[int, list[str]] = {}
    for pick in picks:
        if pick.item_id in at:
            by_round.setdefault(pick.round, []).append(pick.item_id)
    for number, ids in by_round.items():
        probs = kept(project, f"belief-{number - 1:02d}")
        if probs is None or probs.shape != (len(layout.item_of), len(kind.columns)):
            continue
        thresholds = kind.thresholds(probs)
        for item_id in ids:
            item, rows = items[at[item_id]], layout.rows(at[item_id])
            value = kind.decode(item, layout.spans[rows], probs[rows], thresholds)
            found[item_id] = Believed(kind.normal(item, value), kind.expected_score(layout.spans[rows], probs[rows]))
    return found


def reactions(
    project: Project,
    items: Mapping[str, Item],
    answers: Iterable[Answer],
    believed: Mapping[str, Believed],
    verified: Collection[str] = (),
) -> list[Reaction]:
    """First opinions alone: who was asked second, or to decide, was asked because of what somebody else had said.

    `verified` are ids of items that were asked for yes or no: one of them that has been given a label was refused.
    """
    found = []
    for answer in answers:
        before, item = believed.get(answer.item_id), items.get(answer.item_id)
        if answer.way not in {"label", "verify"} or answer.label is None or before is None or item is None:
            continue
        refused = answer.way == "label" and answer.item_id in verified
        shown = before.value if answer.blind or answer.suggested is None else answer.suggested
        same = not refused and project.kind.normal(item, shown) == project.kind.normal(item, answer.label)
        way: Way = "verify" if refused else answer.way
        found.append(Reaction(answer.annotator, way, answer.blind and not refused, before.sure, same))
    return found


def anchoring_of(found: Sequence[Reaction], way: Way, confidence: float) -> Anchoring | None:
    """Of suggestions shown in this way; None where there were none."""
    shown = [r for r in found if r.way == way and not r.blind]
    blind = [r for r in found if r.blind]
    if not shown:
        return None
    strata = strata_of(shown, blind)
    both = [s for s in strata if s.shown[1] and s.blind[1]]
    difference = None
    if both:
        hits, trials = (np.array([[side[n] for side in (s.shown, s.blind)] for s in both]).T for n in (0, 1))
        on = "answers that were shown a suggestion, less blind ones of like sureness"
        difference = stratified_difference(hits, trials, confidence, on)
    return Anchoring(
        kept=share_kept(shown, confidence, "answers that were shown a suggestion"),
        blind=share_kept(blind, confidence, "blind answers") if blind else None,
        difference=difference,
        compared=sum(s.shown[1] for s in both),
        strata=strata,
    )


def strata_of(shown: Sequence[Reaction], blind: Sequence[Reaction]) -> tuple[Stratum, ...]:
    """Cut where a fifth each of the shown answers lie. Blind ones outside of them are like none of them: most of the pool
    is surer than what is picked.
    """
    edges = np.unique(np.quantile([r.sure for r in shown], np.linspace(0, 1, STRATA + 1)))
    found = []
    for number in range(max(len(edges) - 1, 1)):
        lo, hi = float(edges[number]), float(edges[min(number + 1, len(edges) - 1)])
        last = number + 2 >= len(edges)
        counts = []
        for side in (shown, blind):
            inside = [r.same for r in side if lo <= r.sure and (r.sure < hi or (last and r.sure <= hi))]
            counts.append((sum(inside), len(inside)))
        found.append(Stratum(lo, hi, counts[0], counts[1]))
    return tuple(found)


def share_kept(found: Sequence[Reaction], confidence: float, on: str) -> Interval:
    same, n = sum(r.same for r in found), len(found)
    return Interval(same / n, *wilson(same, n, confidence), n, on, "Wilson score")
