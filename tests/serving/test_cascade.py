"""Student, teachers, people: who is asked what, who says what, and what is paid for."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from argilla_setup.desk import DeskRecord
from argilla_setup.file_desk import FileDesk
from serving.cascade import Cascade, Heard
from serving.items import made_id
from serving.label import label_file
from serving.metrics import Metrics
from serving.service import Service, Serving
from serving.tables import read_rows, write_rows
from serving.verdicts import Verdict
from stillhouse.errors import BudgetError, TeacherError
from stillhouse.records import Item
from tests.serving.keywords import KeywordStudent, kind_for, labelling, task_of

KIND = kind_for("bill", "fox")
UNSURE = Verdict("bill", 0.5, abstained=True)


@dataclass
class Teachers:
    """Sure of foxes, unsure of cats, silent about the rest; a reply costs a cent. Remembers what it was asked."""

    asked: list[str] = field(default_factory=list)
    calls: int = 0
    fails: Exception | None = None
    slow_s: float = 0.0

    async def hear(self, items: Sequence[Item]) -> list[Heard]:
        self.calls += 1
        await asyncio.sleep(self.slow_s)
        if self.fails:
            raise self.fails
        self.asked += [item.text for item in items]
        return [Heard(self._said(item.text), 0.01) for item in items]

    def _said(self, text: str) -> np.ndarray | None:
        if "fox" in text:
            return np.array([[0.05, 0.95]])
        return np.array([[0.4, 0.6]]) if "cat" in text else None


@dataclass
class Desk:
    records: dict[str, DeskRecord] = field(default_factory=dict)

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        new = {record.item_id: record for record in batch if record.item_id not in self.records}
        self.records |= new
        return len(new)


def cascade_of(teachers: Teachers, desk: Desk) -> Cascade:
    return Cascade(KIND, teachers.hear, desk.publish, 0.8)


def settled(cascade: Cascade, *texts: str) -> list[Verdict]:
    items = [Item(str(number), text) for number, text in enumerate(texts)]
    return asyncio.run(cascade.settle(items, [UNSURE] * len(items)))


def test_what_the_teacher_is_sure_of_is_its_label() -> None:
    """With its probability, its name and what it cost; nobody else is asked."""
    desk = Desk()
    (verdict,) = settled(cascade_of(Teachers(), desk), "a fox")
    assert verdict == Verdict("fox", 0.95, abstained=False, source="teacher", cost_usd=0.01)
    assert not desk.records


def test_what_the_teacher_is_unsure_of_waits_for_people() -> None:
    """With the teacher's guess as suggestion; the item is named by its content."""
    desk = Desk()
    (verdict,) = settled(cascade_of(Teachers(), desk), "a cat")
    assert verdict == Verdict("fox", 0.6, abstained=True, source="people", cost_usd=0.01)
    (record,) = desk.records.values()
    assert record.item_id == made_id(Item("", "a cat"))
    assert record.suggestion is not None
    assert (record.suggestion.label, record.suggestion.score, record.suggestion.agent) == ("fox", 0.6, "teacher")


def test_where_the_teacher_says_nothing_the_students_guess_is_suggested() -> None:
    """And stands until people have answered."""
    desk = Desk()
    (verdict,) = settled(cascade_of(Teachers(), desk), "?")
    assert (verdict.label, verdict.source, verdict.abstained, verdict.cost_usd) == ("bill", "people", True, 0.01)
    (record,) = desk.records.values()
    assert record.suggestion is not None
    assert record.suggestion.agent == "student"


def test_a_text_that_comes_twice_is_asked_once() -> None:
    """Both get the answer."""
    teachers, desk = Teachers(), Desk()
    verdicts = settled(cascade_of(teachers, desk), "a fox", "a cat", "a fox", "a cat")
    assert Counter(teachers.asked) == {"a fox": 1, "a cat": 1}
    assert verdicts[:2] == verdicts[2:]
    assert len(desk.records) == 1


def test_the_desk_of_files_takes_what_comes(tmp_path: Path) -> None:
    """A second command with the same text publishes nothing again."""
    desk = FileDesk(tmp_path, task_of("bill", "fox"))
    for _ in range(2):
        settled(Cascade(KIND, Teachers().hear, desk.publish, 0.8), "a cat", "?")
    assert desk.waiting() == 2


def test_a_file_goes_through_all_three(tmp_path: Path) -> None:
    """Rows say who labelled them and what it cost; what the student was sure of is asked of nobody."""
    texts = ["the bill", "a fox", "a cat", "?", ""]
    write_rows(tmp_path / "in.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(texts)], ("id", "text"))
    teachers, desk = Teachers(), Desk()
    cascade = cascade_of(teachers, desk)
    how = labelling(
        tmp_path, next_step=lambda items, firsts: asyncio.run(cascade.settle(items, firsts)), next_id="teachers"
    )
    counts = label_file(how, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    rows = [row for _, row in read_rows(tmp_path / "out.jsonl")]
    assert [(r["label"], r["source"], r["abstained"], r["cost_usd"]) for r in rows] == [
        ("bill", "student", False, 0.0),
        ("fox", "teacher", False, 0.01),
        ("fox", "people", True, 0.01),
        ("bill", "people", True, 0.01),
        (None, "student", True, 0.0),
    ]
    assert counts.sources == {"student": 2, "teacher": 1, "people": 2}
    assert sorted(teachers.asked) == ["?", "a cat", "a fox"]


def served(teachers: Teachers, *requests: list[str], at_once: bool = False) -> list[list[Verdict]]:
    """The requests one after another (or all at once) through a service."""

    async def test() -> list[list[Verdict]]:
        what = Serving(KeywordStudent(), KIND, "m1", 0.6, cascade_of(teachers, Desk()))
        service = Service(what, Metrics("m1"))
        asked = [service.label([Item(str(n), text) for n, text in enumerate(texts)]) for texts in requests]
        found = await asyncio.gather(*asked) if at_once else [await one for one in asked]
        await service.close()
        return found

    return asyncio.run(asyncio.wait_for(test(), 20))


@pytest.mark.parametrize("at_once", [False, True])
def test_a_text_asked_of_a_server_twice_costs_once(at_once: bool) -> None:
    """Also while the first asking is on its way."""
    teachers = Teachers(slow_s=0.01)
    found = served(teachers, ["a fox", "a cat"], ["a fox"], ["a cat"], at_once=at_once)
    assert Counter(teachers.asked) == {"a fox": 1, "a cat": 1}
    assert [[v.source for v in verdicts] for verdicts in found] == [["teacher", "people"], ["teacher"], ["people"]]


@pytest.mark.parametrize("error", [TeacherError("the API does not answer"), BudgetError("the budget is used up")])
def test_a_server_answers_without_a_teacher_that_cannot_be_asked(error: Exception) -> None:
    """The student's verdict stands and abstains, and says why; the teacher is left alone for a while; people get none of it."""
    teachers = Teachers(fails=error)
    first, second = served(teachers, ["a fox", "a cat"], ["a dog"])
    for verdict in (*first, *second):
        assert (verdict.source, verdict.abstained, verdict.cost_usd) == ("student", True, 0.0)
        assert verdict.note == str(error)
    assert teachers.calls <= 2  # both of the first request at once, none of the second
