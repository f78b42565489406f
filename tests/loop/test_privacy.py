"""A run whose texts may not leave this machine as they are: what is sent, what is kept, what is read again."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinds.registry import kind_of
from loop.plan import plan_round
from loop.privacy import check_privacy, student_names
from loop.progress import Display
from loop.project import TASK_PATH, Project, open_project, read_pool, same_task
from loop.reparse import reparse
from loop.teach import ask_teachers
from serving.student import inputs_of
from stillhouse.errors import InputError, ModelError
from stillhouse.records import Item, Vote
from stillhouse.settings import Data, Teacher
from stillhouse.store import Store
from stillhouse.task import Label, Task
from teacher.recorded import serving
from tests.loop.world import World, write_rows
from tests.teacher.test_kinds import Scripted
from tests.trainer.tiny import PRINTING, messages, settings, write_tiny_bert
from trainer.artifact import save_student
from trainer.base import load_base
from trainer.student import fit_student

ROWS = [
    {"id": "1", "text": "Opened by Anna Schmidt, thx anna", "customer": "Anna Schmidt"},
    {"id": "2", "text": "Nothing of anybody", "customer": "Bob Li"},
    {"id": "3", "text": "Schmidt again, anna.schmidt@firma.de", "customer": "Anna Schmidt"},
]
TASK = """
name = "small"
kind = "spans"
seed = 0
[[labels]]
name = "PERSON"
[[teachers]]
name = "A"
model = "m"
ask = "{ask}"
base_url = "{url}"
[data]
pool = "pool.jsonl"
metadata = ["customer"]
[privacy]
phones = false
ids = false
name_columns = ["customer"]
"""


def tagged(text: str, _sample: int) -> str:
    return re.sub(r"(?<=by )(\w+ \w+)", r"[PERSON|\1]", text)


@pytest.fixture
def api() -> Scripted:
    return Scripted(tagged)


@pytest.fixture
def world(tmp_path: Path, api: Scripted) -> Iterator[World]:
    """A small pool with customers' names, and a teacher that knows who is behind "by"."""
    world = World(tmp_path)
    write_rows(world.pool, ROWS)
    with serving(api.app()) as url:
        world.task.write_text(TASK.format(url=url, ask="verbalised"), encoding="utf-8")
        yield world


def asked(world: World) -> Project:
    project = open_project(world.task, world.run)
    pool = read_pool(project)
    with Store(project.folder) as store:
        store.write_note(TASK_PATH, str(project.task_path))
        same_task(project, store)
        store.add_items(pool)
        ask_teachers(project, store, pool, Display(quiet=True))
    return project


def votes_of(world: World) -> list[Vote]:
    with world.store() as store:
        return store.votes()


def test_the_store_has_surrogates_in_replies_and_originals_in_votes(world: World, api: Scripted) -> None:
    """Requests and replies name nobody; the vote is about the text as it is."""
    asked(world)
    sent = json.dumps(api.bodies).casefold()
    assert not {"anna", "schmidt", "firma"} & set(re.findall(r"\w+", sent))
    first = votes_of(world)[0]
    assert first.value == [{"start": 10, "end": 22, "label": "PERSON"}]
    with world.store() as store:
        replies = [each.reply.body.decode() for each in store.read_votes("A") if each.reply is not None]
    assert len(replies) == 3
    assert not any("schmidt" in reply.casefold() for reply in replies)
    assert (world.run / "pseudonyms.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ask", ["verbalised", "samples"])
def test_replies_are_read_again_against_what_was_sent(world: World, ask: str) -> None:
    """Whatever the task says of privacy by then: one reply an item, and items that took several."""
    world.task.write_text(world.task.read_text().replace("verbalised", ask), encoding="utf-8")
    asked(world)
    before = votes_of(world)
    with Store(world.run) as store:
        store.record_votes([replace(vote, status="unreadable", value=None, residual=1.0) for vote in before])
    without = world.task.read_text().partition("[privacy]")[0]
    world.task.write_text(without, encoding="utf-8")
    found = reparse(world.run)
    assert (found.read, found.changed, dict(found.left)) == (3, 3, {})
    assert votes_of(world) == before
    assert reparse(world.run).changed == 0


def test_the_plan_shows_a_prompt_as_it_is_sent(world: World) -> None:
    """With surrogates; nothing is written down for a look."""
    shown = plan_round(world.task, world.run).prompt
    assert "Opened by" in shown
    assert "Anna" not in shown
    assert not (world.run / "pseudonyms.sqlite").exists()


def test_check_says_what_is_hidden_and_what_is_missing(world: World) -> None:
    """A detector that is not there is found before anything is paid for."""
    assert check_privacy(open_project(world.task, world.run)) == "names, mails get surrogates"
    broken = world.task.read_text().replace("[privacy]", '[privacy]\nnames_file = "nobody.txt"')
    world.task.write_text(broken, encoding="utf-8")
    found = world.stillhouse("check", world.task)
    assert found.exit_code == 2
    assert "nobody.txt" in found.stderr


def test_names_without_anything_that_finds_them_are_a_mistake(world: World) -> None:
    """Nobody should believe that names are hidden when nothing looks for them."""
    text = world.task.read_text().replace('name_columns = ["customer"]', "")
    world.task.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="which find names"):
        open_project(world.task, world.run)


def name_student(folder: Path, label: str = "person") -> Path:
    """A student of spans, taught that words of printing are people."""
    write_tiny_bert(folder / "base")
    base = load_base(str(folder / "base"))
    task = Task(
        name="names",
        kind="spans",
        labels=(Label(name=label), Label(name="other")),
        data=Data(pool="x"),
        teachers=(Teacher(name="A", model="m"),),
    )
    kind = kind_of(task)
    texts, _ = messages(60, seed=0)
    inputs = inputs_of(kind, [Item(str(number), text) for number, text in enumerate(texts)])
    assert inputs.spans is not None
    words = [text[a:b] for text, spans in zip(texts, inputs.spans, strict=True) for a, b in spans.tolist()]
    targets = np.eye(5)[[1 if word in PRINTING else 0 for word in words]]
    student = fit_student(
        inputs, targets, np.ones(len(words)), kind.columns, settings(base.folder), seed=0, base=base, recipe="head"
    )
    save_student(student, folder / "student", task_json=task.model_dump_json(), metrics={}, card="")
    return folder / "student"


def test_a_student_of_spans_finds_the_names(tmp_path: Path) -> None:
    """The loop's own product as a detector: neighbouring words that may be names are one."""
    find = student_names(name_student(tmp_path), ("person",), 0.5)
    texts, _ = messages(20, seed=7)
    found = find([*texts, ""])
    words = [{text[a:b] for a, b in spans} for text, spans in zip([*texts, ""], found, strict=True)]
    named = [set(re.findall("|".join(PRINTING), text)) for text in [*texts, ""]]
    hits = sum(len({w for span in each for w in span.split()} & true) for each, true in zip(words, named, strict=True))
    assert hits > 0.9 * sum(map(len, named))
    assert found[-1] == []


def test_a_student_that_knows_no_names_is_refused(tmp_path: Path) -> None:
    """Of another kind, with other labels, or not there at all."""
    with pytest.raises(InputError, match="finds no names"):
        student_names(name_student(tmp_path, label="place"), ("person",), 0.5)
    world = World(tmp_path)
    write_rows(world.pool, ROWS)
    privacy = TASK.format(url="http://127.0.0.1:9/v1", ask="auto") + 'name_student = "nowhere"\n'
    world.task.write_text(privacy, encoding="utf-8")
    with pytest.raises(ModelError):
        asked(world)
