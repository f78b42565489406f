"""What the commands about a run's Argilla do: its state, wherever it is, and the log of the embedded one."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argilla_setup.embedded import Connection, status
from argilla_setup.home import read_or_make_credentials
from loop.desks import connection_of, say_nothing
from loop.project import Project, project_of
from stillhouse.errors import DeskError, InputError

POLL_S = 0.5


def with_argilla(folder: Path) -> Project:
    """The run's project. Raises InputError where people answer in files."""
    project = project_of(folder)
    if project.task.desk.kind == "files":
        raise InputError(
            "this run has no Argilla",
            expected='desk.kind = "embedded" or "argilla"',
            found='desk.kind = "files"',
            fix=f"people answer in {project.file_desk}",
        )
    return project


def state_of(folder: Path) -> dict[str, Any]:
    """Where the run's Argilla is, which version answers, and how far each of its datasets is; starts nothing.

    Raises DeskError where a server named by the task does not answer, InputError where the desk is no Argilla.
    """
    project = with_argilla(folder)
    kind = project.task.desk.kind
    state: dict[str, Any] = {"kind": kind, "url": project.task.desk.url, "running": True, "healthy": True, "pid": None}
    if kind == "embedded":
        found = status(project.argilla_home)
        state |= {"url": found.url, "running": found.running, "healthy": found.healthy, "pid": found.pid}
        if not found.healthy:
            return state | {"version": None, "workspace": project.task.desk.workspace, "datasets": []}
    return state | _seen(project, _connection(project, state["url"]))


def _connection(project: Project, url: str) -> Connection:
    if project.task.desk.kind == "embedded":
        return Connection(url, read_or_make_credentials(project.argilla_home).api_key)
    return connection_of(project, say_nothing)


def _seen(project: Project, connection: Connection) -> dict[str, Any]:
    from argilla_setup.argilla_desk import ArgillaDesk

    desk = ArgillaDesk(connection.url, connection.api_key, project.task)
    datasets = []
    for queue in desk.queues.values():
        if dataset := queue.ready():
            progress = desk.api.call("GET", f"/datasets/{dataset['id']}/progress", doing="counting what is open")
            datasets.append({"name": queue.name, "pending": progress["pending"], "completed": progress["completed"]})
    return {
        "version": desk.api.call("GET", "/version", doing="asking for the version")["version"],
        "workspace": project.task.desk.workspace,
        "datasets": datasets,
    }


def state_text(state: dict[str, Any], folder: Path) -> str:
    """The same for people, a line each."""
    where = f"process {state['pid']}" if state["kind"] == "embedded" else "a server of yours"
    if not state["healthy"]:
        if state["running"]:
            return f"Argilla: {where} starts, or does not answer at {state['url']}; stillhouse argilla logs {folder}"
        return f"Argilla: not running; stillhouse argilla up {folder}"
    lines = [
        f"Argilla:   {state['url']} ({where})",
        f"version:   {state['version']}",
        f"workspace: {state['workspace']}",
    ]
    lines += [
        f"dataset:   {each['name']}, {each['pending']:,} pending, {each['completed']:,} completed"
        for each in state["datasets"]
    ]
    return "\n".join(lines if state["datasets"] else [*lines, "dataset:   none yet"])


def log_of(folder: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """The last lines of the embedded server's log; with `follow` also those to come, until the reader stops."""
    project = project_of(folder)
    log = project.argilla_home / "server.log"
    if project.task.desk.kind != "embedded" or not log.exists():
        raise DeskError(
            "there is no log of an embedded Argilla",
            expected=f"{log}",
            found=f'desk.kind = "{project.task.desk.kind}"' if project.task.desk.kind != "embedded" else "no such file",
            fix="read the log where that server runs, or start the embedded one: stillhouse argilla up RUN",
        )
    with log.open(encoding="utf-8", errors="replace") as file:
        yield from file.readlines()[-lines:]
        while follow:
            if line := file.readline():
                yield line
            else:
                time.sleep(POLL_S)
