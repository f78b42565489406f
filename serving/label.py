"""A file of any size labelled by a student, in bounded memory."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from kinds.kind import Kind, Spans
from serving.items import ItemTable, open_items
from serving.tables import Row, format_of, name_of, write_rows
from stillhouse.errors import InputError, ModelError
from stillhouse.probabilities import Floats
from stillhouse.records import Item
from stillhouse.settings import Data

COLUMNS = ("id", "label", "probability", "abstained", "model")
MOST_CELLS = 2**22  # of a chunk's probabilities: long texts, each token with many columns, make chunks of fewer rows


class Predicts(Protocol):
    """What labelling needs of a student."""

    @property
    def thresholds(self) -> Floats | None:
        """Where a label begins to apply (columns / width,), for kinds that have such; None means 0.5."""
        ...

    def predict_items(self, items: Sequence[Item]) -> Floats:
        """Calibrated probabilities (units of all items end to end, columns of the kind)."""
        ...


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """`abstained` counts rows below the threshold and rows that cannot be read; `unreadable` the latter alone.

    `problem` is what was wrong with the first of these.
    """

    rows: int
    abstained: int
    seconds: float
    unreadable: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row that waits for its label. Without an item it cannot be read, and `problem` says why."""

    id: str | None
    item: Item | None
    units: Spans
    problem: str


def label_file(
    student: Predicts,
    source: Path,
    target: Path,
    *,
    kind: Kind,
    data: Data,
    home: Path,
    model_id: str,
    threshold: float = 0.0,
    chunk_rows: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> LabelCounts:
    """Write id, label, probability, abstained, model for each row of `source`, in its order.

    `data` names the columns (the task's, unless the file has others), `home` is the folder of task.toml. A label that
    is a list or an object is JSON, in CSV and Parquet as text; its probability is the expected score of the item, for a
    single label the chance that it is right. Below the threshold a row keeps its label and abstains; a row that cannot
    be read (no text, tokens that are not in it) has no label and abstains. Ids are written as text; without a column
    "id", the default, they are row numbers from 0. The target appears when it is whole. Raises InputError or TaskError
    for a source or target that cannot be used, DiskFullError where there is no room, ModelError for a student whose
    probabilities are none.
    """
    _check_target(source, target)
    if not 0.0 <= threshold <= 1.0:
        raise InputError("the threshold is no probability", expected="0 to 1", found=str(threshold), fix="correct it")
    # What is read here is neither shown to people nor sent to a teacher: no metadata, no limit on the length.
    table = open_items(source, data.model_copy(update={"metadata": (), "max_chars": sys.maxsize}), home=home)
    started = time.monotonic()
    rows = abstained = unreadable = 0
    first_problem = ""

    def labelled() -> Iterator[Row]:
        nonlocal rows, abstained, unreadable, first_problem
        for chunk in _chunks(_waiting(table, kind), chunk_rows, len(kind.columns)):
            for waiting, verdict in zip(chunk, _verdicts(student, kind, chunk, threshold), strict=True):
                abstained += bool(verdict["abstained"])
                unreadable += waiting.item is None
                first_problem = first_problem or waiting.problem
                yield {"id": waiting.id, **verdict, "model": model_id}
            rows += len(chunk)
            if progress is not None:
                progress(rows)

    write_rows(target, labelled(), COLUMNS)
    return LabelCounts(rows, abstained, time.monotonic() - started, unreadable, first_problem)


def _check_target(source: Path, target: Path) -> None:
    format_of(target)
    if source.resolve() == target.resolve() or (source.exists() and target.exists() and source.samefile(target)):
        raise InputError(
            f"{target} is the source itself",
            expected="another file to write",
            found="the same",
            fix="choose another name",
        )


def _waiting(table: ItemTable, kind: Kind) -> Iterator[_Waiting]:
    nothing = np.zeros((0, 2), dtype=np.int64)
    for number, (place, row, failed) in enumerate(table.rows()):
        item_id = str(number) if table.made_ids else name_of(row.get(table.data.id)) or None
        item, problems = (None, [failed]) if failed else table.item(row)
        if item is None:
            yield _Waiting(item_id, None, nothing, f"{place}: {problems[0]}")
        else:
            yield _Waiting(item_id, item, kind.units(item), "")


def _chunks(rows: Iterator[_Waiting], most_rows: int, columns: int) -> Iterator[list[_Waiting]]:
    chunk: list[_Waiting] = []
    cells = 0
    for row in rows:
        more = len(row.units) * columns
        if chunk and (len(chunk) == most_rows or cells + more > MOST_CELLS):
            yield chunk
            chunk, cells = [], 0
        chunk.append(row)
        cells += more
    if chunk:
        yield chunk


def _verdicts(student: Predicts, kind: Kind, chunk: Sequence[_Waiting], threshold: float) -> Iterator[Row]:
    items = [row.item for row in chunk if row.item is not None]
    units = sum(len(row.units) for row in chunk)
    probs = np.asarray(student.predict_items(items)) if items else np.zeros((0, len(kind.columns)))
    _check_probs(probs, (units, len(kind.columns)))
    at = 0
    for row in chunk:
        if row.item is None:
            yield {"label": None, "probability": None, "abstained": True}
            continue
        own = probs[at : at + len(row.units)]
        at += len(row.units)
        sure = kind.expected_score(row.units, own)
        label = kind.decode(row.item, row.units, own, student.thresholds)
        yield {"label": label, "probability": round(sure, 6), "abstained": sure < threshold}


def _check_probs(probs: Floats, wanted: tuple[int, int]) -> None:
    if probs.shape != wanted or not np.isfinite(probs).all():
        found = "values that are not finite" if probs.shape == wanted else f"the shape {probs.shape}"
        raise ModelError(
            "the student's probabilities cannot be used",
            expected=f"{wanted[0]} rows of {wanted[1]} finite numbers",
            found=found,
            fix="train it again; if this comes back, report it",
        )
