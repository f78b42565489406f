"""The commands about a finished student: label, serve, export, jobs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from loop.flags import (
    CascadeBudget,
    CascadeOption,
    ExportTarget,
    Json,
    MaxError,
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

On = Annotated[
    Literal["local", "ray", "modal"] | None,
    typer.Option("--on", help="Other processes than this one: shards, side by side.", show_default="this process"),
]


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
    address: Annotated[str, typer.Option(help="Of a cluster, with --on ray.", show_default="this machine")] = "",
    gpu: Annotated[str, typer.Option(help="Its kind, with --on modal.", show_default="L4, else A10, else T4")] = "",
    deployed: Annotated[bool, typer.Option("--deployed", help="Use the app as it is deployed on Modal.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label a file, or a folder of Parquet, with the run's last student. Kill it when you like and repeat it.

    Examples:
        stillhouse label runs/demo new.csv labelled.csv

        stillhouse label runs/demo new.parquet out.parquet --max-error 0.03

        stillhouse label runs/demo crawl/ labelled/ --threshold 0.8 --cascade --budget 5

        stillhouse label runs/demo crawl/ labelled/ --on modal --gpu L4

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

            counts = label_elsewhere(run, source, target, asking, Where(on, workers, address, gpu, deployed), **how)
        counts |= {"threshold": least, "promise": promise}
        say(counts, labelled_text(counts, target), as_json=as_json)


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
) -> None:
    """Serve the run's last student over HTTP: POST /v1/label, /openapi.json, /health/ready, /metrics.

    Stops at SIGTERM, once everything in flight is answered. A token in STILLHOUSE_SERVE_TOKEN is asked for.

    Examples:
        stillhouse serve runs/demo

        stillhouse serve runs/demo --threshold 0.8 --cascade --budget 5

    """
    with clear_errors():
        need_extra("serve", "fastapi", "uvicorn", "prometheus_client")
        from loop.labeller import Asking, threshold_of
        from loop.serve import serve_with
        from serving.api import Limits

        least, promise = threshold_of(run, student, threshold, max_error)
        asking = Asking(least, cascade, teacher_threshold, budget, student)
        limits = Limits(max_bytes, max_texts, timeout)

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
    as_json: Json = False,
) -> None:
    """How far a job is, from its receipts alone, whatever runs it: shards, rows, rate, time left, seconds of workers.

    Examples:
        stillhouse jobs status labelled/

        stillhouse jobs status s3://bucket/labelled

    """
    from loop.engines import job_status, status_text

    with clear_errors():
        found = job_status(target)
        say(found, status_text(found), as_json=as_json)
