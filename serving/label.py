"""A file of any size labelled by a student, in bounded memory."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.tables import (
    DEFAULT_ID,
    Row,
    columns_of,
    is_whole,
    kind_of,
    missing_columns,
    name_of,
    read_rows,
    write_rows,
)
from stillhouse.errors import InputError, ModelError, TaskError

COLUMNS = ("id", "label", "probability", "abstained", "model")


class Predicts(Protocol):
    """What labelling needs of a student."""

    @property
    def label_names(self) -> tuple[str, ...]: ...

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Calibrated probabilities (n, k)."""
        ...


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """`abstained` counts rows below the threshold and rows without a text."""

    rows: int
    abstained: int
    seconds: float


def label_file(
    student: Predicts,
    source: Path,
    target: Path,
    *,
    text_column: str,
    id_column: str,
    model_id: str,
    threshold: float = 0.0,
    chunk_rows: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> LabelCounts:
    """Write id, label, probability, abstained, model for each row of `source`, in its order.

    Below the threshold a row keeps its label and abstains; a row without a text that can be read has no label and
    abstains. Ids are written as text; without a column "id", the default, they are row numbers from 0. The target
    appears when it is whole. Raises InputError or TaskError for a source or target that cannot be used, DiskFullError
    where there is no room, ModelError for a student whose probabilities are none.
    """
    _check_target(source, target)
    if not 0.0 <= threshold <= 1.0:
        raise InputError("the threshold is no probability", expected="0 to 1", found=str(threshold), fix="correct it")
    columns = columns_of(source)
    numbered = id_column == DEFAULT_ID and id_column not in columns
    wanted = [text_column] if numbered else [text_column, id_column]
    if problems := missing_columns(wanted, columns):
        raise TaskError(problems, where=str(source))
    started = time.monotonic()
    rows = abstained = 0

    def labelled() -> Iterator[Row]:
        nonlocal rows, abstained
        pending = (row for _, row in read_rows(source, columns=wanted))
        while chunk := list(itertools.islice(pending, chunk_rows)):
            verdicts = _verdicts(student, [row.get(text_column) for row in chunk], threshold)
            for at, (row, verdict) in enumerate(zip(chunk, verdicts, strict=True), start=rows):
                abstained += bool(verdict["abstained"])
                item_id = str(at) if numbered else name_of(row.get(id_column)) or None
                yield {"id": item_id, **verdict, "model": model_id}
            rows += len(chunk)
            if progress is not None:
                progress(rows)

    write_rows(target, labelled(), COLUMNS)
    return LabelCounts(rows, abstained, time.monotonic() - started)


def _check_target(source: Path, target: Path) -> None:
    kind_of(target)
    if source.resolve() == target.resolve() or (source.exists() and target.exists() and source.samefile(target)):
        raise InputError(
            f"{target} is the source itself",
            expected="another file to write",
            found="the same",
            fix="choose another name",
        )


def _verdicts(student: Predicts, texts: Sequence[object], threshold: float) -> list[Row]:
    readable = {at: text for at, text in enumerate(texts) if isinstance(text, str) and text.strip() and is_whole(text)}
    verdicts: list[Row] = [{"label": None, "probability": None, "abstained": True} for _ in texts]
    if not readable:
        return verdicts
    probs = np.asarray(student.predict(list(readable.values())))
    _check_probs(probs, len(readable), len(student.label_names))
    for at, row in zip(readable, probs, strict=True):
        sure = float(row.max())
        label = student.label_names[int(row.argmax())]
        verdicts[at] = {"label": label, "probability": round(sure, 6), "abstained": sure < threshold}
    return verdicts


def _check_probs(probs: NDArray[np.float32], texts: int, labels: int) -> None:
    if probs.shape != (texts, labels) or not np.isfinite(probs).all():
        found = "values that are not finite" if probs.shape == (texts, labels) else f"the shape {probs.shape}"
        raise ModelError(
            "the student's probabilities cannot be used",
            expected=f"{texts} rows of {labels} finite numbers",
            found=found,
            fix="train it again; if this comes back, report it",
        )
