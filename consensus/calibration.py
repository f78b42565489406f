"""Each teacher's probabilities made to mean what they say: of four repairs the one that makes people's answers likeliest.

    identity      as said
    temperature   log p / T                                  (Guo et al. 2017, section 4)
    batch         (log p - its mean over the pool) / T       (Zhou et al. 2024, "Batch Calibration", section 3)
    ridge         log p / T + b,  b fitted and drawn to 0    (Platt 1999, for many classes)

A teacher by likelihood prefers labels that are short or frequent in what it has read: the mean over the pool holds that
preference where labels are about equally frequent, and `ridge` learns it from answers where they are not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from consensus.answers import Answers
from consensus.votes import VOTE_FLOOR, VoteTable
from stillhouse.probabilities import Bools, Floats, Ints, blocks, softmax

Method = Literal["identity", "temperature", "batch", "ridge"]
METHODS: tuple[Method, ...] = ("identity", "temperature", "batch", "ridge")  # of equal ones the earlier is taken
# Answered items. With fewer the choice among four is mostly noise, and identity loses least (docs/benchmarks.md).
FEWEST_ANSWERS_TO_CALIBRATE = 100
BIAS_PRIOR_STRENGTH, EXPONENT_PRIOR_STRENGTH = 1.0, 2.0
EXPONENT_LIMITS = (0.05, 5.0)
FOLDS = 5
ITERATIONS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What is done to one teacher's log-probabilities: `exponent` (1 / T) times them, and `bias` (k,) added."""

    method: Method
    exponent: float
    bias: Floats

    @property
    def temperature(self) -> float:
        return 1.0 / self.exponent

    def of(self, probs: Floats, width: int) -> NDArray[np.float64]:
        """(n, k) -> (n, k), each block of `width` columns a distribution; what identity is given it gives back."""
        if self.method == "identity":
            return np.asarray(probs, dtype=np.float64)
        return softmax(self.exponent * np.log(probs + VOTE_FLOOR) + self.bias, width)


def untouched(columns: int) -> Calibration:
    return Calibration("identity", 1.0, np.zeros(columns))


def calibrations(votes: VoteTable, answers: Answers, groups: Ints | None = None) -> tuple[Calibration, ...]:
    """One for each source, from answers on the table's rows. `groups` (n,) are the rows' items, if an item has several.

    A source with fewer than 100 answered items that it said something of stays as it is.
    """
    answers = answers.known()
    items = answers.rows if groups is None else groups[answers.rows]
    return tuple(_of_source(votes, source, answers, items) for source in range(len(votes.sources)))


def calibrated(votes: VoteTable, found: tuple[Calibration, ...]) -> VoteTable:
    """The table with each source's calibration; rows of which a source said nothing stay uniform."""
    probs = [
        np.where(usable[:, None], one.of(said, votes.block), said)
        for one, said, usable in zip(found, votes.probs, votes.usable, strict=True)
    ]
    return VoteTable(votes.sources, np.stack(probs), votes.usable, votes.width)


def cross_calibrated(votes: VoteTable, answers: Answers, folds: Ints, groups: Ints | None = None) -> VoteTable:
    """The table calibrated so that no row was by its own item's answer: neither fitted nor chosen.

    `folds` (n,) is the fold of each row, all rows of an item in one, -1 where nobody answered.
    """
    answers = answers.known()
    probs = calibrated(votes, calibrations(votes, answers, groups)).probs
    for fold in np.unique(folds[folds >= 0]):
        rows = np.flatnonzero(folds == fold)
        others = answers.only(folds[answers.rows] != fold)
        probs[:, rows] = calibrated(votes.rows(rows), calibrations(votes, others, groups)).probs
    return VoteTable(votes.sources, probs, votes.usable, votes.width)


def _of_source(votes: VoteTable, source: int, answers: Answers, items: Ints) -> Calibration:
    """The calibration of one source, from the answered rows that it said something of; `items` (a,) are their items."""
    said = votes.usable[source, answers.rows]
    answers, items = answers.only(said), items[said]
    names, place = np.unique(items, return_inverse=True)
    if len(names) < FEWEST_ANSWERS_TO_CALIBRATE:
        return untouched(votes.probs.shape[2])
    logs = np.log(votes.probs[source] + VOTE_FLOOR)
    mean = logs[votes.usable[source]].mean(axis=0)
    lesson = _Lesson(logs[answers.rows], answers.targets, mean, votes.block)
    split = place % FOLDS  # whole items; answers stand in the order of the pool, so no randomness is needed
    scores = {method: sum(_held_out(lesson, split == fold, method) for fold in range(FOLDS)) for method in METHODS}
    best = max(METHODS, key=lambda method: scores[method])
    return lesson.fitted(best)


def _held_out(lesson: "_Lesson", held: Bools, method: Method) -> float:
    """The log-likelihood of the answers `held` (a,) out, in nats, by what the others teach."""
    tested = lesson.only(held)
    found = lesson.only(~held).fitted(method)
    probs = softmax(found.exponent * tested.logs + found.bias, lesson.width)
    return float(np.log(blocks(probs * tested.targets, lesson.width).sum(axis=1)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """One source's log-probabilities (a, k) of answered rows, the answers (a, k), and the pool's mean (k,)."""

    logs: Floats
    targets: Floats
    mean: Floats
    width: int

    def only(self, kept: Bools) -> "_Lesson":
        return _Lesson(self.logs[kept], self.targets[kept], self.mean, self.width)

    def fitted(self, method: Method) -> Calibration:
        """By penalised likelihood, which is concave in exponent and bias together."""
        k = self.logs.shape[1]
        if method == "identity":
            return untouched(k)
        logs = self.logs - self.mean if method == "batch" else self.logs
        free = k if method == "ridge" else 0

        def loss(x: Floats) -> tuple[float, Floats]:
            exponent, bias = x[0], x[1:]
            probs = softmax(exponent * logs + (bias if free else 0.0), self.width)
            likelihood = np.log(blocks(probs * self.targets, self.width).sum(axis=1) + 1e-12).sum()
            over = probs - self.targets
            pull = EXPONENT_PRIOR_STRENGTH * (exponent - 1.0)
            value = -likelihood + 0.5 * pull * (exponent - 1.0) + 0.5 * BIAS_PRIOR_STRENGTH * (bias * bias).sum()
            slope = [np.array([(over * logs).sum() + pull]), over.sum(axis=0)[:free] + BIAS_PRIOR_STRENGTH * bias]
            return float(value), np.concatenate(slope)

        start = np.concatenate([np.ones(1), np.zeros(free)])
        limits = [EXPONENT_LIMITS, *([(None, None)] * free)]
        options = {"maxiter": ITERATIONS}
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options=options).x
        bias = found[1:] if free else -found[0] * self.mean if method == "batch" else np.zeros(k)
        return Calibration(method, float(found[0]), bias)
