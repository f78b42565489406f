"""A difference over strata is not fooled by groups that differ in what they hold, and knows what it does not know."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stillhouse.strata import stratified_difference

EASY_AND_HARD = np.array([[40, 30, 15, 5], [6, 10, 20, 45]])
FEW = np.array([[30, 30, 30, 30, 30], [3, 4, 5, 8, 10]])


def test_one_stratum_is_the_plain_difference() -> None:
    """56 of 70 beside 48 of 80, within a hundredth of Newcombe (1998, table II a, method 10): .2000 [.0524, .3339]."""
    found = stratified_difference(np.array([[56], [48]]), np.array([[70], [80]]), 0.95, "")
    assert found.value == pytest.approx(0.2)
    assert (found.lo, found.hi) == pytest.approx((0.0524, 0.3339), abs=0.015)


def test_unequal_strata_are_no_difference() -> None:
    """One group has the easy half, the other the hard one; within each they are alike."""
    hits, trials = np.array([[80, 10], [8, 100]]), np.array([[100, 20], [10, 200]])
    assert hits[0].sum() / trials[0].sum() - hits[1].sum() / trials[1].sum() > 0.2
    assert stratified_difference(hits, trials, 0.95, "").value == pytest.approx(0)


def test_no_hit_on_either_side_leaves_doubt() -> None:
    """0 of 10 beside 0 of 20, in strata or not (Newcombe 1998, table II h, method 10): [-.1611, .2775]."""
    for trials in (np.array([[10], [20]]), np.array([[4, 6], [12, 8]])):
        found = stratified_difference(np.zeros_like(trials), trials, 0.95, "")
        assert (found.value, found.lo, found.hi) == pytest.approx((0, -0.1611, 0.2775), abs=5e-5)


def test_a_stratum_of_one_group_is_refused() -> None:
    """Nobody to compare with is no difference of nothing."""
    with pytest.raises(ValueError, match="either group"):
        stratified_difference(np.array([[1, 0], [1, 0]]), np.array([[2, 3], [2, 0]]), 0.95, "")


@pytest.mark.parametrize(("trials", "difference"), [(EASY_AND_HARD, 0.1), (FEW, 0.0), (FEW // 3 + 1, 0.15)])
def test_the_interval_holds_the_truth(trials: NDArray[np.int64], difference: float) -> None:
    """In at least 94 of 100 samples at a promised 95, also where a stratum has two of one group."""
    rng = np.random.default_rng(0)
    second = np.linspace(0.45, 0.8, trials.shape[1])
    share = np.stack([second + difference, second])
    held = 0
    for _ in range(1_000):
        found = stratified_difference(rng.binomial(trials, share), trials, 0.95, "")
        held += found.lo <= difference <= found.hi
    assert held / 1_000 >= 0.94
