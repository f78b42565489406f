"""Clusters of conflicts: what belongs together, how many there are in the pool, and what an amendment may be drafted from."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.certificate import RandomDraw
from kinds.registry import kind_of
from loop.conflicts import Compared, clusters_of_people, clusters_with_teacher
from loop.drafts import names_in
from stillhouse.guidelines import half_of
from stillhouse.records import Answer, Item, Value
from tests.kinds.examples import EXAMPLES

KIND = kind_of(EXAMPLES["single_label"][0])
POOL = 600
TRUTHS = ["green" if number % 10 == 0 else "red" for number in range(POOL)]  # the teacher takes green for blue
SAID: list[Value | None] = ["blue" if truth == "green" else "red" for truth in TRUTHS]
ITEMS = [Item(f"i{number:03d}", f"text {number}") for number in range(POOL)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def embed(items: Sequence[Item]) -> NDArray[np.float64]:
    """Texts of even tens lie one way, of odd tens another."""
    at = np.array([int(item.id[1:]) for item in items])
    jitter = np.random.default_rng(1).normal(0, 0.05, (POOL, 2))[at]
    vectors = np.where((at // 10 % 2 == 0)[:, None], [1.0, 0.0], [0.0, 1.0]) + jitter
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def compared(answered: Sequence[int], drawn: Sequence[int], believed: bool = False) -> Compared:
    draw = RandomDraw(np.array(drawn, dtype=np.intp), np.arange(POOL))
    labels: dict[str, Value] = {ITEMS[number].id: TRUTHS[number] for number in answered}
    return Compared(KIND, ITEMS, SAID, labels, [draw], embed, list(TRUTHS) if believed else None)


def test_conflicts_of_one_kind_on_texts_apart_are_two_clusters() -> None:
    """Sizes, typical members first; together they are all."""
    found = clusters_with_teacher(compared(range(POOL), range(0)), None, rng())
    assert [(one.said, one.right, len(one.members)) for one in found] == [("blue", "green", 30)] * 2
    for one in found:
        assert len({int(member.item.id[1:]) // 10 % 2 for member in one.members}) == 1
        vectors = embed([member.item for member in one.members])
        near = vectors @ vectors.mean(axis=0)
        assert near[0] == near.max()
    assert found[0].pool is None  # nothing was drawn at random


def test_the_random_share_counts_the_pool() -> None:
    """Over many draws the estimate is right on average, and its interval holds the truth as often as it says."""
    values, holds = [], []
    for seed in range(60):
        drawn = np.random.default_rng(seed).choice(POOL, 60, replace=False).tolist()
        clusters = clusters_with_teacher(compared(drawn, drawn), None, rng())
        pools = [one.pool for one in clusters if one.pool is not None]
        values.append(sum(pool.value for pool in pools))
        if len(pools) == 1:
            holds.append(pools[0].lo <= 60 <= pools[0].hi)
    assert np.mean(values) == pytest.approx(60, abs=6)
    assert np.mean(holds) > 0.9


def test_a_half_counts_for_the_whole_pool() -> None:
    """Only the drafting half is looked at, and the figures are of all items."""
    drawn = np.random.default_rng(2).choice(POOL, 300, replace=False).tolist()
    found = clusters_with_teacher(compared(drawn, drawn, believed=True), "drafting", rng())
    assert {half_of(member.item.id) for one in found for member in one.members} == {"drafting"}
    pools = [one.pool for one in found if one.pool]
    assert sum(pool.lo for pool in pools) < 60 < sum(pool.hi for pool in pools)
    assert sum(one.believed or 0 for one in found) == pytest.approx(60, abs=20)


def test_a_vote_that_cannot_be_read_is_no_conflict() -> None:
    """Nothing was said that could contradict anybody."""
    silent = Compared(KIND, ITEMS, [None] * POOL, {ITEMS[0].id: "green"}, [], embed)
    assert clusters_with_teacher(silent, None, rng()) == []


def test_people_are_compared_with_each_other() -> None:
    """In no order of who said what; whoever passed is not compared."""
    said = [
        ("i001", "a", "red"),
        ("i001", "b", "blue"),
        ("i002", "a", "blue"),
        ("i002", "b", "red"),
        ("i002", "c", None),
    ]
    answers = [Answer(item_id, who, label, False, False, "") for item_id, who, label in said]
    (found,) = clusters_of_people(KIND, {item.id: item for item in ITEMS}, answers, None, embed, rng())
    assert (found.between, found.said, found.right, len(found.members)) == ("people", "blue", "red", 2)
    assert {(one.said, one.right) for one in found.members} == {("blue", "red")}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_kind_has_clusters(name: str) -> None:
    """By names of its labels or fields, which a value of the kind has."""
    task, item, truth = EXAMPLES[name]
    kind = kind_of(task)
    wrong = kind.mistake(item, truth, np.random.default_rng(3))
    one = Compared(kind, [item], [wrong], {item.id: truth}, [], lambda items: np.ones((len(items), 1)))
    found = clusters_with_teacher(one, None, rng())
    assert found
    assert {name for each in found for name in each.names} <= names_in(truth) | names_in(wrong)
