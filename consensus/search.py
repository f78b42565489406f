"""Penalty, trust and temperature of a correction, by nested cross-validation over the answered items."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from consensus.answers import Answers
from consensus.correction import Coordinates, Correction, fit_weight
from consensus.opinions import Blend, Opinions
from stillhouse.probabilities import Bools, Floats, Ints, blocks, softmax

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FEW_PENALTIES = (1.0, 5.0, 25.0)  # where fits are dear: thousands of answered rows do not need a finer choice
FEWEST_ANSWERS_TO_CALIBRATE = 100


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A correction in coordinates."""

    weight: Floats
    blend: Blend


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What is believed without one fold of the answers; no correction where there are too few answers for one."""

    correction: Correction | None
    temperature: float


class Search:
    """Fits of one set of answers with different penalties and folds; `split` (a,) is the fold of each answered row.

    With thousands of rows (coordinates that are not exact) the grid is coarser, sums are single precision, and a fold's
    temperature comes from the one inner fold that the search has predicted anyway.
    """

    def __init__(self, coordinates: Coordinates, opinions: Opinions, answers: Answers, split: Ints) -> None:
        self.coordinates, self.opinions, self.answers, self.split = coordinates, opinions, answers, split
        self.width = opinions.votes.block
        self.folds = int(split.max()) + 1
        self.thorough = coordinates.exact
        self.penalties = PENALTIES if self.thorough else FEW_PENALTIES
        self.X = coordinates.matrix if self.thorough else coordinates.matrix.astype(np.float32)
        self._blends: dict[frozenset[int], Blend] = {}

    def chosen(self) -> tuple[float, Correction, list[Held]]:
        """The penalty, the fit on everything with it, and for each fold what is believed without it."""
        everything, scores, held = frozenset[int](), [], []
        for outer in range(self.folds):
            score, tried = self._inner(outer)
            best = self._best([score])
            correction = self._correction(self._fit(frozenset({outer}), best))
            scores.append(score)
            held.append(Held(correction, self._temperature_without(outer, best, tried[best])))
        penalty = self._best(scores)
        return penalty, self._correction(self._fit(everything, penalty)), held

    def _inner(self, outer: int) -> tuple[dict[float, float], dict[float, Floats]]:
        """The likelihood of every penalty on one inner fold, and its predictions there, without the outer fold."""
        inner = (outer + 1) % self.folds
        judged = self.split == inner
        score: dict[float, float] = {}
        predicted: dict[float, Floats] = {}
        start = None
        for penalty in sorted(self.penalties, reverse=True):
            fit = self._fit(frozenset({outer, inner}), penalty, start)
            start = fit.weight
            predicted[penalty] = self._predicted(fit, judged)
            score[penalty] = _log_likelihood(predicted[penalty], self.answers.targets[judged], self.width)
        return score, predicted

    def _fit(self, left_out: frozenset[int], penalty: float, start: Floats | None = None) -> Fit:
        taught = ~np.isin(self.split, list(left_out))
        rows, targets = self.answers.rows[taught], self.answers.targets[taught]
        if left_out not in self._blends:
            self._blends[left_out] = self.opinions.fit(rows, targets)
        blend = self._blends[left_out]
        offset = self.opinions.logits(rows, blend)
        return Fit(fit_weight(self.X[taught], offset, targets, penalty, self.width, start), blend)

    def _correction(self, fit: Fit) -> Correction:
        return Correction(self.coordinates.anchors, self.coordinates.dual(fit.weight), fit.blend)

    def _best(self, scores: Sequence[dict[float, float]]) -> float:
        """The penalty with the largest summed likelihood; ties go to the larger penalty."""
        return max(self.penalties, key=lambda penalty: (sum(score[penalty] for score in scores), penalty))

    def _temperature_without(self, outer: int, penalty: float, tried: Floats) -> float:
        """The temperature as if the outer fold had no answers: the other folds' own predictions have seen them, so
        each of these is predicted once more, without the outer fold and without itself.
        """
        if not self.thorough:
            return temperature_of(tried, self.answers.targets[self.split == (outer + 1) % self.folds], self.width)
        others = self.split != outer
        if others.sum() < FEWEST_ANSWERS_TO_CALIBRATE:
            return 1.0
        probs = np.empty(self.answers.targets.shape)
        for inner in set(range(self.folds)) - {outer}:
            judged = self.split == inner
            probs[judged] = self._predicted(self._fit(frozenset({outer, inner}), penalty), judged)
        return temperature_of(probs[others], self.answers.targets[others], self.width)

    def _predicted(self, fit: Fit, judged: Bools) -> NDArray[np.float64]:
        opinion = self.opinions.logits(self.answers.rows[judged], fit.blend)
        return softmax(opinion + self.coordinates.matrix[judged] @ fit.weight, self.width)


def cooled(probs: Floats, temperature: float, width: int) -> NDArray[np.float64]:
    return softmax(np.log(probs + 1e-12) / temperature, width)


def temperature_of(probs: Floats, targets: Floats, width: int) -> float:
    """By held-out likelihood (Guo et al. 2017, section 4); 1 with too few answers to tell."""
    if len(targets) < FEWEST_ANSWERS_TO_CALIBRATE:
        return 1.0
    logs = blocks(np.log(probs + 1e-12), width)
    truth = blocks(targets, width).argmax(axis=1)

    def loss(log_temperature: float) -> float:
        said = softmax(logs / np.exp(log_temperature))
        return float(-np.log(said[np.arange(len(truth)), truth] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.0, 1.5), method="bounded").x))


def _log_likelihood(probs: Floats, targets: Floats, width: int) -> float:
    return float(np.log(blocks(probs * targets, width).sum(axis=1) + 1e-9).sum())
