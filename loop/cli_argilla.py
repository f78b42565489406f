"""The commands about the embedded Argilla of a run."""

from typing import Annotated

import typer

from loop.flags import Json, RunFolder, clear_errors, say

argilla_app = typer.Typer(help="The embedded Argilla of a run: up, down, status, open.", no_args_is_help=True)


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
