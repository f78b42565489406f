"""The teacher's systematic errors, learned from people's answers: a kernel logistic regression around a prior opinion.

    logits(x) = a·log teacher(x) + b·log student(x) + f(x),   f in the space of consensus.evidence, penalised

With few answers f stays near zero and the opinion stands; with more answers f bends it where people disagreed. By the
representer theorem f lies in the span of the answered rows, so the fit has (answers x columns) unknowns however large
the pool is (Schölkopf & Smola 2002, ch. 4; Zhu & Hastie 2005 for the multinomial case). Where very many rows are
answered (tokens), f is sought in the span of some of them (Williams & Seeger 2001).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit

from consensus.evidence import Evidence
from consensus.opinions import Blend, Opinions
from stillhouse.probabilities import Floats, blocks, softmax

JITTER = 1e-6
ITERATIONS = 80
ROWS_A_BLOCK = 16_384
MOST_EXACT = 1_000  # answered rows up to which each is an anchor
ANCHORS = 600
ANCHORS_A_STEP = 150


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """`anchors` are the rows that f is spanned by; `weight` (m, k) theirs, in the kernel itself."""

    anchors: Evidence
    weight: Floats
    blend: Blend

    def posterior(self, evidence: Evidence, opinions: Opinions, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """(len(rows), k), computed in blocks so that memory stays bounded by the block and not by the pool."""
        parts = [rows[start : start + ROWS_A_BLOCK] for start in range(0, len(rows), ROWS_A_BLOCK)]
        width = opinions.votes.block
        probs = [softmax(self._logits(evidence, opinions, part), width) for part in parts]
        return np.vstack(probs) if probs else np.empty((0, self.weight.shape[1]))

    def _logits(self, evidence: Evidence, opinions: Opinions, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        bent: NDArray[np.float64] = evidence.rows(rows).kernel(self.anchors) @ self.weight
        return opinions.logits(rows, self.blend) + bent


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """The answered rows in an orthonormal basis of the anchors' kernel space, made once and sliced for every fold.

    `root` (m, m) is the Cholesky factor of the anchors' kernel, `matrix` (a, m) the rows.
    """

    anchors: Evidence
    root: Floats
    matrix: Floats

    @property
    def exact(self) -> bool:
        return self.matrix is self.root

    @staticmethod
    def of(evidence: Evidence) -> "Coordinates":
        """Every row its own anchor."""
        root = _root(evidence)
        return Coordinates(evidence, root, root)

    @staticmethod
    def around(evidence: Evidence, anchors: NDArray[np.intp]) -> "Coordinates":
        """The Nyström coordinates of all rows about some of them: their projections on the anchors' span."""
        some = evidence.rows(anchors)
        root = _root(some)
        return Coordinates(some, root, solve_triangular(root, some.kernel(evidence), lower=True).T)

    def dual(self, weight: Floats) -> NDArray[np.float64]:
        """Weights of coordinates as weights of the anchors' kernel, so that the pool needs no coordinates."""
        out: NDArray[np.float64] = solve_triangular(self.root, weight, lower=True, trans="T")
        return out


def coordinates_of(evidence: Evidence, rng: np.random.Generator) -> Coordinates:
    """Coordinates of the answered rows: exact, or around ANCHORS of them where there are more than MOST_EXACT.

    Anchors are drawn in steps, each row in proportion to what the anchors so far leave unexplained of it (randomly
    pivoted Cholesky, Chen et al. 2023): most tokens are plain and alike, and few of those are needed. Answers have no
    part in it, or a row would be predicted by anchors that its own answer chose.
    """
    if len(evidence) <= MOST_EXACT:
        return Coordinates.of(evidence)
    left = evidence.diagonal()
    anchors = np.empty(0, dtype=np.intp)
    while True:
        step = min(ANCHORS_A_STEP, int(np.count_nonzero(left)))
        drawn = rng.choice(len(left), step, replace=False, p=left / left.sum())
        anchors = np.concatenate([anchors, drawn])
        found = Coordinates.around(evidence, anchors)
        left = np.maximum(evidence.diagonal() - (found.matrix**2).sum(axis=1), 0.0)
        left[anchors] = 0.0
        if len(anchors) >= ANCHORS or not left.any():
            return found


def _root(evidence: Evidence) -> NDArray[np.float64]:
    """The Cholesky factor of the rows' kernel. Embeddings in single precision can leave that of many alike rows slightly
    indefinite: then the least jitter that mends it is taken.
    """
    K = evidence.kernel(evidence)
    jitter = JITTER * np.trace(K) / max(len(K), 1)
    while True:
        K[np.diag_indices_from(K)] += jitter
        try:
            out: NDArray[np.float64] = cholesky(K, lower=True)
        except np.linalg.LinAlgError:
            jitter *= 10.0
        else:
            return out


def fit_weight(
    X: Floats, offset: Floats, targets: Floats, penalty: float, width: int, start: Floats | None = None
) -> NDArray[np.float64]:
    """Multinomial logistic regression with a fixed offset, one for each block of `width` columns: (a, m), (a, k),
    (a, k) -> (m, k), by L-BFGS. In blocks of two columns the second is the first's opposite, so one is fitted.
    """
    if width == 2 and offset.shape[1] > 2:
        return _fit_pairs(X, offset, targets, penalty, start)
    m, k = X.shape[1], offset.shape[1]

    def loss(flat: Floats) -> tuple[float, Floats]:
        W = flat.reshape(m, k)
        logits = blocks(X @ W.astype(X.dtype, copy=False) + offset, width)
        logits -= logits.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        log_probs = (logits - normaliser).reshape(offset.shape)
        value = -(log_probs * targets).sum() + 0.5 * penalty * (W * W).sum()
        slope = X.T @ (np.exp(log_probs) - targets).astype(X.dtype, copy=False)
        return float(value), (slope + penalty * W).ravel()

    first = np.zeros(m * k) if start is None else start.ravel()
    out: NDArray[np.float64] = _minimised(loss, first).reshape(m, k)
    return out


def _fit_pairs(X: Floats, offset: Floats, targets: Floats, penalty: float, start: Floats | None) -> NDArray[np.float64]:
    """The same optimum for (absent, present) pairs from half the unknowns: with a symmetric penalty both columns'
    weights are each other's negative. Many labels are many fits, so they are solved in the principal axes of X, each
    axis scaled by the curvature to be expected there: a quarter of the steps.
    """
    present = targets[:, 1::2]
    base = offset[:, 1::2] - offset[:, ::2]
    curvature, axes = np.linalg.eigh(X.T @ X)
    along = X @ axes
    likely = expit(base)
    scale = 1 / np.sqrt(4 * np.outer(np.maximum(curvature, 0), (likely * (1 - likely)).mean(axis=0)) + 2 * penalty)

    def loss(flat: Floats) -> tuple[float, Floats]:
        V = flat.reshape(scale.shape) * scale
        logits = base + 2 * (along @ V)
        value = (np.logaddexp(0.0, logits) - present * logits).sum() + penalty * (V * V).sum()
        slope = 2 * along.T @ (expit(logits) - present) + 2 * penalty * V
        return float(value), (slope * scale).ravel()

    first = np.zeros(scale.shape) if start is None else axes.T @ start[:, 1::2] / scale
    found = axes @ (_minimised(loss, first.ravel()).reshape(scale.shape) * scale)
    return np.stack([-found, found], axis=2).reshape(len(found), -1)


def _minimised(loss: Callable[[Floats], tuple[float, Floats]], first: Floats) -> NDArray[np.float64]:
    result = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "maxcor": 12})
    out: NDArray[np.float64] = result.x
    return out
