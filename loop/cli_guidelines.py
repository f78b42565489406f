"""The commands about the guidelines of a run."""

from typing import Annotated, Literal

import typer

from loop.flags import Json, Quiet, RunFolder, clear_errors, say

guidelines_app = typer.Typer(
    help="Guidelines that learn from answers: conflicts, draft, test, adopt, history.", no_args_is_help=True
)
DraftNumber = Annotated[int, typer.Argument(min=1, metavar="DRAFT", help="The number of a draft.", show_default=False)]


@guidelines_app.command()
def conflicts(
    run: RunFolder,
    most: Annotated[int, typer.Option(min=1, help="So many clusters.")] = 10,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Where people contradict the teacher, or each other: alike conflicts together, the most frequent first.

    Example:
        stillhouse guidelines conflicts runs/team

    """
    from loop.guideline_commands import find_conflicts

    with clear_errors():
        found = find_conflicts(run, quiet=quiet)
        say(found.to_json(most), found.text(most), as_json=as_json)


@guidelines_app.command()
def draft(
    run: RunFolder,
    cluster: Annotated[int, typer.Option(min=1, help="The number that `conflicts` gives it.")] = 1,
    teacher: Annotated[str | None, typer.Option(help="Who writes it.", show_default="the first that can write")] = None,
    by_hand: Annotated[
        bool, typer.Option("--write-yourself", help="Ask nobody: a copy of the guidelines in force, to be edited.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let a teacher write an amendment for a cluster of conflicts, into a file that you may edit.

    Example:
        stillhouse guidelines draft runs/team --cluster 2

    """
    from loop.guideline_commands import draft_amendment

    with clear_errors():
        found = draft_amendment(run, cluster, teacher=teacher, by_hand=by_hand, quiet=quiet)
        say(found.to_json(), found.text(run), as_json=as_json)


@guidelines_app.command("test")
def try_out(
    run: RunFolder,
    number: DraftNumber,
    teacher: Annotated[str | None, typer.Option(help="Ask this one alone.", show_default="all that read")] = None,
    items: Annotated[int, typer.Option(min=1, help="At most so many held-out answers, random ones first.")] = 200,
    drawn_only: Annotated[bool, typer.Option("--blind", help="Only answers that were drawn at random.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ask the teachers about held-out answers by a draft's guidelines, and say whether it helps or harms.

    Example:
        stillhouse guidelines test runs/team 1

    """
    from loop.guideline_commands import try_amendment

    with clear_errors():
        found = try_amendment(run, number, teacher=teacher, most=items, drawn_only=drawn_only, quiet=quiet)
        say(found.to_json(), found.text(), as_json=as_json)


@guidelines_app.command()
def adopt(
    run: RunFolder,
    number: DraftNumber,
    write: Annotated[bool, typer.Option("--write", help="Put it into task.toml; without, only show it.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Even if no test shows that it helps.")] = False,
    reask: Annotated[
        Literal["affected", "all", "none"], typer.Option(help="Whose votes the teachers are asked for anew.")
    ] = "affected",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put a tested draft into force, and ask the teachers again where it may change what they say.

    Example:
        stillhouse guidelines adopt runs/team 1 --write

    """
    from loop.guideline_commands import adopt_amendment

    with clear_errors():
        found = adopt_amendment(run, number, write=write, anyway=anyway, reask=reask, quiet=quiet)
        say(found.to_json(), found.text(), as_json=as_json)


@guidelines_app.command()
def history(run: RunFolder, as_json: Json = False) -> None:
    """All versions of the guidelines, what speaks for them, and what votes and answers were given under each.

    Example:
        stillhouse guidelines history runs/team

    """
    from loop.guideline_commands import history_of

    with clear_errors():
        found = history_of(run)
        say(found.to_json(), found.text(), as_json=as_json)
