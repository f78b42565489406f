"""Which units are alike for the question "is the teacher wrong here, and how?": a kernel on votes and texts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, Ints, blocks, one_hot

# Weights of the parts, chosen on helpdesk and Banking77 (benchmarks/label_efficiency.py shows what they reach).
VOTES, TEXT, TEXT_GIVEN_VOTES, EVERYWHERE = 1.0, 9.0, 9.0, 1.0
LOG_FLOOR = 0.02
# How much the votes on the token before and after count, beside those on the token itself.
NEIGHBOUR = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Two units are alike if the teachers said alike of them, if their texts are alike, or both at once.

    `said` (n, f): log-probabilities and top label of each source, and what was said of the neighbours. `shape` (n, g):
    the votes as one unit vector. `text` (n, d): unit embeddings, or None.
    """

    said: Floats
    shape: Floats
    text: Floats | None

    def __len__(self) -> int:
        return len(self.said)

    def rows(self, index: NDArray[np.intp]) -> "Evidence":
        return Evidence(self.said[index], self.shape[index], None if self.text is None else self.text[index])

    def kernel(self, others: "Evidence") -> NDArray[np.float64]:
        """(len(self), len(others)), positive semi-definite: sums and products of kernels are kernels.

        Raises ValueError where only one of the two has embeddings.
        """
        if (self.text is None) != (others.text is None):
            raise ValueError("Expected embeddings, as the pool had them; found None. Embed these texts as the pool's.")
        K = np.asarray(self.said @ others.said.T, dtype=np.float64)
        K *= VOTES
        K += EVERYWHERE
        if self.text is not None and others.text is not None:
            given = self.shape @ others.shape.T
            given *= TEXT_GIVEN_VOTES
            given += TEXT
            given *= self.text @ others.text.T
            K += given
        return K

    def diagonal(self) -> NDArray[np.float64]:
        """(n,): each unit's kernel with itself."""
        K = EVERYWHERE + VOTES * (self.said**2).sum(axis=1)
        if self.text is not None:
            K += (self.text**2).sum(axis=1) * (TEXT + TEXT_GIVEN_VOTES * (self.shape**2).sum(axis=1))
        out: NDArray[np.float64] = np.asarray(K, dtype=np.float64)
        return out


def evidence_of(votes: VoteTable, text: Floats | None, groups: Ints | None = None) -> Evidence:
    """The evidence of a table's rows, with unit embeddings (n, d).

    `groups` (n,) names each row's item: rows that stand side by side in one item are neighbours, and what the teachers
    said of them counts too. Conventions ("the article belongs to the name") are only to be seen from there.
    """
    width = votes.block
    logs = [_centred(np.log(probs + LOG_FLOOR) / 2, width) for probs in votes.probs]
    tops = [_top(probs, width) * usable[:, None] for probs, usable in zip(votes.probs, votes.usable, strict=True)]
    beside = [NEIGHBOUR * near for top in tops for near in _neighbours(top, groups)]
    said = np.hstack(logs + tops + beside)
    shape = np.hstack([*votes.probs, *beside])
    shape /= np.linalg.norm(shape, axis=1, keepdims=True)
    return Evidence(said, shape, text)


def _centred(logs: Floats, width: int) -> NDArray[np.float64]:
    each = blocks(logs, width)
    out: NDArray[np.float64] = (each - each.mean(axis=1, keepdims=True)).reshape(logs.shape)
    return out


def _top(probs: Floats, width: int) -> NDArray[np.float64]:
    return one_hot(blocks(probs, width).argmax(axis=1), width).reshape(probs.shape)


def _neighbours(said: Floats, groups: Ints | None) -> tuple[Floats, ...]:
    """What was said of the row before and of the row after, zero where that is another item."""
    if groups is None or len(groups) < 2:
        return ()
    together = (groups[1:] == groups[:-1])[:, None]
    before, after = np.zeros_like(said), np.zeros_like(said)
    before[1:], after[:-1] = said[:-1] * together, said[1:] * together
    return before, after
