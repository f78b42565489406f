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


def test_only_what_is_known_is_a_reason() -> None:
    """Without a student or a second teacher there is one reason; each score given adds its own."""
    doubt = np.array([0.5, 0.0])
    assert signals(doubt).by_reason.keys() == {"uncertain"}
    everything = signals(doubt, doubt + 1, doubt + 2, doubt + 3).by_reason
    assert {reason: score[1] for reason, score in everything.items()} == {
        "uncertain": 0.0,
        "student_unsure": 1.0,
        "teacher_student": 2.0,
        "variants": 3.0,
    }


def test_scores_of_different_items_are_refused() -> None:
    """A score for each unit where one for each item is due would pick the wrong items."""
    with pytest.raises(ValueError, match="one score an item"):
        signals(np.zeros(3), variants=np.zeros(7))


def test_an_empty_pool_has_empty_scores() -> None:
    """No items, no scores, no error."""
    assert all(len(score) == 0 for score in signals(np.empty(0), np.empty(0)).by_reason.values())
