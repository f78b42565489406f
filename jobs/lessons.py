"""What a student is to be taught, as a folder of files: written where the loop runs, learned wherever there is a GPU."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from stillhouse.probabilities import Floats
from stillhouse.settings import Student
from trainer.inputs import Inputs
from trainer.student import FittedStudent, HeldOut, fit_student

ARRAYS, INPUTS, WORDS = "arrays.safetensors", "inputs.parquet", "lesson.json"
SPANS = pa.list_(pa.list_(pa.int64(), 2))


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The arguments of `trainer.student.fit_student`, by their names there."""

    inputs: Inputs
    targets: Floats
    weights: Floats
    columns: tuple[str, ...]
    settings: Student
    seed: int
    width: int
    held_out: HeldOut
    recipe: str

    def taught(self, **how: Any) -> FittedStudent:
        """The student. `how` are arguments that do not change it, by their names in `fit_student`: base, features,
        progress, checkpoints. Raises what that raises.
        """
        return fit_student(
            self.inputs,
            self.targets,
            self.weights,
            self.columns,
            self.settings,
            seed=self.seed,
            width=self.width,
            held_out=self.held_out,
            recipe=self.recipe,  # type: ignore[arg-type] # checked there
            **how,
        )


def write_lesson(lesson: Lesson, folder: Path) -> None:
    """The lesson as files; the texts are in them, so the folder is as confidential as the pool."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = lesson.inputs
    columns: dict[str, Any] = {"text": pa.array(inputs.texts, pa.string())}
    if inputs.pairs is not None:
        columns["pair"] = pa.array(inputs.pairs, pa.string())
    if inputs.focus is not None:
        columns["focus"] = pa.array([None if f is None else list(f) for f in inputs.focus], pa.list_(pa.int64(), 2))
    if inputs.spans is not None:
        columns["spans"] = pa.array([spans.tolist() for spans in inputs.spans], SPANS)
    pq.write_table(pa.table(columns), folder / INPUTS, compression="zstd")
    arrays = {
        "targets": lesson.targets,
        "weights": lesson.weights,
        "held_out_rows": lesson.held_out.rows,
        "held_out_targets": lesson.held_out.targets,
    }
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / ARRAYS)
    words = {
        "columns": lesson.columns,
        "settings": lesson.settings.model_dump(mode="json"),
        "seed": lesson.seed,
        "width": lesson.width,
        "recipe": lesson.recipe,
    }
    (folder / WORDS).write_text(json.dumps(words), encoding="utf-8")


def read_lesson(folder: Path) -> Lesson:
    words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
    arrays = load_file(folder / ARRAYS)
    table = pq.read_table(folder / INPUTS).to_pydict()
    return Lesson(
        inputs=Inputs(table["text"], table.get("pair"), _spans(table.get("spans")), _focus(table.get("focus"))),
        targets=arrays["targets"],
        weights=arrays["weights"],
        columns=tuple(words["columns"]),
        settings=Student.model_validate(words["settings"]),
        seed=words["seed"],
        width=words["width"],
        held_out=HeldOut(arrays["held_out_rows"], arrays["held_out_targets"]),
        recipe=words["recipe"],
    )


def _spans(column: Sequence[Any] | None) -> list[NDArray[np.int64]] | None:
    return None if column is None else [np.array(spans, dtype=np.int64).reshape(-1, 2) for spans in column]


def _focus(column: Sequence[Any] | None) -> list[tuple[int, int] | None] | None:
    return None if column is None else [None if focus is None else (focus[0], focus[1]) for focus in column]
