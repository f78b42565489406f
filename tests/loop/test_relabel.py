"""`stillhouse relabel`: labels change between rounds, and only what they leave open is paid for and asked again."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loop.progress import Display
from loop.project import TASK_PATH, open_project
from loop.relabel import relabel
from loop.run import open_loop, run_rounds
from loop.typed_changes import changes_of
from serving.student import task_in
from stillhouse.errors import InputError
from stillhouse.label_mapping import is_open
from stillhouse.records import Answer, Vote
from stillhouse.store import Store
from tests.loop.world import LABELS, World, rows_of, stored, write_rows, write_world

ITEMS, BATCH = 60, 15
RENAMED, SPLIT = {"devices": "hardware"}, {"identity": ("access", "password")}
CHANGES = ("--rename", "devices=hardware", "--split", "identity=access,password")
NOW = ("password", "hardware", *(name for name in LABELS if name not in {"devices", "identity"}), "access")


def now_called(item_id: str, label: str) -> str:
    """The new name; which part of a split label it is goes by the item."""
    parts = SPLIT.get(label)
    return RENAMED.get(label, label) if parts is None else parts[sum(map(ord, item_id)) % 2]


def in_new_labels(home: Path) -> None:
    """Gold, experts and the teacher's replies, as if they had been made with the new labels."""
    for name, columns in (("gold", ("team",)), ("experts", ("team",)), ("replies", ("label", "second"))):
        rows = rows_of(home / f"{name}.jsonl")
        changed = [{**row, **{c: now_called(row["id"], row[c]) for c in columns if row.get(c)}} for row in rows]
        write_rows(home / f"{name}.jsonl", changed)


def world_of(home: Path, labels: tuple[str, ...] = LABELS) -> World:
    settings = {"batch": BATCH, "near_duplicate_cosine": 1.0}
    return write_world(home, items=ITEMS, labels=labels, budget={"human_labels": 2 * BATCH}, selection=settings)


def rounds(world: World, most: int | None = None) -> bool:
    """`run` without the pictures of its report, which take longer than the rounds; whether it stopped."""
    project, display = open_project(world.task, world.run), Display(quiet=True)
    with Store(project.folder) as store:
        store.write_note(TASK_PATH, str(project.task_path))
        return run_rounds(open_loop(project, store, display, display.line), most=most).stopped


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A round is finished and its batch answered, in the old labels."""
    world = world_of(tmp_path_factory.mktemp("begun"))
    assert not rounds(world, most=1)
    return world


@pytest.fixture
def world(begun: World, tmp_path: Path) -> World:
    """A copy of it whose task.toml has the new labels."""
    shutil.copytree(begun.home, tmp_path / "world")
    copy = world_of(tmp_path / "world", NOW)
    with Store(copy.run) as store:
        store.write_note(TASK_PATH, str(copy.task))
    return copy


def what_stands(world: World) -> dict[str, Any]:
    with world.store() as store:
        return {
            "votes": {(vote.source, vote.item_id): vote for vote in store.votes()},
            "answers": {answer.item_id: answer for answer in store.answers()},
            "picks": store.picks(),
            "replies": sum(store.reply_counts().values()),
            "rounds": store.rounds(),
            "schemas": store.schemas(),
        }


def relabelled(world: World, *options: object) -> dict[str, Any]:
    result = world.stillhouse("relabel", world.run, *CHANGES, "--json", *options)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_only_what_is_open_is_asked_again_and_the_run_stops_with_the_new_labels(world: World) -> None:
    """Rename and split between rounds: teacher and people are asked about the split label alone, the blind ones blind."""
    before = what_stands(world)
    said = relabelled(world, "--yes")
    after = what_stands(world)
    open_votes = {key for key, vote in after["votes"].items() if is_open(vote)}
    again = {item_id for item_id, answer in before["answers"].items() if answer.label == "identity"}
    assert 0 < len(open_votes) < len(before["votes"])
    assert set(after["answers"]) == set(before["answers"]) - again
    assert said["answers"]["items_asked_again"] == len(again) > 0
    assert after["picks"] == before["picks"]

    in_new_labels(world.home)
    assert rounds(world)
    end = what_stands(world)
    assert end["replies"] - before["replies"] == len(open_votes)
    asked = {key for key, vote in end["votes"].items() if vote.request_key != before["votes"][key].request_key}
    assert asked == open_votes
    assert not any(map(is_open, end["votes"].values()))
    assert {item_id: end["answers"][item_id] for item_id in after["answers"]} == after["answers"]
    right = {row["id"]: row["team"] for row in rows_of(world.experts)}
    assert all(answer.label == right[item_id] for item_id, answer in end["answers"].items())
    assert [pick for pick in end["picks"] if pick.round == 1] == before["picks"]
    assert end["rounds"][-1].decision == "stop"
    assert task_in(world.run / end["rounds"][-1].student_dir).label_names == NOW
    assert task_in(world.run / "students" / "round-00").label_names == LABELS

    (folder,) = world.run.glob("desk-*")
    asked_anew, blind = rows_of(folder / "batch-01.jsonl"), {pick.item_id for pick in before["picks"] if pick.blind}
    assert {row["id"] for row in asked_anew} == again
    for row in asked_anew:
        assert row["blind"] == (row["id"] in blind)
        assert row["suggestion"] is None if row["blind"] else row["suggestion"] in SPLIT["identity"]
    assert {row["blind"] for row in asked_anew} == {True, False}


def test_without_a_word_the_run_refuses_other_labels(world: World) -> None:
    """And says which command wants to hear what became of them; delivered labels are not written in wrong names either."""
    for result in (world.go(), world.stillhouse("export", "labels", world.run, world.home / "labels.jsonl")):
        assert result.exit_code == 6
        assert f"stillhouse relabel {world.run}" in result.stderr


def test_a_dry_run_says_all_and_changes_nothing(world: World) -> None:
    """Also how far files of known labels can be carried over."""
    before = what_stands(world)
    result = world.stillhouse("relabel", world.run, *CHANGES, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "'identity' is split into 'access' and 'password'" in result.stdout
    assert "votes of team-A:" in result.stdout
    assert "gold in" in result.stdout
    assert "dry run" in result.stdout
    assert what_stands(world) == before
    assert not [*world.run.glob("desk-*"), *world.run.glob("backups/*")]


def test_whoever_says_no_leaves_all_as_it_is(world: World) -> None:
    """It is asked before anything is done, and no is the default."""
    before = what_stands(world)
    result = world.stillhouse("relabel", world.run, *CHANGES)
    assert result.exit_code == 1
    assert "Do it?" in result.stderr
    assert {**what_stands(world), "answers": before["answers"]} == before


def test_what_people_have_answered_meanwhile_is_fetched_first(world: World) -> None:
    """Nobody looks at the desk of the old labels again."""
    answers = what_stands(world)["answers"]
    item_id = next(item_id for item_id, answer in answers.items() if answer.label == "devices")
    write_rows(
        world.run / "desk" / "answers" / "late.jsonl", [{"id": item_id, "label": "devices", "annotator": "late"}]
    )
    relabelled(world, "--yes")
    with world.store() as store:
        assert ("late", "hardware") in {(answer.annotator, answer.label) for answer in store.answers()}


def test_known_labels_are_carried_over_as_far_as_that_goes(world: World) -> None:
    """A copy of gold has new names; where a label was split the old one is shown, and a person has to give the new one."""
    relabelled(world, "--yes")
    was = {row["id"]: row["team"] for row in rows_of(world.gold)}
    rows = rows_of(world.run / "relabelled" / "gold.jsonl")
    assert {row["id"]: row["team"] for row in rows} == {
        item_id: None if label == "identity" else RENAMED.get(label, label) for item_id, label in was.items()
    }
    assert {row["was"] for row in rows if row["team"] is None} == {"identity"}
    assert rows_of(world.gold)[0]["team"] == was[rows[0]["id"]]


def test_a_renamed_label_costs_nothing_and_delivered_labels_have_its_new_name_at_once(world: World) -> None:
    """Beliefs of earlier rounds go on in the new columns; the student that was taught keeps the names it knows."""
    world_of(world.home, tuple(RENAMED.get(name, name) for name in reversed(LABELS)))
    answers = {item_id: answer.label for item_id, answer in what_stands(world)["answers"].items()}
    first = rows_of(labels_of(World(world.home)))
    found = relabel(world.run, changes_of(rename=["devices=hardware"]))
    assert found is not None
    assert found.exact
    after = what_stands(world)
    assert {item_id: answer.label for item_id, answer in after["answers"].items()} == {
        item_id: RENAMED.get(label, label) for item_id, label in answers.items()
    }
    assert [{**row, "label": RENAMED.get(row["label"], row["label"])} for row in first] == rows_of(labels_of(world))
    result = world.stillhouse("label", world.run, world.pool, world.home / "labelled.jsonl", "--quiet")
    assert result.exit_code == 0, result.stderr
    said = {row["label"] for row in rows_of(world.home / "labelled.jsonl")}
    assert said <= set(LABELS)


def labels_of(world: World) -> Path:
    """Delivered labels as they are now; before the change by a task with the old ones."""
    target = world.home / "labels.jsonl"
    result = world.stillhouse("export", "labels", world.run, target)
    if result.exit_code:
        text = world.task.read_text(encoding="utf-8")
        world_of(world.home)
        result = world.stillhouse("export", "labels", world.run, target)
        world.task.write_text(text, encoding="utf-8")
    assert result.exit_code == 0, result.stderr
    return target


def test_an_item_is_asked_again_where_what_people_agreed_on_is_open(world: World) -> None:
    """A minority that said a split label is set aside; of a tie nobody's answer counts any more."""
    with Store(world.run) as store:
        one, two, three = (answer.item_id for answer in store.answers()[:3])
        a, b, c = (Answer("", name, "soc", False, False, "2026-01-01T00:00:00+00:00") for name in ("ann", "bea", "cem"))
        for item_id in (one, two, three):
            store.add_answers([replace(a, item_id=item_id), replace(b, item_id=item_id, label="identity")])
        first = {
            answer.item_id: answer.annotator for answer in store.answers() if answer.annotator not in {"ann", "bea"}
        }
        of_first = {one: "soc", two: "identity", three: None}
        store.add_answers(
            [replace(c, item_id=item_id, annotator=first[item_id], label=label) for item_id, label in of_first.items()]
        )
    found = relabel(
        world.run, changes_of(rename=["devices=hardware"], split=["identity=access,password"]), dry_run=True
    )
    assert found is not None
    aside = {(answer.item_id, answer.annotator) for answer in found.aside if answer.item_id in of_first}
    assert aside == {
        (one, "bea"),
        *((item_id, name) for item_id in (two, three) for name in ("ann", "bea", first[item_id])),
    }
    assert {two, three} <= found.items_again
    assert one not in found.items_again


def test_runs_that_kept_no_labels_know_them_from_their_students(world: World) -> None:
    """Of a store of before there were sets of labels; without a student somebody has to bring the old task.toml."""
    with Store(world.run) as store:
        store._db.execute("DELETE FROM schemas")
    changes = changes_of(rename=["devices=hardware"], split=["identity=access,password"])
    assert relabel(world.run, changes, dry_run=True) is not None
    shutil.rmtree(world.run / "students")
    with pytest.raises(InputError, match="is not known"):
        relabel(world.run, changes, dry_run=True)
    old = world_of(world.home / "old").task
    assert relabel(world.run, changes, before=old) is not None
    assert [schema.labels.names for schema in what_stands(world)["schemas"]] == [LABELS, NOW]


def test_labels_that_a_run_has_had_are_not_taken_again(world: World) -> None:
    """At the desk of those labels stand answers that were set aside; the way back is the copy of the store."""
    relabelled(world, "--yes")
    world_of(world.home)
    back = changes_of(rename=["hardware=devices"], merge=["access,password=identity"])
    with pytest.raises(InputError, match="exactly these labels before"):
        relabel(world.run, back)
    (copy,) = (world.run / "backups").glob("*.sqlite")
    assert not [file for file in copy.parent.iterdir() if file != copy]
    copy.replace(world.run / "store.sqlite")
    assert stored(world.run, "SELECT count(*) FROM schemas") == [(1,)]


def test_a_kill_in_the_middle_leaves_the_old_labels_or_the_new_ones(world: World) -> None:
    """Everything beside the store is made before, and looked for by nobody but a task with labels that the store has."""
    before = what_stands(world)
    process = multiprocessing.get_context("fork").Process(target=killed_while_it_changes, args=(world.run,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert what_stands(world) == before
    assert list(world.run.glob("desk-*"))
    assert world.go().exit_code == 6
    relabelled(world, "--yes")
    assert [schema.labels.names for schema in what_stands(world)["schemas"]] == [LABELS, NOW]


def killed_while_it_changes(run: Path) -> None:
    class Killed(Store):
        def change_labels(self, schema: Any, **parts: Any) -> None:
            super().change_labels(schema, **{**parts, "votes": half_of(parts["votes"])})

    def half_of(votes: tuple[Vote, ...]) -> Iterator[Vote]:
        yield from votes[: len(votes) // 2]
        os.kill(os.getpid(), signal.SIGKILL)

    changes = changes_of(rename=["devices=hardware"], split=["identity=access,password"])
    relabel(run, changes, opened=Killed)
