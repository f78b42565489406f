"""What both desks promise of each way to ask: yes or no, a second opinion, a decision between opinions."""

from dataclasses import replace

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.desk import DeskRecord, links
from argilla_setup.file_desk import FileDesk
from argilla_setup.rehearsed import RehearsedExperts, answer_in_argilla, answer_in_files
from kinds.registry import kind_of
from stillhouse.errors import InputError
from stillhouse.records import Answer, Item, Suggestion, Way
from tests.argilla_setup.kinds_asked import asked
from tests.argilla_setup.people import DeskOf, Somebody, a_record, a_task, asked_again, records_of, unique

WAYS: tuple[Way, ...] = ("label", "verify", "second", "adjudicate")


def said(answers: list[Answer]) -> list[tuple[object, ...]]:
    return [(each.item_id, each.annotator, each.way, each.label, each.suggested) for each in answers]


def rehearse(desk: ArgillaDesk | FileDesk, experts: RehearsedExperts) -> int:
    return answer_in_files(desk, experts) if isinstance(desk, FileDesk) else answer_in_argilla(desk, experts)


@pytest.mark.parametrize("name", ["overlapping", "fields"])
def test_yes_is_an_answer_with_the_value_and_no_says_only_what_it_is_not(desk_of: DeskOf, name: str) -> None:
    """Of all but two labels: a no is no answer, names what was denied, and is not waited for."""
    case = asked(name)
    desk = desk_of(case.task)
    right, wrong = (replace(case.item, id=item_id) for item_id in ("right", "wrong"))
    batch = [
        DeskRecord(item, 1, "sure", 0.1, blind=False, suggestion=Suggestion(case.value, 0.99, "belief"), way="verify")
        for item in (right, wrong)
    ]
    assert (desk.publish(batch), desk.waiting()) == (2, 2)
    anna = Somebody(desk)
    anna.says(right, said=True, way="verify")
    anna.says(wrong, said=False, way="verify")
    assert said(desk.collect()) == [("right", anna.name, "verify", case.value, case.value)]
    (denial,) = desk.denied()
    assert (denial.item_id, denial.annotator, denial.value) == ("wrong", anna.name, case.value)
    assert (denial.guidelines, denial.rehearsed) == (case.task.guidelines_id(), False)
    assert desk.waiting() == 0


def test_a_no_to_one_of_two_labels_is_the_other(desk_of: DeskOf) -> None:
    """Nothing is left to ask."""
    task = a_task(unique("two"), labels=("favor", "against"))
    desk = desk_of(task)
    desk.publish([asked_again("i", "verify", suggestion=Suggestion("against", 0.99, "belief"))])
    anna = Somebody(desk)
    anna.says("i", said=False, way="verify")
    assert said(desk.collect()) == [("i", anna.name, "verify", "favor", "against")]
    assert desk.denied() == []


def test_one_item_can_be_out_in_every_way(desk_of: DeskOf) -> None:
    """Each way waits for its own answer and comes back by itself; an item is new once in each."""
    desk = desk_of(a_task(unique("ways")))
    batch = [asked_again("i", way) for way in WAYS]
    assert desk.publish(batch[:2]) == 2
    assert desk.publish([*batch, *batch]) == 2
    assert desk.publish(batch) == 0
    people = {way: Somebody(desk) for way in WAYS}
    for done, way in enumerate(WAYS):
        assert desk.waiting() == 4 - done
        people[way].says("i", said=True if way == "verify" else "returns", way=way)
    answers = {answer.way: answer for answer in desk.collect()}
    assert {way: answer.annotator for way, answer in answers.items()} == {w: p.name for w, p in people.items()}
    assert {way: (answer.label, answer.suggested) for way, answer in answers.items()} == {
        "label": ("returns", "delivery"),
        "verify": ("delivery", "delivery"),
        "second": ("returns", None),
        "adjudicate": ("returns", None),
    }


def test_whoever_answered_before_gives_no_second_opinion(desk_of: DeskOf) -> None:
    """Their answer is not taken; the item waits for somebody else."""
    desk = desk_of(a_task(unique("second")))
    anna, ben = Somebody(desk), Somebody(desk)
    desk.publish([asked_again("i", "second", not_by=(anna.name,))])
    (waiting,) = desk.open()
    assert (waiting.not_by, waiting.answered_by) == ((anna.name,), ())
    anna.says("i", "returns", way="second")
    if isinstance(desk, FileDesk):
        with pytest.raises(InputError, match="somebody else"):
            desk.collect()
        (desk.answers_folder / f"{anna.name}.jsonl").unlink()
    else:
        assert desk.collect() == []
        assert all(words in desk.sent_back()[0] for words in (anna.name, "somebody else"))
    assert desk.waiting() == 1
    ben.says("i", "billing", way="second")
    assert [(answer.annotator, answer.label) for answer in desk.collect()] == [(ben.name, "billing")]
    assert desk.waiting() == 0


def test_a_second_opinion_is_one_and_labels_are_as_many_as_wanted(desk_of: DeskOf) -> None:
    """min_submitted is about labels; what is asked after that wants one answer each."""
    desk = desk_of(a_task(unique("overlap"), min_submitted=2))
    desk.publish([asked_again("i", way) for way in WAYS])
    assert {record.way: record.missing for record in desk.open()} == dict(zip(WAYS, (2, 1, 1, 1), strict=True))


def test_assignment_follows_a_later_publication_until_somebody_has_answered(desk_of: DeskOf) -> None:
    """What a slow person leaves open is dealt again; what was shown stays as it was first published."""
    desk = desk_of(a_task(unique("dealt")))
    desk.publish([a_record("i", assigned=("ann",)), a_record("j", assigned=("ann",))])
    assert [record.assigned for record in desk.open()] == [("ann",), ("ann",)]
    again = a_record("i", "another text", assigned=("ben",), suggestion=Suggestion("returns", 0.5, "other"))
    assert desk.publish([again]) == 0
    assert {record.item.id: record.assigned for record in desk.open()} == {"i": ("ben",), "j": ("ann",)}
    assert {record.item.id: record.suggested for record in desk.open()} == {"i": "delivery", "j": "delivery"}
    assert {record.item.text for record in desk.open()} == {a_record("i").item.text}


def test_only_what_has_changed_is_collected_when_asked(desk_of: DeskOf) -> None:
    """New answers and edits of any age once each, and denials always all; a full read still has everything."""
    task = a_task(unique("changed"))
    desk = desk_of(task)
    desk.publish([a_record("a"), a_record("b"), asked_again("c", "verify")])
    anna = Somebody(desk)
    assert desk.collect(changed=True) == []
    anna.says("a", "billing")
    anna.says("c", said=False, way="verify")
    assert [answer.item_id for answer in desk.collect(changed=True)] == ["a"]
    assert desk.collect(changed=True) == []
    anna.says("b", "billing")
    anna.says("a", "returns")  # of a completed record
    assert [(answer.item_id, answer.label) for answer in desk.collect(changed=True)] == [
        ("a", "returns"),
        ("b", "billing"),
    ]
    assert [answer.item_id for answer in desk.collect()] == ["a", "b"]
    assert desk.collect(changed=True) == []
    assert [denial.item_id for denial in desk.denied()] == ["c"]
    assert [answer.item_id for answer in desk_of(task).collect(changed=True)] == ["a", "b"]


def test_rehearsed_experts_answer_in_every_way(desk_of: DeskOf) -> None:
    """Yes where the suggestion is what they know, no where it is not; nobody gives an opinion on what they answered."""
    task = a_task(unique("rehearsed"))
    desk = desk_of(task)
    experts = RehearsedExperts({"i": "delivery", "j": "billing"}, kind_of(task), annotators=3)
    desk.publish([asked_again(item, way) for item in "ij" for way in ("label", "verify")])
    assert rehearse(desk, experts) == 4
    first = {answer.item_id: answer for answer in desk.collect() if answer.way == "label"}
    assert [(answer.item_id, answer.label) for answer in desk.collect() if answer.way == "verify"] == [
        ("i", "delivery")
    ]
    assert [(denial.item_id, denial.value, denial.rehearsed) for denial in desk.denied()] == [("j", "delivery", True)]
    desk.publish([asked_again(item, "second", not_by=(first[item].annotator,)) for item in "ij"])
    desk.publish([asked_again(item, "adjudicate", assigned=("rehearsed-3",)) for item in "ij"])
    assert (rehearse(desk, experts), rehearse(desk, experts), desk.waiting()) == (4, 0, 0)
    later = [answer for answer in desk.collect() if answer.way in {"second", "adjudicate"}]
    assert all(a.annotator != first[a.item_id].annotator for a in later if a.way == "second")
    assert {answer.annotator for answer in later if answer.way == "adjudicate"} == {"rehearsed-3"}
    assert all(answer.rehearsed and answer.seconds is None for answer in later)


def test_too_few_experts_for_another_opinion_is_said(desk_of: DeskOf) -> None:
    """The loop would wait for ever."""
    task = a_task(unique("few"))
    desk = desk_of(task)
    desk.publish([asked_again("i", "second", not_by=("rehearsed-1",))])
    with pytest.raises(InputError, match="too few rehearsed experts"):
        rehearse(desk, RehearsedExperts({"i": "delivery"}, kind_of(task), annotators=1))


def test_a_record_that_contradicts_itself_cannot_be_made() -> None:
    """Nothing to verify, or assigned to somebody who must not answer."""
    item = Item("i", "t")
    with pytest.raises(ValueError, match="needs a suggestion"):
        DeskRecord(item, 1, "sure", 0.1, blind=False, way="verify")
    with pytest.raises(ValueError, match="'ann'"):
        DeskRecord(item, 1, "sure", 0.1, blind=True, way="second", assigned=("ann",), not_by=("ann",))


def test_argilla_shows_no_suggestion_and_no_reason_where_another_opinion_is_wanted(desk_of: DeskOf) -> None:
    """A second opinion is worth something because it knows nothing of the first."""
    desk = desk_of(a_task(unique("unseen")))
    desk.publish([asked_again("i", "second", reason="ann said returns, the model delivery")])
    if isinstance(desk, FileDesk):
        shown = (desk.folder / "batch-01-second.jsonl").read_text("utf-8")
    else:
        record = records_of(desk, "second")["i"]
        assert record["suggestions"] == []
        shown = str(record)
    assert "delivery" not in shown
    assert "a second opinion, without seeing the first" in shown


def test_everybody_is_told_where_their_open_records_are(desk_of: DeskOf) -> None:
    """A line for each person and way, and one for what is anybody's; none for what is done."""
    desk = desk_of(a_task(unique("links")))
    anna = "anna"
    batch = [a_record("a", assigned=(anna,)), a_record("b", assigned=("ben",)), a_record("c")]
    desk.publish([*batch, asked_again("a", "verify", assigned=("ben",))])
    Somebody(desk, anna).says("a", "billing")
    assert links(desk) == [
        f"anybody, labels: {desk.link()}",
        f"ben, labels: {desk.link('ben')}",
        f"ben, yes or no: {desk.link('ben', 'verify')}",
    ]
