"""stillhouse argilla status, logs, backup, restore: what a person sees of a run's Argilla, wherever it is."""

import json
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection
from loop.argilla_commands import log_of, state_of
from loop.cli import app
from loop.project import TASK_PATH, project_of
from stillhouse.store import Store
from tests.argilla_setup.people import Person, a_record, unique

TASK = """
name = "{name}"
question = "Which team?"
[[labels]]
name = "billing"
[[labels]]
name = "delivery"
[[teachers]]
name = "t"
model = "m"
[data]
pool = "pool.jsonl"
[desk]
{desk}
"""


def a_run(folder: Path, desk: str) -> Path:
    """A run of a task with this desk, before its first round."""
    task = folder / "task.toml"
    task.write_text(TASK.format(name=unique("commands"), desk=desk), encoding="utf-8")
    with Store(folder / "run") as store:
        store.write_note(TASK_PATH, str(task))
    return folder / "run"


def said(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["argilla", *map(str, arguments)])
    return result.exit_code, result.output


def with_answers(connection: Connection, folder: Path) -> None:
    desk = ArgillaDesk(connection.url, connection.api_key, project_of(folder).task)
    desk.publish([a_record(f"i{n}") for n in range(3)])
    Person.joins(desk).answers("i0", "billing")


def test_the_state_of_an_embedded_server(embedded: Connection, home: Path, tmp_path: Path) -> None:
    """Address, version, workspace, and how far each dataset is; the same as JSON."""
    run = a_run(tmp_path, 'kind = "embedded"')
    assert said("status", run) == (0, f"Argilla: not running; stillhouse argilla up {run}\n")
    (run / "argilla").symlink_to(home)
    assert "dataset:   none yet" in said("status", run)[1]
    with_answers(embedded, run)
    code, text = said("status", run)
    assert (code, text.splitlines()[1:3]) == (0, ["version:   2.8.0", "workspace: stillhouse"])
    assert text.startswith(f"Argilla:   {embedded.url} (process ")
    assert text.endswith("2 pending, 1 completed\n")
    state = json.loads(said("status", run, "--json")[1])
    assert (state["running"], state["healthy"], state["datasets"][0]["pending"]) == (True, True, 2)
    assert embedded.api_key not in text


def test_the_state_of_a_server_that_the_task_names(
    embedded: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same output, by the address in task.toml and the key in the environment; without the key, what to export."""
    run = a_run(tmp_path, f'kind = "argilla"\nurl = "{embedded.url}"\napi_key_env = "TEAM_KEY"')
    code, text = said("status", run)
    assert code == 5
    assert "TEAM_KEY" in text
    monkeypatch.setenv("TEAM_KEY", embedded.api_key)
    assert said("status", run)[1].startswith(f"Argilla:   {embedded.url} (a server of yours)\nversion:   2.8.0\n")


def test_a_run_without_argilla_says_where_people_answer(tmp_path: Path) -> None:
    """The desk of files has no server to ask, start or open."""
    run = a_run(tmp_path, 'kind = "files"')
    for command in ("status", "up", "open"):
        code, text = said(command, run)
        assert code == 2
        assert "people answer in" in text


def test_the_log_is_shown_and_followed(tmp_path: Path) -> None:
    """The last lines, then what comes; no log is an error that says where one would be."""
    run = a_run(tmp_path, 'kind = "embedded"')
    code, text = said("logs", run)
    assert code == 5
    assert "server.log" in text
    (run / "argilla").mkdir()
    log = run / "argilla" / "server.log"
    log.write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert said("logs", run, "-n", "2") == (0, "two\nthree\n")
    lines = log_of(run, 1, follow=True)
    assert next(lines) == "three\n"
    with log.open("a", encoding="utf-8") as file:
        file.write("four\nfive\n")
    assert list(islice(lines, 2)) == ["four\n", "five\n"]


def test_backup_and_restore_as_commands(embedded: Connection, home: Path, tmp_path: Path) -> None:
    """A file from a running server, put into another run; over a running server it is refused."""
    run = a_run(tmp_path, 'kind = "embedded"')
    (run / "argilla").symlink_to(home)
    code, text = said("backup", run, tmp_path / "desk.db")
    assert (code, text.startswith(f"{tmp_path / 'desk.db'}: ")) == (0, True)
    assert said("restore", run, tmp_path / "desk.db")[0] == 5
    assert said("restore", tmp_path / "other", tmp_path / "desk.db") == (0, "restored\n")
    assert (tmp_path / "other" / "argilla" / "argilla.db").exists()
    assert state_of(run)["healthy"]
