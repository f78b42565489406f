"""How good the delivered labels are, from the blind random picks alone: nobody has to bring a test set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import skew, t

from stillhouse.measures import binomial_interval
from stillhouse.probabilities import Bools, Floats
from stillhouse.records import Interval

FEWEST_OF_EACH_FOR_NORMAL = 5
ROUNDING = 1e-9  # a sum of thirds may miss its whole number by this much


@dataclass(frozen=True, slots=True, eq=False)
class RandomDraw:
    """One round's uniform draw: `rows` that were drawn and answered, out of `population` rows unanswered then."""

    rows: NDArray[np.intp]
    population: NDArray[np.intp]


def certify(
    error: Floats, expected: Floats, answered: Bools, draws: Sequence[RandomDraw], confidence: float
) -> Interval:
    """The mean score of what is delivered of the whole pool, with a two-sided interval; all arrays are (n,), by item.

    A score is 1 for right, 0 for wrong, or a share between. `error` is 1 - the score of the out-of-fold value against
    the person's answer, read only where `answered`; `expected` is 1 - the score that the out-of-fold belief expects of
    it. Out of fold: neither has seen the answer that it is compared with.

    Answered items deliver the person's answer and count as right. For the rest U, each round's draw B from what was
    unanswered then, P, gives an unbiased estimate of the errors in U: the errors in P by a difference estimator

        sum_P expected + |P| * mean_B(error - expected)

    (Särndal et al. 1992, ch. 6; as prediction-powered inference, Angelopoulos et al. 2023), less the errors among the
    items of P answered since, which are known. Rounds are weighted by the size of their draws. Errors are rare, so
    their estimate is skewed and a symmetric interval promises too much: the interval leans by the skewness of what was
    drawn (Hall 1992). With fewer than 5 errors or 5 hits among the draws, shares added up, it cannot be trusted at all,
    and the exact binomial interval of the errors in P is used (Clopper & Pearson 1934), less the known ones. Shares of
    an error spread no more than whole ones of the same mean would (Hoeffding 1963), so their sum is taken as a count,
    rounded up for the upper end and down for the lower.
    """
    n = len(error)
    known = np.where(answered, error, 0.0)
    draws = [draw for draw in draws if len(draw.rows)]
    sample = np.concatenate([draw.rows for draw in draws]) if draws else np.empty(0, dtype=np.intp)
    on = f"the pool, from {len(sample)} blind random answers"
    if len(sample) < 2:
        return Interval(float(1 - expected[~answered].sum() / n), 0.0, 1.0, len(sample), on, "too few blind answers")
    surprise = known - expected
    estimate, variance = _errors(draws, surprise, expected, known, len(sample))
    wrong = float(known[sample].sum())
    if min(wrong, len(sample) - wrong) >= FEWEST_OF_EACH_FOR_NORMAL:
        width = float(t.ppf((1 + confidence) / 2, len(sample) - 1))
        lean = float(skew(surprise[sample])) * (1 + 2 * width**2) / (6 * math.sqrt(len(sample)))
        lo, hi = (estimate + (lean + side * width) * math.sqrt(variance) for side in (-1, 1))
        return _interval(estimate / n, lo / n, hi / n, len(sample), on, "difference estimator")
    weights = [len(draw.rows) / len(sample) for draw in draws]
    lo, hi = (
        sum(w * (share * len(d.population) - known[d.population].sum()) for w, d in zip(weights, draws, strict=True))
        for share in _error_shares(wrong, len(sample), confidence)
    )
    return _interval(estimate / n, lo / n, hi / n, len(sample), on, "exact binomial")


def _error_shares(wrong: float, n: int, confidence: float) -> tuple[float, float]:
    """The exact interval of a share of errors of which `wrong`, not always a whole number, were seen in n."""
    least, most = math.floor(wrong + ROUNDING), math.ceil(wrong - ROUNDING)
    return binomial_interval(least, n, confidence)[0], binomial_interval(most, n, confidence)[1]


def _errors(
    draws: Sequence[RandomDraw], surprise: Floats, expected: Floats, known: Floats, drawn: int
) -> tuple[float, float]:
    """Errors among the unanswered, and the variance of that estimate. `known` are the errors among the answered."""
    estimate = variance = 0.0
    spread = float(np.concatenate([surprise[draw.rows] for draw in draws]).var(ddof=1))
    for draw in draws:
        size, taken = len(draw.population), len(draw.rows)
        weight = taken / drawn
        errors = (expected - known)[draw.population].sum() + size * surprise[draw.rows].mean()
        estimate += weight * errors
        variance += weight**2 * size**2 * (1 - taken / size) * spread / taken
    return estimate, variance


def _interval(errors: float, lo: float, hi: float, n: int, on: str, method: str) -> Interval:
    """From a share of errors with its bounds to a mean score with its bounds."""
    value, low, high = (float(min(max(1.0 - share, 0.0), 1.0)) for share in (errors, hi, lo))
    return Interval(value, min(low, value), max(high, value), n, on, method)
