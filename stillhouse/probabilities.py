"""Distributions over labels as rows of arrays: softmax, margin, entropy, Jensen–Shannon divergence.

A row may hold several distributions side by side, each `width` columns wide: a multi-label row of L labels has L
pairs (absent, present). Without a width a row is one distribution.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]


def blocks(rows: Floats, width: int) -> NDArray[np.float64]:
    """(n, g * width) -> (n * g, width): every distribution as a row of its own."""
    array = np.asarray(rows, dtype=np.float64)
    return array.reshape(len(array) * (array.shape[1] // width), width)


def softmax(logits: Floats, width: int | None = None) -> NDArray[np.float64]:
    """Row-wise, or of each block of `width` columns; (n, k) -> (n, k)."""
    if width is not None and width != np.shape(logits)[1]:
        return softmax(blocks(logits, width)).reshape(np.shape(logits))
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True, initial=-np.inf))
    out: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return out


def margin(probs: Floats) -> NDArray[np.float64]:
    """The two largest probabilities' difference, 0 (a tie) to 1; (n, k) -> (n,)."""
    if len(probs) == 0:
        return np.empty(0)
    top = np.partition(np.asarray(probs, dtype=np.float64), -2, axis=1)[:, -2:]
    out: NDArray[np.float64] = top[:, 1] - top[:, 0]
    return out


def entropy(probs: Floats) -> NDArray[np.float64]:
    """Shannon entropy in nats; (n, k) -> (n,)."""
    p = np.asarray(probs, dtype=np.float64)
    out: NDArray[np.float64] = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(axis=1)
    return out


def jensen_shannon(p: Floats, q: Floats) -> NDArray[np.float64]:
    """Jensen–Shannon divergence of paired rows in nats, 0 to ln 2 (Lin 1991); (n, k), (n, k) -> (n,)."""
    middle = (np.asarray(p, dtype=np.float64) + np.asarray(q, dtype=np.float64)) / 2
    out: NDArray[np.float64] = np.maximum(entropy(middle) - (entropy(p) + entropy(q)) / 2, 0.0)
    return out


def one_hot(labels: Ints, k: int) -> NDArray[np.float64]:
    """(n,) -> (n, k)."""
    out: NDArray[np.float64] = np.eye(k)[np.asarray(labels)]
    return out
