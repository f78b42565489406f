"""Commands on other machines: which engine, what it will cost, and the same outcome as here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from jobs.costs import spent_usd
from jobs.engine import Engine
from jobs.labels import LabelJob, label_on
from jobs.local import LocalProcesses
from loop.labeller import found, paced, student_folder
from loop.progress import Display
from loop.project import project_of
from serving.formats import FORMATS
from serving.label import SHARD_ROWS, labelled_rows
from serving.label_shard import COLUMNS, OF_CASCADES
from serving.receipts import read_plan, status
from serving.roots import root_of
from serving.tables import write_rows
from stillhouse.errors import InputError
from trainer.artifact import model_id_of

On = Literal["local", "ray", "modal"]


@contextmanager
def engine_named(on: On, *, workers: int, address: str, gpu: str, deployed: bool) -> Iterator[Engine]:
    """The engine, started when it is first needed and stopped at the end."""
    if on == "local":
        yield LocalProcesses(workers)
    elif on == "ray":
        from jobs.ray_tasks import RayTasks

        yield RayTasks(address, gpus=1.0 if gpu else 0.0)
    else:
        import os

        if gpu:
            os.environ["STILLHOUSE_GPU"] = gpu  # read where the app is declared
        from jobs.on_modal import ModalApp

        with ModalApp(deployed=deployed) as app:
            yield app


def label_elsewhere(
    folder: Path,
    source: Path,
    target: Path,
    *,
    on: On,
    workers: int,
    address: str,
    gpu: str,
    deployed: bool,
    text: str,
    id_column: str,
    threshold: float,
    student: Path | None,
    shard_rows: int = SHARD_ROWS,
    quiet: bool,
) -> dict[str, Any]:
    """As `loop.labeller.label_with`, on an engine. For a file the shards are kept beside it until it is whole."""
    project = project_of(folder)
    where = student or student_folder(project)
    data = project.task.data.model_copy(
        update={"text": text or project.task.data.text, "id": id_column or project.task.data.id}
    )
    into_folder = source.is_dir() and not any(suffix.lower() in FORMATS for suffix in target.suffixes)
    shards = target if into_folder else target.with_name(f".{target.name}.shards")
    job = LabelJob(where, source, data, project.home, threshold, shard_rows)
    display = Display(quiet=quiet)
    with (
        engine_named(on, workers=workers, address=address, gpu=gpu, deployed=deployed) as engine,
        display.bar(f"labelling on {engine.name}", None) as bar,
    ):
        done = label_on(engine, job, shards, progress=paced(display, bar))
    if not into_folder:
        columns = [name for name in COLUMNS if name not in OF_CASCADES]
        write_rows(
            target, labelled_rows(done.root, done.receipts, as_json=project.task.kind != "single_label"), columns
        )
        done.root.remove_all()
    counts = found(done.counts, model_id_of(where))
    counts["worker_seconds"] = round(done.worker_seconds, 1)
    if on == "modal" and gpu:
        counts["usd"] = round(spent_usd(gpu, done.worker_seconds), 4)
    return counts


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
