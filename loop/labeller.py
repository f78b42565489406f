"""A run's student at work on new texts: found, loaded, and asked as `serving` asks."""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loop.progress import Display, Step
from loop.project import Project, project_of
from serving.label import SHARD_ROWS, LabelCounts, label_file
from serving.label_shard import Labelling
from serving.student import labeller_of
from stillhouse.errors import InputError
from stillhouse.store import Store
from trainer.artifact import model_id_of

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


def label_with(
    folder: Path,
    source: Path,
    target: Path,
    *,
    text: str,
    id_column: str,
    threshold: float,
    quiet: bool,
    student: Path | None = None,
    shard_rows: int = SHARD_ROWS,
) -> dict[str, Any]:
    """Label a file, or a folder of Parquet, with the last student of a run, or with the one in the folder `student`."""
    project = project_of(folder)
    where = student or student_folder(project)
    data = project.task.data.model_copy(
        update={"text": text or project.task.data.text, "id": id_column or project.task.data.id}
    )
    how = Labelling(
        student=labeller_of(where, project.kind),
        kind=project.kind,
        data=data,
        home=project.home,
        model_id=model_id_of(where),
        threshold=threshold,
    )
    display = Display(quiet=quiet)
    with display.bar("labelling", None) as bar:
        counts = label_file(how, source, target, shard_rows=shard_rows, progress=paced(display, bar))
    return found(counts, how.model_id)


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
