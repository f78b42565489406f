"""The embedded server: private, on this machine only, and found again after every kind of end."""

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection, down, status, up
from argilla_setup.home import need_room
from argilla_setup.server.seclusion import policy
from benchmarks.annotating import Page, work
from kinds.single_label import QUESTION
from stillhouse.errors import DeskError
from tests.argilla_setup.people import a_record, a_task, records_of


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def kill_hard(home: Path) -> None:
    """kill -9, and wait until the kernel has closed what the server held."""
    pid = status(home).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while status(home).running:
        time.sleep(0.02)


def test_the_home_is_private(embedded: Connection, home: Path) -> None:
    """Folder 0700; credentials, database and log readable by their owner only; no default user, no secret in the log."""
    assert mode(home) == 0o700
    assert [mode(home / name) for name in ("credentials.json", "argilla.db", "server.log")] == [0o600] * 3
    credentials = json.loads((home / "credentials.json").read_text())
    log = (home / "server.log").read_text()
    assert not any(credentials[name] in log for name in ("password", "api_key", "secret"))
    assert len({credentials["password"], credentials["api_key"], credentials["secret"], "1234"}) == 4
    assert credentials["password"] not in repr(embedded)
    assert credentials["api_key"] not in repr(embedded)


def test_up_on_a_running_server_changes_nothing(embedded: Connection, home: Path, argilla_venv: Path) -> None:
    """The same connection comes back, from the same process."""
    before = status(home)
    assert up(home, argilla_venv) == embedded
    assert status(home) == before
    assert (before.running, before.healthy, before.url, before.version) == (True, True, embedded.url, "2.8.0")


def test_the_server_listens_on_this_machine_only(embedded: Connection) -> None:
    """The port is bound on 127.0.0.1, and on no other address of this machine."""
    port = int(embedded.url.rsplit(":", maxsplit=1)[1])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]
    with socket.socket() as outside:
        outside.settimeout(1)
        assert outside.connect_ex(("127.0.0.2", port)) != 0


def test_only_its_own_pages_may_call_the_server(embedded: Connection, embedded_desk: ArgillaDesk) -> None:
    """A page of another origin gets no permission from the browser, the server's own does."""
    session = embedded_desk.api.session
    for origin, allowed in ((embedded.url, embedded.url), ("http://evil.example", None)):
        reply = session.get(f"{embedded.url}/api/v1/status", headers={"Origin": origin}, timeout=5)
        assert reply.headers.get("access-control-allow-origin") == allowed


def test_pages_may_load_nothing_from_outside(embedded: Connection, embedded_desk: ArgillaDesk) -> None:
    """Argilla's styles name Google's fonts: a policy on every page and reply forbids the browser to fetch them."""
    for path in ("/", "/sign-in", "/api/v1/version", "/nowhere"):
        reply = embedded_desk.api.session.get(f"{embedded.url}{path}", timeout=5)
        rules = dict(rule.split(" ", 1) for rule in reply.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'self'"
        assert not [rule for rule in rules.values() if "http" in rule or "*" in rule]
        assert reply.headers["referrer-policy"] == "no-referrer"
    assert "img-src 'self' data: blob: https: http:" in policy(pictures=True)


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose server the tests of this module may kill."""
    home = tmp_path_factory.mktemp("own") / "home"
    try:
        yield home
    finally:
        down(home)


def test_nothing_runs_in_a_home_that_never_was(tmp_path: Path) -> None:
    """Status and down of a home that does not exist say so and create nothing."""
    home = tmp_path / "none"
    assert not status(home).running
    assert not down(home)
    assert not home.exists()


def test_a_server_killed_in_mid_push_loses_and_doubles_nothing(own_home: Path, argilla_venv: Path) -> None:
    """kill -9 while records arrive: one clear error; up again and the push repeated, every record is there once."""
    connection = up(own_home, argilla_venv)
    desk = ArgillaDesk(connection.url, connection.api_key, a_task("killed"))
    desk.publish([a_record("first")])
    batch = [a_record(f"i{n}", f"text {n}") for n in range(300)]
    errors: list[DeskError] = []

    def push() -> None:
        try:
            desk.publish(batch)
        except DeskError as error:
            errors.append(error)

    pushing = threading.Thread(target=push)
    pushing.start()
    watching = ArgillaDesk(connection.url, connection.api_key, desk.task)
    while watching.waiting() <= 1 and pushing.is_alive():
        time.sleep(0.01)
    kill_hard(own_home)
    pushing.join()
    assert "pushing records" in errors[0].what
    assert "nothing is lost" in errors[0].fix

    assert up(own_home, argilla_venv) == connection
    arrived = set(records_of(desk))
    assert 1 < len(arrived) < 301
    assert desk.publish(batch) == 301 - len(arrived)
    assert set(records_of(desk)) == {"first", *(f"i{n}" for n in range(300))}
    assert {r["fields"]["text"] for r in records_of(desk).values()} >= {f"text {n}" for n in range(300)}


def test_a_server_killed_in_mid_submit_loses_no_answer_that_it_acknowledged(own_home: Path, argilla_venv: Path) -> None:
    """kill -9 while a person answers: what was acknowledged is there after a restart, and so is what that completes."""
    connection = up(own_home, argilla_venv)
    desk = ArgillaDesk(connection.url, connection.api_key, a_task("answered"))
    desk.publish([a_record(f"i{n:03d}") for n in range(100)])
    page = Page(desk.api, str(desk.dataset_id()), lambda _item: {QUESTION: {"value": "billing"}})
    page.load()
    answering = threading.Thread(target=work, args=(page, lambda _rng: 0.0, 0, lambda: False))
    answering.start()
    while len(page.acknowledged) < 5 and answering.is_alive():
        time.sleep(0.01)
    kill_hard(own_home)
    answering.join()
    assert page.errors
    with closing(sqlite3.connect(own_home / "argilla.db")) as db, db:
        # A kill between the two commits of an answer leaves its record pending.
        db.execute("UPDATE records SET status = 'pending' WHERE id = ?", (min(page.acknowledged).replace("-", ""),))

    assert up(own_home, argilla_venv) == connection
    held = records_of(desk).values()
    answered = {record["id"] for record in held if record["responses"]}
    assert set(page.acknowledged) <= answered
    assert {record["id"] for record in held if record["status"] == "completed"} == answered


def test_a_pid_of_somebody_else_is_never_believed(own_home: Path, argilla_venv: Path) -> None:
    """After kill -9 the pid file may name a stranger: it is not reported, not stopped, and up starts a server."""
    up(own_home, argilla_venv)
    kill_hard(own_home)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        (own_home / "server.pid").write_text(f"{stranger.pid}\n")
        assert not status(own_home).running
        assert not down(own_home)
        up(own_home, argilla_venv)
        assert status(own_home).pid != stranger.pid
        assert stranger.poll() is None
        stranger.terminate()


def test_new_credentials_beside_an_old_database_are_the_owners(own_home: Path, argilla_venv: Path) -> None:
    """When the credentials file is lost, new ones are made and open the old data; down stops the server."""
    old = up(own_home, argilla_venv)
    task = a_task("kept")
    ArgillaDesk(old.url, old.api_key, task).publish([a_record("first")])
    assert down(own_home)
    assert not status(own_home).running
    (own_home / "credentials.json").unlink()
    new = up(own_home, argilla_venv)
    assert (new.url, new.api_key == old.api_key) == (old.url, False)
    assert "first" in records_of(ArgillaDesk(new.url, new.api_key, task))


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The error has the server's own last words and where to read more."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho its last words\nexit 3\n")
    python.chmod(0o700)
    with pytest.raises(DeskError, match="its last words") as caught:
        up(tmp_path / "home", tmp_path / "venv")
    assert "exit code 3" in caught.value.found
    assert "server.log" in caught.value.fix


def test_a_damaged_database_is_said_before_the_start(tmp_path: Path, argilla_venv: Path) -> None:
    """No server opens it, and the error says how to put a backup in its place."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "argilla.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(DeskError, match="damaged") as caught:
        up(home, argilla_venv)
    assert "stillhouse argilla restore" in caught.value.fix
    assert not (home / "server.log").exists()


def test_a_wanted_port_that_is_taken_is_said(tmp_path: Path, argilla_venv: Path) -> None:
    """A port asked for by number is never silently replaced by another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DeskError, match="is taken"):
            up(tmp_path / "home", argilla_venv, port=other.getsockname()[1])


def test_broken_credentials_are_named_without_being_shown(tmp_path: Path, argilla_venv: Path) -> None:
    """Half a credentials file is an error that quotes nothing of it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "credentials.json").write_text('{"username": "owner", "password": "hunter2"')
    with pytest.raises(DeskError, match="cannot be read") as caught:
        up(home, argilla_venv)
    assert "hunter2" not in str(caught.value)


def test_a_full_disk_is_said_before_the_start(tmp_path: Path) -> None:
    """A server that cannot write would take an answer from a person and lose it."""
    with pytest.raises(DeskError, match="no room") as caught:
        need_room(tmp_path, needed_bytes=10**18)
    assert "MB" in caught.value.found


def test_a_missing_environment_is_said(tmp_path: Path) -> None:
    """Without the server's environment there is nothing to start, and the error says how to build it."""
    with pytest.raises(DeskError, match="environment of the embedded Argilla is missing"):
        up(tmp_path / "home", tmp_path / "no-venv")
