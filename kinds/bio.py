"""Spans as tags of units and back: begin, inside, outside (Ramshaw & Marcus 1995), decoded so that they are consistent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Doubt, Spans
from stillhouse.probabilities import Floats, Ints, blocks, jensen_shannon

SURE_OUTSIDE = 0.95  # a unit that is outside with this probability or more starts no doubtful region
LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Part:
    """A labelled stretch of units, `first` to `last` (inclusive), and how likely it is (0 to 1)."""

    first: int
    last: int
    label: int
    p: float


@dataclass(frozen=True)
class Bio:
    """Columns are O, then B and I of each label in one block; or, where labels may overlap, a block (O, B, I) a label.

    One block cannot hold overlapping spans; blocks for each label can, as long as the spans of one label do not overlap.
    """

    labels: tuple[str, ...]
    layered: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        if self.layered:
            return tuple(f"{side}-{label}" for label in self.labels for side in "OBI")
        return ("O", *(f"{side}-{label}" for label in self.labels for side in "BI"))

    @property
    def width(self) -> int:
        return 3 if self.layered else len(self.columns)

    @property
    def classes(self) -> dict[str, tuple[int, ...]]:
        """The columns, B and I, of each label."""
        begins = [self._columns_of(label)[1] for label in range(len(self.labels))]
        return {name: (begin, begin + 1) for name, begin in zip(self.labels, begins, strict=True)}

    def encode(self, units: int, parts: Sequence[Part]) -> NDArray[np.float64]:
        """(units, k): ones at the tags of `parts`, weighted by their p beside O; of two that collide the first stays."""
        out = self.outside(units)
        taken = np.zeros((units, len(self.labels) if self.layered else 1), dtype=bool)
        for part in parts:
            layer = part.label if self.layered else 0
            rows = slice(part.first, part.last + 1)
            if taken[rows, layer].any():
                continue
            taken[rows, layer] = True
            outside, begin = self._columns_of(part.label)
            out[rows, outside] = 1.0 - part.p
            out[part.first, begin] = part.p
            out[part.first + 1 : part.last + 1, begin + 1] = part.p
        return out

    def outside(self, units: int) -> NDArray[np.float64]:
        """(units, k): nothing but O."""
        out = np.zeros((units, len(self.columns)))
        out[:, :: self.width] = 1.0
        return out

    def decode(self, probs: Floats) -> list[Part]:
        """The likeliest consistent tags of (u, k), as parts by their first unit. A part's p is the geometric mean of
        its units' (its likelihood, normalised by length).
        """
        parts: list[Part] = []
        for layer, rows in enumerate(self._layers(probs)):
            path = likeliest(rows)
            parts += [
                Part(
                    first,
                    last,
                    layer if self.layered else label,
                    _mean(rows[np.arange(first, last + 1), path[first : last + 1]]),
                )
                for first, last, label in stretches(path)
            ]
        return sorted(parts, key=lambda part: (part.first, part.last, part.label))

    def regions(self, probs: Floats) -> list[tuple[Part, bool]]:
        """Where something is, and where something may be: each with how sure the decoded tags are of it (as p), and
        whether it is a decoded span. Neighbouring units that may be inside something are one region.
        """
        found: list[tuple[Part, bool]] = [(part, True) for part in self.decode(probs)]
        for layer, rows in enumerate(self._layers(probs)):
            path = likeliest(rows)
            open_units = (path == 0) & (rows[:, 0] < SURE_OUTSIDE)
            for first, last in _runs(open_units):
                inside = rows[first : last + 1, 1:].sum(axis=0)
                label = layer if self.layered else int(inside.argmax()) // 2
                found.append((Part(first, last, label, float(rows[first : last + 1, 0].min())), False))
        return found

    def expected_f1(self, probs: Floats) -> float:
        """What F1 an item would have if `probs` (u, k) were right: a ratio of expectations."""
        said = [part.p for part in self.decode(probs)]
        begins = probs[:, 1::2] if not self.layered else probs[:, 1::3]
        if not said:
            return float(np.prod([part.p for part, _ in self.regions(probs)]))
        return float(min(1.0, 2 * sum(said) / (len(said) + max(float(begins.sum()), sum(said)))))

    def doubt(self, probs: Floats, spans: Spans, text: str) -> Doubt:
        """The chance that some region is wrong, each region counted once however long it is."""
        regions = self.regions(probs)
        if not regions:
            return Doubt(1.0 - float(np.prod(probs[:, :: self.width])) if len(probs) else 0.0)
        score = 1.0 - float(np.prod([max(part.p, LEAST) for part, _ in regions]))
        part, decoded = min(regions, key=lambda pair: (pair[0].p, pair[0].first))
        start, end = int(spans[part.first, 0]), int(spans[part.last, 1])
        words = f"{'' if decoded else 'nothing, or '}{self.labels[part.label]} {text[start:end]!r}"
        return Doubt(score, (start, end), words)

    def disagreement(self, p: Floats, q: Floats) -> float:
        """The largest Jensen-Shannon divergence of any unit's tags, 0 to 1."""
        if not len(p):
            return 0.0
        return float(jensen_shannon(blocks(p, self.width), blocks(q, self.width)).max() / np.log(2))

    def _layers(self, probs: Floats) -> list[NDArray[np.float64]]:
        array = np.asarray(probs, dtype=np.float64)
        return [array[:, start : start + self.width] for start in range(0, array.shape[1], self.width)]

    def _columns_of(self, label: int) -> tuple[int, int]:
        return (3 * label, 3 * label + 1) if self.layered else (0, 1 + 2 * label)


def likeliest(probs: Floats) -> Ints:
    """The likeliest tags (u,) of one block (u, 1 + 2l) in which I follows only B or I of its label (Viterbi 1967)."""
    best: Ints = np.asarray(probs.argmax(axis=1), dtype=np.int64)
    inside = (best > 0) & (best % 2 == 0)
    before = np.concatenate([[0], best[:-1]]) if len(best) else best
    if not (inside & (before != best) & (before != best - 1)).any():
        return best  # what is best unit by unit is consistent already
    logs = np.log(np.maximum(probs, LEAST))
    score = logs[0].copy()
    score[2::2] = -np.inf
    came_from = np.zeros(probs.shape, dtype=np.int64)
    for unit in range(1, len(probs)):
        first = int(score.argmax())
        came_from[unit] = first
        arriving = np.full(len(score), score[first])
        begins, insides = score[1::2], score[2::2]
        stays = insides >= begins
        arriving[2::2] = np.where(stays, insides, begins)
        came_from[unit, 2::2] = np.arange(1, len(score), 2) + stays
        score = arriving + logs[unit]
    path = np.empty(len(probs), dtype=np.int64)
    path[-1] = int(score.argmax())
    for unit in range(len(probs) - 1, 0, -1):
        path[unit - 1] = came_from[unit, path[unit]]
    return path


def stretches(path: Ints) -> list[tuple[int, int, int]]:
    """(first, last, label) of each span in consistent tags."""
    found: list[tuple[int, int, int]] = []
    for unit in np.flatnonzero(path):
        tag = int(path[unit])
        if tag % 2 == 1:
            found.append((int(unit), int(unit), tag // 2))
        else:
            first, _, label = found[-1]
            found[-1] = first, int(unit), label
    return found


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last position of each run of true."""
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return [(int(a), int(b) - 1) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]


def _mean(probs: Floats) -> float:
    return float(np.exp(np.log(np.maximum(probs, LEAST)).mean()))
