"""What labelling rules say, and what it is worth: one more source beside the teachers, silent where no rule fires.

A rule claims that a decision's truth is among some columns. What it is worth is the chance that such a claim is right,
estimated without answers: from the teachers' pooled opinion of the units on which it fires; without teachers from how
the rules agree where they meet, by expectation maximisation (the label model of Ratner et al. 2017 and 2019; Dawid &
Skene 1979 with one accuracy a source). Rules are taken to err independently and are multiplied (naive Bayes); their
product is pooled with the teachers as one voice, however many rules there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.votes import VoteTable
from stillhouse.probabilities import Bools, Floats, softmax
from stillhouse.task import RULES_SOURCE

# What a rule is taken to be worth before anything is known of it: people write rules that are right more often than not.
PRIOR_ACCURACY, PRIOR_STRENGTH = 0.8, 4.0
LEAST_ACCURACY, MOST_ACCURACY = 0.02, 0.98
SHARE_FLOOR = 1e-3
ITERATIONS = 50


def by_block(rows: NDArray[Any], width: int) -> NDArray[Any]:
    """(m, g * width) -> (m, g, width), also where m is 0."""
    return rows.reshape(len(rows), rows.shape[1] // width, width)


@dataclass(frozen=True, slots=True, eq=False)
class RuleVotes:
    """One rule's claims: of the units `rows` (m,), each once and in order, that in every block with any of `said` (m, k)
    the truth is among those columns. It abstains everywhere else.
    """

    name: str
    rows: NDArray[np.intp]
    said: Bools

    def claims(self, width: int) -> NDArray[np.bool_]:
        """(m, k): all columns of the blocks of which it says something."""
        each = by_block(self.said, width).any(axis=2)
        out: NDArray[np.bool_] = np.repeat(each, width, axis=1)
        return out

    def belief(self, opinion: Floats, width: int) -> NDArray[np.float64]:
        """(c,): how likely each of its claims is by an opinion (n, k) of the units."""
        chance = by_block(np.where(self.said, opinion[self.rows], 0.0), width).sum(axis=2)
        out: NDArray[np.float64] = chance[self.claims(width)[:, ::width]]
        return out


def accuracies(votes: Sequence[RuleVotes], table: VoteTable) -> NDArray[np.float64]:
    """(r,) the chance that a claim of each rule is right, estimated from the teachers of `table`, or from the rules."""
    if len(table.sources):
        pooled, heard = table.pooled(), _heard(table)
        found = [_smoothed(_only(vote, heard).belief(pooled, table.block)) for vote in votes]
        return np.clip(np.array(found, dtype=np.float64), LEAST_ACCURACY, MOST_ACCURACY)
    share, found_now = _share(table), np.full(len(votes), PRIOR_ACCURACY)
    for _ in range(ITERATIONS):
        _, posterior, at = _product(votes, found_now, share, table.block)
        several = np.bincount(np.concatenate([np.empty(0, dtype=np.intp), *at]), minlength=len(posterior)) > 1
        new = np.array(
            [_among_rules(vote, local, posterior, several, table.block) for vote, local in zip(votes, at, strict=True)]
        )
        if np.allclose(new, found_now, atol=1e-4):
            break
        found_now = new
    return found_now


def _among_rules(vote: RuleVotes, local: NDArray[np.intp], posterior: Floats, several: Bools, width: int) -> float:
    """A rule's accuracy by what all rules make of the units where it is not alone. Where it is, nothing speaks for or
    against it, and it keeps its prior: by the others alone it would be judged where rules meet, which is where they differ.
    """
    met = several[local]
    chances = RuleVotes(vote.name, local[met], vote.said[met]).belief(posterior, width)
    alone = np.full(int((~met).sum()), PRIOR_ACCURACY)
    return float(np.clip(_smoothed(np.concatenate([chances, alone])), LEAST_ACCURACY, MOST_ACCURACY))


def with_rules(table: VoteTable, votes: Sequence[RuleVotes]) -> VoteTable:
    """The teachers' table with one source more, RULES_SOURCE, the product of all rules.

    It is usable on the units on which a rule fires. In a block of such a unit of which no rule says anything it repeats
    the teachers, so that pooling it there changes nothing.
    """
    return joined(table, votes, accuracies(votes, table))


def joined(table: VoteTable, votes: Sequence[RuleVotes], worth: Floats) -> VoteTable:
    """`with_rules` with accuracies (r,) that are given."""
    width, (n, k) = table.block, table.probs.shape[1:]
    rows, product, at = _product(votes, worth, _share(table), width)
    claimed = np.zeros(product.shape, dtype=bool)
    for vote, local in zip(votes, at, strict=True):
        claimed[local] |= vote.claims(width)
    probs, usable = np.full((1, n, k), 1.0 / width), np.zeros((1, n), dtype=bool)
    probs[0, rows] = np.where(claimed, product, table.rows(rows).pooled())
    usable[0, rows] = True
    return VoteTable(
        (*table.sources, RULES_SOURCE),
        np.concatenate([table.probs, probs]),
        np.concatenate([table.usable, usable]),
        table.width,
    )


def _product(
    votes: Sequence[RuleVotes], worth: Floats, share: Floats, width: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], list[NDArray[np.intp]]]:
    """The units (t,) on which a rule fires, what the rules together make of them (t, k), and each rule's places in it.

    A claim of accuracy p about columns that hold the share s of all truths multiplies their odds by what it changes:
    p / s within, (1 - p) / (1 - s) without.
    """
    rows = np.unique(np.concatenate([np.empty(0, dtype=np.intp), *(vote.rows for vote in votes)]))
    at = [np.searchsorted(rows, vote.rows) for vote in votes]
    logs = np.tile(np.log(share), (len(rows), 1))
    for vote, p, local in zip(votes, worth, at, strict=True):
        inside = by_block(np.where(vote.said, share, 0.0), width).sum(axis=2)
        s = np.repeat(np.clip(inside, SHARE_FLOOR, 1.0 - SHARE_FLOOR), width, axis=1)
        gain = np.where(vote.said, np.log(p / s), np.log((1.0 - p) / (1.0 - s)))
        logs[local] += np.where(vote.claims(width), gain, 0.0)
    return rows, softmax(logs, width), at


def _share(table: VoteTable) -> NDArray[np.float64]:
    """(k,): how frequent each column is by the teachers; all the same without any."""
    heard = _heard(table)
    if not heard.any():
        return np.full(table.probs.shape[2], 1.0 / table.block)
    mean = table.pooled()[heard].mean(axis=0) + SHARE_FLOOR
    each = mean.reshape(-1, table.block)
    out: NDArray[np.float64] = (each / each.sum(axis=1, keepdims=True)).ravel()
    return out


def _heard(table: VoteTable) -> Bools:
    heard: Bools = np.any(table.usable, axis=0)
    return heard


def _only(vote: RuleVotes, heard: Bools) -> RuleVotes:
    kept = heard[vote.rows]
    return RuleVotes(vote.name, vote.rows[kept], vote.said[kept])


def _smoothed(chances: Floats) -> float:
    return float((PRIOR_ACCURACY * PRIOR_STRENGTH + chances.sum()) / (PRIOR_STRENGTH + len(chances)))
