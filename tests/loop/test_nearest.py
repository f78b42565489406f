"""Which answered items are examples for an item, and which labels may fit it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from loop.nearest import MOST_A_LABEL, examples_for, label_scores, likeliest


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def cloud(n: int, seed: int = 0) -> NDArray[np.float64]:
    return unit(np.random.default_rng(seed).normal(size=(n, 8)))


NOBODY = np.full(1, -1)


def chosen(wanted: NDArray[np.float64], answered: NDArray[np.float64], **how: object) -> list[tuple[int, ...]]:
    settings = {
        "own": np.full(len(wanted), -1),
        "labels": [frozenset[str]()] * len(answered),
        "count": 4,
        "cosine": 0.98,
        **how,
    }
    return examples_for(wanted, answered, **settings)  # type: ignore[arg-type]


def test_an_item_is_never_its_own_example() -> None:
    """Nor is anything as near to it as a copy: its answer would be given away."""
    answered = cloud(20)
    answered[1] = answered[0]
    for row, rows in enumerate(chosen(answered, answered, own=np.arange(20), count=30)):
        assert row not in rows
        assert len(rows) == (18 if row < 2 else 19)
        assert all(answered[row] @ answered[other] < 0.98 for other in rows)


def test_the_nearest_stands_last() -> None:
    """What is nearest to the item is nearest to it in the prompt."""
    wanted, answered = cloud(5, 1), cloud(40)
    for item, rows in zip(wanted, chosen(wanted, answered), strict=True):
        near = answered @ item
        assert list(near[list(rows)]) == sorted(near[list(rows)])
        assert rows[-1] == near.argmax()


def test_examples_are_unlike_each_other() -> None:
    """Of three that say the same and one that says something else, both sides are shown."""
    item = unit(np.array([[1.0, 1.0, 0.0]]))
    answered = unit(np.array([[1.0, 0.6, 0.0], [1.0, 0.61, 0.0], [1.0, 0.62, 0.0], [0.4, 1.0, 0.1]]))
    (rows,) = chosen(item, answered, count=2)
    assert set(rows) == {2, 3}


@pytest.mark.parametrize("count", [4, 30])
def test_no_label_is_shown_more_than_twice(count: int) -> None:
    """Of many labels an item has, each counts."""
    rng = np.random.default_rng(2)
    labels = [frozenset(rng.choice(list("abcde"), size=rng.integers(1, 3), replace=False)) for _ in range(60)]
    found = chosen(cloud(10, 1), cloud(60), labels=labels, count=count)
    for rows in found:
        shown = [label for row in rows for label in labels[row]]
        assert len(rows) <= count
        assert max(shown.count(label) for label in "abcde") <= MOST_A_LABEL
    assert len({len(rows) for rows in found} - {count}) > 0 or count == 4


def test_ties_go_to_the_first_row() -> None:
    """Rows come by id, so the choice does not hang on how a sort was made."""
    item = unit(np.array([[1.0, 0.0]]))
    answered = unit(np.array([[0.6, 0.8], [0.6, 0.8], [0.6, 0.8]]))
    assert chosen(item, answered, count=1) == [(0,)]


def test_nothing_to_show_is_shown_nobody() -> None:
    """Where all that is answered is a copy of the item."""
    item = unit(np.array([[1.0, 0.0]]))
    assert chosen(item, np.repeat(item, 3, axis=0)) == [()]


def test_a_label_is_as_near_as_its_nearest_word_or_item() -> None:
    """By its description, or by an answered item that has it; an item's own answer does not count."""
    described = unit(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    answered = unit(np.array([[1.0, 0.1, 0.0], [0.2, 1.0, 0.0]]))
    label_of = np.array([2, 1])
    scores = label_scores(answered, described, answered, label_of, own=np.array([-1, 1]))
    assert scores[0] == pytest.approx([answered[0, 0], answered[0] @ answered[1], 1.0])
    assert scores[1] == pytest.approx([answered[1, 0], answered[1, 1], answered[0] @ answered[1]])
    assert likeliest(scores, 2).tolist() == [[2, 0], [1, 2]]


def test_without_answers_descriptions_rank() -> None:
    """Before anybody has answered there is that much to go by."""
    described, wanted = cloud(6), cloud(3, 1)
    none = np.empty(0, dtype=np.intp)
    scores = label_scores(wanted, described, np.empty((0, 8)), none, own=np.full(3, -1))
    assert np.allclose(scores, wanted @ described.T)
