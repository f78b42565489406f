"""The command that gives a run other labels."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loop.flags import Json, RunFolder, clear_errors, say

if TYPE_CHECKING:  # what it imports takes seconds to load
    from loop.relabelling import Relabelling

Many = list[str]


def relabel(
    run: RunFolder,
    rename: Annotated[Many | None, typer.Option(metavar="OLD=NEW", help="A label has another name.")] = None,
    merge: Annotated[Many | None, typer.Option(metavar="OLD,OLD=NEW", help="Several are one.")] = None,
    split: Annotated[
        Many | None, typer.Option(metavar="OLD=NEW,NEW", help="One is several: its items are asked again.")
    ] = None,
    add: Annotated[
        Many | None,
        typer.Option(
            metavar="NEW[:from=OLD,OLD]",
            help="One is new: items of the labels that it may be hidden in are asked again, all items if none are named.",
        ),
    ] = None,
    remove: Annotated[Many | None, typer.Option(metavar="OLD", help="One is gone: its items are asked again.")] = None,
    ask_from: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="A vote is asked for again where labels that are not certain now had this probability."
        ),
    ] = 0.1,
    before: Annotated[
        Path | None, typer.Option(help="The task.toml as it was, for a run of before runs kept their labels.")
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect/--no-collect", help="First fetch what people have answered in the old labels.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and leave all as it is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Give a run the labels of its edited task.toml: what was said is carried over, only what is open is asked again.

    Of a task of the kind fields the names are those of fields, and FIELD.CHOICE is a choice. Names with a comma or "=" in
    them stand in double quotes. The store is copied to backups/ in the run's folder first. People and teachers are asked
    by the next `stillhouse run`.

    Examples:
        stillhouse relabel runs/mytask --rename bug=defect --split apps=web,desktop --dry-run

        stillhouse relabel runs/mytask --merge billing,payments=money --add legal:from=other --remove misc

    """
    with clear_errors():
        from loop.desks import answers_at_desk, to_stderr
        from loop.relabel import relabel as change
        from loop.typed_changes import changes_of

        changes = changes_of(
            rename=rename or (), merge=merge or (), split=split or (), add=add or (), remove=remove or ()
        )

        def agreed(found: "Relabelling") -> bool:
            if yes:
                return True
            print(found.text(), file=sys.stderr)
            return typer.confirm("Do it?", err=True)

        found = change(
            run,
            changes,
            before=before,
            ask_from=ask_from,
            dry_run=dry_run,
            agreed=agreed,
            collect=(lambda project: answers_at_desk(project, to_stderr)) if collect else None,
        )
        if found is None:
            print("nothing was changed", file=sys.stderr)
            raise typer.Exit(1)
        done = (
            "nothing was changed: this was a dry run" if dry_run else f"next: stillhouse run {found.project.task_path}"
        )
        say(found.to_json(), f"{found.text()}\n\n{done}", as_json=as_json)
