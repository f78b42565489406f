"""Votes become one table: what was left open, what could not be read, what two teachers share."""

import math

import numpy as np

from consensus.votes import VoteTable, vote_table
from stillhouse.records import Vote, VoteStatus


def vote(item: str, source: str, probs: tuple[float, ...], status: VoteStatus = "ok") -> Vote:
    residual = 1.0 - math.fsum(probs)
    return Vote(item, source, probs, residual, "verbalised", status, "prompt", "request", 0.0)


def test_residual_is_spread_evenly() -> None:
    """What a reply left open belongs to no label more than to another."""
    table = vote_table([vote("x", "a", (0.7, 0.0))], ["x"], ["a"], 2)
    np.testing.assert_allclose(table.probs[0, 0], [0.85, 0.15])


def test_an_unusable_vote_is_uniform_and_not_usable() -> None:
    """A refusal says nothing about the labels."""
    table = vote_table([vote("x", "a", (0.0, 0.0), "refused")], ["x"], ["a"], 2)
    np.testing.assert_array_equal(table.probs[0, 0], [0.5, 0.5])
    assert not table.usable[0, 0]


def test_a_repaired_vote_counts() -> None:
    """A reply that was read after a repair is a vote like any other."""
    assert vote_table([vote("x", "a", (1.0, 0.0), "repaired")], ["x"], ["a"], 2).usable[0, 0]


def test_a_missing_vote_is_as_an_unusable_one() -> None:
    """An item that a source was never asked about is uniform there."""
    table = vote_table([vote("x", "a", (1.0, 0.0))], ["x", "y"], ["a"], 2)
    np.testing.assert_array_equal(table.usable, [[True, False]])
    np.testing.assert_array_equal(table.probs[0, 1], [0.5, 0.5])


def test_votes_of_other_items_and_sources_are_passed_over() -> None:
    """A table of some items and sources ignores the rest of the store."""
    table = vote_table([vote("z", "a", (1.0, 0.0)), vote("x", "b", (1.0, 0.0))], ["x"], ["a"], 2)
    assert not table.usable.any()


def test_votes_land_at_their_ids() -> None:
    """Rows follow the item ids and columns the sources, in whatever order the votes come."""
    votes = [vote("y", "b", (0.0, 1.0)), vote("x", "a", (1.0, 0.0))]
    table = vote_table(votes, ["x", "y"], ["a", "b"], 2)
    np.testing.assert_array_equal(table.probs[0, 0], [1.0, 0.0])
    np.testing.assert_array_equal(table.probs[1, 1], [0.0, 1.0])


def test_pooling_is_the_mean_of_usable_votes() -> None:
    """An unusable vote does not dilute the others."""
    votes = [vote("x", "a", (0.9, 0.1)), vote("x", "b", (0.5, 0.5)), vote("x", "c", (0.0, 0.0), "truncated")]
    np.testing.assert_allclose(vote_table(votes, ["x"], ["a", "b", "c"], 2).pooled(), [[0.7, 0.3]])


def test_pooling_nothing_is_uniform() -> None:
    """Without any usable vote nothing is known."""
    np.testing.assert_allclose(vote_table([], ["x"], ["a", "b"], 4).pooled(), [[0.25] * 4])


def test_agreement_counts_items_on_which_all_were_read() -> None:
    """Two of three items agree; the fourth has one vote only and is not counted."""
    a = [vote(item, "a", (0.9, 0.1)) for item in "wxyz"]
    b = [vote("w", "b", (0.6, 0.4)), vote("x", "b", (0.8, 0.2)), vote("y", "b", (0.1, 0.9))]
    assert vote_table([*a, *b], list("wxyz"), ["a", "b"], 2).agreement() == 2 / 3


def test_one_source_has_no_agreement() -> None:
    """Agreement with oneself is not a number."""
    assert math.isnan(vote_table([vote("x", "a", (1.0, 0.0))], ["x"], ["a"], 2).agreement())


def test_rows_keeps_sources_and_takes_items() -> None:
    """A table of a part of the items has the same sources."""
    table = VoteTable(("a",), np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[True, False]]))
    part = table.rows(np.array([1]))
    assert part.sources == ("a",)
    np.testing.assert_array_equal(part.probs, [[[0.0, 1.0]]])
    np.testing.assert_array_equal(part.usable, [[False]])
