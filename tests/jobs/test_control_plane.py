"""The control plane itself: what Modal does that our jobs depend on, it does."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.control_plane import ControlPlane, why_not_here

pytestmark = pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "containers can run")
SMALL = "tests/jobs/apps/small.py"
KEYS = {"keys": {"COLOUR": "green"}}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), KEYS) as started:
        yield started


def test_a_map_runs_in_containers_and_publishes_what_it_commits(plane: ControlPlane) -> None:
    """Inputs go to processes of their own, outputs come back in order, and committed files are in the volume."""
    done = plane.modal("run", f"{SMALL}::main", "--numbers", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sum 14" in done.stdout
    assert {path.name for path in plane.volume("shelf").glob("[0-9].txt")} == {"0.txt", "1.txt", "2.txt", "3.txt"}
    assert {event["pid"] for event in plane.events("started")}.isdisjoint({os.getpid()})


def test_everything_else_our_jobs_call_works(plane: ControlPlane) -> None:
    """Secrets, the client's retries, warm classes with parameters, blobs, and a coordinator in a container."""
    done = plane.modal("run", f"{SMALL}::others")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("colour green", "stumbles 2", "warm [11, 12]", "large 5000000", "coordinated 14"):
        assert line in done.stdout


def test_a_call_past_its_timeout_is_ended(plane: ControlPlane) -> None:
    """The client gets the exception of its own library, and the container is gone."""
    done = plane.modal("run", f"{SMALL}::late")
    assert "timed out" in done.stdout, done.stdout + done.stderr


def test_a_detached_app_goes_on_without_its_client(plane: ControlPlane) -> None:
    """The client leaves after a spawn; the work is done all the same."""
    done = plane.modal("run", "--detach", f"{SMALL}::aside")
    assert done.returncode == 0, done.stdout + done.stderr
    until_s = time.monotonic() + 60
    while not (plane.volume("shelf") / "5.txt").exists():
        assert time.monotonic() < until_s, plane.events()[-10:]
        time.sleep(0.1)


def test_a_deployed_web_endpoint_answers(plane: ControlPlane) -> None:
    """`modal deploy` gives an address; a request to it runs the function in a container."""
    done = plane.modal("deploy", SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    url = plane.report()["functions"]["double"]["web_url"]
    request = urllib.request.Request(
        url, data=json.dumps({"number": 21}).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response) == {"doubled": 42}


def test_settings_arrive_as_written(plane: ControlPlane) -> None:
    """GPUs in order of preference, timeouts, retries, volumes, secrets, pinned packages: as the app says."""
    plane.modal("deploy", SMALL)
    report = plane.report()
    square = report["functions"]["square"]
    assert square["gpus"] == ["H100", "A100-80GB"]
    assert (square["timeout_s"], square["retries"], square["most_containers"]) == (600, 2, 2)
    assert square["volumes"] == {"/mnt/shelf": "vo-shelf"}
    assert report["functions"]["colour"]["secrets"] == 1
    assert any("numpy==2.4.6" in line for line in report["images"][square["image"]])


@pytest.mark.parametrize(
    ("settings", "said"),
    [("gpu='NOPE'", "unknown GPU"), ("retries=11", "at most 10 retries"), ("timeout=90000", "a timeout of")],
)
def test_values_the_client_does_not_check_are_refused(
    plane: ControlPlane, tmp_path: Path, settings: str, said: str
) -> None:
    """The client sends a wrong GPU, too many retries, too long a timeout; the service says what is wrong."""
    source = f"import modal\napp = modal.App('wrong')\n\n@app.function({settings}, serialized=True)\ndef f(): pass\n"
    (tmp_path / "wrong.py").write_text(source)
    done = plane.modal("deploy", str(tmp_path / "wrong.py"))
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_a_killed_containers_input_is_given_to_another(tmp_path: Path) -> None:
    """kill -9 of a container in mid-work: the call still gets all of its outputs."""
    with (
        ControlPlane(tmp_path, KEYS) as plane,
        plane.running(plane.command("run", f"{SMALL}::main", "--numbers", "2", "--pause-s", "1.5")) as client,
    ):
        plane.kill_container(plane.wait_for("taken")["container"])
        said, _ = client.communicate(timeout=90)
        assert "sum 1" in said, said
        assert any(event["lost"] for event in plane.events("ended"))


def test_what_was_not_committed_is_lost_with_its_container(tmp_path: Path) -> None:
    """A function that forgets to commit returns its value, and the volume is empty when the container is killed."""
    with (
        ControlPlane(tmp_path, KEYS) as plane,
        plane.running(plane.command("run", f"{SMALL}::main", "--numbers", "1", "--no-commit")),
    ):
        plane.kill_container(plane.wait_for("answered")["container"])
        plane.wait_for("ended")
        assert not list(plane.volume("shelf").glob("*"))


def test_a_killed_client_takes_its_app_with_it_and_volumes_stay(tmp_path: Path) -> None:
    """kill -9 of the control plane: its containers die, what was committed is there for the next."""
    with ControlPlane(tmp_path, KEYS) as plane:
        with plane.running(plane.command("run", f"{SMALL}::main", "--numbers", "3", "--pause-s", "0.5")):
            plane.wait_for("committed")
            pids = [event["pid"] for event in plane.events("started")]
            plane.kill()
            until_s = time.monotonic() + 10
            while any(Path(f"/proc/{pid}").exists() for pid in pids):
                assert time.monotonic() < until_s
                time.sleep(0.05)
        before = {path.name for path in plane.volume("shelf").glob("*")}
        assert before
        plane.start()
        done = plane.modal("run", f"{SMALL}::main", "--numbers", "3")
        assert "sum 5" in done.stdout, done.stdout + done.stderr
        assert before <= {path.name for path in plane.volume("shelf").glob("*")}


def test_the_command_line_reads_and_writes_volumes(plane: ControlPlane, tmp_path: Path) -> None:
    """`modal volume put`, `ls` and `get` carry a file there and back, whatever its size."""
    (tmp_path / "there").write_bytes(os.urandom(9_000_000))
    for arguments in (
        ("put", "shelf", str(tmp_path / "there"), "box/there"),
        ("get", "shelf", "box/there", str(tmp_path / "back")),
    ):
        done = plane.modal("volume", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()
    assert "there" in plane.modal("volume", "ls", "shelf", "box").stdout
