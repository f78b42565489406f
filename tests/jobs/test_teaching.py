"""A teacher under vLLM asked in shards by other processes: its replies are found under their keys, and nobody is asked again."""

from pathlib import Path
from typing import Any

import pytest

from jobs.local import LocalProcesses
from jobs.teaching import nothing_but_replies, read_items, replies_of, write_items
from loop.elsewhere import Elsewhere, elsewhere
from loop.engines import Where
from loop.progress import Display
from loop.project import Project
from loop.teach import ask_teachers
from stillhouse.errors import InputError, TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Demonstration, Item, Vote
from stillhouse.settings import Privacy, Student, Teacher
from stillhouse.store import Store
from stillhouse.task import Task
from teacher.engine import ask_sync
from teacher.offline import offline_teacher
from teacher.prices import BudgetGuard
from teacher.ways import Shown
from tests.jobs.conftest import Here
from tests.teacher.talker import TASK, items, talker
from tests.teacher.tiny_vllm import TinyLLM, sampling

TEACHER = Teacher(name="tiny", model="tiny", local="talker", vllm={"max_model_len": 512})
VLLM = """
import numpy as np
from tests.jobs.conftest import Here
from tests.teacher.talker import talker
from tests.teacher.tiny_vllm import SamplingParams, StructuredOutputsParams, TinyLLM

def LLM(model, **arguments):
    return TinyLLM(talker())
"""


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package called vllm that workers find, as they find the one of that name on their machine: the tiny talker."""
    (tmp_path / "there" / "vllm").mkdir(parents=True)
    (tmp_path / "there" / "vllm" / "__init__.py").write_text(VLLM)
    (tmp_path / "there" / "vllm" / "sampling_params.py").write_text("from vllm import *\n")
    monkeypatch.syspath_prepend(str(tmp_path / "there"))


def asked_here(teacher: Teacher, task: Task, few: list[Item]) -> list[Vote]:
    with offline_teacher(teacher, TinyLLM(talker()), sampling) as address:
        return ask_sync(few, task, address, MemoryLedger(), budget=BudgetGuard(None))


@pytest.mark.usefixtures("vllm")
def test_votes_read_from_a_workers_replies_are_those_asked_for_here(tmp_path: Path) -> None:
    """A process of its own asks the model; the store has the replies, and every vote is read off them: a key that is
    unknown would be a vote less. What was fetched is gone afterwards, and nobody is asked twice.
    """
    few, task = items(10), TASK.model_copy(update={"teachers": (TEACHER,)})
    project, display = Project(task, tmp_path / "task.toml", tmp_path / "run"), Display(quiet=True)
    with Store(project.folder) as store:
        store.add_items(few)
        ask_teachers(project, store, few, display, elsewhere=Elsewhere(LocalProcesses(1), project, display))
        assert store.votes() == asked_here(TEACHER, task, few)
        assert not (project.folder / "teaching").exists()
        ask_teachers(project, store, few, display, elsewhere=Elsewhere(LocalProcesses(1), project, display))


@pytest.mark.usefixtures("vllm")
def test_shards_that_are_done_are_not_asked_again(tmp_path: Path) -> None:
    """Three shards have receipts; a repeat reads them. A question that none has an answer to is rejected, and says so."""
    few = items(10)
    found = replies_of(Here(), few, TASK, TEACHER, tmp_path, tmp_path / "home", shard_items=4)
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "home").glob("tiny-*/part-*")}
    again = replies_of(Here(), few, TASK, TEACHER, tmp_path, tmp_path / "home", shard_items=4)
    assert again == found
    assert len({reply.request_key for reply in found.replies}) == 10 + 1  # and the probe
    assert parts == {path: path.stat().st_mtime_ns for path in parts}
    assert len(parts) == 3
    ledger = MemoryLedger()
    for reply in found.replies:
        ledger.arrived(reply)
    how: dict[str, Any] = {"budget": BudgetGuard(None), "capabilities": dict(found.capabilities)}
    with nothing_but_replies(TEACHER) as address, pytest.raises(TeacherError, match="came back from the shards"):
        ask_sync([Item("new", "another text")], TASK, address, ledger, **how)


def test_what_items_are_shown_travels_with_them(tmp_path: Path) -> None:
    """Pairs, tokens, focus, examples, candidates and both orders come back as they were, whatever slice is read."""
    odd = Item("b", "two words", {"from": 3}, "a pair", ((0, 3), (4, 9)), (0, 3), "")
    few = [Item("a", "one"), odd]
    more = Shown({"b": [Demonstration(few[0], "printing")]}, {"a": ["printing", "other"]}, both_orders=True)
    write_items(tmp_path / "items.parquet", few, more)
    assert read_items(tmp_path / "items.parquet", 0, 2) == (few, more)
    assert read_items(tmp_path / "items.parquet", 1, 1) == ([odd], Shown(more.demonstrations, {}, both_orders=True))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teachers": (TEACHER.model_copy(update={"local_only": True}),)}, "send texts to other machines"),
        ({"privacy": Privacy(names=False)}, "send texts to other machines"),
        ({"student": Student(recipe="generate")}, "taught where the run is"),
    ],
)
def test_what_a_task_keeps_here_is_not_sent_elsewhere(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """Before anything is started: texts that must not leave this machine, and a student that only this one can teach."""
    project = Project(TASK.model_copy(update=changes), tmp_path / "task.toml", tmp_path / "run")
    with pytest.raises(InputError, match=said), elsewhere(Where("modal"), project, Display(quiet=True)):
        pass
