"""What the loop shows beside an item: examples of what people have answered, both orders of the labels, few of many labels."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loop.library import Library, library_of
from loop.progress import Display
from loop.project import TASK_PATH, Project, open_project, read_pool, same_task
from loop.reparse import reparse
from loop.teach import ask_teachers, ask_with_examples
from stillhouse.records import Answer, Item, Pick, Vote
from stillhouse.store import Store
from teacher.recorded import serving
from tests.loop.kind_worlds import KINDS, write_kind_world
from tests.loop.world import LABELS, World, rows_of, stored, write_world
from tests.teacher.fakes import PromptServer
from trainer.base import load_base

ITEMS, SHARE = 60, 0.25
QUIET = Display(quiet=True)
AT = "2026-01-01T00:00:00Z"


def doubtful(body: dict[str, Any]) -> str:
    """A teacher that is surer of longer messages, and names the label that stands first."""
    asked = body["messages"][-1]["content"]
    lines = body["messages"][0]["content"].splitlines()
    first = next(line[2:].partition(":")[0] for line in lines if line.startswith("- "))
    return json.dumps({"label": first, "confidence": min(0.3 + len(asked) / 1000, 0.99), "second": None})


@contextmanager
def asking(
    home: Path, server: PromptServer, labels: Sequence[str] = LABELS, **settings: Any
) -> Iterator[tuple[World, Project, Store, list[Item]]]:
    """A task whose one teacher is the server; a second teacher, "few", shows examples if `settings` ask for them."""
    with serving(server.app()) as url:
        examples = settings.pop("demonstrations", 0)
        teacher = {"model": "m", "base_url": url, "ask": "auto", **settings}
        world = write_world(home, items=ITEMS, teacher=teacher, gold=False, labels=labels)
        if examples:
            text = world.task.read_text(encoding="utf-8")
            few = f'[[teachers]]\nname = "few"\nmodel = "m"\nbase_url = "{url}"\ndemonstrations = {examples}\n\n[data]'
            world.task.write_text(text.replace("[data]", few, 1), encoding="utf-8")
        project = open_project(world.task, world.run)
        pool = read_pool(project)
        with Store(project.folder) as store:
            store.write_note(TASK_PATH, str(project.task_path))
            same_task(project, store)
            store.add_items(pool)
            yield world, project, store, pool


def library(project: Project, store: Store, pool: Sequence[Item]) -> Library:
    base = load_base(str(project.home / "base"))
    return library_of(project, base, QUIET, pool, store.picks(), store.answers())


def answer(store: Store, items: Sequence[Item], world: World, *, drawn: bool = False, number: int = 1) -> None:
    """People answer what was picked: as targets, or drawn at random and blind."""
    right = {row["id"]: row["team"] for row in rows_of(world.experts)}
    store.add_picks([Pick(item.id, number, "test", 0.5, 0.1 if drawn else None, blind=drawn) for item in items])
    store.add_answers([Answer(item.id, "pat", right[item.id], drawn, False, AT) for item in items])


def votes_of(store: Store, source: str) -> dict[str, Vote]:
    return {vote.item_id: vote for vote in store.votes() if vote.source == source}


def test_the_most_doubtful_share_is_asked_in_the_other_order(tmp_path: Path) -> None:
    """Each once, whoever repeats the command; the rest keep the vote they had."""
    server = PromptServer(doubtful)
    with asking(tmp_path, server, second_order_share=SHARE) as (_, project, store, pool):
        counts = []
        for _ in range(3):
            ask_teachers(project, store, pool, QUIET)
            counts.append(len(server.bodies))
        votes = votes_of(store, "team-A")
    twice = {item_id for item_id, vote in votes.items() if "+" in vote.prompt_id}
    shortest = sorted(pool, key=lambda item: (len(item.text), item.id))[: round(SHARE * ITEMS)]
    assert counts == [ITEMS + round(SHARE * ITEMS)] * 3
    assert {len(item.text) for item in pool if item.id in twice} == {len(item.text) for item in shortest}


def without_second_order(project: Project) -> Project:
    once = project.task.teachers[0].model_copy(update={"second_order_share": 0.0})
    return replace(project, task=project.task.model_copy(update={"teachers": (once,)}))


def test_a_run_that_was_killed_asks_the_same_share(tmp_path: Path) -> None:
    """Of votes that a kill took the replies are there: the same votes come back, and nobody is asked."""
    server = PromptServer(doubtful)
    with asking(tmp_path, server, second_order_share=SHARE) as (_, project, store, pool):
        ask_teachers(without_second_order(project), store, pool, QUIET)
        first = store.votes()
        ask_teachers(project, store, pool, QUIET)
        whole, asked = store.votes(), len(server.bodies)
        assert whole != first
        store.record_votes(first[::2])
        ask_teachers(project, store, pool, QUIET)
        assert store.votes() == whole
    assert len(server.bodies) == asked == ITEMS + round(SHARE * ITEMS)


def test_votes_of_both_orders_are_read_again(tmp_path: Path) -> None:
    """Which reply belongs to which order the prompts say; a vote that was lost comes back, and nobody is asked."""
    server = PromptServer(doubtful)
    with asking(tmp_path, server, second_order_share=SHARE) as (world, project, store, pool):
        ask_teachers(project, store, pool, QUIET)
        before, asked = store.votes(), len(server.bodies)
        spoiled = [replace(vote, probs=(0.0,) * len(LABELS), residual=1.0, status="unreadable") for vote in before]
        store.record_votes(spoiled)
        store.close()
        found = reparse(world.run)
        with world.store() as after:
            assert after.votes() == before
    assert (found.changed, dict(found.left)) == (ITEMS, {})
    assert len(server.bodies) == asked


def test_examples_wait_for_enough_answers(tmp_path: Path) -> None:
    """Four for each that is shown; those of the random share are none, whoever gave them."""
    server = PromptServer(doubtful)
    with asking(tmp_path, server, demonstrations=2) as (world, project, store, pool):
        ask_teachers(project, store, pool, QUIET)
        assert not votes_of(store, "few")
        answer(store, pool[:7], world)
        answer(store, pool[7:20], world, drawn=True)
        assert not ask_with_examples(project, store, pool, QUIET, library(project, store, pool), 1)
        answer(store, pool[20:21], world, number=2)
        assert ask_with_examples(project, store, pool, QUIET, library(project, store, pool), 2) == ITEMS
        votes = votes_of(store, "few")
    assert set(votes) == {item.id for item in pool}
    allowed = {item.id for item in (*pool[:7], pool[20])}
    for item_id, vote in votes.items():
        assert 1 <= len(vote.demonstrations) <= 2
        assert set(vote.demonstrations) <= allowed - {item_id}


def test_a_copy_of_an_item_is_no_example_for_it(tmp_path: Path) -> None:
    """Whatever the base sees in it, and however near texts may be: its answer would be the item's."""
    with asking(tmp_path, PromptServer(doubtful), demonstrations=2) as (world, project, store, pool):
        answer(store, pool[:10], world)
        copies = [replace(item, id=f"copy of {item.id}", text=f"  {item.text.upper()}") for item in pool[:10]]
        few = project.task.teachers[1]
        shown = library(project, store, pool).demonstrations(few, copies)
    for item in pool[:10]:
        assert item.id not in {each.item.id for each in shown.get(f"copy of {item.id}", ())}
    assert shown


def test_each_round_asks_again_what_is_doubted_most(tmp_path: Path) -> None:
    """A tenth, with the examples of that round; a round that is repeated asks nobody, and answers that are no examples change
    nothing.
    """
    server, counts = PromptServer(doubtful), []
    with asking(tmp_path, server, demonstrations=2) as (world, project, store, pool):

        def ask(number: int) -> int:
            return ask_with_examples(project, store, pool, QUIET, library(project, store, pool), number)

        answer(store, pool[:10], world)
        counts += [ask(1), ask(1)]
        before = votes_of(store, "few")
        answer(store, pool[10:15], world, drawn=True, number=2)
        counts.append(ask(2))
        answer(store, pool[15:40], world, number=3)
        counts += [ask(3), ask(3)]
        after = votes_of(store, "few")
    changed = [item for item in pool if before[item.id] != after[item.id]]
    shortest = sorted(pool, key=lambda item: len(item.text))[: round(0.1 * ITEMS)]
    assert counts == [ITEMS, 0, 0, len(changed), 0]
    assert 0 < len(changed) <= round(0.1 * ITEMS)
    assert {len(item.text) for item in changed} <= {len(item.text) for item in shortest}
    assert any(set(after[item.id].demonstrations) - {each.id for each in pool[:10]} for item in changed)


def test_votes_with_examples_are_read_again(tmp_path: Path) -> None:
    """Also those of items that were asked twice, of which the last prompt counts."""
    server = PromptServer(doubtful)
    with asking(tmp_path, server, demonstrations=2) as (world, project, store, pool):
        ask_teachers(project, store, pool, QUIET)
        for number in (1, 2):
            answer(store, pool[20 * number - 20 : 20 * number], world, number=number)
            ask_with_examples(project, store, pool, QUIET, library(project, store, pool), number)
        before = store.votes()
        store.record_votes(
            replace(vote, probs=(0.0,) * len(LABELS), residual=1.0, status="unreadable") for vote in before
        )
        assert store.asked_often("few")
        store.close()
        found = reparse(world.run)
        with world.store() as after:
            assert after.votes() == before
    assert dict(found.left) == {}


MANY = (*LABELS, *(f"nobody wants {number:02d}" for number in range(20)))


def coded(body: dict[str, Any]) -> str | dict[str, float]:
    """A teacher that takes the first label it is shown."""
    return {"A": -0.2, "B": -2.5}


def test_of_many_labels_the_likeliest_are_shown(tmp_path: Path) -> None:
    """Nineteen and "none of these"; votes are read again from the same few, without a call."""
    server = PromptServer(coded, coded=True)
    with asking(tmp_path, server, MANY) as (world, project, store, pool):
        ask_teachers(project, store, pool, QUIET, library(project, store, pool))
        before, asked = store.votes(), len(server.bodies)
        assert {len(vote.candidates) for vote in before} == {19}
        first = min(before[0].candidates, key=MANY.index)
        assert max(zip(before[0].probs, MANY, strict=True))[1] == first
        store.record_votes(
            replace(vote, probs=(0.0,) * len(MANY), residual=1.0, status="unreadable") for vote in before
        )
        store.close()
        reparse(world.run)
        with world.store() as after:
            assert after.votes() == before
    assert asked == len(server.bodies) == ITEMS


def test_recall_is_measured_on_people_and_too_little_shows_all_labels(tmp_path: Path) -> None:
    """By the random share, whose answers have no part in the ranking; it is a figure with an interval."""
    server = PromptServer(coded, coded=True)
    with asking(tmp_path, server, MANY) as (_, project, store, pool):
        seen = library(project, store, pool)
        assert seen.recall is None
        teacher = project.task.teachers[0]
        shown = seen.candidates(teacher, pool)
        assert set(shown) == {item.id for item in pool}
        store.add_picks([Pick(item.id, 1, "random", 0.5, 0.5, blind=True) for item in pool[:40]])
        rare = [next(name for name in MANY if name not in shown[item.id]) for item in pool[:40]]
        store.add_answers([Answer(item.id, "p", name, True, False, AT) for item, name in zip(pool, rare, strict=False)])
        seen = library(project, store, pool)
        assert seen.recall is not None
        assert (seen.recall.value, seen.recall.n) == (0.0, 40)
        assert seen.candidates(teacher, pool) == {}


def test_a_few_labels_are_all_shown(tmp_path: Path) -> None:
    """Up to twenty, as far as an API tells of codes."""
    server = PromptServer(coded, coded=True)
    with asking(tmp_path, server, MANY[:20]) as (_, project, store, pool):
        assert library(project, store, pool).candidates(project.task.teachers[0], pool) == {}


def test_a_run_with_a_teacher_that_shows_examples(tmp_path: Path) -> None:
    """It joins once people have answered enough; pool and gold have its votes, and the run ends as others do."""
    world = write_world(tmp_path, items=ITEMS, budget={"human_labels": 20})
    few = '[[teachers]]\nname = "few"\nmodel = "team/B"\nrecording = "replies.jsonl"\ndemonstrations = 3\n\n[data]'
    text = world.task.read_text(encoding="utf-8")
    world.task.write_text(text.replace("[data]", few, 1), encoding="utf-8")
    result = world.go()
    assert result.exit_code == 0, result.stderr
    with world.store() as store:
        votes = votes_of(store, "few")
        blind = {pick.item_id for pick in store.picks() if pick.inclusion_probability is not None}
        assert [record.decision for record in store.rounds()] == ["continue", "stop"]
        assert len(votes) == len(store.items()) + len(rows_of(world.gold))
    assert blind
    assert all(vote.demonstrations and not blind & set(vote.demonstrations) for vote in votes.values())
    assert not stored(world.run, "SELECT 1 FROM requests WHERE state != 'arrived'")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_what_people_have_answered(tmp_path: Path, kind: str) -> None:
    """In the form of its own replies; a recording answers about the item, not about an example."""
    world = write_kind_world(tmp_path, kind)
    text = world.task.read_text(encoding="utf-8")
    first = text[text.index("[[teachers]]") :].split("\n\n")[0]
    few = first.replace('name = "A"', 'name = "few"') + "\ndemonstrations = 2"
    world.task.write_text(text.replace(first, f"{first}\n\n{few}", 1), encoding="utf-8")
    project = open_project(world.task, world.run)
    pool = read_pool(project)
    right = {row["id"]: row["label"] for row in rows_of(world.experts)}
    with Store(project.folder) as store:
        store.add_items(pool)
        ask_teachers(project, store, pool, QUIET)
        store.add_picks([Pick(item.id, 1, "test", 0.5, None, blind=False) for item in pool[:30]])
        store.add_answers(
            [Answer(item.id, "pat", project.kind.normal(item, right[item.id]), False, False, AT) for item in pool[:30]]
        )
        assert ask_with_examples(project, store, pool, QUIET, library(project, store, pool), 1) == len(pool)
        plain, shown = votes_of(store, "A"), votes_of(store, "few")
    assert any(len(vote.demonstrations) == 2 for vote in shown.values())
    assert {key: (vote.probs, vote.value) for key, vote in plain.items()} == {
        key: (vote.probs, vote.value) for key, vote in shown.items()
    }
