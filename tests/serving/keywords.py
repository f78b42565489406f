"""Students without a model: they know words. And the tasks they are for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kinds.kind import Kind
from kinds.registry import kind_of
from serving.label import SHARD_ROWS, LabelCounts, label_file
from serving.label_shard import Labelling
from stillhouse.probabilities import Floats
from stillhouse.records import Item
from stillhouse.task import Task

ROWS = [
    {"id": "a", "text": "the bill, again"},
    {"id": "b", "text": ""},
    {"id": "c", "text": 'a "quoted"\r\nnew line, 🦊 and नमस्ते'},
    {"id": "d", "text": "nothing known"},
]
WANTED = [("a", "bill", 0.9, False), ("b", None, None, True), ("c", "fox", 0.8, False), ("d", "bill", 0.5, True)]


def task_of(*labels: str, data: dict[str, Any] | None = None, **more: Any) -> Task:
    """A task whose pool is never read."""
    raw = {
        "name": "t",
        "labels": [{"name": name} for name in labels],
        "data": {"pool": "pool.jsonl", **(data or {})},
        "teachers": [{"name": "t", "model": "m"}],
    }
    return Task.model_validate(raw | more)


def kind_for(*labels: str, data: dict[str, Any] | None = None, **more: Any) -> Kind:
    return kind_of(task_of(*labels, data=data, **more))


class Reads:
    """Reads items as they are."""

    def prepare(self, items: Sequence[Item]) -> list[Item]:
        return list(items)


@dataclass
class KeywordStudent(Reads):
    """Sure of `bill` and of a fox, undecided otherwise; remembers how many texts each call had."""

    sizes: list[int] = field(default_factory=list)
    thresholds: Floats | None = None

    def predict(self, items: Sequence[Item]) -> Floats:
        self.sizes.append(len(items))
        texts = [item.text for item in items]
        rows = [(0.9, 0.1) if "bill" in t else (0.2, 0.8) if "🦊" in t else (0.5, 0.5) for t in texts]
        return np.array(rows, dtype=np.float32)


class BrokenStudent(KeywordStudent):
    """Its probabilities are not numbers."""

    def predict(self, items: Sequence[Item]) -> Floats:
        return np.full((len(items), 2), np.nan, dtype=np.float32)


class LostStudent(KeywordStudent):
    """Cannot be reached."""

    def predict(self, items: Sequence[Item]) -> Floats:
        raise ConnectionError("the student is gone")


@dataclass
class WordStudent(Reads):
    """Sees one word at a time: gives each unit the column named in `says`, with .8; the first column otherwise."""

    kind: Kind
    says: dict[str, str]
    thresholds: Floats | None = None
    units: list[int] = field(default_factory=list)

    def predict(self, items: Sequence[Item]) -> Floats:
        words = [item.text[a:b] for item in items for a, b in self.kind.units(item)]
        self.units.append(len(words))
        columns = self.kind.columns
        probs = np.full((len(words), len(columns)), 0.2 / (len(columns) - 1), dtype=np.float32)
        for row, word in enumerate(words):
            probs[row, columns.index(self.says.get(word, columns[0]))] = 0.8
        return probs


def label(
    source: Path,
    target: Path,
    student: KeywordStudent | None = None,
    chunk_rows: int = 2,
    shard_rows: int = SHARD_ROWS,
    **more: Any,
) -> LabelCounts:
    how = labelling(source.parent, student, chunk_rows=chunk_rows)
    return label_file(how, source, target, shard_rows=shard_rows, **more)


def labelling(home: Path, student: KeywordStudent | None = None, **more: Any) -> Labelling:
    """Abstains below .6."""
    kind = kind_for("bill", "fox")
    asked = {"student": student or KeywordStudent(), "kind": kind, "data": kind.task.data, "home": home}
    return Labelling(**{**asked, "model_id": "m1", "threshold": 0.6, **more})
