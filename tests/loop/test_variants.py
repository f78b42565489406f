"""`stillhouse trial` with settings to try: every combination on the same items, its cost said first, examples never measured."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loop.project import open_project, read_pool
from loop.variants import Grid, grid_of, varied
from stillhouse.errors import InputError
from stillhouse.records import Answer, Pick
from stillhouse.settings import Teacher
from stillhouse.store import Store
from teacher.recorded import serving
from tests.loop.world import GOLD, LABELS, World, rows_of, write_world
from tests.teacher.fakes import PromptServer

A, B = Teacher(name="a", model="m"), Teacher(name="b", model="m", temperature=0.7)
AT = "2026-01-01T00:00:00Z"


def names(teachers: Sequence[Teacher]) -> list[str]:
    return [teacher.name for teacher in teachers]


def test_every_combination_has_a_name_that_says_what_is_different() -> None:
    """A teacher in its own settings keeps its name, and with it the votes that the run has."""
    found = varied([A, B], Grid(demonstrations=(0, 8), temperature=(0.0, 0.7)))
    assert names(found) == [
        "a.temperature-0",
        "a.temperature-0.7",
        "a.demonstrations-8.temperature-0",
        "a.demonstrations-8.temperature-0.7",
        "b.temperature-0",
        "b",
        "b.demonstrations-8.temperature-0",
        "b.demonstrations-8",
    ]
    assert (found[3].demonstrations, found[3].temperature) == (8, 0.7)


def test_without_a_grid_teachers_are_as_they_are() -> None:
    """And a recording is so with one, too: it says the same whatever it is asked."""
    recorded = Teacher(name="r", model="m", recording="replies.jsonl")
    assert varied([A, B], Grid()) == (A, B)
    assert names(varied([A, recorded], Grid(label_order=("as_given", "reversed")))) == ["a", "a.reversed", "r"]


def test_a_combination_that_is_no_teacher_is_told() -> None:
    """Decision endpoints take no examples, and a temperature has bounds."""
    decider = Teacher(name="d", model="m", api="openai_decisions")
    with pytest.raises(InputError, match="demonstrations = 8"):
        varied([decider], Grid(demonstrations=(8,)))
    with pytest.raises(InputError, match="temperature"):
        varied([A], Grid(temperature=(9.0,)))


def test_lists_are_read_from_the_command_line() -> None:
    """In their order, each value once; what is no value is told."""
    assert grid_of({"demonstrations": "8, 0,8", "temperature": None}) == Grid(demonstrations=(8, 0))
    with pytest.raises(InputError, match="--temperature"):
        grid_of({"temperature": "0,warm"})


def learns_from_examples(body: dict[str, Any]) -> str:
    """A teacher that knows nothing, and does as its nearest example."""
    replies = [message["content"] for message in body["messages"] if message["role"] == "assistant"]
    label = json.loads(replies[-1])["label"] if replies else "apps"
    return json.dumps({"label": label, "confidence": 0.6, "second": None})


@pytest.fixture
def server() -> PromptServer:
    return PromptServer(learns_from_examples)


def world_of(home: Path, url: str, **tables: Any) -> World:
    return write_world(
        home, items=60, teacher={"model": "gpt-4.1-mini", "base_url": url, "ask": "verbalised"}, **tables
    )


def answered(world: World, targeted: int, blind: int) -> None:
    """People have answered some of the pool, `blind` of them drawn at random."""
    project = open_project(world.task, world.run)
    pool = read_pool(project)[: targeted + blind]
    right = {row["id"]: row["team"] for row in rows_of(world.experts)}
    with Store(project.folder) as store:
        store.add_items(pool)
        store.add_picks(
            [
                Pick(item.id, 1, "", 0.5, None if at < targeted else 0.1, blind=at >= targeted)
                for at, item in enumerate(pool)
            ]
        )
        store.add_answers([Answer(item.id, "pat", right[item.id], True, False, AT) for item in pool])


def test_examples_are_tried_beside_none(tmp_path: Path, server: PromptServer) -> None:
    """On blind answers: of what is shown nothing is measured, and a second trial asks nobody."""
    with serving(server.app()) as url:
        world = world_of(tmp_path, url, gold=False)
        answered(world, targeted=20, blind=25)
        found = []
        for _ in range(2):
            command = ("trial", world.task, "--run", world.run, "--demonstrations", "0,2", "--json", "--quiet")
            result = world.stillhouse(*command)
            assert result.exit_code == 0, result.stderr
            found.append(json.loads(result.stdout))
    assert found[0]["teachers"] == found[1]["teachers"]
    assert [row["name"] for row in found[0]["teachers"]] == ["team-A", "team-A.demonstrations-2"]
    assert len(server.bodies) == 50
    pool = [row["text"].strip() for row in rows_of(world.pool)]
    for body in server.bodies:
        *shown, asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
        assert any(text in asked for text in pool[20:45])
        assert all(any(text in one for text in pool[:20]) for one in shown)
    few = found[0]["teachers"][1]
    assert few["calibration"]["aurc"]["lo"] <= few["calibration"]["aurc"]["value"] <= few["calibration"]["aurc"]["hi"]
    sides = [row for row in found[0]["teachers"] if row["behind_the_best"] is not None]
    assert all({"lo", "hi"} <= set(row["brier_beside_the_best"]) for row in sides)
    assert all(row["usd_an_item_beside_the_best"]["value"] != 0 for row in sides)


def test_a_teacher_that_waits_for_answers_is_left_out(tmp_path: Path, server: PromptServer) -> None:
    """It is said why; if nobody is left, that is an error, and nothing was sent."""
    with serving(server.app()) as url:
        world = world_of(tmp_path, url)
        answered(world, targeted=3, blind=20)
        result = world.stillhouse("trial", world.task, "--run", world.run, "--demonstrations", "0,2", "--quiet")
        assert result.exit_code == 0, result.stderr
        assert "Left out: teacher team-A.demonstrations-2 waits for 8 answers" in result.stdout
        assert len(server.bodies) == GOLD
        result = world.stillhouse("trial", world.task, "--run", world.run, "--demonstrations", "2", "--quiet")
    assert result.exit_code == 2
    assert len(server.bodies) == GOLD


def test_a_trial_that_cannot_be_paid_is_not_begun(tmp_path: Path, server: PromptServer) -> None:
    """Even the least it may cost is more than the cap: nothing is sent."""
    with serving(server.app()) as url:
        world = world_of(tmp_path, url, budget={"teacher_usd": 0.0001})
        result = world.stillhouse("trial", world.task, "--run", world.run, "--temperature", "0,0.7")
    assert result.exit_code == 4
    assert "nothing was sent" in result.stderr
    assert not server.bodies


def test_temperatures_are_sent(tmp_path: Path, server: PromptServer) -> None:
    """Each variant asks with its own."""
    with serving(server.app()) as url:
        world = world_of(tmp_path, url)
        result = world.stillhouse(
            "trial", world.task, "--run", world.run, "--temperature", "0,0.7", "--json", "--quiet"
        )
    assert result.exit_code == 0, result.stderr
    assert [body["temperature"] for body in server.bodies].count(0.7) == GOLD
    assert math.isclose(len(server.bodies), 2 * GOLD)


def test_how_often_the_right_label_is_shown_is_said(tmp_path: Path) -> None:
    """Of many labels a few are shown: what people say is among them, or the teacher could not say it."""
    server = PromptServer(lambda _: {"A": -0.1, "B": -3.0}, coded=True)
    many = (*LABELS, *(f"nobody wants {number:02d}" for number in range(20)))
    with serving(server.app()) as url:
        world = write_world(tmp_path, items=60, teacher={"model": "m", "base_url": url}, labels=many)
        result = world.stillhouse("trial", world.task, "--run", world.run, "--json", "--quiet")
        text = world.stillhouse("trial", world.task, "--run", world.run, "--quiet").stdout
    assert result.exit_code == 0, result.stderr
    with world.store() as store:
        shown = {vote.item_id: vote.candidates for vote in store.votes()}
    right = [row["team"] in shown[row["id"]] for row in rows_of(world.gold)]
    recall = json.loads(result.stdout)["label_recall"]
    assert (recall["value"], recall["n"]) == (pytest.approx(sum(right) / GOLD), GOLD)
    assert "The right label is among the 19 that are shown for" in text
