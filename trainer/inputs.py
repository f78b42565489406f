"""What a student reads: texts, perhaps with a second text, the units that are to be labelled, and what is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import InputError
from stillhouse.records import CharSpan

Spans = NDArray[np.int64]  # (u, 2): start and end in characters of each unit


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Texts and their units, laid end to end: text i has the unit rows starts[i] to starts[i + 1].

    `pairs` are second texts, read together with the first ("" is none). `spans` has for each text the character spans
    of its units; None makes the whole text (with its pair) its one unit. `focus` is for each text the span that the
    question is about, a predicate say. Raises InputError where their lengths differ.
    """

    texts: Sequence[str]
    pairs: Sequence[str] | None = None
    spans: Sequence[Spans] | None = None
    focus: Sequence[CharSpan | None] | None = None

    def __post_init__(self) -> None:
        for name in ("pairs", "spans", "focus"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.texts):
                raise InputError(
                    "the student's inputs do not fit each other",
                    expected=f"{len(self.texts)} {name}, one for each text",
                    found=f"{len(part)}",
                    fix=f"give {name} for all texts, or none",
                )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(n + 1,): where the units of each text begin."""
        if self.spans is None:
            return np.arange(len(self.texts) + 1, dtype=np.int64)
        counts = np.array([len(spans) for spans in self.spans], dtype=np.int64)
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])

    @property
    def units(self) -> int:
        return int(self.starts[-1])

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> "Inputs":
        """The texts at these positions only, in this order."""
        parts = (self.texts, self.pairs, self.spans, self.focus)
        taken: list[Any] = [None if part is None else [part[row] for row in rows] for part in parts]
        return Inputs(*taken)
