"""Temperature scaling: the one number that makes a student's probabilities mean what they say."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from trainer.linear import Floats, Ints, cross_entropy

MIN_ANSWERS = 50  # below this the estimate is worse than leaving the probabilities alone
LIMITS = (0.1, 20.0)  # a temperature outside says that something else is wrong


def fit_temperature(
    logits: Floats,
    targets: Floats | Ints,
    weights: Floats | None = None,
    *,
    width: int | None = None,
    min_answers: int = MIN_ANSWERS,
) -> float:
    """The temperature that makes held-out answers likeliest (Guo et al. 2017), between 0.1 and 20.

    `logits` (n, k) must come from a model that was not taught by these answers; `targets` are labels as integers (n,)
    or distributions (n, k), one in each block of `width` columns. With fewer than `min_answers` rows the answer is 1: nothing is changed. The likelihood is
    concave in 1/temperature, so the bounded search finds the only optimum.
    """
    if len(logits) < min_answers:
        return 1.0
    wanted = as_distributions(targets, np.shape(logits)[1])
    w = np.ones(len(logits)) if weights is None else np.asarray(weights, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return float((w * cross_entropy(logits, wanted, math.exp(log_temperature), width)).sum() / w.sum())

    bounds = (math.log(LIMITS[0]), math.log(LIMITS[1]))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    temperature = math.exp(float(found.x))
    return temperature if loss(math.log(temperature)) < loss(0.0) else 1.0


def as_distributions(targets: Floats | Ints, n_labels: int) -> NDArray[np.float64]:
    """Labels as integers (n,) become one-hot rows (n, k); distributions pass through."""
    array: NDArray[Any] = np.asarray(targets)
    if array.ndim == 2:
        return array.astype(np.float64)
    one_hot: NDArray[np.float64] = np.eye(n_labels)[array.astype(np.int64)]
    return one_hot
