"""A team's own prices reach every step that counts money, and what is in doubt is told in dollars."""

import json
from pathlib import Path

import pytest

from loop.plan import plan_round
from loop.project import TASK_PATH, open_project, prices_of
from stillhouse.errors import InputError
from stillhouse.store import Store
from tests.loop.world import World, write_world

REMOTE = {"model": "own-model", "base_url": "http://localhost:1/v1"}


def world_of(home: Path, prices: str | None) -> World:
    budget = {"teacher_usd": 5.0, **({"prices": "prices.toml"} if prices is not None else {})}
    if prices is not None:
        home.mkdir(exist_ok=True)
        (home / "prices.toml").write_text(prices)
    return write_world(home, items=20, gold=False, teacher=REMOTE, budget=budget)


def test_prices_of_ones_own_are_planned_with(tmp_path: Path) -> None:
    """A model that the table does not know, at the price that the team says; the table's own models stay."""
    world = world_of(tmp_path, '[models]\n"own-model" = { input_usd = 1000.0, output_usd = 1000.0 }')
    estimate = plan_round(world.task, world.run).teachers["team-A"]
    assert estimate.cost_usd is not None
    assert estimate.cost_usd > 1
    assert "gpt-4o" in prices_of(open_project(world.task, world.run)).models


def test_a_file_of_prices_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """Named, before anything is paid for."""
    world = world_of(tmp_path, "[models")
    with pytest.raises(InputError, match="price table"):
        plan_round(world.task, world.run)


def test_status_tells_what_is_in_doubt_in_dollars(tmp_path: Path) -> None:
    """How many requests may have been paid for without a reply, and the most that they may have cost."""
    world = world_of(tmp_path, None)
    with Store(world.run) as store:
        store.write_note(TASK_PATH, str(world.task))
        store.sending("key", "item", "team-A", 0.25)
    with Store(world.run):
        pass  # opened again: the request was in flight at a crash
    found = world.stillhouse("status", world.run, "--json")
    assert found.exit_code == 0, found.stderr
    said = json.loads(found.stdout)
    assert (said["in_doubt_requests"], said["in_doubt_usd"]) == (1, 0.25)
