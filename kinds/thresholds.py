"""Where to say yes: for each label the threshold with the best F1 to be expected, without any answers."""

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Floats


def f1_thresholds(probs: Floats) -> NDArray[np.float64]:
    """(n, 2l) pairs (absent, present), calibrated -> (l,) thresholds.

    For calibrated probabilities the best threshold is half the best F1 there is, and that can be computed from the
    probabilities alone (Lipton, Elkan & Naryanaswamy 2014): the m likeliest items are said yes to, with the m that
    maximises 2 * sum of their probabilities / (m + sum of all). A label that hardly occurs would be said yes to too
    freely, so no threshold is below 0.1 or above 0.5.
    """
    present = np.sort(np.asarray(probs, dtype=np.float64)[:, 1::2], axis=0)[::-1]
    if not len(present):
        return np.full(present.shape[1], 0.5)
    said = np.arange(1, len(present) + 1)[:, None]
    f1 = 2 * np.cumsum(present, axis=0) / (said + present.sum(axis=0))
    out: NDArray[np.float64] = np.clip(f1.max(axis=0) / 2, 0.1, 0.5)
    return out
