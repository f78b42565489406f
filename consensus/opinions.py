"""What is thought before people's answers bend it: the teachers' pooled votes and the student, each trusted so far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from consensus.votes import VOTE_FLOOR, VoteTable
from stillhouse.probabilities import Floats, blocks, softmax

TEACHER_EXPONENT, STUDENT_EXPONENT = 1.0, 0.25  # where belief starts before anybody has answered
EXPONENT_PRIOR_STRENGTH = 2.0
STUDENT_FLOOR = 1e-3
FEWEST_SOURCES_TO_WEIGH = 3  # one has nobody to be weighed against; of two the surer one leads anyway
WEIGHT_PRIOR_STRENGTH, SOURCES_AT_FULL_STRENGTH = 1.0, 32  # of more sources each has less of a say, and less to lose
WEIGHT_ITERATIONS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """How far to trust whom: `weights` (s,) of the teachers in their pool, or None for all the same; `exponents` of
    the pool and, if there is one, of the student.
    """

    weights: Floats | None
    exponents: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Opinions:
    """`votes` and the logarithms of their pool and of the student's predictions, (n, k) each.

    `trusts` says whether answers may change how far each is trusted. Where an item has many rows they may not: the
    likelihood is that of single tags, most of them plain, and trust fitted to it breaks spans (strict F1 on the
    helpdesk's entities with 120 answered messages .698, with trust as it was .724; on WNUT17 with 75 .703 and .716, with
    200 .764 and .760).
    """

    votes: VoteTable
    pool: Floats
    student: Floats | None
    trusts: bool = True

    @staticmethod
    def of(votes: VoteTable, student: Floats | None, *, trusts: bool = True) -> "Opinions":
        known = None if student is None else np.log(np.asarray(student, dtype=np.float64) + STUDENT_FLOOR)
        return Opinions(votes, np.log(votes.pooled() + VOTE_FLOOR), known, trusts)

    def __len__(self) -> int:
        return len(self.pool)

    def prior(self) -> Blend:
        return Blend(None, (TEACHER_EXPONENT, STUDENT_EXPONENT)[: 1 if self.student is None else 2])

    def logits(self, rows: NDArray[np.intp], blend: Blend) -> NDArray[np.float64]:
        """(len(rows), k): the logarithmic pool of teachers and student (Genest & Zidek 1986)."""
        logs = self._logs(rows, blend.weights)
        out: NDArray[np.float64] = np.add.reduce([c * log for c, log in zip(blend.exponents, logs, strict=True)])
        return out

    def fit(self, rows: NDArray[np.intp], targets: Floats) -> Blend:
        """Weights, then exponents, by penalised likelihood of answers (a, k) on `rows` (a,)."""
        weights = fit_weights(self.votes.rows(rows), targets)
        if not self.trusts:
            return Blend(weights, self.prior().exponents)
        exponents = _fit_exponents(self._logs(rows, weights), targets, self.prior().exponents, self.votes.block)
        return Blend(weights, exponents)

    def _logs(self, rows: NDArray[np.intp], weights: Floats | None) -> list[Floats]:
        pool = self.pool[rows] if weights is None else np.log(self.votes.rows(rows).pooled(weights) + VOTE_FLOOR)
        return [pool] if self.student is None else [pool, self.student[rows]]


def fit_weights(votes: VoteTable, targets: Floats) -> NDArray[np.float64] | None:
    """How much each teacher counts in the pool, (s,), from answers (a, k) on the table's rows; None with one or two.

    The pool as a mixture of its sources: the likelihood of the answers, with log-weights drawn to 0. Sources that err
    together are weighed together, so a model does not count more for having been asked more often. Without answers
    all count the same: to weigh sources by how well they agree rewards a majority that shares its errors.
    """
    if len(votes.sources) < FEWEST_SOURCES_TO_WEIGH:
        return None
    each = votes.probs.shape[2] // votes.block
    hit = np.stack([blocks(probs * targets, votes.block).sum(axis=1) for probs in votes.probs])
    usable = np.repeat(votes.usable, each, axis=1).astype(np.float64)

    strength = WEIGHT_PRIOR_STRENGTH * min(1.0, SOURCES_AT_FULL_STRENGTH / len(hit))

    def loss(logs: Floats) -> tuple[float, Floats]:
        weight = np.exp(logs)[:, None] * usable
        count = weight.sum(axis=0) + 1e-12
        pooled = (weight * hit).sum(axis=0) / count
        slope = (weight * (hit - pooled) / (count * (pooled + VOTE_FLOOR))).sum(axis=1)
        value = -np.log(pooled + VOTE_FLOOR).sum() + 0.5 * strength * (logs * logs).sum()
        return float(value), strength * logs - slope

    found = minimize(loss, np.zeros(len(hit)), jac=True, method="L-BFGS-B", options={"maxiter": WEIGHT_ITERATIONS})
    weights: NDArray[np.float64] = np.exp(found.x)
    return weights


def _fit_exponents(logs: list[Floats], targets: Floats, prior: tuple[float, ...], width: int) -> tuple[float, ...]:
    """Exponents of log-opinions (a, k) around `prior`, between 0 and 3."""
    centre = np.asarray(prior)

    def loss(c: Floats) -> tuple[float, Floats]:
        probs = softmax(np.add.reduce([ci * log for ci, log in zip(c, logs, strict=True)]), width)
        likelihood = np.log(blocks(probs * targets, width).sum(axis=1) + 1e-12).sum()
        slope = np.array([((targets - probs) * log).sum() for log in logs])
        pull = EXPONENT_PRIOR_STRENGTH * (c - centre)
        return float(-likelihood + 0.5 * (pull * (c - centre)).sum()), pull - slope

    result = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=[(0.0, 3.0)] * len(logs))
    return tuple(float(c) for c in result.x)
