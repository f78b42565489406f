"""A run's student at work on new texts: found, loaded, and asked as `serving` asks."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinds.kind import Kind
from loop.cascade import Steps, open_cascade
from loop.progress import Display, Step
from loop.project import Project, project_of
from loop.risk import answers_from
from serving.label import SHARD_ROWS, LabelCounts, label_file
from serving.label_shard import Labelling, NextStep
from serving.student import kind_in, labeller_of
from stillhouse.errors import InputError
from stillhouse.label_changes import LabelSet
from stillhouse.store import Store
from trainer.engines import model_id_in

LINE_EVERY_S = 30.0


def student_folder(project: Project) -> Path:
    """Where the student of a run's last round is. Raises InputError where there is none yet."""
    with Store(project.folder, read_only=True) as store:
        rounds = store.rounds()
    if not rounds:
        raise InputError(
            f"{project.folder} has no student yet",
            expected="a finished round",
            found="none",
            fix="stillhouse run it first",
        )
    return project.folder / rounds[-1].student_dir


def kind_of_student(project: Project, folder: Path, *, cascade: bool = False) -> Kind:
    """The student's own labels: those of the task may have changed since it was taught.

    Raises InputError where it hands on to teachers and people, who go by the new ones.
    """
    own = kind_in(folder)
    if own.columns == project.kind.columns:
        return project.kind
    if cascade:
        raise InputError(
            f"the student in {folder} was taught other labels than the task has now",
            expected="a student of the labels that teachers and people are asked for",
            found=f"a student of {', '.join(LabelSet.of(own.task).names)}",
            fix=f"teach one first: stillhouse run {project.task_path}; or leave --cascade out",
        )
    return own


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked of a student: when it abstains, and whether what it abstains on goes on to teachers and people.

    `teacher_threshold` is the teachers' own, None the student's; `budget_usd` is the cascade's, None the task's.
    """

    threshold: float = 0.0
    cascade: bool = False
    teacher_threshold: float | None = None
    budget_usd: float | None = None
    student: Path | None = None

    def steps(self, project: Project, *, waited_for: bool = False) -> AbstractContextManager[Steps | None]:
        if not self.cascade:
            return nullcontext()
        threshold = self.threshold if self.teacher_threshold is None else self.teacher_threshold
        return open_cascade(project, threshold=threshold, budget_usd=self.budget_usd, waited_for=waited_for)


def threshold_of(
    folder: Path, student: Path | None, threshold: float | None, max_error: float | None
) -> tuple[float, str]:
    """From which probability a run's student (or that in `student`) answers, and what that promises. Raises InputError."""
    project = project_of(folder)
    return answers_from(project, student or student_folder(project), threshold, max_error)


def label_with(
    folder: Path,
    source: Path,
    target: Path,
    asking: Asking,
    *,
    text: str = "",
    id_column: str = "",
    quiet: bool = False,
    shard_rows: int = SHARD_ROWS,
) -> dict[str, Any]:
    """Label a file, or a folder of Parquet, with the last student of a run (or that in the folder `asking.student`)."""
    project = project_of(folder)
    task, where = project.task, asking.student or student_folder(project)
    data = task.data.model_copy(update={"text": text or task.data.text, "id": id_column or task.data.id})
    display = Display(quiet=quiet)
    kind = kind_of_student(project, where, cascade=asking.cascade)
    with asking.steps(project) as steps, asyncio.Runner() as runner:
        how = Labelling(
            student=labeller_of(where, kind),
            kind=kind,
            data=data,
            home=project.home,
            model_id=model_id_in(where),
            threshold=asking.threshold,
            next_step=_in(runner, steps) if steps else None,
            next_id=steps.key if steps else "",
            metadata=task.privacy.name_columns if steps and task.privacy else (),
        )
        with display.bar("labelling", None) as bar:
            counts = label_file(how, source, target, shard_rows=shard_rows, progress=paced(display, bar))
        spent = {"spent_usd": round(steps.spent_usd, 6)} if steps else {}
    return {**found(counts, how.model_id), **spent}


def _in(runner: asyncio.Runner, steps: Steps) -> NextStep:
    return lambda items, firsts: runner.run(steps.cascade.settle(items, firsts))


def paced(display: Display, bar: Step) -> Callable[[int, int], None]:
    """Rows done and rows in all as a bar; where there is no terminal, a line with rate and time left now and then."""
    started = said_at = time.monotonic()
    first: int | None = None

    def tell(rows: int, total: int) -> None:
        nonlocal said_at, first
        first = rows if first is None else first  # what an earlier command did says nothing of the rate
        now = time.monotonic()
        rate = (rows - first) / max(now - started, 1e-9)
        bar(rows, "", total)
        if display.console.is_terminal or now - said_at < LINE_EVERY_S or not rate:
            return
        said_at = now
        left = dt.timedelta(seconds=round((total - rows) / rate))
        display.line(f"  labelling: {rows:,} of {total:,} rows, {rate:,.0f}/s, {left} left")

    return tell


def found(counts: LabelCounts, model_id: str) -> dict[str, Any]:
    """The outcome as a program reads it."""
    return {
        "rows": counts.rows,
        "abstained": counts.abstained,
        "unreadable": counts.unreadable,
        "problem": counts.problem,
        "seconds": counts.seconds,
        "rows_per_s": round(counts.rows_per_s, 1),
        "resumed": counts.resumed,
        "sources": counts.sources,
        "model": model_id,
    }
