"""Whose answer is asked for again, and which differences somebody has to decide."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selector.follow_up import adjudications, probability_of, second_opinions

IDS = ["a", "b", "c", "d", "e", "f"]
NONE = np.zeros(6, dtype=bool)
CHANCES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


def test_the_least_probable_answers_are_asked_again_first() -> None:
    """As many of the targeted ones as may be, those below the bound alone, ties by id."""
    chance = np.array([0.05, 0.5, 0.01, 0.05, 0.09, 0.3])
    assert second_opinions(IDS, chance, NONE, below=0.1, most=3).tolist() == [2, 0, 3]
    assert second_opinions(IDS, chance, NONE, below=0.1, most=99).tolist() == [2, 0, 3, 4]
    assert second_opinions(IDS, chance, NONE, below=0.1, most=-1).tolist() == []


@given(CHANCES, st.integers(0, 5), st.floats(0.05, 0.9))
def test_one_rule_holds_for_all_of_the_random_share(answers: list[tuple[float, bool]], most: int, below: float) -> None:
    """An item of it is asked again exactly if its own answer is improbable: no other item and no cap has a part in it."""
    ids = [f"{row:02d}" for row in range(len(answers))]
    chance, measured = (np.array(column) for column in zip(*answers, strict=True))
    rows = second_opinions(ids, chance, measured, below=below, most=most)
    assert {row for row in rows if measured[row]} == {
        row for row in range(len(ids)) if measured[row] and chance[row] < below
    }
    assert sum(not measured[row] for row in rows) <= most


def test_an_answer_is_as_probable_as_its_least_probable_part() -> None:
    """Two decisions of two columns a unit; a unit that the answer does not speak of has no part."""
    said = np.array([[1.0, 0.0, 0.0, 1.0], [np.nan] * 4])
    believed = np.array([[0.9, 0.1, 0.8, 0.2], [0.5, 0.5, 0.99, 0.01]])
    assert probability_of(said, believed, width=2) == 0.2
    assert probability_of(said[1:], believed[1:], width=2) == 1.0


def test_what_is_settled_is_not_decided_again() -> None:
    """The least settled first; what nothing is known of comes before all, and the random share is always decided."""
    leading = np.array([0.99, 0.6, np.nan, 0.4, 0.97, 0.6])
    measured = np.array([False, False, False, False, True, False])
    assert adjudications(IDS, leading, measured).tolist() == [2, 3, 1, 5, 4]
