"""Whether people take over what they are shown: how often suggestions are kept, beside how often people who see none say
the same.

What is shown was picked because it is hard, and the blind share was not. The two can be compared only where an item had
like chances to be shown or blind: in one round, among items of like score, since scores are all that targeting goes by
(but for texts that are much alike, of which it takes one). That leaves out most of both, unless `selection.hidden_share`
hides the suggestion of some targeted items by lot.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Layout
from loop.kept import kept
from loop.project import Project
from stillhouse.measures import wilson
from stillhouse.probabilities import Floats
from stillhouse.records import Answer, Interval, Item, Pick, Value, Way
from stillhouse.strata import stratified_difference

STRATA = 5  # as many leave about a tenth of what an unequal choice would bias (Cochran 1968)
RANDOM, UNCERTAIN = "random", "uncertain"


@dataclass(frozen=True, slots=True, eq=False)
class Before:
    """What was believed of answered items before anybody answered them: `opinion` (u, k), nan where that is not known, and
    as `values` by id.
    """

    items: tuple[Item, ...]
    layout: Layout
    opinion: Floats
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Anchoring:
    """`kept` and `blind` are plain shares, which are not comparable. `difference` is, among the `compared` shown answers that
    have blind ones like them: above 0 where people say what is suggested more often for seeing it. None where there are none.
    """

    kept: Interval
    blind: Interval | None
    difference: Interval | None
    compared: int

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.kept.to_json(),
            "blind": self.blind.to_json() if self.blind else None,
            "difference": self.difference.to_json() if self.difference else None,
            "compared": self.compared,
        }


@dataclass(frozen=True, slots=True)
class Reaction:
    """An answer beside what was suggested, or would have been: whether it says the same as it stands.

    `way` is how the item was first asked. Within one `draw` (round and reason) targeting went by `score` alone.
    """

    item_id: str
    annotator: str
    way: Way
    blind: bool
    draw: tuple[int, str]
    score: float
    same: bool


def believed_before(
    project: Project, items: Sequence[Item], picks: Iterable[Pick], answered: Collection[str]
) -> Before:
    """Of the answered items of a pool; of none whose round's belief was not kept, or was one of another pool."""
    kind, layout = project.kind, Layout.of(project.kind, items)
    numbers = [number for number, item in enumerate(items) if item.id in answered]
    those = tuple(items[number] for number in numbers)
    here = Layout.of(kind, those)
    opinion = np.full((len(here.item_of), len(kind.columns)), np.nan)
    values: dict[str, Value] = {}
    round_of = {pick.item_id: pick.round for pick in picks}
    for number in sorted(set(round_of.values())):
        probs = kept(project, f"belief-{number - 1:02d}")
        if probs is None or probs.shape != (len(layout.item_of), len(kind.columns)):
            continue
        thresholds = kind.thresholds(probs)
        for at, item in enumerate(those):
            if round_of.get(item.id) == number:
                rows = here.rows(at)
                opinion[rows] = probs[layout.rows(numbers[at])]
                values[item.id] = kind.normal(item, kind.decode(item, here.spans[rows], opinion[rows], thresholds))
    return Before(those, here, opinion, values)


def reactions(
    project: Project,
    items: Mapping[str, Item],
    picks: Iterable[Pick],
    answers: Iterable[Answer],
    believed: Mapping[str, Value],
    verified: Collection[str] = (),
) -> list[Reaction]:
    """Of first opinions alone, by item and time: who was asked second, or to decide, was asked because of what somebody else had said.

    `verified` are ids of items that were asked for yes or no: one of them that has been given a label was refused.
    """
    pick_of = {pick.item_id: pick for pick in picks if pick.item_id in believed and pick.item_id in items}
    found = []
    for answer in sorted(answers, key=lambda each: (each.item_id, each.answered_at, each.annotator)):
        pick = pick_of.get(answer.item_id)
        if answer.way not in {"label", "verify"} or answer.label is None or pick is None:
            continue
        item, before = items[answer.item_id], believed[answer.item_id]
        refused = answer.way == "label" and answer.item_id in verified
        shown = before if answer.blind or answer.suggested is None else answer.suggested
        same = not refused and project.kind.normal(item, shown) == project.kind.normal(item, answer.label)
        way: Way = "verify" if refused else answer.way
        draw = pick.round, UNCERTAIN if pick.reason == RANDOM else pick.reason  # random picks have that score too
        blind = answer.blind and not refused
        found.append(Reaction(item.id, answer.annotator, way, blind, draw, pick.score, same))
    return found


def anchoring_of(found: Sequence[Reaction], way: Way, confidence: float) -> Anchoring | None:
    """Of suggestions shown in this way, one answer an item, the first; None where none were shown."""
    first = {r.item_id: r for r in reversed(found)}
    shown = [r for r in first.values() if r.way == way and not r.blind]
    blind = [r for r in first.values() if r.blind]
    if not shown:
        return None
    hits, trials = strata_of(shown, blind)
    on = "answers that were shown a suggestion, less blind ones to items of the same round and like score"
    return Anchoring(
        kept=share_kept(shown, confidence, "answers that were shown a suggestion"),
        blind=share_kept(blind, confidence, "blind answers") if blind else None,
        difference=stratified_difference(hits, trials, confidence, on) if trials.size else None,
        compared=int(trials[0].sum()),
    )


def strata_of(shown: Sequence[Reaction], blind: Sequence[Reaction]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(2, h) each: how many of shown and of blind answers say the same, and how many there are, in strata that have both.

    Each draw by itself, cut where a fifth each of its shown answers lie. Blind ones outside of them are like none of them:
    most of a pool is surer than what is picked.
    """
    hits, trials = [], []
    for draw in sorted({r.draw for r in shown}):
        sides = [[r for r in side if r.draw == draw] for side in (shown, blind)]
        edges = np.unique(np.quantile([r.score for r in sides[0]], np.linspace(0, 1, STRATA + 1)))
        for number in range(max(len(edges) - 1, 1)):
            inside = [[r.same for r in side if _stratum(r.score, edges) == number] for side in sides]
            if all(inside):
                hits.append([sum(same) for same in inside])
                trials.append([len(same) for same in inside])
    return np.array(hits, dtype=np.int64).reshape(-1, 2).T, np.array(trials, dtype=np.int64).reshape(-1, 2).T


def _stratum(score: float, edges: Floats) -> int:
    """Which of the strata between edges; -1 outside of them. The last holds its upper edge too."""
    if not edges[0] <= score <= edges[-1]:
        return -1
    return min(int(np.searchsorted(edges, score, side="right")) - 1, max(len(edges) - 2, 0))


def share_kept(found: Sequence[Reaction], confidence: float, on: str) -> Interval:
    same, n = sum(r.same for r in found), len(found)
    return Interval(same / n, *wilson(same, n, confidence), n, on, "Wilson score")
