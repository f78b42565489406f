"""What was believed in old labels, in the columns of the new ones."""

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind
from stillhouse.label_changes import Moves
from stillhouse.probabilities import Floats, blocks


def columns_carried(before: Kind, after: Kind, moves: Moves, probs: Floats) -> NDArray[np.float64]:
    """(u, k) by the columns of `before` -> (u, k') by those of `after`; every distribution sums to one.

    Nothing prefers one of the labels that an old one may be now: they share its probability evenly. That of a removed one
    goes to whatever is left, and a label that anything may be gets what it would have if nothing were known.
    """
    old = np.asarray(probs, dtype=np.float64)
    out = np.zeros((len(old), len(after.columns)))
    for name, columns in before.classes.items():
        for part in moves.may_be[name]:
            out[:, list(after.classes[part])] += old[:, list(columns)] / len(moves.may_be[name])
    each = blocks(out, after.width)
    said = np.zeros(len(after.columns), dtype=bool)
    said[[column for columns in after.classes.values() for column in columns]] = True
    nothing = ~np.tile(said.reshape(-1, after.width), (len(old), 1))  # the column that says that no label is there
    left = np.maximum(1.0 - each.sum(axis=1, keepdims=True), 0.0)
    rest = np.where(nothing.any(axis=1, keepdims=True), nothing, True)
    each += left * rest / np.maximum(rest.sum(axis=1, keepdims=True), 1)
    each /= each.sum(axis=1, keepdims=True)
    for name in sorted(moves.anywhere):
        fresh = np.zeros(len(after.columns), dtype=bool)
        fresh[list(after.classes[name])] = True
        new = np.tile(fresh.reshape(-1, after.width), (len(old), 1))
        share = new.sum(axis=1, keepdims=True) / after.width
        each = (1.0 - share) * each + new / after.width
    return each.reshape(out.shape)
