"""Commands on other machines: which engine, what it will cost, and the same outcome as here."""

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.costs import estimate, spent_usd
from jobs.engine import Engine
from jobs.labels import LabelJob, label_on
from jobs.local import LocalProcesses
from loop.labeller import Asking, found, paced, student_folder
from loop.progress import Display
from loop.project import project_of
from serving.formats import FORMATS
from serving.label import SHARD_ROWS, labelled_rows
from serving.label_shard import COLUMNS, OF_CASCADES
from serving.receipts import read_plan, status
from serving.roots import root_of
from serving.shards import sample_of
from serving.tables import write_rows
from stillhouse.errors import InputError
from trainer.engines import model_id_in, parameters_in

SAMPLE_ROWS = 200  # texts looked at for an estimate
CHARS_A_TOKEN = 4.0
GPU = "L4"  # what Modal is asked for first


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says of an engine."""

    on: Literal["local", "ray", "modal"]
    workers: int = 2
    address: str = ""
    gpu: str = ""
    deployed: bool = False

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Started when it is first needed, stopped at the end."""
        if self.on == "local":
            yield LocalProcesses(self.workers)
        elif self.on == "ray":
            from jobs.ray_tasks import RayTasks

            yield RayTasks(self.address, gpus=1.0 if self.gpu else 0.0)
        else:
            if self.gpu:
                os.environ["STILLHOUSE_GPU"] = self.gpu  # read where the app is declared
            from jobs.on_modal import ModalApp

            with ModalApp(deployed=self.deployed) as app:
                yield app


def label_elsewhere(
    folder: Path,
    source: Path,
    target: Path,
    asking: Asking,
    where: Where,
    *,
    text: str = "",
    id_column: str = "",
    quiet: bool = False,
    shard_rows: int = SHARD_ROWS,
) -> dict[str, Any]:
    """As `loop.labeller.label_with`, on an engine. For a file the shards are kept beside it until it is whole.

    Raises InputError for a cascade: its ledger has one writer, which is where the run is.
    """
    if asking.cascade:
        raise InputError(
            "a cascade works where the run is",
            expected="--cascade without --on",
            found=f"--on {where.on}",
            fix="label on the engine, then label what was abstained on with --cascade here",
        )
    project = project_of(folder)
    task, student = project.task, asking.student or student_folder(project)
    data = task.data.model_copy(update={"text": text or task.data.text, "id": id_column or task.data.id})
    into_folder = source.is_dir() and not any(suffix.lower() in FORMATS for suffix in target.suffixes)
    shards = target if into_folder else target.with_name(f".{target.name}.shards")
    job = LabelJob(student, source, data, project.home, asking.threshold, shard_rows)
    display = Display(quiet=quiet)
    if where.on == "modal":
        display.line(f"  about {_estimated(where.gpu or GPU, student, source, data.text)}")
    with where.engine() as engine, display.bar(f"labelling on {engine.name}", None) as bar:
        done = label_on(engine, job, shards, progress=paced(display, bar))
    if not into_folder:
        columns = [name for name in COLUMNS if name not in OF_CASCADES]
        write_rows(target, labelled_rows(done.root, done.receipts, as_json=task.kind != "single_label"), columns)
        done.root.remove_all()
    counts = {**found(done.counts, model_id_in(student)), "worker_seconds": round(done.worker_seconds, 1)}
    if where.on == "modal":
        counts["machines_usd"] = round(spent_usd(where.gpu or GPU, done.worker_seconds), 4)
    return counts


def _estimated(gpu: str, student: Path, source: Path, text: str) -> str:
    """From a sample of the texts and the size of the student; what is not known is not guessed."""
    rows, chars = sample_of(source, text, SAMPLE_ROWS)
    parameters = parameters_in(student)
    if parameters is None or not rows:
        return f"{rows:,} rows; the size of the student is not known here, so neither is the cost"
    said = estimate(gpu, tokens=rows * chars / CHARS_A_TOKEN, parameters=parameters)
    return f"{rows:,} rows of {chars:,.0f} characters: {said.text()}, containers that start or idle not counted"


def job_status(root: str) -> dict[str, Any]:
    """How far a job is, read off the receipts in its folder or at its URL. Raises InputError where there is none."""
    place = root_of(root)
    plan = read_plan(place)
    if plan is None:
        raise InputError(
            f"no job in {root}",
            expected="the folder or URL that labels are written to",
            found="no plan in it",
            fix="name the target of `stillhouse label`",
        )
    at = status(place, plan)
    return {
        "run_id": plan.run_id,
        "shards": at.shards,
        "done": at.done,
        "rows": at.rows,
        "rows_done": at.rows_done,
        "quarantined": list(at.quarantined),
        "worker_seconds": round(at.worker_seconds, 1),
        "rows_per_s": at.rows_per_s,
        "eta_s": at.eta_s,
    }


def status_text(at: dict[str, Any]) -> str:
    """The same for people."""
    lines = [f"{at['done']:,} of {at['shards']:,} shards, {at['rows_done']:,} of {at['rows']:,} rows"]
    if at["rows_per_s"] is not None and at["done"] < at["shards"]:
        left = dt.timedelta(seconds=round(at["eta_s"]))
        lines.append(f"{at['rows_per_s']:,.0f} rows/s since the first receipt; {left} left at that rate")
    lines.append(f"{at['worker_seconds']:,.0f} seconds of workers")
    if at["quarantined"]:
        lines.append(f"in quarantine: shards {', '.join(map(str, at['quarantined']))}")
    return "\n".join(lines)
