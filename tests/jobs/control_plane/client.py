"""The tests' side: start a control plane, run modal's command line against it, watch it, and kill any part of it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[3]
START_S = 30.0


def why_not_here() -> str:
    """Why containers cannot run on this machine, or nothing."""
    if shutil.which("unshare") is None:
        return "no unshare: containers need mount namespaces of their own"
    wanted = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    tried = subprocess.run([*wanted, "true"], check=False, capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no mount namespaces: {tried.stderr.strip()}"


class ControlPlane:
    """A control plane in a process of its own; `folder` keeps its volumes, so another may go on where one was killed.

    Of each function at most `containers` run at once: they share this machine.
    """

    def __init__(
        self, folder: Path, secrets: Mapping[str, Mapping[str, str]] | None = None, containers: int = 2
    ) -> None:
        self.folder = folder.resolve()
        self.containers = containers
        self.secrets = secrets or {}
        self.process: subprocess.Popen[str] | None = None
        self.http = ""
        self.grpc = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CONTROL_PLANE_SECRETS": json.dumps(self.secrets)}
        environment["CONTROL_PLANE_CONTAINERS"] = str(self.containers)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.control_plane.plane", str(self.folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "plane.log").open("a"),
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            raise RuntimeError(f"the control plane did not start: {(self.folder / 'plane.log').read_text()}")
        words = json.loads(said)
        self.grpc, self.http = words["grpc"], words["http"]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(START_S)

    def kill(self) -> None:
        """kill -9 of the control plane; its containers die with it, its volumes stay."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a modal client speak to this control plane, and to no other."""
        return {
            "MODAL_SERVER_URL": self.grpc,
            "MODAL_TOKEN_ID": "ak-here",
            "MODAL_TOKEN_SECRET": "as-here",
            "MODAL_CONFIG_PATH": str(self.folder / "no-config"),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "modal", *arguments]

    def modal(
        self, *arguments: str, cwd: Path = ROOT, timeout_s: float = 120.0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Modal's own command line, to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @contextlib.contextmanager
    def running(
        self, command: Sequence[str], cwd: Path = ROOT, **environment: str
    ) -> Iterator["subprocess.Popen[str]"]:
        """A client in a process of its own, to be killed at will."""
        with subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def events(self, what: str | None = None) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in found if what is None or event["event"] == what]

    def wait_for(self, what: str, count: int = 1, timeout_s: float = 60.0) -> dict[str, Any]:
        """The `count`-th event of a sort, once it has happened."""
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            found = self.events(what)
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.005)
        raise TimeoutError(f"no {what} number {count}; seen: {[event['event'] for event in self.events()]}")

    def kill_container(self, container: str) -> None:
        """kill -9 of one container."""
        os.kill(next(e["pid"] for e in self.events("started") if e["container"] == container), signal.SIGKILL)

    def report(self) -> dict[str, Any]:
        """What clients have asked for so far: functions with their settings and files, images, counts of calls."""
        assert self.process is not None
        path = self.folder / "report.json"
        path.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                return found
            time.sleep(0.01)
        raise TimeoutError("the control plane does not report")

    def volume(self, name: str) -> Path:
        """What has been committed to a volume."""
        return self.folder / "volumes" / f"vo-{name}"
