"""Whose answer is asked for again, and where people who differ need somebody to decide: pure functions on arrays.

An answer that the belief held improbable before it was given is either the correction that people are asked for, or a
slip. Among answers of equal care the chance of a slip falls with the probability of what was said: with a share e of slips
over k values, (1 - p) e / (k - 1) against p (1 - e). So the least probable come first.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Bools, Floats, blocks

SETTLED = 0.95  # of the leading value, given all that is known: from there on nobody is asked to decide


def probability_of(said: Floats, believed: Floats, width: int) -> float:
    """How probable what a person said (u, k), zeros and ones, was to a belief (u, k): its least probable decision.

    Rows of nan say nothing; where all are, 1.
    """
    known = ~np.isnan(said).any(axis=1)
    each = blocks(said[known] * believed[known], width).sum(axis=1)
    return float(each.min(initial=1.0))


def second_opinions(
    item_ids: Sequence[str], probability: Floats, measured: Bools, *, below: float, most: int
) -> NDArray[np.intp]:
    """Rows whose answer is asked for again, the least probable first; ties by id.

    `probability` (n,) is that of the one answer an item has, `measured` (n,) says which items are of the random share. Of
    these all answers below `below` are asked again, so that one rule holds for each of them whatever else was answered;
    of the others at most `most`.
    """
    ids = np.asarray(item_ids, dtype=object).astype(str)
    order = np.lexsort((ids, probability))
    doubted = order[np.asarray(probability)[order] < below]
    targeted = doubted[~np.asarray(measured)[doubted]][: max(most, 0)]
    chosen = np.concatenate([doubted[np.asarray(measured)[doubted]], targeted]).astype(np.intp)
    return chosen[np.lexsort((ids[chosen], np.asarray(probability)[chosen]))]


def adjudications(
    item_ids: Sequence[str], leading: Floats, measured: Bools, *, settled: float = SETTLED
) -> NDArray[np.intp]:
    """Rows, of items on which people differ, that somebody is to decide, the least settled first; ties by id.

    `leading` (n,) is the probability of the likeliest value given all that is known, nan where that is not known. An item of
    the random share is always decided: left out, it would be missing where labels are hard.
    """
    ids = np.asarray(item_ids, dtype=object).astype(str)
    open_ = np.asarray(measured) | ~(np.asarray(leading) >= settled)
    rows = np.flatnonzero(open_)
    doubt = np.nan_to_num(np.asarray(leading, dtype=np.float64)[rows], nan=-1.0)
    return rows[np.lexsort((ids[rows], doubt))]
