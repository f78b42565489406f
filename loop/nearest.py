"""Near and unlike each other: which answered items are examples for an item, and which labels may fit it. Pure functions."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Floats

NEAREST = 50  # answered items that compete to be an item's examples
RELEVANCE = 0.7  # how much being near counts beside being unlike what is chosen already
MOST_A_LABEL = 2
ROWS = 2_048  # items whose similarities are in memory together


def examples_for(
    wanted: Floats,
    answered: Floats,
    *,
    own: NDArray[np.intp],
    labels: Sequence[frozenset[str]],
    count: int,
    cosine: float,
) -> list[tuple[int, ...]]:
    """For each of `wanted` (n, d) up to `count` rows of `answered` (m, d), the nearest last; all are unit vectors.

    Maximal marginal relevance (Carbonell & Goldstein 1998): each in turn is the nearest to the item, less how near it is to
    those chosen before. Left out are the item itself, which is row `own` (n,) of `answered` or -1; what is as near to it as
    `cosine` or nearer, since its answer would be given away; and what has a label, of `labels` (m,), that two have already. Rows
    come in the order in which ties are broken.
    """
    chosen: list[tuple[int, ...]] = []
    for start in range(0, len(wanted), ROWS):
        near = wanted[start : start + ROWS] @ answered.T
        near[near >= cosine] = -np.inf
        mine = own[start : start + ROWS]
        near[np.flatnonzero(mine >= 0), mine[mine >= 0]] = -np.inf
        order = np.argsort(-near, axis=1, kind="stable")[:, :NEAREST]
        for row, candidates in zip(near, order, strict=True):
            rows = candidates[np.isfinite(row[candidates])]
            chosen.append(_spread(row[rows], answered[rows], rows, labels, count))
    return chosen


def _spread(
    near: Floats, vectors: Floats, rows: NDArray[np.intp], labels: Sequence[frozenset[str]], count: int
) -> tuple[int, ...]:
    taken: list[int] = []
    of_label: Counter[str] = Counter()
    free = np.ones(len(rows), dtype=bool)
    likeness = np.zeros(len(rows))  # to the likest of those taken
    while len(taken) < count and free.any():
        best = int(np.where(free, RELEVANCE * near - (1 - RELEVANCE) * likeness, -np.inf).argmax())
        free[best] = False
        of_best = labels[rows[best]]
        if any(of_label[label] >= MOST_A_LABEL for label in of_best):
            continue
        of_label.update(of_best)
        taken.append(best)
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return tuple(int(rows[at]) for at in sorted(taken, key=lambda at: (near[at], -at)))


def label_scores(
    wanted: Floats, described: Floats, answered: Floats, label_of: NDArray[np.intp], own: NDArray[np.intp]
) -> NDArray[np.float32]:
    """(n, k): how near each item is to each label, which is as near as the nearest of its description (k, d) and of the
    answered items (m, d) that have it (m,). The item itself, row `own` (n,) of `answered` or -1, does not count.
    """
    scores = np.asarray(wanted @ described.T, dtype=np.float32)
    for start in range(0, len(wanted) if len(answered) else 0, ROWS):
        near = wanted[start : start + ROWS] @ answered.T
        mine = own[start : start + ROWS]
        near[np.flatnonzero(mine >= 0), mine[mine >= 0]] = -np.inf
        for label in np.unique(label_of):
            at = scores[start : start + ROWS, label]
            np.maximum(at, near[:, label_of == label].max(axis=1), out=at)
    return scores


def likeliest(scores: Floats, count: int) -> NDArray[np.intp]:
    """(n, count): the labels with the highest scores (n, k), the first of those that are alike."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]
