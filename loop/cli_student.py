"""The commands about a finished student: label, serve, export, jobs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from loop.flags import (
    Address,
    CascadeBudget,
    CascadeOption,
    Deployed,
    ExportTarget,
    Gpu,
    Json,
    MaxError,
    On,
    Quiet,
    RunFolder,
    StudentOption,
    TeacherThreshold,
    Threshold,
    clear_errors,
    need_extra,
    say,
)

export_app = typer.Typer(help="Take results out of a run.", no_args_is_help=True)
jobs_app = typer.Typer(help="Work in shards, wherever it runs.", no_args_is_help=True)


def label(
    run: RunFolder,
    source: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet with the texts, or a folder of Parquet.")],
    target: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet to write; for a folder, a folder.")],
    text: Annotated[str, typer.Option(help="The column of the texts.", show_default="the task's")] = "",
    id_column: Annotated[str, typer.Option("--id", help="The column of the ids.", show_default="the task's")] = "",
    threshold: Threshold = None,
    max_error: MaxError = None,
    cascade: CascadeOption = False,
    teacher_threshold: TeacherThreshold = None,
    budget: CascadeBudget = None,
    student: StudentOption = None,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows that a kill can cost.")] = 16_384,
    on: On = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, with --on local.")] = 2,
    address: Address = "",
    gpu: Gpu = "",
    deployed: Deployed = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Hand all in, with --on modal; the same command later fetches the labels.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label a file, or a folder of Parquet, with the run's last student. Kill it when you like and repeat it.

    Examples:
        stillhouse label runs/demo new.csv labelled.csv

        stillhouse label runs/demo new.parquet out.parquet --max-error 0.03

        stillhouse label runs/demo crawl/ labelled/ --threshold 0.8 --cascade --budget 5

        stillhouse label runs/demo crawl/ labelled/ --on modal --gpu L4

        stillhouse label runs/demo crawl/ labelled/ --on modal --detach

    """
    from loop.labeller import Asking, label_with, threshold_of

    with clear_errors():
        least, promise = threshold_of(run, student, threshold, max_error)
        asking = Asking(least, cascade, teacher_threshold, budget, student)
        how: dict[str, Any] = {"text": text, "id_column": id_column, "shard_rows": shard_rows, "quiet": quiet}
        if on is None:
            counts = label_with(run, source, target, asking, **how)
        else:
            from loop.engines import Where, label_elsewhere

            where = Where(on, workers, address, gpu, deployed, detach)
            counts = label_elsewhere(run, source, target, asking, where, **how)
        if detach:
            say(counts, handed_in_text(counts["handed_in"], target), as_json=as_json)
            return
        counts |= {"threshold": least, "promise": promise}
        say(counts, labelled_text(counts, target), as_json=as_json)


def handed_in_text(call: str, target: Path) -> str:
    return f"""handed in to Modal as {call}: this machine is not needed any more
how far it is: stillhouse jobs status {target} --on modal
the labels:    repeat the command without --detach, which waits for the rest and fetches them"""


def labelled_text(counts: dict[str, Any], target: Path) -> str:
    rate = f"{counts['seconds']:.1f} s ({counts['rows_per_s']:,.0f} rows/s)"
    lines = [f"{counts['rows']:,} rows, {counts['abstained']:,} abstained, {rate}: {target}"]
    if counts["promise"]:
        lines.append(f"it answered {counts['promise']}")
    if counts["resumed"]:
        lines.append(f"{counts['resumed']:,} of them were labelled by an earlier command that was interrupted")
    if counts["unreadable"]:
        lines.append(f"{counts['unreadable']:,} rows cannot be read and have no label; the first: {counts['problem']}")
    if "spent_usd" in counts:
        said = ", ".join(f"{count:,} by {source}" for source, count in sorted(counts["sources"].items()))
        lines.append(f"{said}; ${counts['spent_usd']:.2f} spent on teachers")
    if "machines_usd" in counts:
        lines.append(f"{counts['worker_seconds']:,.0f} seconds of machines, about ${counts['machines_usd']:.2f}")
    return "\n".join(lines)


def serve(
    run: RunFolder,
    host: Annotated[str, typer.Option(help="Others than this machine need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8300,
    threshold: Threshold = None,
    max_error: MaxError = None,
    cascade: CascadeOption = False,
    teacher_threshold: TeacherThreshold = None,
    budget: CascadeBudget = None,
    student: StudentOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Batches that the student reads at a time.")] = 1,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts of one request.")] = 256,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes of one request.")] = 4 * 2**20,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for one request.")] = 30.0,
    on: Annotated[
        Literal["modal"] | None, typer.Option("--on", help="A web endpoint there.", show_default="this machine")
    ] = None,
    gpu: Annotated[str, typer.Option(help="Its kind, with --on modal.", show_default="none")] = "",
) -> None:
    """Serve the run's last student over HTTP: POST /v1/label, /openapi.json, /health/ready, /metrics.

    Stops at SIGTERM, once everything in flight is answered. A token in STILLHOUSE_SERVE_TOKEN is asked for. With --on
    modal it is deployed there and stays; no container runs while nobody asks.

    Examples:
        stillhouse serve runs/demo

        stillhouse serve runs/demo --threshold 0.8 --cascade --budget 5

        stillhouse serve runs/demo --on modal

    """
    with clear_errors():
        need_extra("serve", "fastapi", "uvicorn", "prometheus_client")
        from loop.labeller import Asking, threshold_of
        from loop.serve import serve_with
        from serving.api import Limits

        least, promise = threshold_of(run, student, threshold, max_error)
        asking = Asking(least, cascade, teacher_threshold, budget, student)
        limits = Limits(max_bytes, max_texts, timeout)
        if on == "modal":
            from loop.engines import serve_elsewhere

            print(f"deployed at {serve_elsewhere(run, asking, limits, gpu)}")
            return

        def told(address: str) -> None:
            print(f"serving at {address}{f': it answers {promise}' if promise else ''}", flush=True)

        serve_with(run, asking, host=host, port=port, limits=limits, threads=threads, told=told)


@export_app.command("labels")
def export_labels(
    run: RunFolder,
    target: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet to write.")],
) -> None:
    """The delivered labels of the pool: id, label, probability, source (person, corrected, teacher).

    Example:
        stillhouse export labels runs/demo labels.jsonl

    """
    from loop.export import write_labels

    with clear_errors():
        print(f"{write_labels(run, target):,} labels: {target}")


@export_app.command("student")
def export_student(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run, or a student's folder in one.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[ExportTarget, typer.Option("--to", help="What it is to run on.")] = "safetensors",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """A student as a folder that needs nothing else, compared with the student on texts it was not taught.

    Examples:
        stillhouse export student runs/demo demo-int8 --to openvino-int8

        stillhouse export student runs/demo demo-merged --to safetensors

    """
    from loop.export_student import export_of, said_of

    with clear_errors():
        found = export_of(run, out, to, quiet=quiet)
        say(found, said_of(found), as_json=as_json)


@jobs_app.command("status")
def jobs_status(
    target: Annotated[str, typer.Argument(help="The folder or URL that labels are written to.", show_default=False)],
    on: Annotated[
        Literal["modal"] | None, typer.Option("--on", help="Look there.", show_default="what is here")
    ] = None,
    deployed: Deployed = False,
    as_json: Json = False,
) -> None:
    """How far a job is, from its receipts alone, whatever runs it: shards, rows, rate, time left, seconds of workers.

    Examples:
        stillhouse jobs status labelled/

        stillhouse jobs status s3://bucket/labelled

        stillhouse jobs status labelled/ --on modal

    """
    from loop.engines import Where, job_status, status_text

    with clear_errors():
        found = job_status(target, Where(on, deployed=deployed) if on else None)
        say(found, status_text(found), as_json=as_json)
