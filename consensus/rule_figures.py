"""What rules say of how many items, and where they meet, agree and differ: the table of a label model, without the model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.rules import RuleVotes, by_block
from stillhouse.probabilities import Floats, Ints


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one rule, in items: those on which it fires, those where another rule speaks of the same decision, and those
    where one says what cannot be true at once (the coverage, overlaps and conflicts of Ratner et al. 2017).
    """

    fires: int
    overlaps: int
    conflicts: int


def reach_of(votes: Sequence[RuleVotes], item_of: Ints, width: int) -> list[Reach]:
    """The reach of each rule; `item_of` (u,) names each unit's item."""
    meets: list[list[NDArray[np.intp]]] = [[] for _ in votes]
    differs: list[list[NDArray[np.intp]]] = [[] for _ in votes]
    for a, one in enumerate(votes):
        for b, other in enumerate(votes[:a]):
            rows, here, there = np.intersect1d(one.rows, other.rows, assume_unique=True, return_indices=True)
            if not len(rows):
                continue
            said = [by_block(vote.said[at], width) for vote, at in ((one, here), (other, there))]
            both = np.any(said[0], axis=2) & np.any(said[1], axis=2)
            apart = both & ~np.any(said[0] & said[1], axis=2)
            for found, blocks in ((meets, both), (differs, apart)):
                found[a].append(rows[np.any(blocks, axis=1)])
                found[b].append(rows[np.any(blocks, axis=1)])
    return [
        Reach(_items([vote.rows], item_of), _items(meets[number], item_of), _items(differs[number], item_of))
        for number, vote in enumerate(votes)
    ]


def covered(votes: Sequence[RuleVotes], item_of: Ints) -> int:
    """How many items have a rule that fires."""
    return _items([vote.rows for vote in votes], item_of)


def right_of(vote: RuleVotes, truth: Floats, item_of: Ints, width: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The items (m,) of which truth is known and the rule says something, and whether all it says of each is right (m,).

    `truth` (u, k) is one-hot in each block, nan in the rows that are not known.
    """
    known = np.isfinite(truth[vote.rows]).all(axis=1)
    rows, said = vote.rows[known], vote.said[known]
    hit = np.any(by_block(said & (truth[rows] > 0), width), axis=2)
    claimed = np.any(by_block(said, width), axis=2)
    wrong = np.any(claimed & ~hit, axis=1)
    items, at = np.unique(item_of[rows], return_inverse=True)
    return items.astype(np.int64), np.bincount(at, wrong, len(items)) == 0


def _items(rows: Sequence[NDArray[np.intp]], item_of: Ints) -> int:
    return len(np.unique(item_of[np.concatenate(rows)])) if rows else 0
