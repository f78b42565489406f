"""What several sources said of the same decisions, as sparse arrays, and what is said by one group of them of one decision."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Bools, Floats, Ints

BLIND = -1  # in place of a suggestion
UNKNOWN = -1  # in place of a label
OPINION_FLOOR = 1e-4
IMPOSSIBLE = -60.0  # as a log-probability


@dataclass(frozen=True, slots=True, eq=False)
class Judgements:
    """(m,) each: `rows` is the decision, `sources` who judged it (a place in `names`), `labels` what they said,
    `suggested` what they saw before, BLIND if nothing. `groups` (len(names),) are equal for sources that err together, the
    prompts of one model.
    """

    names: tuple[str, ...]
    rows: Ints
    sources: Ints
    labels: Ints
    suggested: Ints
    groups: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(m,): which were given with a suggestion."""
        return np.asarray(self.suggested != BLIND)

    def only(self, kept: Bools) -> "Judgements":
        """Those that `kept` (m,) says."""
        rows, sources, labels, suggested = (
            array[kept] for array in (self.rows, self.sources, self.labels, self.suggested)
        )
        return replace(self, rows=rows, sources=sources, labels=labels, suggested=suggested)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Judgements beside the opinion on their decisions, with what does not change while confusions are sought.

    `logs` (n, w) are the opinion's, `suggestion` (n, w) what was shown, as a distribution or zeros, `ruled_out` (n, w) 0, or
    IMPOSSIBLE where the decision is known to be another. A *cell* is what one
    group said of one decision: `cell` (m,) is that of each judgement, `cell_row` (c,) its decision, `cell_temper` (c,) whose
    exponent it takes: 0 for sources that stand alone, one more for each group of several. `share` (m,) is 1 / the number
    of judgements in the cell: a group speaks with one voice.
    """

    judgements: Judgements
    logs: NDArray[np.float64]
    suggestion: NDArray[np.float64]
    ruled_out: NDArray[np.float64]
    cell: NDArray[np.intp]
    cell_row: NDArray[np.intp]
    cell_temper: NDArray[np.intp]
    share: NDArray[np.float64]
    tempers: int

    @staticmethod
    def of(opinion: Floats, judgements: Judgements, known: Ints | None = None) -> "Table":
        """`known` (n,) are decisions that need no judgement, UNKNOWN elsewhere."""
        n, w = opinion.shape
        thought = np.where(np.isfinite(opinion), np.asarray(opinion, dtype=np.float64), 1.0 / w)
        ruled_out = np.zeros((n, w))
        if known is not None:
            ruled_out[(known != UNKNOWN)[:, None] & (np.arange(w) != known[:, None])] = IMPOSSIBLE
        _, group = np.unique(judgements.groups, return_inverse=True)
        members = np.bincount(group, minlength=1)
        several = members > 1
        temper_of = np.where(several, np.cumsum(several), 0)
        key = judgements.rows.astype(np.int64) * len(members) + group[judgements.sources]
        keys, cell = np.unique(key, return_inverse=True)
        suggestion = np.zeros((n, w))
        shown = judgements.shown
        np.add.at(suggestion, (judgements.rows[shown], judgements.suggested[shown]), 1.0)
        suggestion /= np.maximum(suggestion.sum(axis=1, keepdims=True), 1.0)
        return Table(
            judgements,
            np.log(thought + OPINION_FLOOR),
            suggestion,
            ruled_out,
            cell,
            keys // len(members),
            temper_of[keys % len(members)],
            1.0 / np.bincount(cell)[cell] if len(cell) else np.zeros(0),
            1 + int(several.sum()),
        )

    @property
    def width(self) -> int:
        return int(self.logs.shape[1])

    def voices(self, logs: Floats) -> NDArray[np.float64]:
        """(m, w) of judgements -> (c, w): the mean of each cell."""
        return summed(self.cell, logs * self.share[:, None], len(self.cell_row))


def summed(at: Ints, values: Floats, n: int) -> NDArray[np.float64]:
    """(m, k) -> (n, k): the rows of `values` added up where `at` (m,) puts them."""
    k = values.shape[1]
    places = (np.asarray(at)[:, None] * k + np.arange(k)).ravel()
    return np.bincount(places, np.asarray(values).ravel(), n * k).astype(np.float64).reshape(n, k)
