"""Multinomial logistic regression on soft targets: a student's head, and the model behind cross-fitted figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from stillhouse.errors import InputError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

# On unit-length sentence embeddings. Best on Banking77 (77 labels, all training rows); on helpdesk (10 labels) 10 is
# better calibrated (cross-entropy on gold .89 against 1.02) and as accurate.
DEFAULT_C = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """`logits = features @ weight.T + bias`; weight is (k, d) and bias (k,), both float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, features: Floats) -> NDArray[np.float32]:
        """(n, d) -> (n, k)."""
        out: NDArray[np.float32] = np.asarray(features, dtype=np.float32) @ self.weight.T + self.bias
        return out


def fit_linear(
    features: Floats,
    targets: Floats,
    weights: Floats | None = None,
    *,
    C: float = DEFAULT_C,
    start: LinearHead | None = None,
    max_iterations: int = 500,
    tolerance: float = 2e-5,
) -> LinearHead:
    """Fit a softmax regression to soft targets.

    Minimises `C * sum_i weights_i * H(targets_i, softmax(W x_i + b)) + |W|^2 / 2`, the objective of scikit-learn's
    LogisticRegression (three classes or more) with one-hot targets replaced by distributions; the intercept is not
    penalised (scikit-learn's model of two classes has one weight vector where this has two: there it equals half its
    C). Solved by L-BFGS (Liu & Nocedal 1989) on centred features, which leaves the optimum where it is and needs fewer
    steps; on one thread, because two threads waiting for each other are slower than one on a machine others use.
    `features` (n, d), `targets` (n, k) with rows that sum to 1, `weights` (n,) >= 0; `tolerance` is on the largest
    gradient of the objective divided by `C * sum(weights)`. Raises InputError on shapes that do not fit or on values
    that are not finite.
    """
    X, Y, w = _checked(features, targets, weights)
    n_features, n_labels = X.shape[1], Y.shape[1]
    centre = X.mean(axis=0)
    X = X - centre
    w = w / w.sum()
    ridge = 1.0 / (C * float(_total(weights, len(X))))
    initial = np.zeros((n_labels, n_features + 1))
    if start is not None:
        initial[:, :-1] = start.weight
        initial[:, -1] = start.bias + start.weight @ centre
    with threadpool_limits(1):
        result = minimize(
            _objective(X, Y, w, ridge),
            initial.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "gtol": tolerance, "ftol": 1e-10, "maxcor": 20},
        )
    solution = result.x.reshape(n_labels, n_features + 1)
    weight = solution[:, :-1]
    bias = solution[:, -1] - weight @ centre
    # Softmax does not see a constant added to every label: fix it, so that the same data gives the same numbers.
    return LinearHead(weight.astype(np.float32), (bias - bias.mean()).astype(np.float32))


def out_of_fold(
    features: Floats,
    targets: Floats,
    weights: Floats | None,
    folds: Ints,
    *,
    C: float = DEFAULT_C,
    told: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Predictions (n, k) in which no item was predicted by a model that was taught by it (Stone 1974).

    `folds` (n,) names each item's fold; items of one fold share a model fitted on all the others. Every fit starts
    from zero: a start taken from another fold would carry what it learned about the items that are held out.
    `told(done, of)` is called after each fold. Raises InputError where there is only one fold.
    """
    folds = np.asarray(folds)
    names = np.unique(folds)
    if folds.shape != (len(features),) or len(names) < 2:
        raise InputError(
            "out-of-fold predictions need folds",
            expected=f"{len(features)} fold numbers, of at least two folds",
            found=f"{folds.shape} with {len(names)} fold(s)",
            fix="give each item a fold",
        )
    out = np.empty(np.shape(targets), dtype=np.float32)
    for done, name in enumerate(names, start=1):
        held = folds == name
        w = None if weights is None else np.asarray(weights)[~held]
        head = fit_linear(features[~held], targets[~held], w, C=C)
        out[held] = softmax(head.logits(features[held]))
        if told is not None:
            told(done, len(names))
    return out


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float32]:
    """Row-wise softmax of (n, k) logits divided by `temperature`."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True, initial=-np.inf)
    np.exp(scaled, out=scaled)
    out: NDArray[np.float32] = (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)
    return out


def cross_entropy(logits: Floats, targets: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """For each row, minus the target-weighted log-probability, in nats. (n, k) and (n, k) -> (n,)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    log_probs = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    out: NDArray[np.float64] = -(np.asarray(targets) * log_probs).sum(axis=1)
    return out


def _objective(X: Floats, Y: Floats, w: Floats, ridge: float) -> Callable[[Floats], tuple[float, Floats]]:
    """Mean cross-entropy and its gradient. The matrix products run in float32 (twice as fast), the sums in float64."""
    n_labels, n_features = Y.shape[1], X.shape[1]
    X, Y, columns = X.astype(np.float32), Y.astype(np.float32), w[:, None].astype(np.float32)
    transposed = np.ascontiguousarray(X.T)
    mass = Y.sum(axis=1, keepdims=True)

    def value_and_gradient(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(n_labels, n_features + 1)
        weight = parameters[:, :-1]
        logits = X @ np.ascontiguousarray(weight.T, dtype=np.float32) + parameters[:, -1].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        probs = np.exp(logits)
        total = probs.sum(axis=1, keepdims=True)
        losses = mass * np.log(total) - (Y * logits).sum(axis=1, keepdims=True)
        probs /= total
        slope = columns * (mass * probs - Y)
        gradient = np.empty_like(parameters)
        gradient[:, :-1] = (transposed @ slope).T + ridge * weight
        gradient[:, -1] = slope.sum(axis=0, dtype=np.float64)
        loss = float((w * losses[:, 0]).sum()) + 0.5 * ridge * float((weight * weight).sum())
        return loss, gradient.ravel()

    return value_and_gradient


def _checked(features: Floats, targets: Floats, weights: Floats | None) -> tuple[Floats, Floats, Floats]:
    X = np.asarray(features, dtype=np.float64)
    Y = np.asarray(targets, dtype=np.float64)
    w = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    fits = X.ndim == 2 and Y.ndim == 2 and len(X) == len(Y) == len(w) > 0 and w.ndim == 1
    if not fits or not (np.isfinite(X).all() and np.isfinite(Y).all() and np.isfinite(w).all()):
        raise InputError(
            "the head cannot be fitted",
            expected="features (n, d), targets (n, k) and weights (n,), n > 0, all finite",
            found=f"features {X.shape}, targets {Y.shape}, weights {w.shape}",
            fix="give one row of targets and one weight for each text",
        )
    if (w < 0).any() or w.sum() <= 0:
        raise InputError(
            "the head cannot be fitted", expected="weights >= 0, not all 0", found=f"{w.min()} to {w.max()}"
        )
    return X, Y, w


def _total(weights: Floats | None, n: int) -> float:
    return float(n) if weights is None else float(np.asarray(weights, dtype=np.float64).sum())
