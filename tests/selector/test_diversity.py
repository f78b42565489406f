"""Spread over the texts, and near-duplicates left out."""

import numpy as np

from selector.diversity import spread, without_near_duplicates


def test_spread_takes_one_from_each_cluster() -> None:
    """Five far groups, five picks: one each."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(5), 12)
    points = np.eye(5)[group] + 0.01 * rng.normal(size=(60, 5))
    picked = spread(points, rng.uniform(0.5, 1, 60), 5, seed=1, ids=np.arange(60).astype(str))
    assert sorted(group[picked]) == [0, 1, 2, 3, 4]


def test_spread_falls_by_weight() -> None:
    """The most uncertain cluster's pick comes first."""
    weight = np.repeat([0.1, 0.9, 0.5], 4)
    picked = spread(np.repeat(np.eye(3), 4, axis=0), weight, 3, seed=0, ids=np.arange(12).astype(str))
    assert weight[picked].tolist() == [0.9, 0.5, 0.1]


def test_spread_breaks_ties_by_id() -> None:
    """Of equal texts the smallest id is taken, wherever it stands."""
    picked = spread(np.repeat(np.eye(2), 3, axis=0), np.ones(6), 2, seed=0, ids=np.array(list("cabfed")))
    assert sorted(picked) == [1, 5]


def test_spread_of_too_few_is_all() -> None:
    """Asked for more than there is, all are taken."""
    assert sorted(spread(np.eye(2), np.ones(2), 5, seed=0, ids=np.array(["a", "b"]))) == [0, 1]


def test_spread_of_none_is_none() -> None:
    """Nothing asked, nothing taken."""
    assert len(spread(np.eye(2), np.ones(2), 0, seed=0, ids=np.array(["a", "b"]))) == 0


def test_of_near_duplicates_the_first_in_order_stays() -> None:
    """Order decides which of two alike is kept."""
    points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert without_near_duplicates(points, np.array([1, 0, 2]), 0.9, 3).tolist() == [1, 2]


def test_near_duplicates_of_what_is_taken_are_left_out() -> None:
    """What another reason has taken counts, and is not returned again."""
    points = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert without_near_duplicates(points, np.array([1, 2]), 0.9, 2, taken=[0]).tolist() == [2]


def test_no_more_than_most() -> None:
    """It stops when it has enough."""
    assert without_near_duplicates(np.eye(4), np.array([3, 1, 0, 2]), 0.9, 2).tolist() == [3, 1]
