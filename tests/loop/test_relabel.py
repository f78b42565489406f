"""`stillhouse relabel`: labels change between rounds, and only what they leave open is paid for and asked again."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loop.relabel import relabel
from loop.typed_changes import changes_of
from stillhouse.errors import InputError, StoreError
from stillhouse.label_mapping import is_open
from stillhouse.store import SCHEMA_HASH, Store
from teacher.faults import RequestLog
from teacher.recorded import recorded_teacher
from tests.loop.world import LABELS, World, batches, rows_of, write_rows, write_world

ITEMS = 60
RENAMED, SPLIT = {"devices": "hardware"}, {"identity": ("access", "password")}
CHANGES = ("--rename", "devices=hardware", "--split", "identity=access,password")
NOW = ("password", "hardware", *(name for name in LABELS if name not in {"devices", "identity"}), "access")


def half_of(item_id: str, label: str) -> str:
    """The new name; which part of a split label it is goes by the item."""
    parts = SPLIT.get(label)
    return RENAMED.get(label, label) if parts is None else parts[sum(map(ord, item_id)) % 2]


def in_new_labels(home: Path) -> None:
    """Gold, experts and the teacher's replies as they are of the new labels."""
    for name, columns in (
        ("gold.jsonl", ("team",)),
        ("experts.jsonl", ("team",)),
        ("replies.jsonl", ("label", "second")),
    ):
        rows = rows_of(home / name)
        changed = [{**row, **{c: half_of(row["id"], row[c]) for c in columns if row.get(c)}} for row in rows]
        write_rows(home / name, changed)


def world_of(home: Path, **more: Any) -> World:
    return write_world(
        home, items=ITEMS, budget={"human_labels": 30}, selection={"batch": 15, "near_duplicate_cosine": 1.0}, **more
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One round is finished and its batch answered, in the old labels; nobody changes it."""
    world = world_of(tmp_path_factory.mktemp("begun"))
    result = world.stillhouse("round", world.task, "--run", world.run, "--quiet")
    assert result.exit_code == 0, result.stderr
    return world


@pytest.fixture
def world(begun: World, tmp_path: Path) -> World:
    """A copy of it whose task.toml has the new labels."""
    shutil.copytree(begun.home, tmp_path / "world")
    copy = World(tmp_path / "world")
    with Store(copy.run) as store:
        store.write_note("task_path", str(copy.task))
    world_of(copy.home, labels=NOW)
    return copy


def what_stands(world: World) -> dict[str, Any]:
    with world.store() as store:
        return {
            "votes": {(vote.source, vote.item_id): vote for vote in store.votes()},
            "answers": {answer.item_id: answer for answer in store.answers()},
            "picks": store.picks(),
            "spent": store.spent_usd(),
            "replies": store.reply_counts(),
            "rounds": store.rounds(),
        }


def test_only_what_is_open_is_asked_again_and_the_run_stops_with_the_new_labels(world: World) -> None:
    """Rename and split between rounds: teacher and people are asked about the split label alone, and picks stay as they were."""
    before = what_stands(world)
    result = world.stillhouse("relabel", world.run, *CHANGES, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    after = what_stands(world)
    open_votes = {key for key, vote in after["votes"].items() if is_open(vote)}
    split_answers = {item_id for item_id, answer in before["answers"].items() if answer.label == "identity"}
    assert 0 < len(open_votes) < len(before["votes"])
    assert split_answers
    assert set(after["answers"]) == set(before["answers"]) - split_answers
    assert said["answers"]["items_asked_again"] == len(split_answers)
    assert after["picks"] == before["picks"]

    in_new_labels(world.home)
    ended = world.go()
    assert ended.exit_code == 0, ended.stderr
    end = what_stands(world)
    asked_for = sum(end["replies"].values()) - sum(before["replies"].values())
    assert asked_for == len(open_votes)
    assert not any(is_open(vote) for vote in end["votes"].values())
    assert {
        key for key, vote in end["votes"].items() if vote.request_key != before["votes"][key].request_key
    } == open_votes
    kept = {item_id: answer for item_id, answer in after["answers"].items()}
    assert {item_id: end["answers"][item_id] for item_id in kept} == kept
    assert {end["answers"][item_id].label for item_id in split_answers} <= set(SPLIT["identity"])
    assert [pick for pick in end["picks"] if pick.round == 1] == before["picks"]
    assert world.summary["stopped"]
    labels = world.home / "labels.jsonl"
    assert world.stillhouse("export", "labels", world.run, labels).exit_code == 0
    assert {row["label"] for row in rows_of(labels)} <= set(NOW)
    right = {row["id"]: row["team"] for row in rows_of(world.experts)}
    assert all(answer.label == right[item_id] for item_id, answer in end["answers"].items())


def test_at_the_new_desk_stand_only_items_that_are_open_and_blind_ones_are_blind(world: World) -> None:
    """Whoever is asked again sees what the old answer leaves, unless the item is of the random share."""
    answered = what_stands(world)["answers"]
    world.stillhouse("relabel", world.run, *CHANGES, "--yes")
    in_new_labels(world.home)
    assert world.go().exit_code == 0
    folders = list(world.run.glob("desk-*"))
    assert len(folders) == 1
    rows = rows_of(folders[0] / "batch-01.jsonl")
    assert {row["id"] for row in rows} == {
        item_id for item_id, answer in answered.items() if answer.label == "identity"
    }
    blind = {pick.item_id for pick in what_stands(world)["picks"] if pick.blind}
    for row in rows:
        assert row["blind"] == (row["id"] in blind)
        assert (row["suggestion"] is None) if row["blind"] else (row["suggestion"] in SPLIT["identity"])
