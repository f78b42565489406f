"""The command line: flags, one function, text and exit code."""

from pathlib import Path
from typing import Annotated

import typer

from loop import cli_people, cli_student
from loop.cli_argilla import argilla_app
from loop.cli_guidelines import guidelines_app
from loop.cli_relabel import relabel
from loop.cli_rules import rules
from loop.cli_student import export_app, jobs_app
from loop.flags import (
    Address,
    Deployed,
    Gpu,
    Json,
    On,
    Quiet,
    RunFolder,
    RunOption,
    TaskFile,
    clear_errors,
    say,
)
from stillhouse.errors import WAITING_EXIT_CODE
from stillhouse.task import KindName

EXIT_CODES = """
Exit codes: 0 done · 2 bad input · 3 teacher · 4 budget · 5 desk · 6 store · 7 model · 10 waiting for people · 130 interrupted.
"""

app = typer.Typer(
    name="stillhouse",
    help="Distil a small domain model out of a large one, with people only on the hard cases." + "\n\n" + EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(argilla_app, name="argilla")
app.add_typer(export_app, name="export")
app.add_typer(guidelines_app, name="guidelines")
app.add_typer(jobs_app, name="jobs")


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


@app.command()
def teach(
    task: TaskFile,
    run: RunOption = None,
    on: On = None,
    address: Address = "",
    gpu: Gpu = "",
    deployed: Deployed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask the teachers about the whole pool and stop there; `run` goes on from what they said.

    With --on, teachers under vLLM ([teachers.vllm]) are asked where the GPUs are; other teachers are asked from here.

    Examples:
        stillhouse teach mytask/task.toml --run runs/mytask

        stillhouse teach mytask/task.toml --on modal --gpu H100

    """
    from loop.command import teach_task
    from loop.engines import Where

    with clear_errors():
        where = None if on is None else Where(on, 1, address, gpu, deployed)
        found = teach_task(task, run, quiet=quiet, where=where)
        votes = ", ".join(f"{count:,} of {name}" for name, count in sorted(found["votes"].items()))
        say(found, f"{found['items']:,} items; votes: {votes or 'none'}", as_json=as_json)


@app.command(name="run")
def run_(
    task: TaskFile,
    run: RunOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for people and go on by itself, instead of ending with code 10.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Go on now, with what people have answered of the batch.")
    ] = False,
    keep_argilla: Annotated[bool, typer.Option("--keep-argilla", help="Leave the embedded Argilla up.")] = False,
    on: On = None,
    address: Address = "",
    gpu: Gpu = "",
    deployed: Deployed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rounds until quality levels off. Kill it when you like and repeat it: nothing paid for is asked again.

    With --on, students are taught there, and teachers under vLLM asked there; all else stays in this process. What a batch
    leaves open with --partial stays open at the desk, and counts when it is answered.

    Examples:
        stillhouse run examples/helpdesk/team.toml --run runs/demo

        stillhouse run mytask/task.toml --wait

        stillhouse run mytask/task.toml --partial

        stillhouse run mytask/task.toml --on modal --gpu H100

    """
    where = (on, address, gpu, deployed)
    _run(
        task, run, where, most=None, wait=wait, partial=partial, keep_argilla=keep_argilla, as_json=as_json, quiet=quiet
    )


@app.command(name="round")
def round_(
    task: TaskFile,
    run: RunOption = None,
    keep_argilla: Annotated[bool, typer.Option("--keep-argilla", help="Leave the embedded Argilla up.")] = True,
    on: On = None,
    address: Address = "",
    gpu: Gpu = "",
    deployed: Deployed = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One round: what people answered is learned, measured, and a new batch is chosen.

    Example:
        stillhouse round examples/helpdesk/team.toml

    """
    where = (on, address, gpu, deployed)
    _run(task, run, where, most=1, keep_argilla=keep_argilla, as_json=as_json, quiet=quiet)


def _run(
    task: Path,
    run: Path | None,
    where: tuple[On, str, str, bool],
    *,
    most: int | None,
    wait: bool = False,
    partial: bool = False,
    keep_argilla: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from loop.command import run_task
    from loop.engines import Where

    with clear_errors():
        on, address, gpu, deployed = where
        place = None if on is None else Where(on, 1, address, gpu, deployed)
        result = run_task(
            task, run, most=most, wait=wait, partial=partial, keep_argilla=keep_argilla, quiet=quiet, where=place
        )
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


app.command()(relabel)
app.command()(cli_student.label)
app.command()(cli_student.serve)
app.command()(cli_people.people)
app.command()(rules)


if __name__ == "__main__":
    app()
