"""`stillhouse reparse`: replies that are stored are read again for free, and votes are what the present parser says."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from loop.progress import Display
from loop.project import TASK_PATH, Project, open_project, read_gold, read_pool, same_task
from loop.relabel import relabel
from loop.reparse import reparse
from loop.teach import ask_teachers
from loop.typed_changes import changes_of
from stillhouse.errors import StoreError, StoreLockedError
from stillhouse.records import Vote
from stillhouse.store import Store
from teacher.faults import Fault, Faults
from teacher.reading import read_replies
from teacher.recorded import recorded_teacher
from tests.loop.kind_worlds import KINDS, write_kind_world
from tests.loop.world import World, rows_of, write_rows, write_world

ITEMS = 30


def asked(world: World) -> Project:
    """Only the teachers' turn of a run."""
    project = open_project(world.task, world.run)
    pool = read_pool(project)
    gold = read_gold(project, pool)
    with Store(project.folder) as store:
        store.write_note(TASK_PATH, str(project.task_path))
        same_task(project, store)
        store.add_items(pool)
        ask_teachers(project, store, [*pool, *(gold.items if gold else ())], Display(quiet=True))
    return project


def votes_of(world: World) -> list[Vote]:
    with world.store() as store:
        return store.votes()


def spoil(world: World, chosen: Callable[[Vote], bool] = lambda _: True) -> int:
    """Leave votes as a parser might that could not read them; how many."""
    spoiled = [unread(vote) for vote in votes_of(world) if chosen(vote)]
    with Store(world.run) as store:
        store.record_votes(spoiled)
    return len(spoiled)


def unread(vote: Vote) -> Vote:
    return replace(vote, probs=(0.0,) * len(vote.probs), residual=1.0, status="unreadable", value=None, findings={})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_again_is_what_the_run_read(tmp_path: Path, kind: str) -> None:
    """Of every kind, pool and gold: nothing changes with the same parser, and votes that were lost come back."""
    world = write_kind_world(tmp_path, kind)
    asked(world)
    before = votes_of(world)
    calm = reparse(world.run)
    assert (calm.votes, calm.read, calm.changed, dict(calm.left)) == (len(before), len(before), 0, {})
    usable = spoil(world, lambda vote: vote.usable)
    found = reparse(world.run)
    assert found.changed == usable
    assert {change.split(" -> ")[0] for change in found.status} == {"unreadable"}
    assert votes_of(world) == before


def test_what_changed_is_counted_by_status_and_by_value(tmp_path: Path) -> None:
    """A vote of another status, and a vote of the same status that says something else, are two things."""
    world = write_world(tmp_path, items=ITEMS)
    asked(world)
    before = votes_of(world)
    ok = [vote for vote in before if vote.status == "ok"]
    with Store(world.run) as store:
        store.record_votes([unread(ok[0]), replace(ok[1], probs=tuple(reversed(ok[1].probs)))])
    result = world.stillhouse("reparse", world.run, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["by_status"], said["by_value"]) == ({"unreadable -> ok": 1}, 1)
    assert said["read"] == len(before)
    assert votes_of(world) == before


def test_repairs_are_told_from_first_replies_without_a_call(tmp_path: Path) -> None:
    """An item asked twice is read as the engine read it, although the server is gone."""
    faults = Faults(share=0.5, share_of=(Fault("content", content="no idea"),))
    world = write_world(tmp_path, items=ITEMS)
    pool, gold = (rows_of(path) for path in (world.pool, world.gold))
    write_rows(tmp_path / "texts.jsonl", [*pool, *gold])
    with recorded_teacher(tmp_path / "replies.jsonl", [tmp_path / "texts.jsonl"], faults=faults) as url:
        write_world(tmp_path, items=ITEMS, teacher={"base_url": url})
        asked(world)
    before = votes_of(world)
    with world.store() as store:
        assert len(store.asked_often("team-A")) > 5
    usable = spoil(world, lambda vote: vote.usable)
    assert reparse(world.run).changed == usable
    assert votes_of(world) == before


def test_items_of_one_text_share_a_reply(tmp_path: Path) -> None:
    """The reply was paid for by one of them, and both are read from it."""
    world = write_world(tmp_path, items=ITEMS, data={"duplicate_texts": "drop"}, gold=False)
    project = asked(world)
    first = read_pool(project)[0]
    twin = replace(first, id="twin")
    with Store(project.folder) as store:
        store.add_items([twin])
        ask_teachers(project, store, [twin], Display(quiet=True))
        assert not store.asked_often("team-A")
    spoil(world)
    reparse(world.run)
    said = {vote.item_id: vote.probs for vote in votes_of(world) if vote.source == "team-A"}
    assert said["twin"] == said[first.id]
    assert max(said["twin"]) > 0


def test_replies_to_a_prompt_that_is_no_more_are_still_read(tmp_path: Path) -> None:
    """Labels have names: what was said of them holds, and the vote still says which prompt was asked."""
    world = write_world(tmp_path, items=ITEMS)
    asked(world)
    before = votes_of(world)
    text = world.task.read_text(encoding="utf-8")
    world.task.write_text(text.replace("seed = 0", 'guidelines = "Take care."\nseed = 0'), encoding="utf-8")
    spoil(world, lambda vote: vote.usable)
    reparse(world.run)
    assert votes_of(world) == before


def test_letters_of_another_prompt_are_not_guessed_at(tmp_path: Path) -> None:
    """A code may have stood for another label, so the vote stays, and it is counted why."""
    world = write_world(tmp_path, items=ITEMS, gold=False)
    asked(world)
    coded = [replace(vote, origin="logprob", prompt_id="an older one") for vote in votes_of(world)[:3]]
    with Store(world.run) as store:
        store.record_votes(coded)
    found = reparse(world.run)
    assert found.left == {"asked with a prompt that is no more": 3}
    assert [vote for vote in votes_of(world) if vote.prompt_id == "an older one"] == coded


def test_all_votes_are_replaced_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that fails in the middle leaves every vote as it was."""
    world = write_world(tmp_path, items=ITEMS)
    asked(world)
    spoil(world)
    before, calls = votes_of(world), iter(range(1_000))

    def fails_later(*given: Sequence[object]) -> object:
        if next(calls) == ITEMS:
            raise RuntimeError("a bug in the parser")
        return read_replies(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("loop.reparse.read_replies", fails_later)
    monkeypatch.setattr("loop.reparse.VOTES_A_BLOCK", 5)
    with pytest.raises(RuntimeError, match="a bug"):
        reparse(world.run)
    assert votes_of(world) == before


def test_a_run_at_work_is_not_disturbed(tmp_path: Path) -> None:
    """While another command holds the store, nothing is read again."""
    world = write_world(tmp_path, items=ITEMS, gold=False)
    asked(world)
    with Store(world.run), pytest.raises(StoreLockedError):
        reparse(world.run)


def test_other_labels_are_another_run(tmp_path: Path) -> None:
    """The order of the labels is the order of every number in the store."""
    world = write_world(tmp_path, items=ITEMS, gold=False)
    asked(world)
    text = world.task.read_text(encoding="utf-8")
    world.task.write_text(text.replace('name = "apps"', 'name = "programs"'), encoding="utf-8")
    with pytest.raises(StoreError, match="other labels"):
        reparse(world.run)


def test_what_was_said_of_labels_that_have_changed_is_not_read_as_if_it_were_of_those_now(tmp_path: Path) -> None:
    """A name may mean something else now: such votes stay as they were carried over, and are counted."""
    world = write_world(tmp_path, items=ITEMS, gold=False)
    asked(world)
    text = world.task.read_text(encoding="utf-8")
    swapped = text.replace('"apps"', '"?"').replace('"soc"', '"apps"').replace('"?"', '"soc"')
    world.task.write_text(swapped, encoding="utf-8")
    relabel(world.run, changes_of(rename=["apps=soc", "soc=apps"]))
    before = votes_of(world)
    assert reparse(world.run).left == {"said of labels that have changed since": len(before)}
    assert votes_of(world) == before


def test_votes_of_a_teacher_that_left_stay(tmp_path: Path) -> None:
    """They are counted, and nothing else is said of them."""
    world = write_world(tmp_path, items=ITEMS, gold=False)
    asked(world)
    with Store(world.run) as store:
        store.record_votes([replace(votes_of(world)[0], source="gone")])
    assert reparse(world.run).left == {"teacher no longer in the task": 1}
