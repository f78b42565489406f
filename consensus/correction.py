"""The teacher's systematic errors, learned from people's answers: a kernel logistic regression around a prior opinion.

    logits(x) = a·log teacher(x) + b·log student(x) + f(x),   f in the space of consensus.evidence, penalised

With few answers f stays near zero and the opinion stands; with more answers f bends it where people disagreed. By the
representer theorem f lies in the span of the answered items, so the fit has (answers x labels) unknowns however large
the pool is (Schölkopf & Smola 2002, ch. 4; Zhu & Hastie 2005 for the multinomial case).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from consensus.evidence import Evidence
from stillhouse.probabilities import Floats, Ints, one_hot, softmax

EXPONENT_PRIOR_STRENGTH = 2.0
JITTER = 1e-6
ITERATIONS = 80
ROWS_A_BLOCK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """`anchors` (a,) are the answered items it was fitted on; `root` is the Cholesky factor of their kernel."""

    anchors: NDArray[np.intp]
    root: Floats
    weight: Floats
    exponents: tuple[float, ...]

    def posterior(self, evidence: Evidence, opinions: Sequence[Floats], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """(len(rows), k), computed in blocks so that memory stays bounded by the block and not by the pool."""
        blocks = [rows[start : start + ROWS_A_BLOCK] for start in range(0, len(rows), ROWS_A_BLOCK)]
        parts = [softmax(self._logits(evidence, opinions, block)) for block in blocks]
        return np.vstack(parts) if parts else np.empty((0, opinions[0].shape[1]))

    def _logits(self, evidence: Evidence, opinions: Sequence[Floats], rows: NDArray[np.intp]) -> Floats:
        coordinates = solve_triangular(self.root, evidence.kernel(self.anchors, rows), lower=True).T
        logits: Floats = blended(opinions, self.exponents, rows) + coordinates @ self.weight
        return logits


def blended(opinions: Sequence[Floats], exponents: Sequence[float], rows: NDArray[np.intp]) -> Floats:
    """The logarithmic opinion pool of log-opinions (n, k), each with its exponent (Genest & Zidek 1986)."""
    total: Floats = sum(
        (exponent * opinion[rows] for exponent, opinion in zip(exponents, opinions, strict=True)),
        start=np.zeros((len(rows), opinions[0].shape[1])),
    )
    return total


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """The answered items in an orthonormal basis of their own kernel space, made once and sliced for every fold."""

    anchors: NDArray[np.intp]
    root: Floats
    matrix: Floats

    @staticmethod
    def of(evidence: Evidence, anchors: NDArray[np.intp]) -> "Coordinates":
        K = evidence.kernel(anchors, anchors)
        root = cholesky(K + JITTER * np.trace(K) / max(len(K), 1) * np.eye(len(K)), lower=True)
        return Coordinates(anchors, root, root)


def fit_exponents(
    opinions: Sequence[Floats], rows: NDArray[np.intp], labels: Ints, prior: Sequence[float]
) -> tuple[float, ...]:
    """How far each opinion is to be trusted: exponents by penalised likelihood around `prior`, between 0 and 3."""
    logs = [opinion[rows] for opinion in opinions]
    target = one_hot(labels, logs[0].shape[1])
    centre = np.asarray(prior)

    def loss(c: Floats) -> tuple[float, Floats]:
        probs = softmax(np.add.reduce([ci * log for ci, log in zip(c, logs, strict=True)]))
        likelihood = np.log((probs * target).sum(axis=1) + 1e-12).sum()
        slope = np.array([((target - probs) * log).sum() for log in logs])
        pull = EXPONENT_PRIOR_STRENGTH * (c - centre)
        return float(-likelihood + 0.5 * (pull * (c - centre)).sum()), pull - slope

    result = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=[(0.0, 3.0)] * len(logs))
    return tuple(float(c) for c in result.x)


def fit_weight(X: Floats, offset: Floats, labels: Ints, penalty: float, start: Floats | None = None) -> Floats:
    """Multinomial logistic regression with a fixed offset: (a, m), (a, k), (a,) -> (m, k), by L-BFGS."""
    m, k = X.shape[1], offset.shape[1]
    target = one_hot(labels, k)

    def loss(flat: Floats) -> tuple[float, Floats]:
        W = flat.reshape(m, k)
        logits = X @ W + offset
        logits -= logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        probs = np.exp(logits - normaliser)
        value = -((logits - normaliser) * target).sum() + 0.5 * penalty * (W * W).sum()
        return float(value), (X.T @ (probs - target) + penalty * W).ravel()

    first = np.zeros(m * k) if start is None else start.ravel()
    result = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxcor": 12})
    out: Floats = result.x.reshape(m, k)
    return out
