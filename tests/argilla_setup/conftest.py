"""One real embedded server a session (and a test worker), and desks on it with datasets of their own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection, down, ensure_environment, up
from argilla_setup.file_desk import FileDesk
from stillhouse.task import Task
from tests.argilla_setup.people import DeskOf, NewDesk, a_task, unique

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def argilla_venv() -> Path:
    """The server's environment: a prebuilt one if named, else built once at the root of the project."""
    if prebuilt := os.environ.get("STILLHOUSE_ARGILLA_VENV"):
        return Path(prebuilt)
    return ensure_environment(ROOT / ".venv-argilla", lambda line: print(line, file=sys.stderr))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("argilla") / "home"


@pytest.fixture(scope="session")
def embedded(home: Path, argilla_venv: Path) -> Iterator[Connection]:
    try:
        yield up(home, argilla_venv)
    finally:
        down(home)


def _connection(request: pytest.FixtureRequest, name: str) -> Connection:
    if name == "embedded":
        connection: Connection = request.getfixturevalue("embedded")
        return connection
    url = os.environ.get("STILLHOUSE_TEST_ARGILLA_URL", "")
    if not url:
        pytest.skip("STILLHOUSE_TEST_ARGILLA_URL names no server")
    return Connection(url, os.environ["STILLHOUSE_TEST_ARGILLA_KEY"])


@pytest.fixture(params=["embedded", "external"])
def server(request: pytest.FixtureRequest) -> Connection:
    """The embedded server, and any other that the environment names: both must keep the same contract."""
    return _connection(request, request.param)


@pytest.fixture(params=["files", "embedded", "external"])
def desk_of(request: pytest.FixtureRequest, tmp_path: Path) -> DeskOf:
    """A desk of either kind for a task; one for the same task is the same desk, opened again."""
    if request.param == "files":
        return lambda task: FileDesk(tmp_path / task.name, task)
    connection = _connection(request, request.param)
    return lambda task: ArgillaDesk(connection.url, connection.api_key, task)


def _new_desk_on(connection: Connection) -> NewDesk:
    def make(task: Task | None = None) -> ArgillaDesk:
        task = task or a_task(unique("test"))
        return ArgillaDesk(connection.url, connection.api_key, task)

    return make


@pytest.fixture
def new_desk(server: Connection) -> NewDesk:
    return _new_desk_on(server)


@pytest.fixture
def embedded_desk(embedded: Connection) -> ArgillaDesk:
    return _new_desk_on(embedded)()
