"""A round, its student as a web endpoint, and labels of a file, all on Modal, from the command line alone."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loop.learn import HELD_OUT_SHARE
from loop.project import project_of
from tests.jobs.control_plane import ControlPlane, why_not_here
from tests.loop.world import World, rows_of, write_world
from trainer.base import load_base
from trainer.inputs import Inputs
from trainer.windows import tokenise

pytestmark = pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "containers can run")
WAIT_S = 400.0
EPOCHS, ITEMS = 10, 80
STUDENT = {"recipe": "lora", "epochs": EPOCHS, "tokens_per_batch": 256, "max_tokens": 64}
TOKEN = "for the tests"


@dataclass(frozen=True)
class Round:
    """A world whose first round was done on a control plane; the container that taught was killed once."""

    world: World
    plane: ControlPlane

    def stillhouse(self, *arguments: object) -> str:
        """What a command of a process of its own says, which is gone when this returns."""
        command = [sys.executable, "-m", "loop.cli", *(str(argument) for argument in arguments)]
        with self.plane.running(command) as client:
            out, _ = client.communicate(timeout=WAIT_S)
        return str(out)


@pytest.fixture(scope="module")
def round_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    home, environment = tmp_path_factory.mktemp("round"), pytest.MonkeyPatch()
    world = write_world(home / "world", items=ITEMS, gold=False, rehearse=False, student=STUDENT)
    with ControlPlane(home / "plane", containers=1) as plane:
        command = [sys.executable, "-m", "loop.cli", "round", str(world.task), "--run", str(world.run), "--on", "modal"]
        with plane.running(command) as client:
            plane.kill_container(plane.wait_for("committed", timeout_s=WAIT_S)["container"])  # its first checkpoint
            said, _ = client.communicate(timeout=WAIT_S)
        assert client.returncode in {0, 10}, said
        for name, value in {**plane.environment, "STILLHOUSE_SERVE_TOKEN": TOKEN}.items():
            environment.setenv(name, value)  # commands of this process speak to this control plane too
        yield Round(world, plane)
        environment.undo()


def facts_of(world: World) -> dict[str, Any]:
    with world.store() as store:
        facts = store.rounds()[0].metrics["student_facts"]
    assert isinstance(facts, dict)
    return facts


def test_a_killed_training_goes_on_in_another_container(round_: Round) -> None:
    """The second container has seen fewer tokens than the whole training has: the rest was in the checkpoint."""
    facts = facts_of(round_.world)
    assert facts["recipe"] == "lora"
    assert round_.plane.events("ended")[0]["code"] == -9
    base = load_base(str(round_.world.home / "base"))
    lengths = tokenise(base, Inputs([row["text"] for row in rows_of(round_.world.pool)]), 64).lengths
    held = project_of(round_.world.run).rng("held out").permutation(ITEMS)[: round(HELD_OUT_SHARE * ITEMS)]
    assert 0 < facts["tokens"] < EPOCHS * (lengths.sum() - lengths[held].sum())


def test_the_student_answers_at_a_web_endpoint(round_: Round) -> None:
    """`serve --on modal` prints an address; with the token it labels, without it refuses; idle it costs nothing."""
    done = round_.world.stillhouse("serve", round_.world.run, "--on", "modal", "--threshold", "0.0")
    assert done.exit_code == 0, done.stderr
    url = done.stdout.split("deployed at ")[1].split()[0]
    body = json.dumps({"texts": ["the printer is out of toner", "my password"]}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/label", body, headers), timeout=120) as response:
        assert len(json.load(response)["answers"]) == 2
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(f"{url}/v1/label", body, {"Content-Type": "application/json"}))
    web = round_.plane.report()["functions"]["web"]
    assert (web["least_containers"], web["idle_s"], web["at_once"], web["secrets"]) == (0, 300, 64, 1)


def test_labels_handed_in_are_made_without_the_client_and_fetched_later(round_: Round, tmp_path: Path) -> None:
    """The client leaves after handing in; how far it is can be asked; the same command without --detach has all rows."""
    target = tmp_path / "labels.jsonl"
    words = ("label", round_.world.run, round_.world.pool, target, "--threshold", "0.0", "--shard-rows", "80")
    handed_in = round_.stillhouse(*words, "--on", "modal", "--detach")
    assert "this machine is not needed any more" in handed_in, handed_in
    assert "Deprecat" not in handed_in  # a client that warns today refuses tomorrow
    status = round_.world.stillhouse("jobs", "status", target, "--on", "modal", "--json")
    assert json.loads(status.stdout)["rows"] == ITEMS, status.stderr
    done = round_.world.stillhouse(*words, "--on", "modal")
    assert f"{ITEMS} of them were labelled by an earlier command" in done.stdout, done.stdout
    assert {row["id"] for row in rows_of(target)} == {row["id"] for row in rows_of(round_.world.pool)}
