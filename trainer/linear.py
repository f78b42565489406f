"""Multinomial logistic regression on soft targets: a student's head, and the model behind cross-fitted figures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from stillhouse.errors import InputError
from stillhouse.probabilities import softmax
from trainer.linear_gpu import gpu_there, objective_on_gpu

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

# On unit-length sentence embeddings. Best on Banking77 (77 labels, all training rows); on helpdesk (10 labels) 10 is
# better calibrated (cross-entropy on gold .89 against 1.02) and as accurate.
DEFAULT_C = 30.0
TOKEN_C = 5.0  # on vectors of tokens, several states long: 3 and 10 are alike on UD EWT (1,500 sentences), 30 worse
MANY_ROWS = 12_000  # above so many, a fit on every EVERY-th row comes first and is the start of the fit on all
EVERY = 8


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
    width: int | None = None,
    max_iterations: int = 500,
    tolerance: float | None = None,
) -> LinearHead:
    """Fit a softmax regression to soft targets, or several side by side.

    `features` are (n, d), `targets` (n, k): each block of `width` columns (None: all of them) is one distribution that
    sums to 1. `weights` (n,) >= 0; rows of weight 0 are ignored, whatever their targets. Minimises `C * sum_i weights_i
    * sum_blocks H(targets_i, softmax(W x_i + b)) + |W|^2 / 2`, the objective of scikit-learn's LogisticRegression
    (three classes or more) with one-hot targets replaced by distributions; the intercept is not penalised
    (scikit-learn's model of two classes has one weight vector where this has two: there it equals half its C). Solved
    by L-BFGS (Liu & Nocedal 1989) on centred features, which leaves the optimum where it is and needs fewer steps; on
    one thread, because two threads waiting for each other are slower than one on a machine others use; many rows on a
    GPU where there is one. `tolerance` is
    on the largest gradient of the objective divided by `C * sum(weights)`; None is 2e-5, for more than MANY_ROWS rows
    1e-4 (two thirds of the steps; on 25,000 tokens of UD EWT the accuracy is the same within 0.1 points). Raises InputError on shapes that do not fit
    or on values that are not finite.
    """
    X, Y, w = _checked(features, targets, weights, width)
    if tolerance is None:
        tolerance = 2e-5 if len(X) <= MANY_ROWS else 1e-4
    total = float(w.sum()) if weights is not None else float(len(X))
    if start is None and len(X) > MANY_ROWS:
        few = slice(None, None, EVERY)
        rough = C * total / max(float(w[few].sum()), 1e-12)
        start = fit_linear(X[few], Y[few], w[few], C=rough, width=width, tolerance=10 * tolerance)
    n_features, n_labels = X.shape[1], Y.shape[1]
    centre = X.mean(axis=0, dtype=np.float64)
    X = X - centre.astype(np.float32)
    initial = np.zeros((n_labels, n_features + 1))
    if start is not None:
        initial[:, :-1] = start.weight
        initial[:, -1] = start.bias + start.weight @ centre
    make = objective_on_gpu if len(X) > MANY_ROWS and gpu_there() else _objective
    with threadpool_limits(1):
        result = minimize(
            make(X, Y, w / w.sum(), 1.0 / (C * total), width or n_labels),
            initial.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iterations, "gtol": tolerance, "ftol": 1e-10, "maxcor": 20},
        )
    solution = result.x.reshape(n_labels, n_features + 1)
    weight = solution[:, :-1]
    bias = solution[:, -1] - weight @ centre
    # Softmax does not see a constant added to a whole block: fix it, so that the same data gives the same numbers.
    of_blocks = bias.reshape(-1, width or n_labels)
    bias = (of_blocks - of_blocks.mean(axis=1, keepdims=True)).ravel()
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def out_of_fold(
    features: Floats,
    targets: Floats,
    weights: Floats | None,
    folds: Ints,
    *,
    C: float = DEFAULT_C,
    width: int | None = None,
    told: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Predictions (n, k) in which no row was predicted by a model that was taught by it (Stone 1974).

    `folds` (n,) names each row's fold (all units of a text belong to one); rows of one fold share a model fitted on all
    the others. Every fit starts from zero: a start taken from another fold would carry what it learned about the rows
    that are held out. `told(done, of)` is called after each fold. Raises InputError where there is only one fold.
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
        head = fit_linear(features[~held], targets[~held], w, C=C, width=width)
        out[held] = softmax(head.logits(features[held]), width)
        if told is not None:
            told(done, len(names))
    return out


def cross_entropy(
    logits: Floats, targets: Floats, temperature: float = 1.0, width: int | None = None
) -> NDArray[np.float64]:
    """For each row, minus the target-weighted log-probability in nats, averaged over its blocks of `width` columns.

    (n, k) and (n, k) -> (n,).
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    size = width or scaled.shape[1]
    scaled -= _spread(_across(np.maximum, scaled, size), size)
    log_probs = scaled - _spread(np.log(_across(np.add, np.exp(scaled), size)), size)
    out: NDArray[np.float64] = -(np.asarray(targets) * log_probs).sum(axis=1) / (scaled.shape[1] // size)
    return out


def _across(operation: np.ufunc, array: Floats, width: int) -> Floats:
    """The operation over the columns of each block: (n, g * width) -> (n, g). Numpy is slow along a short last axis."""
    out: Floats
    if width == array.shape[1]:
        out = operation.reduce(array, axis=1, keepdims=True)
    else:
        out = reduce(operation, (array[:, place::width] for place in range(width)))
    return out


def _spread(of_blocks: Floats, width: int) -> Floats:
    """(n, g) -> (n, g * width), or (n, 1) as it is, which numpy broadcasts."""
    return of_blocks if of_blocks.shape[1] == 1 else np.repeat(of_blocks, width, axis=1)


def _objective(X: Floats, Y: Floats, w: Floats, ridge: float, width: int) -> Callable[[Floats], tuple[float, Floats]]:
    """Mean cross-entropy and its gradient. The matrix products run in float32 (twice as fast), the sums in float64."""
    n_labels, n_features = Y.shape[1], X.shape[1]
    columns = w[:, None].astype(np.float32)
    transposed = np.ascontiguousarray(X.T)
    mass = _across(np.add, Y, width)
    spread_mass = _spread(mass, width)

    def value_and_gradient(flat: Floats) -> tuple[float, Floats]:
        parameters = flat.reshape(n_labels, n_features + 1)
        weight = parameters[:, :-1]
        logits = X @ np.ascontiguousarray(weight.T, dtype=np.float32) + parameters[:, -1].astype(np.float32)
        logits -= _spread(_across(np.maximum, logits, width), width)
        probs = np.exp(logits)
        total = _across(np.add, probs, width)
        losses = (mass * np.log(total)).sum(axis=1) - (Y * logits).sum(axis=1)
        probs /= _spread(total, width)
        slope = columns * (spread_mass * probs - Y)
        gradient = np.empty_like(parameters)
        gradient[:, :-1] = (transposed @ slope).T + ridge * weight
        gradient[:, -1] = slope.sum(axis=0, dtype=np.float64)
        loss = float((w * losses).sum()) + 0.5 * ridge * float((weight * weight).sum())
        return loss, gradient.ravel()

    return value_and_gradient


def _checked(
    features: Floats, targets: Floats, weights: Floats | None, width: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """The rows that count: features and targets in float32, weights in float64."""
    X, Y = np.asarray(features, dtype=np.float32), np.asarray(targets, dtype=np.float32)
    w = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    fits = X.ndim == 2 and Y.ndim == 2 and len(X) == len(Y) == len(w) > 0 and w.ndim == 1
    fits = fits and Y.shape[1] > 0 and Y.shape[1] % (width or Y.shape[1]) == 0 and bool(np.isfinite(w).all())
    if fits and (w == 0).any() and (w > 0).any():
        X, Y, w = X[w != 0], Y[w != 0], w[w != 0]
    if not fits or not (np.isfinite(X).all() and np.isfinite(Y).all()):
        raise InputError(
            "the head cannot be fitted",
            expected=f"features (n, d), targets (n, a multiple of {width or 'k'}), weights (n,), n > 0, all finite",
            found=f"features {np.shape(features)}, targets {np.shape(targets)}, weights {w.shape}",
            fix="give one row of targets and one weight for each unit",
        )
    if (w < 0).any() or w.sum() <= 0:
        raise InputError(
            "the head cannot be fitted", expected="weights >= 0, not all 0", found=f"{w.min()} to {w.max()}"
        )
    return X, Y, w
