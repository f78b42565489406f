"""What a student's encoder runs on when it labels: torch, or what it was exported to."""

import json
from pathlib import Path
from typing import Literal, cast, get_args

from stillhouse.errors import ModelError
from trainer.artifact import load_student
from trainer.base import Base
from trainer.student import FittedStudent

Engine = Literal["torch", "openvino", "openvino-int8", "onnx"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
EXPORT = "export.json"  # written last into an export: what it is, and the sha256 of its other files


def predictor(folder: Path, engine: Engine | None = None, *, base: Base | None = None) -> FittedStudent:
    """The student in `folder`, ready to label: `.predict(inputs)` gives probabilities (U, k), as trained or as exported.

    `folder` is a student (`trainer.artifact.save_student`), which runs on torch, or an export (`stillhouse export`), which
    holds all it needs and runs on what it was exported to; `engine` None takes what is there. An export has a model id of
    its own, because its predictions are not the same to the last bit. `base` saves loading a student's base again.

    Raises ModelError where the folder is incomplete or was changed, where it is not of this engine, or where the library
    of the engine is not installed.
    """
    found = engine_in(folder)
    if engine is not None and engine != found:
        raise ModelError(
            f"{folder} does not run on {engine}",
            expected=f"an export to {engine}",
            found=f"one that runs on {found}",
            fix=f"stillhouse export student RUN OUT --to {engine}",
        )
    if not is_export(folder):
        return load_student(folder, base=base)
    raise NotImplementedError


def is_export(folder: Path) -> bool:
    """Whether an export is in `folder`, whole or not."""
    return (folder / EXPORT).is_file()


def engine_in(folder: Path) -> Engine:
    """What the student or export in `folder` runs on. Raises ModelError for an export that cannot be read."""
    if not is_export(folder):
        return "torch"
    try:
        found = json.loads((folder / EXPORT).read_text(encoding="utf-8"))["engine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = type(error).__name__
    if found not in ENGINES:
        raise ModelError(
            f"the export in {folder} cannot be read",
            expected=f"an engine in {EXPORT}: {', '.join(ENGINES)}",
            found=str(found),
            fix="export the student again",
        )
    return cast("Engine", found)
