"""A run's student taken out for another engine, calibrated on its pool and compared on what it was not taught."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinds.kind import Layout
from loop.kept import kept
from loop.labeller import kind_of_student, student_folder
from loop.progress import Display
from loop.project import Project, project_of, read_gold
from serving.student import inputs_of
from stillhouse.errors import InputError
from stillhouse.measures import paired_mean_difference
from stillhouse.records import Item, Value
from stillhouse.store import STORE_FILE, Store
from trainer.artifact import CARD, load_student, recipe_in
from trainer.export import Target, export_student
from trainer.fitted import FittedStudent
from trainer.parity import Parity, export_card, parity_of

CALIBRATION_TEXTS = 300
COMPARED_TEXTS = 1_000


@dataclass(frozen=True, slots=True)
class Compared:
    """Items on which an export is compared with its student, and the values they are held against."""

    items: tuple[Item, ...]
    values: tuple[Value, ...]
    on: str


def export_of(run: Path, out: Path, target: Target, *, quiet: bool) -> dict[str, Any]:
    """Export the last student of a run, or the student in a folder of a run's `students`, to `out`.

    It is compared on gold, or on texts of the pool against the labels that are delivered for them; int8 is calibrated on
    other texts of the pool. Raises InputError, or ModelError where it cannot be exported.
    """
    project, where = _found(run)
    if recipe_in(where) == "generate":
        raise InputError(
            "a student that writes cannot be exported",
            expected="a student that labels units",
            found='recipe "generate": what it writes is held to a grammar that only Stillhouse has',
            fix='train one with student.recipe = "auto", or use the adapter in its folder with peft',
        )
    if kind_of_student(project, where).columns != project.kind.columns:
        raise InputError(
            f"the student in {where} was taught other labels than the task has now",
            expected="a student that can be compared with labels of the task",
            found="labels that have changed since",
            fix=f"teach one first: stillhouse run {project.task_path}",
        )
    student = load_student(where)
    pool, compared = _texts(project)
    parities: list[Parity] = []

    def describe(exported: FittedStudent) -> str:
        parities.append(_compare(project, student, exported, compared))
        return export_card(student, exported, target, parities[0], (where / CARD).read_text(encoding="utf-8"))

    with Display(quiet=quiet).bar(f"export to {target}", 1) as bar:
        model_id = export_student(
            student,
            out,
            target,
            task_json=(where / "task.json").read_text(encoding="utf-8"),
            describe=describe,
            calibration=inputs_of(project.kind, pool),
        )
        bar(1, "")
    return {"model": model_id, "student": student.model_id, "to": target, "out": str(out), **parities[0].to_json()}


def said_of(found: dict[str, Any]) -> str:
    """The lines a person reads."""
    same, change = found["same"], found["change"]
    lines = [f"{found['out']}: model {found['model']}, of student {found['student']}"]
    lines.append(f"same decision: {same['value']:.2%} [{same['lo']:.2%}, {same['hi']:.2%}] on {same['on']}")
    if change:
        value, lo, hi = (100 * change[name] for name in ("value", "lo", "hi"))
        lines.append(f"its score changed by {value:+.2f} points [{lo:+.2f}, {hi:+.2f}] on {change['on']}")
    return "\n".join(lines)


def _found(folder: Path) -> tuple[Project, Path]:
    """The run and the student that `folder` means."""
    if (folder / STORE_FILE).is_file():
        project = project_of(folder)
        return project, student_folder(project)
    run = folder.resolve().parent.parent
    if not (run / STORE_FILE).is_file():
        raise InputError(
            f"{folder} is neither a run nor a student of one",
            expected="the folder of a run, or RUN/students/round-NN: its pool is needed to calibrate and compare",
            found="no store there",
            fix="give the folder of the run",
        )
    return project_of(run), folder


def _texts(project: Project) -> tuple[Sequence[Item], Compared]:
    """Some 300 items of the pool to calibrate on, and others to compare on."""
    with Store(project.folder, read_only=True) as store:
        items, rounds = store.items(), store.rounds()
    order = project.rng("export").permutation(len(items))
    pool = [items[number] for number in order[:CALIBRATION_TEXTS]]
    gold = read_gold(project, items)
    if gold is not None and gold.items:
        some = sorted(project.rng("export, gold").permutation(len(gold.items))[:COMPARED_TEXTS].tolist())
        values = tuple(gold.values[number] for number in some)
        return pool, Compared(tuple(gold.items[number] for number in some), values, f"{len(some)} gold items")
    belief = kept(project, f"belief-{rounds[-1].round:02d}") if rounds else None
    rest = order[CALIBRATION_TEXTS:][:COMPARED_TEXTS] if len(order) > 2 * CALIBRATION_TEXTS else order[:COMPARED_TEXTS]
    chosen = tuple(items[number] for number in rest)
    if belief is None:
        return pool, Compared(chosen, (), f"{len(rest)} texts of the pool")
    kind, layout = project.kind, Layout.of(project.kind, items)
    thresholds = kind.thresholds(belief)
    values = tuple(
        kind.decode(items[n], layout.spans[layout.rows(n)], belief[layout.rows(n)], thresholds) for n in rest.tolist()
    )
    return pool, Compared(chosen, values, f"{len(rest)} texts of the pool, against their delivered labels")


def _compare(project: Project, student: FittedStudent, exported: FittedStudent, compared: Compared) -> Parity:
    kind, layout = project.kind, Layout.of(project.kind, compared.items)
    inputs = inputs_of(kind, compared.items, layout)
    before, after = (one.predict(inputs).astype(np.float64) for one in (student, exported))
    change = None
    if compared.values:
        limits = None if student.thresholds is None else np.array(student.thresholds)
        scores = [
            np.array(
                [
                    kind.score(value, kind.decode(item, layout.spans[rows], probs[rows], limits))
                    for item, value, rows in zip(
                        compared.items, compared.values, map(layout.rows, range(len(compared.items))), strict=True
                    )
                ]
            )
            for probs in (before, after)
        ]
        change = paired_mean_difference(scores[0], scores[1], project.task.stop.confidence, compared.on)
    return parity_of(
        before,
        after,
        layout.item_of,
        kind.width,
        change=change,
        score_name=kind.score_name,
        on=compared.on.partition(",")[0],
        rng=project.rng("bootstrap of an export"),
    )
