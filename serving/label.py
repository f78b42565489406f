"""A file of any size labelled by a student, in bounded memory."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.tables import DEFAULT_ID, columns_of, kind_of, read_rows, write_rows
from stillhouse.errors import InputError, TaskError

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
    """Write id, label, probability, abstained, model for each row of `source`; without an id column ids are row numbers.

    A row without a text abstains and is counted. Raises InputError or TaskError for a source that cannot be read.
    """
    if source.resolve() == target.resolve():
        raise InputError(
            f"{target} is the source itself",
            expected="another file to write",
            found="the same",
            fix="choose another name",
        )
    kind_of(target)
    columns = columns_of(source)
    numbered = id_column == DEFAULT_ID and id_column not in columns
    missing = [name for name in (text_column, *(() if numbered else (id_column,))) if name not in columns]
    if missing:
        raise TaskError([f"no column {name!r}; found: {', '.join(columns)}" for name in missing], where=str(source))
    started = time.monotonic()
    counts = {"rows": 0, "abstained": 0}

    def labelled() -> Iterator[dict[str, Any]]:
        rows = (row for _, row in read_rows(source))
        while chunk := list(itertools.islice(rows, chunk_rows)):
            for offset, out in enumerate(_chunk(student, chunk, text_column, threshold)):
                out["id"] = counts["rows"] + offset if numbered else chunk[offset][id_column]
                out["model"] = model_id
                counts["abstained"] += out["abstained"]
                yield out
            counts["rows"] += len(chunk)
            if progress is not None:
                progress(counts["rows"])

    write_rows(target, labelled(), COLUMNS)
    return LabelCounts(counts["rows"], counts["abstained"], time.monotonic() - started)


def _chunk(
    student: Predicts, rows: Sequence[dict[str, Any]], text_column: str, threshold: float
) -> list[dict[str, Any]]:
    texts = [row.get(text_column) for row in rows]
    there = [at for at, text in enumerate(texts) if isinstance(text, str) and text.strip()]
    out: list[dict[str, Any]] = [{"label": None, "probability": None, "abstained": True} for _ in rows]
    if there:
        probs = student.predict([str(texts[at]) for at in there])
        for at, row in zip(there, probs, strict=True):
            sure = float(row.max())
            label = student.label_names[int(row.argmax())]
            out[at] = {"label": label, "probability": round(sure, 6), "abstained": bool(sure < threshold)}
    return out
