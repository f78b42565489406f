"""The desk of a run: opened once, given batches, asked for answers; rehearsed experts where the task says so."""

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import argilla_setup
from argilla_setup.annotators import FILE as ANNOTATORS
from argilla_setup.annotators import invite
from argilla_setup.desk import Desk
from argilla_setup.embedded import Connection, down, ensure_environment, status, up
from argilla_setup.file_desk import FileDesk
from argilla_setup.rehearsed import RehearsedExperts, answer_in_argilla, answer_in_files
from loop.project import Project
from stillhouse.errors import DeskError
from stillhouse.records import Answer, Value

if TYPE_CHECKING:
    from argilla_setup.argilla_desk import ArgillaDesk

ARGILLA_VENV_ENV = "STILLHOUSE_ARGILLA_VENV"


def argilla_venv() -> Path:
    """The embedded server's own environment: named in STILLHOUSE_ARGILLA_VENV, else .venv-argilla beside the code."""
    named = os.environ.get(ARGILLA_VENV_ENV)
    return Path(named) if named else Path(argilla_setup.__file__).resolve().parent.parent / ".venv-argilla"


def start_argilla(project: Project, on_line: Callable[[str], None], port: int = 0) -> Connection:
    venv = ensure_environment(argilla_venv(), on_line)
    return up(project.argilla_home, venv, port, pictures=project.task.data.image is not None)


def connection_of(project: Project, on_line: Callable[[str], None]) -> Connection:
    """How to reach the Argilla of this task. Raises DeskError."""
    desk = project.task.desk
    if desk.kind == "embedded":
        return start_argilla(project, on_line)
    key = os.environ.get(desk.api_key_env, "")
    if not key:
        raise DeskError(
            f"no key for the Argilla at {desk.url}",
            expected=f"the API key of an owner or admin in the environment variable {desk.api_key_env}",
            found="it is not set",
            fix=f"export {desk.api_key_env}=...",
        )
    return Connection(desk.url, key)


class OpenDesk:
    """Opens in the background, so that the server starts while the teacher works; `desk` waits for it."""

    def __init__(self, project: Project, on_line: Callable[[str], None]) -> None:
        self.project = project
        self._on_line = on_line
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._opened: Future[Desk] = self._pool.submit(self._open)
        self._pool.shutdown(wait=False)

    @property
    def desk(self) -> Desk:
        return self._opened.result()

    def reopen(self) -> None:
        """Connect again; the embedded server is started where it is down. Raises DeskError."""
        desk: Future[Desk] = Future()
        desk.set_result(self._open())
        self._opened = desk

    def _open(self) -> Desk:
        if self.project.task.desk.kind == "files":
            return FileDesk(self.project.file_desk, self.project.task)
        from argilla_setup.argilla_desk import ArgillaDesk

        connection = connection_of(self.project, self._on_line)
        desk = ArgillaDesk(connection.url, connection.api_key, self.project.task)
        self._invite(desk)
        return desk

    def _invite(self, desk: "ArgillaDesk") -> None:
        """Whom the task names are made users of Argilla, unless experts are rehearsed in their place."""
        settings = self.project.task.desk
        people = list(dict.fromkeys((*settings.annotators, *settings.adjudicators)))
        if not people or settings.rehearse:
            return
        folder = self.project.argilla_home if settings.kind == "embedded" else self.project.folder
        if made := invite(desk, people, folder):
            self._on_line(f"made the annotators {', '.join(made)}: their passwords are in {folder / ANNOTATORS}")

    def rehearse(self, known: Mapping[str, Value] | None) -> int:
        """Simulated experts answer all that is open from what they know; 0 where the task rehearses nobody."""
        if known is None:
            return 0
        settings = self.project.task.desk
        experts = RehearsedExperts(
            known,
            self.project.kind,
            error_rate=settings.rehearse_error_rate,
            annotators=settings.rehearse_annotators,
            seed=self.project.task.seed,
        )
        desk = self.desk
        if isinstance(desk, FileDesk):
            return answer_in_files(desk, experts)
        argilla: ArgillaDesk = desk  # type: ignore[assignment]
        return answer_in_argilla(argilla, experts)


def answers_at_desk(project: Project, on_line: Callable[[str], None]) -> list[Answer]:
    """All that people have answered by now; an embedded server that was down is down again afterwards.

    Raises DeskError, or InputError where a file of answers cannot be read.
    """
    leave = project.task.desk.kind != "embedded" or status(project.argilla_home).running
    try:
        return OpenDesk(project, on_line).desk.collect()
    finally:
        if not leave:
            down(project.argilla_home)


def say_nothing(_line: str) -> None:
    """For commands whose output is data."""


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
