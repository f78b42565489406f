"""Two groups compared where they are alike: a difference of shares over strata, with an interval."""

import math

import numpy as np

from stillhouse.measures import normal_quantile, wilson
from stillhouse.probabilities import Ints
from stillhouse.records import Interval


def stratified_difference(hits: Ints, trials: Ints, confidence: float, on: str) -> Interval:
    """The share of the first group less that of the second, (2, h) each in h strata: what strata say of it weighs as much
    as they know of it (Mantel and Haenszel's weights), with the score interval of Klingenberg (2014) on the variance of
    Sato (1989). Where no stratum holds both hits and misses, Newcombe's (1998, method 10) of all strata together.

    Raises ValueError where a stratum lacks one of the groups: there is nothing to compare it with.
    """
    y, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if not n.size or (n == 0).any():
        raise ValueError("a difference needs somebody of either group in every stratum")
    both, z = n.sum(axis=0), normal_quantile(confidence)
    weight = n.prod(axis=0) / both
    value = float((weight * (y[0] / n[0] - y[1] / n[1])).sum() / weight.sum())
    spread = float(((y[0] * (n[1] - y[1]) + y[1] * (n[0] - y[0])) / (2 * both)).sum())
    if spread == 0:
        lo, hi = _newcombe(y.sum(axis=1), n.sum(axis=1), confidence)
        return Interval(
            value, min(lo, value), max(hi, value), int(n.sum()), on, "Newcombe's hybrid score, strata together"
        )
    slope = float(((n[0] ** 2 * y[1] - n[1] ** 2 * y[0] + n.prod(axis=0) * (n[1] - n[0]) / 2) / both**2).sum())
    unit = z * z / float(weight.sum()) ** 2
    middle = value + slope * unit / 2
    half = math.sqrt(max(middle**2 - value**2 + spread * unit, 0.0))
    return Interval(value, max(middle - half, -1.0), min(middle + half, 1.0), int(n.sum()), on, "Mantel-Haenszel score")


def _newcombe(hits: Ints, trials: Ints, confidence: float) -> tuple[float, float]:
    (p, q), ((p_lo, p_hi), (q_lo, q_hi)) = (
        hits / trials,
        (wilson(int(y), int(n), confidence) for y, n in zip(hits, trials, strict=True)),
    )
    return p - q - math.hypot(p - p_lo, q_hi - q), p - q + math.hypot(p_hi - p, q - q_lo)
