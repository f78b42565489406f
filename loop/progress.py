"""What a person sees while a command works: bars with rate and time left, lines that stay; or nothing, for scripts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Step(Protocol):
    """Says how far a bar is; `total` where it was not known before."""

    def __call__(self, done: int, note: str, total: int | None = None, /) -> None: ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="cyan")


class Display:
    """Writes to standard error, so that standard output stays the command's result. `quiet` writes nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.quiet = quiet

    def line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, name: str, total: int | None) -> Iterator[Step]:
        """Yields step(done, note). Without a terminal one line is written at the end. `total` None: not known."""
        if not self.console.is_terminal or self.quiet:
            note = ""

            def remembered(done: int, said: str, total: int | None = total) -> None:
                nonlocal note
                note = f"{done:,} {said}" if total is None else f"{done:,} of {total:,} {said}"

            yield remembered
            self.line(f"  {name}: {note or 'done'}")
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task(name, total=total, note="")

            def shown(done: int, note: str, total: int | None = total) -> None:
                progress.update(bar, completed=done, note=note, total=total)

            yield shown
