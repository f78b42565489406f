"""Rehearsed experts: they answer like people, err as often as they should, and are never taken for people."""

import dataclasses
import time
from pathlib import Path

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.embedded import Connection
from argilla_setup.file_desk import FileDesk
from argilla_setup.rehearsed import RehearsedExperts, answer_in_argilla, answer_in_files
from kinds.registry import kind_of
from stillhouse.errors import InputError
from stillhouse.records import Item
from tests.argilla_setup.people import Person, a_record, a_task, records_of, unique

IDS = [f"i{n}" for n in range(100)]
EXPERTS = RehearsedExperts(
    dict.fromkeys(IDS, "billing"), kind_of(a_task("rehearsed")), error_rate=0.3, annotators=2, seed=5
)


def test_they_err_as_often_as_told_and_in_every_way() -> None:
    """Over many items the share of wrong answers is the error rate, and the other labels are equally likely."""
    known = {f"i{n}": "billing" for n in range(4000)}
    experts = dataclasses.replace(EXPERTS, known=known)
    answers = [experts.answer(Item(item, ""), "rehearsed-1") for item in known]
    assert answers.count("billing") / 4000 == pytest.approx(0.7, abs=0.03)
    assert answers.count("delivery") / 4000 == pytest.approx(0.15, abs=0.025)
    assert answers.count("returns") / 4000 == pytest.approx(0.15, abs=0.025)
    assert all(
        dataclasses.replace(experts, error_rate=0.0).answer(Item(item, ""), "rehearsed-1") == "billing" for item in IDS
    )
    assert all(
        dataclasses.replace(experts, error_rate=1.0).answer(Item(item, ""), "rehearsed-1") != "billing" for item in IDS
    )


def test_an_answer_depends_on_seed_item_and_annotator_only() -> None:
    """A repeat gives the same answers; another seed or annotator gives others."""
    first = [EXPERTS.answer(Item(item, ""), "rehearsed-1") for item in IDS]
    assert [EXPERTS.answer(Item(item, ""), "rehearsed-1") for item in reversed(IDS)] == first[::-1]
    assert [EXPERTS.answer(Item(item, ""), "rehearsed-2") for item in IDS] != first
    assert [dataclasses.replace(EXPERTS, seed=6).answer(Item(item, ""), "rehearsed-1") for item in IDS] != first


def test_they_answer_in_argilla_as_annotators_of_their_own(embedded: Connection) -> None:
    """Every record gets min_submitted answers by experts named rehearsed-N, a repeat adds none, and it is quick."""
    task = a_task(unique("rehearsed"), min_submitted=2)
    desk = ArgillaDesk(embedded.url, embedded.api_key, task)
    experts = dataclasses.replace(EXPERTS, annotators=3)
    desk.publish([a_record(item) for item in IDS[:40]])
    start = time.monotonic()
    assert answer_in_argilla(desk, experts) == 80
    assert time.monotonic() - start < 30
    assert desk.waiting() == 0
    assert answer_in_argilla(desk, experts) == 0
    answers = desk.collect()
    assert {answer.annotator for answer in answers} == {"rehearsed-1", "rehearsed-2", "rehearsed-3"}
    assert all(answer.rehearsed for answer in answers)
    assert [a.label for a in answers] == [experts.answer(Item(a.item_id, ""), a.annotator) for a in answers]
    users = desk.api.call("GET", "/users", doing="testing")["items"]
    assert {user["role"] for user in users if user["username"].startswith("rehearsed-")} == {"annotator"}


def test_they_leave_people_their_answers(embedded: Connection) -> None:
    """What a person has answered or passed counts; the experts only fill what is missing."""
    desk = ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("shared"), min_submitted=2))
    desk.publish([a_record(item) for item in IDS[:3]])
    person = Person.joins(desk)
    person.answers("i0", "returns")
    person.answers("i1", None, status="discarded")
    assert answer_in_argilla(desk, EXPERTS) == 4
    assert [(a.label, a.rehearsed) for a in desk.collect() if a.annotator == person.username] == [
        ("returns", False),
        (None, False),
    ]
    assert {len(record["responses"]) for record in records_of(desk).values()} == {2}


def test_items_without_a_known_label_are_named_and_the_rest_is_answered(embedded: Connection) -> None:
    """The loop would wait for them forever, so it is an error, raised after the others are answered."""
    desk = ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("unknown")))
    desk.publish([a_record("i0"), a_record("stranger")])
    with pytest.raises(InputError, match="'stranger'"):
        answer_in_argilla(desk, EXPERTS)
    assert [answer.item_id for answer in desk.collect()] == ["i0"]


def test_too_few_experts_and_foreign_labels_are_said_before_anybody_answers(tmp_path: Path) -> None:
    """One expert cannot give two answers, and a label outside the task cannot be given."""
    desk = FileDesk(tmp_path, a_task("few", min_submitted=2))
    desk.publish([a_record("i0")])
    with pytest.raises(InputError, match="too few rehearsed experts"):
        answer_in_files(desk, dataclasses.replace(EXPERTS, annotators=1))
    with pytest.raises(InputError, match="'nonsense'"):
        answer_in_files(desk, dataclasses.replace(EXPERTS, known={"i0": "nonsense"}))
    assert desk.collect() == []


def test_they_answer_in_files_too(tmp_path: Path) -> None:
    """The file desk gets the very same answers, in a file for each expert; a repeat adds none."""
    desk = FileDesk(tmp_path, a_task("files", min_submitted=2))
    desk.publish([a_record(item) for item in IDS[:10]])
    assert answer_in_files(desk, EXPERTS) == 20
    desk.publish([a_record(item) for item in IDS[:12]])
    assert answer_in_files(desk, EXPERTS) == 4
    assert answer_in_files(desk, EXPERTS) == 0
    answers = desk.collect()
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["rehearsed-1.jsonl", "rehearsed-2.jsonl"]
    assert all(a.rehearsed and a.label == EXPERTS.answer(Item(a.item_id, ""), a.annotator) for a in answers)
    assert (len(answers), desk.waiting()) == (24, 0)
