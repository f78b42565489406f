"""The teachers' votes as one table: sources by units by columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Bools, Floats, blocks
from stillhouse.records import Vote
from stillhouse.task import RULES_SOURCE

VOTE_FLOOR = 1e-4  # of a logarithm of votes


@dataclass(frozen=True, slots=True, eq=False)
class VoteTable:
    """`probs` (s, n, k) with what a reply left open spread evenly over the labels; `usable` (s, n) is false where a
    source said nothing that could be read: its row is uniform. Each `width` columns are one distribution; without a
    width the whole row is one.
    """

    sources: tuple[str, ...]
    probs: Floats
    usable: Bools
    width: int | None = None

    @property
    def block(self) -> int:
        """How many columns one distribution has."""
        return self.width or int(self.probs.shape[2])

    def pooled(self, weights: Floats | None = None) -> NDArray[np.float64]:
        """The linear opinion pool of the usable votes, (n, k); uniform where there is none (Stone 1961).

        `weights` (s,) > 0 say how much each source counts; all the same unless given.
        """
        weight = self.usable.astype(np.float64)
        if weights is not None:
            weight *= np.asarray(weights)[:, None]
        count = weight.sum(axis=0)[:, None]
        summed = np.einsum("sn,snk->nk", weight, self.probs)
        out: NDArray[np.float64] = np.where(count > 0, summed / np.where(count > 0, count, 1.0), 1.0 / self.block)
        return out

    def agreement(self) -> float:
        """Share of distributions on which all usable votes name the same label; nan with fewer than two sources."""
        both = self.usable.all(axis=0)
        if len(self.sources) < 2 or not both.any():
            return float("nan")
        top = np.stack([blocks(probs[both], self.block).argmax(axis=1) for probs in self.probs])
        return float((top == top[0]).all(axis=0).mean())

    @property
    def voice(self) -> str:
        """What all of it together is called: the teacher, unless there are rules alone."""
        return RULES_SOURCE if self.sources == (RULES_SOURCE,) else "teacher"

    def of_teachers(self) -> "VoteTable":
        """Without the rules (consensus.rules); where there are no teachers the table as it is."""
        kept = [number for number, source in enumerate(self.sources) if source != RULES_SOURCE]
        if not kept or len(kept) == len(self.sources):
            return self
        return VoteTable(tuple(self.sources[at] for at in kept), self.probs[kept], self.usable[kept], self.width)

    def rows(self, index: NDArray[np.intp]) -> "VoteTable":
        return VoteTable(self.sources, self.probs[:, index], self.usable[:, index], self.width)


def vote_table(votes: Iterable[Vote], item_ids: Sequence[str], sources: Sequence[str], k: int) -> VoteTable:
    """The table of a task with one label an item. Votes of other items or sources are passed over; a missing vote
    counts as unusable.
    """
    row = {item_id: number for number, item_id in enumerate(item_ids)}
    column = {source: number for number, source in enumerate(sources)}
    probs = np.full((len(sources), len(item_ids), k), 1.0 / k)
    usable = np.zeros((len(sources), len(item_ids)), dtype=bool)
    for vote in votes:
        if vote.usable and vote.item_id in row and vote.source in column:
            at = column[vote.source], row[vote.item_id]
            probs[at] = np.asarray(vote.probs) + vote.residual / k
            usable[at] = True
    return VoteTable(tuple(sources), probs, usable)
