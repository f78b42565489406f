"""Signals: formulas against hand values, and bounds that hold for any distributions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from selector.uncertainty import signals
from stillhouse.probabilities import entropy, jensen_shannon, margin

ROWS = arrays(np.float64, (4, 3), elements=st.floats(1e-6, 1.0)).map(lambda x: x / x.sum(axis=1, keepdims=True))
PAIR = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])


def test_margin_by_hand() -> None:
    """The best label's lead over the second."""
    np.testing.assert_allclose(margin(PAIR), [0.5, 1.0])


def test_entropy_by_hand() -> None:
    """In nats: ln 2 for a coin, 0 for a certainty."""
    np.testing.assert_allclose(entropy(np.array([[0.5, 0.5], [1.0, 0.0]])), [math.log(2), 0.0])


def test_jensen_shannon_by_hand() -> None:
    """0 for the same, ln 2 for two certainties that differ."""
    p, q = np.array([[0.3, 0.7], [1.0, 0.0]]), np.array([[0.3, 0.7], [0.0, 1.0]])
    np.testing.assert_allclose(jensen_shannon(p, q), [0.0, math.log(2)], atol=1e-12)


@given(ROWS, ROWS)
def test_jensen_shannon_is_symmetric_and_bounded(p: NDArray[np.float64], q: NDArray[np.float64]) -> None:
    """From 0 to ln 2 whichever comes first."""
    divergence = jensen_shannon(p, q)
    assert ((divergence >= 0) & (divergence <= math.log(2) + 1e-9)).all()
    np.testing.assert_allclose(divergence, jensen_shannon(q, p), atol=1e-12)


@given(ROWS)
def test_margin_and_entropy_are_bounded(p: NDArray[np.float64]) -> None:
    """A margin lies between 0 and 1, an entropy between 0 and ln k."""
    assert ((margin(p) >= 0) & (margin(p) <= 1)).all()
    assert ((entropy(p) >= -1e-12) & (entropy(p) <= math.log(3) + 1e-9)).all()


@given(ROWS, st.permutations(range(3)))
def test_signals_do_not_know_the_labels_order(p: NDArray[np.float64], order: list[int]) -> None:
    """Renaming labels changes no score."""
    straight, renamed = signals(p, p[::-1], p[None]), signals(p[:, order], p[::-1][:, order], p[None][:, :, order])
    for reason, score in straight.by_reason.items():
        np.testing.assert_allclose(score, renamed.by_reason[reason], atol=1e-12)


def test_uncertain_is_large_where_the_margin_is_small() -> None:
    """Larger means that a person is needed more."""
    np.testing.assert_allclose(signals(PAIR, None, PAIR[None]).by_reason["uncertain"], [0.5, 0.0])


def test_without_a_student_or_a_second_variant_there_is_one_reason() -> None:
    """Nobody to disagree with."""
    assert set(signals(PAIR, None, PAIR[None]).by_reason) == {"uncertain"}


def test_a_student_gives_two_reasons() -> None:
    """Where it is unsure itself, and where it differs from belief."""
    student = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
    scores = signals(PAIR, student, PAIR[None]).by_reason
    np.testing.assert_allclose(scores["student_unsure"], [0.5, 0.0])
    np.testing.assert_allclose(scores["teacher_student"], [0.0, math.log(2)], atol=1e-12)


def test_variants_is_the_mean_over_pairs() -> None:
    """Two agree and one differs: two of three pairs are ln 2 apart."""
    votes = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
    assert signals(votes[0], None, votes).by_reason["variants"][0] == pytest.approx(2 / 3 * math.log(2))


def test_an_empty_pool_has_empty_scores() -> None:
    """No items, no scores, no error."""
    nothing = np.empty((0, 3))
    assert all(len(score) == 0 for score in signals(nothing, nothing, np.empty((2, 0, 3))).by_reason.values())
