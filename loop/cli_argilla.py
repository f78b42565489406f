"""The commands about the Argilla of a run."""

from pathlib import Path
from typing import Annotated

import typer

from loop.flags import Json, RunFolder, clear_errors, say

argilla_app = typer.Typer(
    help="The Argilla of a run: up, down, status, open, logs, backup, restore.", no_args_is_help=True
)


@argilla_app.command("up")
def argilla_up(
    run: RunFolder, port: Annotated[int, typer.Option(help="0: the last one, or any free one.")] = 0
) -> None:
    """Start the run's Argilla and print its address and login.

    Example:
        stillhouse argilla up runs/demo

    """
    from loop.argilla_commands import with_argilla

    with clear_errors():
        with_argilla(run)
        from loop.command import argilla_login  # loads much more

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
    """Whether the run's Argilla is up, its version, and what is pending; also of a server that the task names.

    Example:
        stillhouse argilla status runs/demo

    """
    from loop.argilla_commands import state_of, state_text

    with clear_errors():
        state = state_of(run)
        say(state, state_text(state, run), as_json=as_json)


@argilla_app.command("open")
def argilla_open(
    run: RunFolder, annotator: Annotated[str, typer.Option(help="Whose queue, where records are assigned.")] = ""
) -> None:
    """Open the queue of the run in a browser, the least certain item first; starts the embedded server if need be.

    Example:
        stillhouse argilla open runs/demo
        stillhouse argilla open runs/demo --annotator ann

    """
    from loop.argilla_commands import state_of, state_text, with_argilla

    with clear_errors():
        with_argilla(run)
        from loop.command import argilla_login, queue_link  # loads much more

        print(argilla_login(run, 0))
        print(state_text(state_of(run), run))
        link = queue_link(run, annotator)
        print(f"queue:     {link}")
        typer.launch(link)


@argilla_app.command("logs")
def argilla_logs(
    run: RunFolder,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last ones.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
) -> None:
    """Print the end of the log of the run's Argilla.

    Example:
        stillhouse argilla logs runs/demo --follow

    """
    from loop.argilla_commands import log_of

    with clear_errors():
        for line in log_of(run, lines, follow=follow):
            print(line, end="", flush=True)


@argilla_app.command("backup")
def argilla_backup(
    run: RunFolder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.", show_default=False)],
    with_keys: Annotated[bool, typer.Option("--with-keys", help="Keep users' API keys in it.")] = False,
) -> None:
    """Copy what the run's Argilla holds, answers and users, to a file; it may run meanwhile.

    API keys are replaced in the copy unless --with-keys; passwords are in it as hashes, so people log in as before.

    Example:
        stillhouse argilla backup runs/demo desk-friday.db

    """
    from argilla_setup.backup import back_up

    with clear_errors():
        back_up(run / "argilla", file, with_keys=with_keys)
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


@argilla_app.command("restore")
def argilla_restore(
    run: RunFolder, file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.", show_default=False)]
) -> None:
    """Put a backup in the place of what the run's Argilla holds; it must be down, and the old data are kept aside.

    Example:
        stillhouse argilla restore runs/demo desk-friday.db

    """
    from argilla_setup.backup import restore

    with clear_errors():
        kept = restore(run / "argilla", file)
        print(f"restored; what was there before is in {kept}" if kept else "restored")
