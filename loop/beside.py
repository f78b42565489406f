"""What a trial says of probabilities and money with intervals: each teacher's own, and its difference to the best one's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind, Layout
from stillhouse.measures import accuracy_interval, calibration_intervals, paired_mean_difference
from stillhouse.probabilities import blocks, one_hot
from stillhouse.records import Interval, Item, Value, Vote
from stillhouse.task import LABEL_KINDS


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One teacher's distributions (n, w) beside the right columns (n,), and whose item each is (n,); `paid` (i,) is what each
    item's replies cost in US dollars, None where no price is known.
    """

    probs: NDArray[np.float64]
    truth: NDArray[np.int64]
    item_of: NDArray[np.int64]
    paid: NDArray[np.float64] | None

    @staticmethod
    def of(
        kind: Kind,
        layout: Layout,
        probs: NDArray[np.float64],
        truth: NDArray[np.float64],
        paid: NDArray[np.float64] | None,
    ) -> "Heard":
        """`probs` and `truth` (u, k); kinds whose teachers give no distributions over labels have none here."""
        if kind.task.kind not in LABEL_KINDS:
            none = np.empty(0, dtype=np.int64)
            return Heard(np.empty((0, kind.width)), none, none, paid)
        right = blocks(truth, kind.width).argmax(axis=1)
        each = len(kind.columns) // kind.width
        return Heard(blocks(probs, kind.width), right, np.repeat(layout.item_of, each), paid)

    def calibration(self, *, confidence: float, on: str, rng: np.random.Generator) -> dict[str, Interval]:
        if not len(self.truth):
            return {}
        return calibration_intervals(self.probs, self.truth, self.item_of, confidence=confidence, on=on, rng=rng)

    def brier_beside(self, best: "Heard", confidence: float, on: str) -> Interval | None:
        """The mean difference of items' Brier scores: above 0 where this teacher's probabilities are further off."""
        if not len(self.truth):
            return None
        return paired_mean_difference(best.squares(), self.squares(), confidence, on)

    def cost_beside(self, best: "Heard", confidence: float, on: str) -> Interval | None:
        """What an item costs more than with the best, in US dollars."""
        if self.paid is None or best.paid is None:
            return None
        return paired_mean_difference(best.paid, self.paid, confidence, on)

    def squares(self) -> NDArray[np.float64]:
        """(i,): the mean Brier score of each item's distributions."""
        each = ((self.probs - one_hot(self.truth, self.probs.shape[1])) ** 2).sum(axis=1)
        return np.asarray(np.bincount(self.item_of, weights=each) / np.bincount(self.item_of))


def paid_for(items: Sequence[Item], votes: Mapping[tuple[str, str], Vote], source: str) -> NDArray[np.float64]:
    """(i,): what the replies about each item cost in US dollars."""
    found = (votes.get((source, item.id)) for item in items)
    return np.array([0.0 if vote is None else vote.cost_usd for vote in found])


def recall_of_shown(votes: Iterable[Vote], labels: Mapping[str, Value], confidence: float) -> Interval | None:
    """How often what people say is among the labels that a teacher was shown, where it was not shown all; None where all
    were. For the rest nothing could be said but "none of these".
    """
    shown = [labels[vote.item_id] in vote.candidates for vote in votes if vote.candidates and vote.item_id in labels]
    return accuracy_interval(np.array(shown), confidence, f"{len(shown)} votes") if shown else None
