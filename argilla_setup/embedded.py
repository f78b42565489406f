"""Starts, finds and stops the embedded Argilla: a server of its own process with its data in one private folder.

The home folder (mode 0700) holds the database, credentials.json (0600), server.pid, port and server.log. Whether the
server lives is told by a lock on server.pid that the server process itself holds: the kernel releases it when that
process ends, however it ends, so a pid left behind by kill -9 or reused after a reboot is never believed.
"""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import requests

from argilla_setup.backup import ready_to_start
from argilla_setup.environment import SERVER, ensure_environment, python_of
from argilla_setup.home import (
    end_of_log,
    is_locked,
    lock_home,
    make_private,
    need_room,
    open_log,
    read_or_make_credentials,
    remembered_port,
    written_pid,
)
from stillhouse.errors import DeskError

__all__ = ["Connection", "Status", "down", "ensure_environment", "status", "up"]

HOST = "127.0.0.1"
BOOT_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Connection:
    """Where an Argilla server is and how to enter it. Secrets do not show in its repr."""

    url: str
    api_key: str = field(repr=False)
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Status:
    """What stands in a home folder: does the server run, and does it answer."""

    running: bool
    healthy: bool
    url: str | None
    pid: int | None
    version: str | None


def up(home: Path, venv: Path, port: int = 0, *, pictures: bool = False) -> Connection:
    """Start the server unless it runs, wait until it answers, and return how to reach it.

    `port` 0 means the port used last in this home if it is free, else any free one. The server outlives this process.
    `pictures` lets its pages load pictures from other servers; without it they load nothing from outside. Raises DeskError.
    """
    home, venv = (
        home.resolve(),
        venv.absolute(),
    )  # the server works in its home; a link in the path of its python stays one
    make_private(home)
    credentials = read_or_make_credentials(home)
    process: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        if process is None and (lock := lock_home(home)) is not None:
            with lock:
                process = _start(home, venv, _choose_port(home, port), lock, pictures=pictures)
        url = _url(home)
        if url is not None and _is_ours(url, credentials.api_key):
            return Connection(url, credentials.api_key, credentials.username, credentials.password)
        if process is not None and process.poll() is not None:
            raise _not_up(home, f"it ended with exit code {process.returncode}")
        time.sleep(POLL_S)
    raise _not_up(home, f"no answer within {BOOT_TIMEOUT_S:.0f} s")


def down(home: Path) -> bool:
    """Stop the server of this home; False when none was running. SIGTERM first, SIGKILL when that does not help."""
    home = home.resolve()
    if not is_locked(home):
        return False
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        signalled = False
        while time.monotonic() < deadline:
            if not is_locked(home):
                return True
            pid = written_pid(home)  # None for the instant in which a server starts
            if pid is not None and not signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, sign)
                signalled = True
            time.sleep(POLL_S)
    raise DeskError(
        f"the embedded Argilla of {home} does not stop",
        expected=f"its process to end within {2 * STOP_TIMEOUT_S:.0f} s",
        found=f"a process still holds {home / 'server.pid'}",
        fix="end that process by hand, then repeat the command",
    )


def status(home: Path) -> Status:
    home = home.resolve()
    if not is_locked(home):
        return Status(running=False, healthy=False, url=None, pid=None, version=None)
    url = _url(home)
    version = _version(url) if url else None
    return Status(running=True, healthy=version is not None, url=url, pid=written_pid(home), version=version)


def _start(home: Path, venv: Path, port: int, lock: IO[str], *, pictures: bool) -> "subprocess.Popen[bytes]":
    if not python_of(venv).exists():
        raise DeskError(
            "the environment of the embedded Argilla is missing",
            expected=f"a python at {python_of(venv)}",
            found="nothing",
            fix="build it with: stillhouse argilla up",
        )
    need_room(home)
    ready_to_start(home)
    lock.truncate(0)  # the server writes its own pid; until then the pid of an earlier one must not be believed
    (home / "port").write_text(f"{port}\n", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARGILLA_", "PYTHON"))}
    command = [str(python_of(venv)), "-s", str(SERVER / "launch.py"), "--home", str(home), "--port", str(port)]
    with open_log(home) as output:
        return subprocess.Popen(
            [*command, "--pictures"] if pictures else command,
            cwd=home,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the parent's terminal must not stop people's work
            pass_fds=(lock.fileno(),),  # the lock lives as long as the server
        )


def _choose_port(home: Path, wanted: int) -> int:
    candidate = wanted or remembered_port(home)
    if candidate and _is_free(candidate):
        return candidate
    if wanted:
        raise DeskError(
            f"port {wanted} is taken",
            expected="a free port on this machine",
            found=f"something else listens on {HOST}:{wanted}",
            fix="choose another port, or none to take any free one",
        )
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _url(home: Path) -> str | None:
    port = remembered_port(home)
    return None if port is None else f"http://{HOST}:{port}"


def _get(url: str, api_key: str = "") -> dict[str, Any] | None:
    """The JSON behind an address of this machine, or None; past any proxy the environment names."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            reply = session.get(url, headers={"X-Argilla-Api-Key": api_key} if api_key else {}, timeout=5)
            return dict(reply.json()) if reply.ok else None
        except (requests.RequestException, ValueError):
            return None


def _version(url: str) -> str | None:
    reply = _get(f"{url}/api/v1/status")
    return str(reply["version"]) if reply and "version" in reply else None


def _is_ours(url: str, api_key: str) -> bool:
    """It answers, and it knows our key: another server on a port that was once ours does not."""
    return _version(url) is not None and _get(f"{url}/api/v1/me", api_key) is not None


def _not_up(home: Path, found: str) -> DeskError:
    return DeskError(
        f"the embedded Argilla of {home} did not come up",
        expected=f"an answer at {_url(home)}/api/v1/status",
        found=f"{found}; its log ends with:\n{end_of_log(home)}",
        fix=f"read {home / 'server.log'}, mend what it says and repeat the command",
    )
