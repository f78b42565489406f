"""What is measured is what the textbooks say, and intervals hold the truth as often as they promise."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, t
from sklearn.metrics import cohen_kappa_score, f1_score

from stillhouse.measures import (
    accuracy_interval,
    area_under_risk_coverage,
    binomial_interval,
    binomial_lower,
    bootstrap_interval,
    brier,
    calibration_intervals,
    expected_calibration_error,
    macro_f1,
    macro_f1_interval,
    macro_f1_of,
    micro_f1_of,
    negative_log_likelihood,
    normal_quantile,
    paired_difference,
    prediction_powered_accuracy,
    quadratic_kappa,
    reliability_bins,
    student_t_quantile,
    wilson,
)
from stillhouse.records import Interval

SUCCESSES_OF_N = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=80)


def covers(interval: Interval, truth: float) -> bool:
    return interval.lo <= truth <= interval.hi


def test_wilson_gives_the_textbook_interval() -> None:
    """81 of 263 at 95 %: Newcombe (1998), table I, method 3."""
    assert wilson(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_of_nothing_is_everything() -> None:
    """No items: from 0 to 1."""
    assert wilson(0, 0, 0.95) == (0.0, 1.0)


@given(SUCCESSES_OF_N, st.floats(0.5, 0.999))
def test_wilson_holds_the_share_and_stays_within_0_and_1(counts: tuple[int, int], confidence: float) -> None:
    """Also at no success and at nothing but success."""
    lo, hi = wilson(*counts, confidence)
    assert 0 <= lo <= counts[0] / counts[1] <= hi <= 1


@given(SUCCESSES_OF_N)
def test_wilson_mirrors(counts: tuple[int, int]) -> None:
    """The interval of failures is the interval of successes, seen from the other side."""
    lo, hi = wilson(*counts, 0.95)
    assert wilson(counts[1] - counts[0], counts[1], 0.95) == pytest.approx((1 - hi, 1 - lo))


@settings(max_examples=50)
@given(SUCCESSES_OF_N, st.sampled_from([0.9, 0.95, 0.99]))
def test_the_exact_lower_bound_is_the_share_with_that_tail(counts: tuple[int, int], confidence: float) -> None:
    """At the bound, as many successes or more come up with probability 1 - confidence."""
    successes, n = counts
    bound = binomial_lower(successes, n, confidence)
    if successes == 0:
        assert bound == 0
    else:
        assert binom.sf(successes - 1, n, bound) == pytest.approx(1 - confidence, rel=1e-6)


def test_all_right_leaves_the_rule_of_three() -> None:
    """60 of 60: at 95 %, 0.05 ** (1 / 60)."""
    assert binomial_lower(60, 60, 0.95) == pytest.approx(0.05 ** (1 / 60))


@pytest.mark.parametrize("freedom", [5, 9, 30, 200])
def test_the_t_quantile_agrees_with_scipy(freedom: int) -> None:
    """Within half a percent from five degrees of freedom on."""
    assert student_t_quantile(0.95, freedom) == pytest.approx(t.ppf(0.975, freedom), rel=5e-3)


def test_an_accuracy_says_on_what_and_how_it_was_measured() -> None:
    """9 of 10, with Wilson's bounds."""
    found = accuracy_interval(np.arange(10) > 0, 0.95, "10 gold items")
    assert found == Interval(0.9, *wilson(9, 10, 0.95), 10, "10 gold items", "Wilson score")


@pytest.mark.parametrize("measure", [lambda x: accuracy_interval(x, 0.95, ""), lambda x: paired_difference(x, x, 0.95)])
def test_no_items_are_refused(measure: Callable[[NDArray[np.bool_]], Interval]) -> None:
    """The accuracy of nothing is not a number, and no number is invented."""
    with pytest.raises(ValueError, match="no items"):
        measure(np.zeros(0, dtype=bool))


@given(LABELS)
def test_macro_f1_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Over the classes that occur in truth or prediction."""
    truth, predicted = np.array(pairs).T
    assert macro_f1(truth, predicted, 5) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))


def test_the_bootstrap_of_macro_f1_holds_the_truth() -> None:
    """In at least 92 of 100 samples at a promised 95, from a confusion matrix with a rare class."""
    rng = np.random.default_rng(1)
    cells = np.array([[0.45, 0.05, 0.02], [0.04, 0.28, 0.03], [0.01, 0.03, 0.09]])
    f1 = [2 * cells[i, i] / (cells[i].sum() + cells[:, i].sum()) for i in range(3)]
    held = 0
    for _ in range(400):
        truth, predicted = divmod(rng.choice(9, 150, p=cells.ravel()), 3)
        held += covers(macro_f1_interval(truth, predicted, 3, confidence=0.95, on="", rng=rng), np.mean(f1))
    assert held / 400 >= 0.92


def test_a_perfect_sample_does_not_prove_a_perfect_macro_f1() -> None:
    """No error seen among 20: the lower bound is Wilson's, not 1."""
    labels = np.arange(20) % 4
    found = macro_f1_interval(labels, labels, 4, confidence=0.95, on="", rng=np.random.default_rng(0))
    assert (found.value, found.lo) == (1.0, wilson(20, 20, 0.95)[0])


def test_the_same_generator_gives_the_same_interval() -> None:
    """Randomness comes from the generator alone."""
    truth, predicted = np.arange(50) % 3, np.arange(50) % 4 % 3
    first, second = (
        macro_f1_interval(truth, predicted, 3, confidence=0.9, on="", rng=np.random.default_rng(7)) for _ in range(2)
    )
    assert first == second


def test_a_gain_is_the_second_less_the_first() -> None:
    """The second is right on 3 more and wrong on 1 more, of 20."""
    before = np.array([True] * 10 + [False] * 10)
    after = before.copy()
    after[[0, 10, 11, 12]] ^= True
    assert paired_difference(before, after, 0.95).value == pytest.approx(0.1)


def test_equal_answers_leave_doubt() -> None:
    """No item on which they differ: Tango's interval is ± z² / (n + z²)."""
    right = np.arange(100) < 80
    z2 = normal_quantile(0.95) ** 2
    found = paired_difference(right, right, 0.95)
    assert (found.lo, found.hi) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_difference_mirrors(pairs: list[tuple[bool, bool]]) -> None:
    """To compare b with a is to compare a with b, turned round."""
    a, b = np.array(pairs).T
    there, back = paired_difference(a, b, 0.95), paired_difference(b, a, 0.95)
    assert (back.value, back.lo, back.hi) == pytest.approx((-there.value, -there.hi, -there.lo), abs=1e-9)


@pytest.mark.parametrize("gain_and_loss", [(0.01, 0.01), (0.06, 0.02), (0.3, 0.1)])
def test_a_paired_interval_holds_the_truth(gain_and_loss: tuple[float, float]) -> None:
    """In at least 93 of 100 samples of 120 at a promised 95, also where hardly anything differs."""
    rng = np.random.default_rng(2)
    gain, loss = gain_and_loss
    held = 0
    for _ in range(600):
        kind = rng.choice(3, 120, p=[gain, loss, 1 - gain - loss])
        held += covers(paired_difference(kind != 0, kind != 1, 0.95), gain - loss)
    assert held / 600 >= 0.93


def test_bins_hold_mean_confidence_accuracy_and_count() -> None:
    """Empty bins are left out; a confidence of exactly 1 belongs to the last."""
    found = reliability_bins(np.array([0.12, 0.18, 0.95, 1.0]), np.array([False, True, True, True]))
    assert found.confidence == pytest.approx([0.15, 0.975])
    assert found.accuracy == pytest.approx([0.5, 1.0])
    assert found.count.tolist() == [2, 2]
    assert (found.lo[0], found.hi[0]) == wilson(1, 2, 0.95)


def test_no_predictions_make_no_bins() -> None:
    """Nothing in, nothing out, and no calibration error."""
    nothing = np.zeros(0)
    assert len(reliability_bins(nothing, nothing.astype(bool)).count) == 0
    assert expected_calibration_error(nothing, nothing.astype(bool)) == 0


def test_calibration_error_is_the_mean_gap() -> None:
    """Always 0.9 sure, right in half: 0.4."""
    assert expected_calibration_error(np.full(10, 0.9), np.arange(10) < 5) == pytest.approx(0.4)


def test_a_calibrated_model_has_a_small_calibration_error() -> None:
    """Right as often as it is sure."""
    rng = np.random.default_rng(3)
    sure = rng.random(50_000)
    assert expected_calibration_error(sure, rng.random(50_000) < sure) < 0.02


def test_brier_and_likelihood_of_known_distributions() -> None:
    """(0.8, 0.2) and (0.3, 0.7), both of the first class."""
    probs, truth = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 0])
    assert brier(probs, truth) == pytest.approx((0.08 + 0.98) / 2)
    assert negative_log_likelihood(probs, truth) == pytest.approx(-(math.log(0.8) + math.log(0.3)) / 2)


def test_a_probability_of_zero_is_a_large_finite_surprise() -> None:
    """One impossible truth does not make the figure infinite."""
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-12))


def _pool(rng: np.random.Generator, slope: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidences of 2,000 labels and whether they are right; at slope 1 the confidences are calibrated."""
    sure = 0.5 + 0.5 * rng.beta(5, 1, 2_000)
    return sure, rng.random(2_000) < 1 - slope * (1 - sure)


@pytest.mark.parametrize("slope", [1.0, 0.4, 1.8])
def test_the_pools_accuracy_is_unbiased_whatever_confidences_are_worth(slope: float) -> None:
    """Over many blind samples the mean estimate is the truth, within three standard errors."""
    rng = np.random.default_rng(4)
    sure, right = _pool(rng, slope)
    truth = (300 + right.sum()) / 2_300
    values = []
    for _ in range(800):
        rows = rng.choice(2_000, 60, replace=False)
        values.append(prediction_powered_accuracy(sure, sure[rows], right[rows], 300, 0.95).value)
    # Estimates above 1 are cut off, which may only lower the mean.
    assert abs(np.mean(values) - truth) < 3 * np.std(values) / math.sqrt(800) + 0.001


@pytest.mark.parametrize("slope", [1.0, 0.4, 1.8, 0.05])
@pytest.mark.parametrize("n", [19, 60, 200])
def test_the_pools_interval_holds_the_truth(slope: float, n: int) -> None:
    """In at least 93 of 100 blind samples at a promised 95, also where hardly a label is wrong and n is small."""
    rng = np.random.default_rng(5)
    sure, right = _pool(rng, slope)
    truth = (300 + right.sum()) / 2_300
    held = 0
    for _ in range(400):
        rows = rng.choice(2_000, n, replace=False)
        held += covers(prediction_powered_accuracy(sure, sure[rows], right[rows], 300, 0.95), truth)
    assert held / 400 >= 0.93


def test_good_confidences_make_a_narrower_interval() -> None:
    """Where the model knows its errors, fewer answers are needed than the sample's own share would need."""
    rng = np.random.default_rng(6)
    right = rng.random(2_000) < 0.85
    sure = np.where(right, 0.97, 0.15)
    rows = np.arange(200)
    found = prediction_powered_accuracy(sure, sure[rows], right[rows], 0, 0.95)
    lo, hi = wilson(int(right[rows].sum()), 200, 0.95)
    assert found.hi - found.lo < (hi - lo) / 2


def test_a_blind_sample_without_an_error_proves_no_more_than_it_can() -> None:
    """30 of 30 right and sure: the lower bound is no higher than the exact binomial one."""
    found = prediction_powered_accuracy(np.full(1_000, 0.999), np.full(30, 0.999), np.ones(30, dtype=bool), 0, 0.95)
    assert found.lo <= binomial_interval(30, 30, 0.95)[0]
    assert "exact binomial" in found.method


def test_without_blind_answers_only_known_labels_are_certain() -> None:
    """The estimate rests on the confidences; the interval admits everything."""
    found = prediction_powered_accuracy(np.full(80, 0.5), np.zeros(0), np.zeros(0, dtype=bool), 20, 0.95)
    assert (found.value, found.lo, found.hi, found.n) == (0.6, 0.2, 1.0, 0)


def test_quadratic_kappa_is_the_one_of_scikit_learn() -> None:
    """On random ratings, for several sizes of scale."""
    rng = np.random.default_rng(0)
    for k in (2, 4, 7):
        a, b = rng.integers(0, k, 60), rng.integers(0, k, 60)
        confusion = np.zeros((k, k))
        np.add.at(confusion, (a, b), 1)
        expected = cohen_kappa_score(a, b, weights="quadratic", labels=list(range(k)))
        assert quadratic_kappa(confusion.reshape(1, -1))[0] == pytest.approx(expected)


def test_the_bootstrap_covers_the_true_f1() -> None:
    """In about 95 of 100 samples of items whose counts depend on each other."""
    truth = 2 * 3.0 / (4.0 + 5.0)
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        size = rng.geometric(0.3, size=150) / (1 / 0.3)  # long items have more of everything
        counts = np.stack([rng.poisson(3 * size), rng.poisson(4 * size), rng.poisson(5 * size)], axis=1).astype(float)
        found = bootstrap_interval(counts, micro_f1_of, confidence=0.95, on="test", rng=rng, draws=400)
        held += found.lo <= truth <= found.hi
    assert 88 <= held <= 99


def test_f1_of_nothing_to_find_is_perfect_and_macro_leaves_out_what_does_not_occur() -> None:
    """No spans and none said is right; a label that never occurs does not count."""
    assert micro_f1_of(np.zeros((1, 3))).tolist() == [1.0]
    assert macro_f1_of(np.array([[2.0, 0, 2, 0, 2, 0]])).tolist() == [1.0]


def test_the_area_under_risk_and_coverage_rewards_a_good_order_only() -> None:
    """The surest wrong is the worst order; a perfect one leaves what errors there are to the end."""
    right = np.array([True, True, True, False])
    best = area_under_risk_coverage(np.array([0.9, 0.8, 0.7, 0.1]), right)
    worst = area_under_risk_coverage(np.array([0.1, 0.2, 0.3, 0.9]), right)
    assert best == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert worst == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert area_under_risk_coverage(np.zeros(0), np.zeros(0, dtype=bool)) == 0


def test_calibration_has_intervals_that_know_how_alike_the_decisions_of_an_item_are() -> None:
    """Ten copies of each decision in one item say no more than one: the interval is as wide."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 300)
    probs = np.stack([sure, 1 - sure], axis=1)
    truth = (rng.random(300) > sure).astype(np.int64)
    once = calibration_intervals(probs, truth, np.arange(300), confidence=0.95, on="test", rng=np.random.default_rng(1))
    often = calibration_intervals(
        np.repeat(probs, 10, axis=0),
        np.repeat(truth, 10),
        np.repeat(np.arange(300), 10),
        confidence=0.95,
        on="test",
        rng=np.random.default_rng(1),
    )
    for name in ("calibration_error", "brier", "aurc"):
        assert once[name].lo <= once[name].value <= once[name].hi
        assert once[name].value == pytest.approx(often[name].value, abs=0.01)
        assert often[name].hi - often[name].lo == pytest.approx(once[name].hi - once[name].lo, rel=0.35)
    assert once["brier"].value == pytest.approx(brier(probs, truth))
