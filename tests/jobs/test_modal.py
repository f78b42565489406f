"""The app as Modal gets it, and labels made with it while everything is killed that can be."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs import modal_app
from jobs.costs import machine
from jobs.engine import PACKAGES
from jobs.modal_app import HOME, LABELLING_GPUS, PINS, TEACHING_GPUS, TEACHING_PINS, TRAINING_GPUS
from tests.jobs.conftest import ROWS, Texts
from tests.jobs.control_plane import ControlPlane, why_not_here
from tests.jobs.test_engines import rows_of

pytestmark = pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "containers can run")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as started:
        yield started


def command(texts: Texts, target: Path, shard_rows: int = 100) -> list[str]:
    words = [str(texts.student), str(texts.source), str(target), str(shard_rows)]
    return [sys.executable, "-m", "tests.jobs.label_on_modal", *words]


def test_pins_are_those_the_tests_passed_with() -> None:
    """What the image installs is in constraints.txt, version for version."""
    pinned = set((ROOT / "constraints.txt").read_text(encoding="utf-8").lower().split())
    assert [pin for pin in PINS if pin not in pinned] == []


def test_pins_fit_each_other() -> None:
    """Each version that the image pins is satisfied with all the others: none is turned down when the image is built."""
    pinned = {canonicalize_name(name): version for name, _, version in (pin.partition("==") for pin in PINS)}
    for name, version in pinned.items():
        assert installed(name) == version
        for said in map(Requirement, metadata.requires(name) or ()):
            wanted = pinned.get(canonicalize_name(said.name))
            if wanted is not None and (said.marker is None or said.marker.evaluate({"extra": ""})):
                assert said.specifier.contains(wanted), f"{name} wants {said}"


def installed(name: str) -> str:
    """The version that the tests run with, as an index names it: without what it was built for."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def test_pins_are_to_be_had() -> None:
    """pip finds the pinned versions that are not installed here, where an index answers."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
    quick = ["--retries", "0", "--timeout", "5", "--disable-pip-version-check"]
    named = [pin.partition("==") for pin in (*PINS, *TEACHING_PINS)]
    pins = [f"{name}=={version}" for name, _, version in named if version and installed(name) != version]
    try:
        done = subprocess.run([*command, *quick, *pins], capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("no index answers in time")
    unreachable = ("from versions: none", "No module named pip", "ConnectionPool", "timed out")
    if any(words in done.stderr for words in unreachable):
        pytest.skip("no index answers here")
    assert done.returncode == 0, done.stderr


def test_every_gpu_has_a_price() -> None:
    """Whatever the app may run on, its cost can be told."""
    assert all(machine(gpu).usd_per_s > 0 for gpu in (*LABELLING_GPUS, *TRAINING_GPUS, *TEACHING_GPUS))


def test_deployed_the_app_is_what_it_should_be(plane: ControlPlane) -> None:
    """Without a warning: pinned images, every package with its prompts and tables, GPUs in order, limits, volumes."""
    done = plane.modal("deploy", "-m", "jobs.modal_app", PYTHONWARNINGS="error::DeprecationWarning")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    report = plane.report()
    label = report["functions"]["label"]
    assert (label["gpus"], label["timeout_s"], label["retries"]) == (LABELLING_GPUS, 7200, 3)
    assert label["volumes"] == {"/data": "vo-stillhouse-data", "/hub": "vo-stillhouse-hub"}
    assert (report["functions"]["train"]["gpus"], report["functions"]["train"]["timeout_s"]) == (
        TRAINING_GPUS,
        12 * 3600,
    )
    teaching = report["functions"]["Teaching.*"]
    assert (teaching["gpus"], teaching["timeout_s"], teaching["retries"]) == (TEACHING_GPUS, 4 * 3600, 3)
    assert (teaching["least_containers"], teaching["idle_s"], teaching["volumes"]) == (0, 120, label["volumes"])
    assert "vllm==0.33.0" in " ".join(report["images"][teaching["image"]])
    files = set(label["files"])
    for name in ("prompts/templates/system_codes.jinja", "teacher/prices.toml", "jobs/work.py", "serving/receipts.py"):
        assert f"{HOME}/{name}" in files
    assert {Path(name).parts[2] for name in files if len(Path(name).parts) > 3} == set(PACKAGES)
    assert not [name for name in files if "__pycache__" in name]
    lines = " ".join(report["images"][label["image"]])
    assert all(pin in lines for pin in PINS)


def test_local_bodies_are_the_work_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container runs is `jobs.work`: its body called here does the same, and commits."""
    said: list[str] = []
    volume = SimpleNamespace(reload=lambda: said.append("reload"), commit=lambda: said.append("commit"))
    monkeypatch.setattr(modal_app, "data", volume)
    with pytest.warns(UserWarning, match="executing locally"):
        assert modal_app.label.local("echo", 3, {"said": "ready"}) == (3, {"said": "ready"})
    assert said == ["reload", "commit"]


def test_killed_at_every_step_of_the_commit_nothing_is_lost_or_doubled(texts: Texts, tmp_path: Path) -> None:
    """kill -9 of a container that has taken a shard, is committing it, has committed it; of the client; of the control
    plane: each time the command is repeated, and in the end every row is there once.
    """
    plane = ControlPlane(tmp_path / "plane", containers=1)
    with plane, plane.running(command(texts, tmp_path / "out", 60)) as client:
        taken = plane.wait_for("taken", 2, timeout_s=200)  # the first is the plan
        plane.kill_container(taken["container"])
        committing = plane.wait_for("committing", 3, timeout_s=200)
        plane.kill_container(committing["container"])
        committed = plane.wait_for("committed", 5, timeout_s=200)
        plane.kill_container(committed["container"])
        plane.wait_for("committed", 6, timeout_s=200)
        client.kill()
        client.wait()
        plane.kill()
        plane.start()
        with plane.running(command(texts, tmp_path / "out", 60)) as again:
            said, _ = again.communicate(timeout=300)
    assert f"{ROWS} rows" in said, said
    assert ", 0 resumed" not in said
    assert "Deprecat" not in said
    assert rows_of(tmp_path / "out") == texts.labels
    assert len([event for event in plane.events("ended") if event["code"] == -9]) >= 3


FORGETFUL = """
import modal
from jobs.modal_app import DATA, data, image

app = modal.App("forgetful")

@app.function(image=image, volumes={DATA: data}, serialized=False)
def write() -> str:
    from pathlib import Path
    Path(DATA, "there").write_text("x")
    return "written"

@app.function(image=modal.Image.debian_slim(python_version="3.11"), include_source=False)
def bare() -> str:
    from jobs.work import do
    return str(do("echo", {}))

@app.local_entrypoint()
def main(which: str) -> None:
    print({"write": write, "bare": bare}[which].remote())
"""


def test_without_its_sources_the_work_fails(plane: ControlPlane, tmp_path: Path) -> None:
    """The negative control of the image: a container has nothing that was not uploaded, though it runs in this checkout."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    done = plane.modal("run", str(tmp_path / "forgetful.py"), "--which", "bare")
    assert done.returncode != 0
    assert "No module named" in done.stdout + done.stderr


def test_without_a_commit_the_work_is_lost(tmp_path: Path) -> None:
    """The negative control of the volume: what is not committed dies with its container."""
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    with (
        ControlPlane(tmp_path / "plane") as plane,
        plane.running(plane.command("run", str(tmp_path / "forgetful.py"), "--which", "write")),
    ):
        plane.kill_container(plane.wait_for("answered")["container"])
        plane.wait_for("ended")
        assert not (plane.volume("stillhouse-data") / "there").exists()
