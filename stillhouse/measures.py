"""How good labels are: shares with honest intervals, macro-F1, calibration, and the accuracy of a pool partly checked."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Bools, Floats, Ints, one_hot
from stillhouse.records import Interval

FEWEST_OF_EACH_FOR_NORMAL = 10
BISECTIONS = 60
SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """A reliability diagram: for each bin that holds anything, (b,) each; `lo` and `hi` are Wilson's."""

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]


def normal_quantile(confidence: float) -> float:
    """The z of a two-sided interval: 1.96 at 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student_t_quantile(confidence: float, freedom: int) -> float:
    """The t of a two-sided interval by Hill's expansion around z (Abramowitz & Stegun 26.7.5); for 5 and more."""
    z = normal_quantile(confidence)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def wilson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927). Of nothing, everything is possible: (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    z = normal_quantile(confidence)
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    lo = 0.0 if successes == 0 else max(0.0, middle - half)
    hi = 1.0 if successes == n else min(1.0, middle + half)
    return lo, hi


def binomial_lower(successes: int, n: int, confidence: float) -> float:
    """The exact one-sided lower bound of a share (Clopper & Pearson 1934): the share at which as many successes or
    more would come up with probability 1 - confidence. The upper bound is 1 - binomial_lower(n - successes, ...).
    """
    if successes == 0:
        return 0.0
    counts = np.arange(successes, n + 1)
    log_ways = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in counts])
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        tail = np.exp(log_ways + counts * math.log(share) + (n - counts) * math.log1p(-share)).sum()
        low, high = (share, high) if tail < 1 - confidence else (low, share)
    return low


def binomial_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of a share (Clopper & Pearson 1934)."""
    side = (1 + confidence) / 2
    return binomial_lower(successes, n, side), 1 - binomial_lower(n - successes, n, side)


def accuracy_interval(correct: Bools, confidence: float, on: str) -> Interval:
    """The share that is right. Raises ValueError on no items: the accuracy of nothing is not a number."""
    n, right = len(correct), int(np.count_nonzero(correct))
    if n == 0:
        raise ValueError("the accuracy of no items")
    return Interval(right / n, *wilson(right, n, confidence), n, on, "Wilson score")


def macro_f1(truth: Ints, predicted: Ints, k: int) -> float:
    """The mean F1 over the classes that occur in truth or prediction (0 where nothing does)."""
    confusion = np.zeros((k, k), dtype=np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    return float(_mean_f1(np.diagonal(confusion)[None], confusion.sum(axis=1)[None] + confusion.sum(axis=0)[None])[0])


def macro_f1_interval(
    truth: Ints,
    predicted: Ints,
    k: int,
    *,
    confidence: float,
    on: str,
    rng: np.random.Generator,
    draws: int = 1_000,
) -> Interval:
    """Macro-F1 with the bias-corrected percentile bootstrap over items (Efron 1981).

    To resample items is to draw the cells of the confusion matrix from a multinomial. Where no item is wrong, or none
    is right, every resample is the same and the bootstrap knows no doubt: Wilson's interval of the accuracy stands in.
    """
    n = len(truth)
    if n == 0:
        raise ValueError("the macro-F1 of no items")
    value = macro_f1(truth, predicted, k)
    right = int(np.count_nonzero(np.asarray(truth) == np.asarray(predicted)))
    if right in {0, n}:
        return Interval(value, *wilson(right, n, confidence), n, on, "Wilson score of the accuracy")
    cells, counts = np.unique(np.asarray(truth) * k + np.asarray(predicted), return_counts=True)
    rows, columns = cells // k, cells % k
    drawn = rng.multinomial(n, counts / n, size=draws)
    occurs = (one_hot(rows, k) + one_hot(columns, k)).astype(np.int64)
    hits = (one_hot(rows, k) * (rows == columns)[:, None]).astype(np.int64)
    resampled = _mean_f1(drawn @ hits, drawn @ occurs)
    below = (np.count_nonzero(resampled < value) + np.count_nonzero(resampled == value) / 2) / draws
    shift = 2 * NormalDist().inv_cdf(min(max(below, 1 / draws), 1 - 1 / draws))
    z = normal_quantile(confidence)
    lo, hi = (float(np.quantile(resampled, NormalDist().cdf(shift + side * z))) for side in (-1, 1))
    return Interval(value, min(lo, value), max(hi, value), n, on, "bias-corrected bootstrap")


def bootstrap_interval(
    counts: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    confidence: float,
    on: str,
    rng: np.random.Generator,
    draws: int = 1_000,
    times: Ints | None = None,
) -> Interval:
    """A statistic of summed counts with the bias-corrected percentile bootstrap over items (Efron 1981).

    `counts` (n, m) are what each item adds; `statistic` maps sums (d, m) to values (d,). Items are drawn whole, so
    tokens or spans of one item may depend on each other as they like. Where all resamples agree (nothing is wrong, or
    nothing right), Wilson's interval over the items stands in. `times` (n,) says of how many items each row holds: few
    different ones are drawn faster.
    """
    times = np.ones(len(counts), dtype=np.int64) if times is None else times
    n = int(np.sum(times))
    if n == 0:
        raise ValueError("a statistic of no items")
    counts = np.asarray(counts, dtype=np.float64)
    value = float(statistic((times @ counts)[None])[0])
    drawn = [rng.multinomial(n, times / n, size=min(100, draws)) @ counts for _ in range(max(draws // 100, 1))]
    resampled = np.concatenate([statistic(sums) for sums in drawn])
    if resampled.max() - resampled.min() < 1e-12:
        lo, hi = wilson(round(min(max(value, 0.0), 1.0) * n), n, confidence)
        return Interval(value, min(lo, value), max(hi, value), n, on, "Wilson score over the items")
    below = (np.count_nonzero(resampled < value) + np.count_nonzero(resampled == value) / 2) / len(resampled)
    shift = 2 * NormalDist().inv_cdf(min(max(below, 1 / draws), 1 - 1 / draws))
    z = normal_quantile(confidence)
    lo, hi = (float(np.quantile(resampled, NormalDist().cdf(shift + side * z))) for side in (-1, 1))
    return Interval(value, min(lo, value), max(hi, value), n, on, "bias-corrected bootstrap over items")


def micro_f1_of(sums: Floats) -> NDArray[np.float64]:
    """(d, 3l) hits, true and said by label -> (d,): F1 of all labels together; 1 where there is nothing to find."""
    hits, true, said = np.split(np.asarray(sums, dtype=np.float64), 3, axis=1)
    found = true.sum(axis=1) + said.sum(axis=1)
    out: NDArray[np.float64] = np.where(found > 0, 2 * hits.sum(axis=1) / np.maximum(found, 1e-12), 1.0)
    return out


def macro_f1_of(sums: Floats) -> NDArray[np.float64]:
    """(d, 3l) hits, true and said by label -> (d,): the mean F1 of the labels that occur."""
    hits, true, said = np.split(np.asarray(sums, dtype=np.float64), 3, axis=1)
    found = true + said
    each = np.where(found > 0, 2 * hits / np.maximum(found, 1e-12), 0.0)
    out: NDArray[np.float64] = each.sum(axis=1) / np.maximum((found > 0).sum(axis=1), 1)
    return out


def ratio_of(sums: Floats) -> NDArray[np.float64]:
    """(d, 2) hits and chances -> (d,)."""
    out: NDArray[np.float64] = sums[:, 0] / np.maximum(sums[:, 1], 1e-12)
    return out


def quadratic_kappa(sums: Floats) -> NDArray[np.float64]:
    """(d, k * k) confusion counts of steps of a scale -> (d,): Cohen's kappa with quadratic weights (Cohen 1968).

    1 where nothing but agreement could be expected (all on one step).
    """
    k = math.isqrt(np.shape(sums)[1])
    confusion = np.asarray(sums, dtype=np.float64).reshape(-1, k, k)
    weight = (np.arange(k)[:, None] - np.arange(k)[None, :]) ** 2
    chance = confusion.sum(axis=2)[:, :, None] * confusion.sum(axis=1)[:, None, :]
    expected = (weight * chance).sum(axis=(1, 2)) / np.maximum(confusion.sum(axis=(1, 2)), 1e-12)
    observed = (weight * confusion).sum(axis=(1, 2))
    out: NDArray[np.float64] = np.where(expected > 0, 1 - observed / np.maximum(expected, 1e-12), 1.0)
    return out


def paired_difference(correct_a: Bools, correct_b: Bools, confidence: float, on: str = "") -> Interval:
    """How much more often b is right than a on the same items: accuracy of b less that of a.

    The score interval of Tango (1998). It needs no large number of items on which they differ: where they never do it
    is as wide as z² / (n + z²), not 0.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    n = len(a)
    if n == 0:
        raise ValueError("the difference on no items")
    gains, losses = int(np.count_nonzero(b & ~a)), int(np.count_nonzero(a & ~b))
    value, z = (gains - losses) / n, normal_quantile(confidence)

    def first_beyond(outside: float, side: int) -> float:
        """The difference nearest to `outside` that the data do not reject; rejected ones lie beyond it."""
        inside = value
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            if side * _tango_score(middle, gains, losses, n) < z:
                inside = middle
            else:
                outside = middle
        return inside

    return Interval(value, first_beyond(-1.0, 1), first_beyond(1.0, -1), n, on, "Tango score, paired")


def paired_mean_difference(scores_a: Floats, scores_b: Floats, confidence: float, on: str = "") -> Interval:
    """How much better b's scores (n,) are than a's on the same items, on average, by Student's t. Where every score is
    0 or 1 it is `paired_difference`, which needs no large sample.
    """
    a, b = np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64)
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        return paired_difference(a == 1, b == 1, confidence, on)
    n, difference = len(a), b - a
    value = float(difference.mean())
    if n < 2:
        return Interval(value, -1.0, 1.0, n, on, "too few items")
    half = student_t_quantile(confidence, max(n - 1, 5)) * float(difference.std(ddof=1)) / math.sqrt(n)
    return Interval(value, max(value - half, -1.0), min(value + half, 1.0), n, on, "Student's t, paired")


def mean_score_interval(scores: Floats, confidence: float, on: str, rng: np.random.Generator) -> Interval:
    """The mean of scores (n,) between 0 and 1; Wilson's interval where every score is 0 or 1, else the bootstrap."""
    values = np.asarray(scores, dtype=np.float64)
    if np.isin(values, (0, 1)).all():
        return accuracy_interval(values == 1, confidence, on)
    return bootstrap_interval(
        np.stack([values, np.ones(len(values))], axis=1), ratio_of, confidence=confidence, on=on, rng=rng
    )


def _tango_score(difference: float, gains: int, losses: int, n: int) -> float:
    """How many standard errors the data lie above `difference`, under the most likely truth that has it."""
    a = 2 * n
    b = -gains - losses + (2 * n - gains + losses) * difference
    c = -losses * difference * (1 - difference)
    loss_share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * loss_share + difference * (1 - difference))
    surplus = gains - losses - n * difference
    return surplus / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, surplus)


def reliability_bins(confidence: Floats, correct: Bools, bins: int = 10, interval: float = 0.95) -> Bins:
    """Bins of equal width over [0, 1] (DeGroot & Fienberg 1983); a confidence of exactly 1 is in the last."""
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    which = np.clip((sure * bins).astype(np.int64), 0, bins - 1)
    every = np.bincount(which, minlength=bins)
    held = every > 0
    count = every[held].astype(np.int64)
    hits = np.bincount(which, weights=right, minlength=bins)[held]
    bounds = [wilson(round(float(h)), int(c), interval) for h, c in zip(hits, count, strict=True)]
    lo, hi = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
    return Bins(np.bincount(which, weights=sure, minlength=bins)[held] / count, hits / count, count, lo, hi)


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = 15) -> float:
    """The mean gap between confidence and accuracy over bins of equal width (Naeini et al. 2015, Guo et al. 2017)."""
    if len(confidence) == 0:
        return 0.0
    found = reliability_bins(confidence, correct, bins)
    return float((np.abs(found.confidence - found.accuracy) * found.count).sum() / found.count.sum())


def area_under_risk_coverage(confidence: Floats, correct: Bools) -> float:
    """The mean error of the k surest decisions over all k (AURC; Geifman, Uziel & El-Yaniv 2019): 0 is best, and what is
    left of the error rate tells how well confidence sorts right from wrong. Ties count as they stand.
    """
    if len(confidence) == 0:
        return 0.0
    order = np.argsort(-np.asarray(confidence, dtype=np.float64), kind="stable")
    wrong = ~np.asarray(correct, dtype=bool)[order]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def calibration_intervals(
    probs: Floats,
    truth: Ints,
    item_of: Ints,
    *,
    confidence: float,
    on: str,
    rng: np.random.Generator,
    draws: int = 200,
) -> dict[str, Interval]:
    """How far probabilities (n, k) can be trusted, with percentile bootstrap intervals over items (Efron 1979).

    `truth` (n,) are the right columns, `item_of` (n,) the item of each decision. `calibration_error` is the expected
    calibration error of 15 bins, which is never 0 on a finite sample; `brier` and `aurc` as in the functions here.
    Raises ValueError on no decisions.
    """
    if len(truth) == 0:
        raise ValueError("the calibration of no decisions")
    p = np.asarray(probs, dtype=np.float64)
    sure, right = p.max(axis=1), p.argmax(axis=1) == truth
    squares = ((p - one_hot(truth, p.shape[1])) ** 2).sum(axis=1)

    def figures(rows: NDArray[np.intp]) -> tuple[float, float, float]:
        return (
            expected_calibration_error(sure[rows], right[rows]),
            float(squares[rows].mean()),
            area_under_risk_coverage(sure[rows], right[rows]),
        )

    names, first = np.unique(item_of, return_inverse=True)
    order = np.argsort(first, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(first))[:-1])
    values = figures(np.arange(len(truth)))
    resampled = np.array(
        [figures(np.concatenate([parts[i] for i in rng.integers(len(parts), size=len(parts))])) for _ in range(draws)]
    )
    side = (1 - confidence) / 2
    lo, hi = np.quantile(resampled, [side, 1 - side], axis=0)
    return {
        name: Interval(v, min(float(a), v), max(float(b), v), len(names), on, "percentile bootstrap over items")
        for name, v, a, b in zip(("calibration_error", "brier", "aurc"), values, lo, hi, strict=True)
    }


def brier(probs: Floats, truth: Ints) -> float:
    """The mean squared distance between (n, k) distributions and the truth, 0 to 2 (Brier 1950)."""
    p = np.asarray(probs, dtype=np.float64)
    return float(((p - one_hot(truth, p.shape[1])) ** 2).sum(axis=1).mean())


def negative_log_likelihood(probs: Floats, truth: Ints) -> float:
    """The mean surprise at the truth in nats; a probability of 0 counts as 1e-12, so one miss is not infinite."""
    said = np.asarray(probs, dtype=np.float64)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(said, SMALLEST_PROBABILITY)).mean())


def prediction_powered_accuracy(
    confidence_all: Floats,
    confidence_labelled: Floats,
    correct_labelled: Bools,
    known_correct: int,
    confidence: float,
    on: str = "the pool, from blind answers",
) -> Interval:
    """Accuracy of a pool's labels, of which few were checked (Angelopoulos et al. 2023, prediction-powered inference).

    `confidence_all` (N,) are the calibrated confidences of all labels that nobody has answered; `known_correct` further
    items are answered, so their labels are right. The blind sample (n,) was drawn uniformly from items like the N, and
    its confidences come from a model that has not seen its answers. Unbiased whatever the confidences are worth:

        (known_correct + sum of confidence_all + N * mean(correct - confidence over the sample)) / (N + known_correct)

    Errors are rare, and a small sample without them has no spread: with fewer than 10 right or 10 wrong the interval
    is the wider of the normal one and the exact binomial one, side by side.
    """
    rest, n = len(confidence_all), len(correct_labelled)
    total = rest + known_correct
    if total == 0:
        raise ValueError("the accuracy of no items")
    sure = float(np.asarray(confidence_all, dtype=np.float64).sum())
    if n < 2:
        return Interval((known_correct + sure) / total, known_correct / total, 1.0, n, on, "too few blind answers")
    right = np.asarray(correct_labelled, dtype=np.float64)
    rectifier = right - np.asarray(confidence_labelled, dtype=np.float64)
    share = float(rectifier.mean()) + (sure / rest if rest else 0.0)
    half = student_t_quantile(confidence, max(n - 1, 5)) * float(rectifier.std(ddof=1)) / math.sqrt(n)
    lo, hi, method = share - half, share + half, "prediction-powered"
    hits = int(right.sum())
    if min(hits, n - hits) < FEWEST_OF_EACH_FOR_NORMAL:
        exact_lo, exact_hi = binomial_interval(hits, n, confidence)
        lo, hi, method = min(lo, exact_lo), max(hi, exact_hi), "prediction-powered, no narrower than exact binomial"
    value, lo, hi = ((known_correct + rest * min(max(bound, 0.0), 1.0)) / total for bound in (share, lo, hi))
    return Interval(value, lo, hi, n, on, method)


def _mean_f1(hits: NDArray[np.int64], occurrences: NDArray[np.int64]) -> NDArray[np.float64]:
    """(d, k) hits and occurrences (in truth plus in prediction) -> (d,): F1 is 2 * hits / occurrences."""
    present = occurrences > 0
    scores = np.where(present, 2 * hits / np.where(present, occurrences, 1), 0.0)
    out: NDArray[np.float64] = scores.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return out
