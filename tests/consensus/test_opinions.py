"""The opinion before any correction: many teachers are weighed by people's answers, and by nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.opinions import Opinions, fit_weights
from consensus.votes import VoteTable
from stillhouse.probabilities import one_hot


def table(truth: NDArray[np.int64], accuracies: list[float], copies: int = 1, seed: int = 0) -> VoteTable:
    """Two labels; a teacher of each accuracy, and the last one `copies` times over, word for word."""
    rng = np.random.default_rng(seed)
    said = [np.where(rng.random(len(truth)) < accuracy, truth, 1 - truth) for accuracy in accuracies]
    said += [said[-1]] * (copies - 1)
    probs = np.stack([one_hot(each, 2) for each in said])
    return VoteTable(tuple(f"teacher {n}" for n in range(len(said))), probs, np.ones(probs.shape[:2], dtype=bool))


def accuracy(pool: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    return float((pool.argmax(axis=1) == truth).mean())


def truth_of(n: int = 1_000) -> NDArray[np.int64]:
    return np.random.default_rng(9).integers(0, 2, n)


def test_a_good_teacher_is_heard_over_a_bad_majority() -> None:
    """One teacher of 90 % beside six coins: sixty answers lift the pool by ten points."""
    truth = truth_of()
    votes = table(truth, [0.9, *[0.5] * 6])
    asked = np.arange(60)
    weights = fit_weights(votes.rows(asked), one_hot(truth[asked], 2))
    assert weights is not None
    assert weights.argmax() == 0
    assert accuracy(votes.pooled(weights), truth) > accuracy(votes.pooled(), truth) + 0.1


def test_a_model_asked_nine_times_does_not_outvote_the_others() -> None:
    """Nine copies of one teacher of 60 % against three of 85 %: with answers the three are heard."""
    truth = truth_of()
    votes = table(truth, [0.85, 0.85, 0.85, 0.6], copies=9)
    asked = np.arange(80)
    weights = fit_weights(votes.rows(asked), one_hot(truth[asked], 2))
    assert accuracy(votes.pooled(), truth) < 0.65
    assert accuracy(votes.pooled(weights), truth) > 0.85


def test_without_answers_all_count_the_same() -> None:
    """Nobody has answered: the plain pool, whoever agrees with whom."""
    truth = truth_of(50)
    votes = table(truth, [0.9, 0.6], copies=5)
    opinions = Opinions.of(votes, None)
    np.testing.assert_allclose(np.exp(opinions.logits(np.arange(50), opinions.prior())), votes.pooled() + 1e-4)


@pytest.mark.parametrize("sources", [1, 2])
def test_one_or_two_teachers_are_not_weighed(sources: int) -> None:
    """There is no majority to be broken."""
    truth = truth_of(50)
    votes = table(truth, [0.9, 0.6][:sources])
    assert fit_weights(votes, one_hot(truth, 2)) is None


def test_an_unusable_vote_has_no_weight() -> None:
    """Weights of teachers who said nothing of an item fall to those who did; nobody at all is uniform."""
    usable = np.array([[True, False, False], [True, True, False]])
    votes = VoteTable(("a", "b"), np.array([[[1.0, 0.0]] * 3, [[0.0, 1.0]] * 3]), usable)
    np.testing.assert_allclose(votes.pooled(np.array([3.0, 1.0])), [[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]])


def test_blocks_are_pooled_and_compared_each_by_itself() -> None:
    """Two teachers on two labels: what nobody said is uniform in each block, and agreement counts blocks."""
    probs = np.array([[[0.9, 0.1, 0.2, 0.8], [0.5] * 4], [[0.7, 0.3, 0.6, 0.4], [0.5] * 4]])
    votes = VoteTable(("a", "b"), probs, np.array([[True, False], [True, False]]), 2)
    np.testing.assert_allclose(votes.pooled(), [[0.8, 0.2, 0.4, 0.6], [0.5, 0.5, 0.5, 0.5]])
    assert votes.agreement() == 0.5
