"""Commands on other machines: which engine, what it will cost, and the same outcome as here."""

import datetime as dt
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.costs import estimate, spent_usd
from jobs.engine import Engine
from jobs.labelling import student_base
from jobs.labels import LabelJob, hand_in, label_on
from jobs.labels import elsewhere as elsewhere_of
from jobs.local import LocalProcesses
from jobs.on_modal import ModalApp, serve_on_modal
from jobs.work import do
from loop.labeller import Asking, found, paced, student_folder
from loop.progress import Display
from loop.project import project_of
from serving.formats import FORMATS
from serving.label import SHARD_ROWS, labelled_rows
from serving.label_shard import COLUMNS, OF_CASCADES
from serving.shards import sample_of
from serving.tables import write_rows
from stillhouse.errors import InputError
from trainer.engines import model_id_in, parameters_in

if TYPE_CHECKING:  # it loads a web framework, which labelling does not need
    from serving.api import Limits

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
    detach: bool = False

    def __post_init__(self) -> None:
        if self.detach and self.on != "modal":
            raise InputError(
                f"--detach with --on {self.on}",
                expected="--on modal, which has a machine that sees to the work",
                found=f"--on {self.on}",
                fix="leave --detach out: a command that is killed goes on when it is repeated",
            )

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
            with ModalApp(deployed=self.deployed, detached=self.detach) as app:
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
    shards = target if into_folder else shards_of(target)
    job = LabelJob(student, source, data, project.home, asking.threshold, shard_rows)
    display = Display(quiet=quiet)
    if where.on == "modal":
        display.line(f"  about {_estimated(where.gpu or GPU, student, source, data.text)}")
    if where.detach:
        with where.engine() as engine:
            assert isinstance(engine, ModalApp)
            return {"handed_in": hand_in(engine, job, shards)}
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


def shards_of(target: Path) -> Path:
    """Where the shards of a target are: a folder is one, a file has one beside it until it is whole."""
    return target.with_name(f".{target.name}.shards") if target.suffix.lower() in FORMATS else target


def _estimated(gpu: str, student: Path, source: Path, text: str) -> str:
    """From a sample of the texts and the size of the student; what is not known is not guessed."""
    rows, chars = sample_of(source, text, SAMPLE_ROWS)
    parameters = parameters_in(student)
    if parameters is None or not rows:
        return f"{rows:,} rows; the size of the student is not known here, so neither is the cost"
    said = estimate(gpu, tokens=rows * chars / CHARS_A_TOKEN, parameters=parameters)
    return f"{rows:,} rows of {chars:,.0f} characters: {said.text()}, containers that start or idle not counted"


def serve_elsewhere(folder: Path, asking: Asking, limits: "Limits", gpu: str = "") -> str:
    """Deploy a run's student as a web endpoint on Modal; its address. Raises InputError without a token, or for a cascade."""
    from loop.serve import TOKEN_ENV

    token = os.environ.get(TOKEN_ENV, "")
    if asking.cascade or not token:
        raise InputError(
            "the whole internet can reach an endpoint on Modal",
            expected=f"a token in the environment variable {TOKEN_ENV}, and no --cascade: its ledger is where the run is",
            found="--cascade" if asking.cascade else "no token",
            fix="leave --cascade out" if asking.cascade else f"export {TOKEN_ENV}=...",
        )
    project = project_of(folder)
    student = asking.student or student_folder(project)
    if gpu:
        os.environ["STILLHOUSE_GPU"] = gpu
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", project.task.name)
    return serve_on_modal(
        student, student_base(student), name=name, threshold=asking.threshold, token=token, limits=asdict(limits)
    )


def job_status(target: str, where: Where | None = None) -> dict[str, Any]:
    """How far a job is, from the receipts in its folder or at its URL, or from those on Modal that end up in `target`.

    Raises InputError where there is no job.
    """
    if where is None or where.on != "modal":
        shards = shards_of(Path(target))
        return dict(do("status", {"root": str(shards) if shards.is_dir() else target}))
    root = elsewhere_of(shards_of(Path(target))).get("root")
    if root is None:
        raise InputError(
            f"nothing is known of a job on Modal that ends up in {target}",
            expected="the target of `stillhouse label --on modal`, on the machine where that was said",
            found="no note of it",
            fix="name that target, or repeat the label command: it goes on from what is finished",
        )
    with where.engine() as engine:
        (outcome,) = engine.run("status", [{"root": root}])
    if outcome.result is None:
        raise InputError(
            f"the job on Modal does not tell how far it is: {root}", expected="a plan", found=outcome.failure
        )
    return dict(outcome.result)


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
