"""How accurate the delivered labels are, from the blind random picks alone: nobody has to bring a test set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, skew, t

from consensus.posterior import Belief
from stillhouse.probabilities import Floats
from stillhouse.records import Interval

FEWEST_OF_EACH_FOR_NORMAL = 5


@dataclass(frozen=True, slots=True, eq=False)
class RandomDraw:
    """One round's uniform draw: `rows` that were drawn and answered, out of `population` rows unanswered then."""

    rows: NDArray[np.intp]
    population: NDArray[np.intp]


def certify(belief: Belief, draws: Sequence[RandomDraw], confidence: float) -> Interval:
    """Accuracy of the delivered labels of the whole pool, with a two-sided interval.

    Answered items deliver the person's answer and count as right. For the rest U, each round's draw B from what was
    unanswered then, P, gives an unbiased estimate of the errors in U: the errors in P by a difference estimator

        sum_P e + |P| * mean_B(error - e),   e = 1 - confidence of the belief

    (Särndal et al. 1992, ch. 6; as prediction-powered inference, Angelopoulos et al. 2023), less the errors among the
    items of P answered since, which are known. Every error is of the out-of-fold posterior: it has not seen the
    answer it is compared with. Rounds are weighted by the size of their draws. Errors are rare, so their estimate is
    skewed and a symmetric interval promises too much: the interval leans by the skewness of what was drawn (Hall 1992).
    With fewer than 5 errors or 5 hits among the draws it cannot be trusted at all, and the exact binomial interval of
    the errors in P is used (Clopper & Pearson 1934), less the known ones.
    """
    n = len(belief.probs)
    answered = np.zeros(n, dtype=bool)
    answered[belief.answers.rows] = True
    error = np.zeros(n)
    error[belief.answers.rows] = belief.out_of_fold[belief.answers.rows].argmax(axis=1) != belief.answers.labels
    expected = 1.0 - belief.out_of_fold.max(axis=1)
    draws = [draw for draw in draws if len(draw.rows)]
    sample = np.concatenate([draw.rows for draw in draws]) if draws else np.empty(0, dtype=np.intp)
    on = f"the pool, from {len(sample)} blind random answers"
    if len(sample) < 2:
        return Interval(float(1 - expected[~answered].sum() / n), 0.0, 1.0, len(sample), on, "too few blind answers")
    surprise, known = error - expected, error * answered
    estimate, variance = _errors(draws, surprise, expected, known, len(sample))
    wrong = int(error[sample].sum())
    if min(wrong, len(sample) - wrong) >= FEWEST_OF_EACH_FOR_NORMAL:
        width = float(t.ppf((1 + confidence) / 2, len(sample) - 1))
        lean = float(skew(surprise[sample])) * (1 + 2 * width**2) / (6 * math.sqrt(len(sample)))
        lo, hi = (estimate + (lean + side * width) * math.sqrt(variance) for side in (-1, 1))
        return _interval(estimate / n, lo / n, hi / n, len(sample), on, "difference estimator")
    shares = clopper_pearson(wrong, len(sample), confidence)
    weights = [len(draw.rows) / len(sample) for draw in draws]
    lo, hi = (
        sum(w * (share * len(d.population) - known[d.population].sum()) for w, d in zip(weights, draws, strict=True))
        for share in shares
    )
    return _interval(estimate / n, lo / n, hi / n, len(sample), on, "exact binomial")


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
    """From a share of errors with its bounds to an accuracy with its bounds."""
    value, low, high = (float(min(max(1.0 - share, 0.0), 1.0)) for share in (errors, hi, lo))
    return Interval(value, min(low, value), max(high, value), n, on, method)


def clopper_pearson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of a binomial share (Clopper & Pearson 1934)."""
    tail = (1 - confidence) / 2
    lo = 0.0 if successes == 0 else float(beta.ppf(tail, successes, n - successes + 1))
    hi = 1.0 if successes == n else float(beta.ppf(1 - tail, successes + 1, n - successes))
    return lo, hi
