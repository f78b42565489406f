"""The command line: flags, one function, text and exit code."""

import errno
import gc
import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stillhouse.errors import INTERRUPTED_EXIT_CODE, WAITING_EXIT_CODE, DiskFullError, InputError, StillhouseError
from stillhouse.task import KindName

EXIT_CODES = """
Exit codes: 0 done · 2 bad input · 3 teacher · 4 budget · 5 desk · 6 store · 7 model · 10 waiting for people · 130 interrupted.
"""

OBJECTS_A_COLLECTION = 50_000

app = typer.Typer(
    name="stillhouse",
    help="Distil a small domain model out of a large one, with people only on the hard cases." + "\n\n" + EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
argilla_app = typer.Typer(help="The embedded Argilla of a run: up, down, status, open.", no_args_is_help=True)
export_app = typer.Typer(help="Take results out of a run.", no_args_is_help=True)
app.add_typer(argilla_app, name="argilla")
app.add_typer(export_app, name="export")

TaskFile = Annotated[Path, typer.Argument(metavar="TASK", help="The task.toml.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.", show_default=False)]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="The run's folder.", show_default="runs/<name of the task>")
]
StudentOption = Annotated[
    Path | None,
    typer.Option("--student", help="The folder of a student or an export.", show_default="the run's last student"),
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Abstain below this probability.", show_default="what --max-error takes"),
]
MaxError = Annotated[
    float | None,
    typer.Option(
        help="Abstain where no more than this share may be wrong.", show_default="the task's student.max_error"
    ),
]
CascadeOption = Annotated[
    bool, typer.Option("--cascade", help="What the student abstains on goes to the teachers, then to people's desk.")
]
TeacherThreshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Of the teachers in a cascade.", show_default="the student's threshold"),
]
CascadeBudget = Annotated[
    float | None,
    typer.Option("--budget", min=0, help="US dollars the cascade may spend in all.", show_default="the task's budget"),
]
ExportTarget = Literal["safetensors", "openvino", "openvino-int8", "onnx"]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def collect_rarely() -> None:
    """Most objects of a command live to its end: to look for cycles every 700 new ones is a tenth of a teacher's CPU."""
    gc.set_threshold(OBJECTS_A_COLLECTION, 10, 10)


@contextmanager
def clear_errors() -> Iterator[None]:
    """A known error is three lines and its exit code; an interrupt is one line: everything so far is kept."""
    collect_rarely()
    try:
        yield
    except StillhouseError as error:
        print(error.text(), file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        full = DiskFullError(
            "no room left to write",
            expected="free disk space",
            found=str(error),
            fix="make room and repeat the command: everything committed so far is safe",
        )
        print(full.text(), file=sys.stderr)
        raise typer.Exit(full.exit_code) from error
    except KeyboardInterrupt as error:
        print("interrupted: everything so far is kept; repeat the command to go on", file=sys.stderr)
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from error


def say(result: dict[str, Any], text: str, *, as_json: bool) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=1) if as_json else text)


@app.command()
def init(
    data: Annotated[str, typer.Argument(help="A CSV, JSONL or Parquet file, or hub:NAME of a dataset.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write task.toml into.")] = Path("task"),
    name: Annotated[str, typer.Option(help="The task's name.", show_default="the folder's")] = "",
    text: Annotated[str, typer.Option(help="The column of the texts.", show_default="guessed")] = "",
    label: Annotated[str, typer.Option(help="A column of labels to take the label names from.")] = "",
    split: Annotated[str, typer.Option(help="The split of a Hub dataset.")] = "train",
    kind: Annotated[KindName, typer.Option(help="What a text is labelled with.")] = "single_label",
) -> None:
    """Write a commented task.toml for your data.

    Examples:
        stillhouse init messages.csv --out helpdesk --text body

        stillhouse init hub:PolyAI/banking77 --label label --out banking

        stillhouse init reports.jsonl --kind spans --out entities

    """
    from loop.init import write_task

    with clear_errors():
        name = name or out.resolve().name
        path = write_task(data, out, name=name, text=text, label=label, split=split, kind=kind)
        print(
            f"written: {path}\nnext: describe the {'fields' if kind == 'fields' else 'labels'} in it, then: stillhouse check {path}"
        )


@app.command()
def check(task: TaskFile, as_json: Json = False) -> None:
    """Validate task, data, keys and base; every mistake at once, before anything is paid for.

    Example:
        stillhouse check examples/helpdesk/team.toml

    """
    from loop.check import check_all

    with clear_errors():
        found = check_all(task)
        say(found, "\n".join([f"{task}: no mistakes", *(f"  {k}: {v}" for k, v in found.items())]), as_json=as_json)


@app.command()
def bases() -> None:
    """Models a student can start from, and when to take which: put one into `student.base`.

    Example:
        stillhouse bases

    """
    from trainer.presets import table

    print(table())


@app.command()
def plan(
    task: TaskFile,
    run: RunOption = None,
    prompt: Annotated[bool, typer.Option(help="Show one rendered prompt.")] = True,
    as_json: Json = False,
) -> None:
    """What a round will cost in calls, money and people's minutes; calls nobody.

    Example:
        stillhouse plan examples/helpdesk/team.toml

    """
    from loop.plan import plan_round

    with clear_errors():
        planned = plan_round(task, run)
        say(planned.to_json(), planned.text(with_prompt=prompt), as_json=as_json)


@app.command()
def trial(
    task: TaskFile,
    run: RunOption = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="On the run's blind answers, also where the task has gold.")
    ] = False,
    demonstrations: Annotated[
        str | None, typer.Option(help="Numbers of examples to try, such as 0,8.", show_default="the task's")
    ] = None,
    temperature: Annotated[
        str | None, typer.Option(help="Temperatures to try, such as 0,0.7.", show_default="the task's")
    ] = None,
    label_order: Annotated[
        str | None, typer.Option(help="as_given,reversed tries both.", show_default="the task's")
    ] = None,
    ask: Annotated[
        str | None, typer.Option(help="Ways to ask, of logprobs,samples,verbalised.", show_default="the task's")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare the task's teachers on the same human-labelled items, and say which to take. What it pays for, the run has.

    Each teacher is tried in every combination of what the options list; what that will cost is said first.

    Examples:
        stillhouse trial examples/helpdesk/team.toml

        stillhouse trial mytask/task.toml --run runs/mytask --blind

        stillhouse trial mytask/task.toml --run runs/mytask --demonstrations 0,8 --temperature 0,0.7

    """
    from loop.trial import trial as try_teachers
    from loop.variants import grid_of

    with clear_errors():
        grid = grid_of(
            {"demonstrations": demonstrations, "temperature": temperature, "label_order": label_order, "ask": ask}
        )
        found = try_teachers(task, run, blind=blind, quiet=quiet, grid=grid)
        say(found.to_json(), found.text(), as_json=as_json)


@app.command(name="run")
def run_(
    task: TaskFile,
    run: RunOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for people instead of ending with code 10.")] = False,
    keep_argilla: Annotated[bool, typer.Option("--keep-argilla", help="Leave the embedded Argilla up.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rounds until quality levels off. Kill it when you like and repeat it: nothing paid for is asked again.

    Examples:
        stillhouse run examples/helpdesk/team.toml --run runs/demo

        stillhouse run mytask/task.toml --wait

    """
    _run(task, run, most=None, wait=wait, keep_argilla=keep_argilla, as_json=as_json, quiet=quiet)


@app.command(name="round")
def round_(
    task: TaskFile,
    run: RunOption = None,
    keep_argilla: Annotated[bool, typer.Option("--keep-argilla", help="Leave the embedded Argilla up.")] = True,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One round: what people answered is learned, measured, and a new batch is chosen.

    Example:
        stillhouse round examples/helpdesk/team.toml

    """
    _run(task, run, most=1, wait=False, keep_argilla=keep_argilla, as_json=as_json, quiet=quiet)


def _run(
    task: Path, run: Path | None, *, most: int | None, wait: bool, keep_argilla: bool, as_json: bool, quiet: bool
) -> None:
    from loop.command import run_task

    with clear_errors():
        result = run_task(task, run, most=most, wait=wait, keep_argilla=keep_argilla, quiet=quiet)
        say(result.summary, result.text, as_json=as_json)
        if result.waiting:
            raise typer.Exit(WAITING_EXIT_CODE)


@app.command()
def status(run: RunFolder, as_json: Json = False) -> None:
    """What stands in a run, and what it waits for. Can be asked while the run works.

    Example:
        stillhouse status runs/demo

    """
    from loop.command import status_of

    with clear_errors():
        found = status_of(run)
        say(found, "\n".join(f"{name}: {value}" for name, value in found.items()), as_json=as_json)


@app.command()
def report(run: RunFolder, quiet: Quiet = False) -> None:
    """Write the run's report.html again and print where it is.

    Example:
        stillhouse report runs/demo

    """
    from loop.command import report_of

    with clear_errors():
        print(report_of(run, quiet=quiet))


@app.command()
def reparse(run: RunFolder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Read all stored replies again with the present parser, and replace the votes that change; calls nobody.

    Example:
        stillhouse reparse runs/demo

    """
    from loop.reparse import reparse as read_again

    with clear_errors():
        found = read_again(run, quiet=quiet)
        say(found.to_json(), found.text(), as_json=as_json)


@app.command()
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label a file, or a folder of Parquet, with the run's last student. Kill it when you like and repeat it.

    Examples:
        stillhouse label runs/demo new.csv labelled.csv

        stillhouse label runs/demo new.parquet out.parquet --max-error 0.03

        stillhouse label runs/demo crawl/ labelled/ --threshold 0.8 --cascade --budget 5

    """
    from loop.labeller import Asking, label_with, threshold_of

    with clear_errors():
        least, promise = threshold_of(run, student, threshold, max_error)
        asking = Asking(least, cascade, teacher_threshold, budget, student)
        how: dict[str, Any] = {"text": text, "id_column": id_column, "shard_rows": shard_rows, "quiet": quiet}
        counts = {**label_with(run, source, target, asking, **how), "threshold": least, "promise": promise}
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
    return "\n".join(lines)


@app.command()
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


def need_extra(extra: str, *packages: str) -> None:
    """Raises InputError where a package of an extra is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            "something that this command needs is not installed",
            expected=", ".join(packages),
            found=f"no {', '.join(missing)}",
            fix=f"pip install 'stillhouse[{extra}]'",
        )


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


@argilla_app.command("up")
def argilla_up(
    run: RunFolder, port: Annotated[int, typer.Option(help="0: the last one, or any free one.")] = 0
) -> None:
    """Start the run's Argilla and print its address and login.

    Example:
        stillhouse argilla up runs/demo

    """
    from loop.command import argilla_login

    with clear_errors():
        print(argilla_login(run, port))


@argilla_app.command("down")
def argilla_down(run: RunFolder) -> None:
    """Stop the run's Argilla; everything answered is kept.

    Example:
        stillhouse argilla down runs/demo

    """
    from argilla_setup.embedded import down

    with clear_errors():
        print("stopped" if down(run / "argilla") else "was not running")


@argilla_app.command("status")
def argilla_status(run: RunFolder, as_json: Json = False) -> None:
    """Whether the run's Argilla is up, and where.

    Example:
        stillhouse argilla status runs/demo

    """
    from dataclasses import asdict

    from argilla_setup.embedded import status as status_of_argilla

    with clear_errors():
        found = asdict(status_of_argilla(run / "argilla"))
        say(found, "\n".join(f"{name}: {value}" for name, value in found.items()), as_json=as_json)


@argilla_app.command("open")
def argilla_open(run: RunFolder) -> None:
    """Open the queue of the run in a browser, the least certain item first; starts the server if need be.

    Example:
        stillhouse argilla open runs/demo

    """
    from loop.command import argilla_login, queue_link

    with clear_errors():
        print(argilla_login(run, 0))
        typer.launch(queue_link(run))


if __name__ == "__main__":
    app()
