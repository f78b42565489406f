"""A student as labelling asks it: items in, probabilities of their units out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinds.kind import Kind, Layout
from kinds.registry import kind_of
from stillhouse.errors import ModelError
from stillhouse.probabilities import Floats
from stillhouse.records import Item
from stillhouse.task import Task
from trainer.artifact import load_generative, load_student, recipe_in
from trainer.base import Base
from trainer.engines import is_export, predictor
from trainer.generative import UnitStudent
from trainer.inputs import Inputs
from trainer.student import FittedStudent

Trained = FittedStudent | UnitStudent


@dataclass(frozen=True, slots=True)
class Labeller:
    """A student and its kind: items are tokenised in one step, and read by the model in another."""

    student: Trained
    kind: Kind

    @property
    def thresholds(self) -> Floats | None:
        return None if self.student.thresholds is None else np.array(self.student.thresholds)

    def prepare(self, items: Sequence[Item]) -> Any:
        if isinstance(self.student, UnitStudent):
            return list(items)
        return self.student.tokens(inputs_of(self.kind, items))

    def predict(self, prepared: Any) -> Floats:
        if isinstance(self.student, UnitStudent):
            return self.student.predict_items(prepared)
        return self.student.predict_tokens(prepared)


def inputs_of(kind: Kind, items: Sequence[Item], layout: Layout | None = None) -> Inputs:
    """The items as a student reads them."""
    spans = None
    if not kind.per_text:
        layout = layout or Layout.of(kind, items)
        spans = [layout.spans[layout.rows(number)] for number in range(len(items))]
    return Inputs(
        [item.text for item in items],
        pairs=[item.pair for item in items] if any(item.pair for item in items) else None,
        spans=spans,
        focus=[item.focus for item in items] if any(item.focus for item in items) else None,
    )


def loaded(folder: Path, kind: Kind, base: Base | None = None) -> Trained:
    """The student in a folder, whatever it is. Raises ModelError."""
    if recipe_in(folder) == "generate":
        return UnitStudent(load_generative(folder), kind)
    return load_student(folder, base=base)


def labeller_of(folder: Path, kind: Kind, base: Base | None = None) -> Labeller:
    """The student or export in a folder, whatever it is. `base` stands for the one a student names. Raises ModelError."""
    if is_export(folder):
        return Labeller(predictor(folder), kind)
    return Labeller(loaded(folder, kind, base), kind)


def task_in(folder: Path) -> Task:
    """The task a student was taught for, kept beside it. Raises ModelError."""
    try:
        return Task.model_validate(json.loads((folder / "task.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is no whole student",
            expected="a task.json beside the student",
            found=str(error).splitlines()[0],
            fix="name the folder of a student, as students/round-00 of a run",
        ) from error


def kind_in(folder: Path) -> Kind:
    return kind_of(task_in(folder))
