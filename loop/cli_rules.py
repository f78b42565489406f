"""The command about labelling rules."""

from pathlib import Path
from typing import Annotated

import typer

from loop.flags import Json, clear_errors, say


def rules(
    where: Annotated[
        Path, typer.Argument(metavar="RUN|TASK", help="The folder of a run, or a task.toml.", show_default=False)
    ],
    show: Annotated[
        str | None, typer.Option(help="A rule: items on which it fires, first where others contradict it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What each labelling rule covers, where rules meet and differ, and how right they are. Calls nobody.

    Of a task.toml: coverage, overlaps and conflicts on the pool. Of a run: with votes and answers too.

    Examples:
        stillhouse rules task.toml

        stillhouse rules runs/demo --show printer

    """
    from loop.rule_table import rule_table
    from loop.rule_text import table_text

    with clear_errors():
        found = rule_table(where, show)
        say(found.to_json(), table_text(found), as_json=as_json)
