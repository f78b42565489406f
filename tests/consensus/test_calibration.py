"""Teachers' probabilities after people's answers: which repair is chosen, what it mends, and what it must not see."""

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.answers import Answers
from consensus.calibration import FEWEST_ANSWERS_TO_CALIBRATE, calibrated, calibrations, cross_calibrated
from consensus.votes import VoteTable
from stillhouse.measures import expected_calibration_error, negative_log_likelihood
from stillhouse.probabilities import blocks, one_hot, softmax

N, K = 1500, 6
ENOUGH = 300


def honest(seed: int, k: int = K, truth_push: float = 2.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits (n, k) whose softmax is calibrated, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, N)
    logits = rng.normal(size=(N, k)) + truth_push * one_hot(truth, k)
    return truth_push * logits, truth


def table(*logits: NDArray[np.float64], width: int | None = None) -> VoteTable:
    probs = np.stack([softmax(one, width) for one in logits])
    return VoteTable(tuple(f"t{at}" for at in range(len(logits))), probs, np.ones(probs.shape[:2], dtype=bool), width)


def answered(truth: NDArray[np.int64], count: int, k: int = K, seed: int = 1) -> Answers:
    rows = np.sort(np.random.default_rng(seed).choice(len(truth), count, replace=False))
    return Answers(rows, one_hot(truth[rows], k))


def error_of(probs: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    return expected_calibration_error(probs.max(axis=1), probs.argmax(axis=1) == truth)


def test_an_honest_teacher_is_left_about_as_it_is() -> None:
    """Whatever is chosen changes its likelihood on other items by next to nothing."""
    logits, truth = honest(0)
    votes = table(logits)
    after = calibrated(votes, calibrations(votes, answered(truth, ENOUGH))).probs[0]
    before = votes.probs[0]
    assert abs(negative_log_likelihood(after, truth) - negative_log_likelihood(before, truth)) < 0.02


def test_an_overconfident_teacher_is_cooled() -> None:
    """Three times too sharp: the temperature is about three, and the calibration error falls below a third."""
    logits, truth = honest(1)
    votes = table(3 * logits)
    (how,) = calibrations(votes, answered(truth, ENOUGH))
    after = calibrated(votes, (how,)).probs[0]
    assert 2 < how.temperature < 4.5
    assert error_of(after, truth) < error_of(votes.probs[0], truth) / 3


@pytest.mark.parametrize("count", [ENOUGH, 600])
def test_a_teacher_that_prefers_short_labels_is_repaired(count: int) -> None:
    """Log-probabilities that fall with the label's length: a bias is chosen, and accuracy comes back."""
    logits, truth = honest(2)
    votes = table(logits - 1.5 * np.arange(K))
    (how,) = calibrations(votes, answered(truth, count))
    after = calibrated(votes, (how,)).probs[0]
    before = votes.probs[0]
    right = [(p.argmax(axis=1) == truth).mean() for p in (softmax(logits), before, after)]
    assert how.method in {"batch", "ridge"}
    assert right[1] < right[0] - 0.05
    assert right[2] > right[0] - 0.02


def test_rare_labels_do_not_become_frequent() -> None:
    """The mean over the pool also holds how often labels occur: where they are not alike, it is not what is chosen."""
    rng = np.random.default_rng(3)
    truth = rng.choice(K, N, p=np.array([0.75, 0.05, 0.05, 0.05, 0.05, 0.05]))
    frequency = np.log(np.bincount(truth, minlength=K) / N)
    votes = table(3 * (1.5 * (rng.normal(size=(N, K)) + 1.5 * one_hot(truth, K)) + frequency))
    (how,) = calibrations(votes, answered(truth, ENOUGH))
    assert how.method in {"temperature", "ridge"}


def test_with_few_answers_nothing_is_changed() -> None:
    """One fewer than a hundred, and the table comes back as it was."""
    logits, truth = honest(4)
    votes = table(3 * logits)
    few = answered(truth, FEWEST_ANSWERS_TO_CALIBRATE - 1)
    assert calibrations(votes, few)[0].method == "identity"
    np.testing.assert_array_equal(calibrated(votes, calibrations(votes, few)).probs, votes.probs)


def test_rows_of_one_item_count_as_one_answer() -> None:
    """Ninety texts of five words are ninety answers, not four hundred and fifty."""
    logits, truth = honest(5)
    votes, groups = table(3 * logits), np.arange(N) // 5
    words = Answers(np.arange(450), one_hot(truth[:450], K))
    assert calibrations(votes, words, groups)[0].method == "identity"
    assert calibrations(votes, words)[0].method != "identity"


def test_each_block_is_calibrated_as_a_distribution() -> None:
    """Pairs (absent, present) stay pairs that sum to one, and are cooled."""
    rng = np.random.default_rng(6)
    present = rng.random((N, 3)) < 0.4
    margin = 4 * (rng.normal(size=(N, 3)) + 2 * present - 1)
    votes = table(np.stack([-margin / 2, margin / 2], axis=2).reshape(N, 6), width=2)
    targets = np.stack([~present, present], axis=2).reshape(N, 6).astype(float)
    rows = np.arange(ENOUGH)
    after = calibrated(votes, calibrations(votes, Answers(rows, targets[rows]))).probs[0]
    truth = blocks(targets, 2).argmax(axis=1)
    np.testing.assert_allclose(blocks(after, 2).sum(axis=1), 1.0)
    assert error_of(blocks(after, 2), truth) < error_of(blocks(votes.probs[0], 2), truth)


def test_what_is_not_known_teaches_nothing() -> None:
    """Answers of nan, and rows of which the teacher said nothing: neither changes the fit, and silence stays uniform."""
    logits, truth = honest(7)
    votes = table(3 * logits)
    some = answered(truth, ENOUGH)
    unknown = Answers(np.append(some.rows, N - 1), np.vstack([some.targets, np.full((1, K), np.nan)]))
    silent = VoteTable(votes.sources, votes.probs.copy(), votes.usable.copy())
    silent.usable[0, :10] = False
    silent.probs[0, :10] = 1 / K
    spoken = some.only(some.rows >= 10)
    assert calibrations(votes, unknown)[0].exponent == calibrations(votes, some)[0].exponent
    assert calibrations(silent, some)[0].exponent == calibrations(silent, spoken)[0].exponent
    np.testing.assert_allclose(calibrated(silent, calibrations(silent, some)).probs[0, :10], 1 / K)


def test_no_row_is_calibrated_by_its_own_answer() -> None:
    """Other answers in one fold change nothing of what that fold's rows are calibrated to."""
    logits, truth = honest(8)
    votes, some = table(3 * logits), answered(truth, ENOUGH)
    folds = np.full(N, -1)
    folds[some.rows] = np.arange(ENOUGH) % 5
    mine = folds[some.rows] == 2
    other = Answers(some.rows, some.targets.copy())
    other.targets[mine] = np.roll(other.targets[mine], 1, axis=1)
    before, after = (cross_calibrated(votes, one, folds).probs[0] for one in (some, other))
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert not np.allclose(before[folds == 1], after[folds == 1])
