"""Token sequences that begin alike, as one tree: every token is read once, however many sequences go through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Trie:
    """The m nodes are tokens that a model reads, parents before children (a first token's parent is -1).

    The e edges are tokens whose probability counts: `edge_token` after the node `edge_from`. Sequence `owner[i]` goes
    over edge `used[i]`. The last token of a sequence is an edge and no node: nothing is asked after it.
    """

    tokens: NDArray[np.int64]
    parents: NDArray[np.int64]
    depths: NDArray[np.int64]
    edge_from: NDArray[np.int64]
    edge_token: NDArray[np.int64]
    owner: NDArray[np.int64]
    used: NDArray[np.int64]
    sequences: int

    def __len__(self) -> int:
        return len(self.tokens)

    def sums(self, edge_log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        """(e,) -> (sequences,): the log-probability of each sequence's scored tokens."""
        out = np.zeros(self.sequences)
        np.add.at(out, self.owner, edge_log_p[self.used])
        return out

    def ancestors(self) -> NDArray[np.bool_]:
        """(m, m): which nodes each node sees, itself among them."""
        seen = np.eye(len(self), dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def rows(self) -> tuple[list[list[int]], NDArray[np.int64]]:
        """The tree as its paths from root to leaf, and for each node one (row, place) where it stands; (m, 2)."""
        inner = set(self.parents.tolist())
        paths: list[list[int]] = []
        where = np.zeros((len(self), 2), dtype=np.int64)
        for leaf in (node for node in range(len(self)) if node not in inner):
            path, node = [], leaf
            while node >= 0:
                path.append(node)
                node = int(self.parents[node])
            for place, node in enumerate(reversed(path)):
                where[node] = len(paths), place
            paths.append(self.tokens[path[::-1]].tolist())
        return paths, where


def trie_of(sequences: Sequence[Tokens], starts: Sequence[int]) -> Trie:
    """The tree of sequences of at least two tokens; of each the tokens from `starts` (1 or more) on are scored."""
    common = shared(sequences)[: min(map(len, sequences)) - 1]
    tokens, parents = list(common), list(range(-1, len(common) - 1))
    nodes: dict[tuple[int, int], int] = {}
    edges: dict[tuple[int, int], int] = {}
    owner, used = [], []
    for number, (sequence, start) in enumerate(zip(sequences, starts, strict=True)):
        first = min(start, len(common))
        node = first - 1
        for place in range(first, len(sequence)):
            step = (node, sequence[place])
            if place >= start:
                owner.append(number)
                used.append(edges.setdefault(step, len(edges)))
            if place < len(common):
                node = place
            elif place < len(sequence) - 1:
                if step not in nodes:
                    nodes[step] = len(tokens)
                    tokens.append(step[1])
                    parents.append(node)
                node = nodes[step]
    depths = np.zeros(len(tokens), dtype=np.int64)
    for node, parent in enumerate(parents):
        depths[node] = 0 if parent < 0 else depths[parent] + 1
    ends = np.array(list(edges), dtype=np.int64).reshape(-1, 2)
    return Trie(
        np.array(tokens, dtype=np.int64),
        np.array(parents, dtype=np.int64),
        depths,
        ends[:, 0],
        ends[:, 1],
        np.array(owner, dtype=np.int64),
        np.array(used, dtype=np.int64),
        len(sequences),
    )


def shared(sequences: Sequence[Tokens]) -> list[int]:
    """The longest beginning that all have in common."""
    return list(sequences[0][: common_length([list(sequence) for sequence in sequences])])


def common_length(sequences: Sequence[Any]) -> int:
    """How long a beginning all of some strings, or of some lists, have in common: that of the first and last in order."""
    first, last = min(sequences), max(sequences)
    return next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
