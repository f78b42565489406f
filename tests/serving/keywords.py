"""A student without a model: it knows words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.label import LabelCounts, label_file

ROWS = [
    {"id": "a", "text": "the bill, again"},
    {"id": "b", "text": ""},
    {"id": "c", "text": 'a "quoted"\r\nnew line, 🦊 and नमस्ते'},
    {"id": "d", "text": "nothing known"},
]
WANTED = [("a", "bill", 0.9, False), ("b", None, None, True), ("c", "fox", 0.8, False), ("d", "bill", 0.5, True)]


@dataclass
class KeywordStudent:
    """Sure of `bill` and of a fox, undecided otherwise; remembers how many texts each call had."""

    label_names: tuple[str, ...] = ("bill", "fox")
    sizes: list[int] = field(default_factory=list)

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.sizes.append(len(texts))
        rows = [(0.9, 0.1) if "bill" in t else (0.2, 0.8) if "🦊" in t else (0.5, 0.5) for t in texts]
        return np.array(rows, dtype=np.float32)


class BrokenStudent(KeywordStudent):
    """Its probabilities are not numbers."""

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.full((len(texts), 2), np.nan, dtype=np.float32)


class LostStudent(KeywordStudent):
    """Cannot be reached."""

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise ConnectionError("the student is gone")


def label(source: Path, target: Path, student: KeywordStudent | None = None, chunk_rows: int = 2) -> LabelCounts:
    return label_file(
        student or KeywordStudent(),
        source,
        target,
        text_column="text",
        id_column="id",
        model_id="m1",
        threshold=0.6,
        chunk_rows=chunk_rows,
    )
