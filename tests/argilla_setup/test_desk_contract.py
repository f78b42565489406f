"""What the desk promises on any Argilla server: the embedded one, and one named by the environment."""

import html

import pytest

from argilla_setup.desk import DeskRecord
from stillhouse.errors import DeskError, InputError
from stillhouse.records import Item, Suggestion
from stillhouse.task import Label
from tests.argilla_setup.people import LABELS, NewDesk, Person, a_record, a_task, records_of, unique

ODD_TEXTS = {
    "scripts": "Größe ‎שלום العربية हिन्दी 日本語 ไทย 한국어 Ελληνικά",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🇪🇺 😀",
    "line ends": "one\r\ntwo\nthree\rfour\u2028five\ttab",
    "zero width": "a\u200bb\u200dc\ufeffd",
    "combining": "e\u0301 ≠ \u00e9, n\u0303",
    "markup": "<script>alert(1)</script> **not bold** & \"quoted\" 'single' \\ back",
    "controls": "bell \x07 null \x00 escape \x1b",
    "long": "word " * 20_000,
}


def test_a_repeated_push_doubles_nothing(new_desk: NewDesk) -> None:
    """Publishing says how many records were new, and the same batch again adds none."""
    desk = new_desk()
    batch = [a_record(f"i{n}") for n in range(5)]
    assert desk.publish(batch[:3]) == 3
    assert desk.publish(batch) == 2
    assert desk.publish([*batch, *batch]) == 0
    assert set(records_of(desk)) == {f"i{n}" for n in range(5)}
    assert desk.waiting() == 5


def test_an_empty_batch_and_a_desk_without_a_dataset_are_fine(new_desk: NewDesk) -> None:
    """Nothing is created before there is something to ask."""
    desk = new_desk()
    assert desk.publish([]) == 0
    assert (desk.collect(), desk.waiting(), desk.dataset_id()) == ([], 0, None)
    assert desk.link() == desk.api.url


def test_suggestions_arrive_with_score_and_agent_and_never_on_blind_records(new_desk: NewDesk) -> None:
    """A person sees what the teacher thinks, and how sure it is, except where the answer must be unbiased."""
    desk = new_desk()
    desk.publish([a_record("seen"), a_record("blind", blind=True)])
    held = records_of(desk)
    assert held["blind"]["suggestions"] == []
    (suggestion,) = held["seen"]["suggestions"]
    assert (suggestion["value"], suggestion["score"], suggestion["agent"]) == ("delivery", 0.625, "teacher t")
    assert held["seen"]["metadata"] == {
        "round": 1,
        "reason": "the model is unsure",
        "uncertainty": 0.5,
        "blind": "no",
        "assigned": ["anyone"],
        "shown": '"delivery"',
    }
    assert held["blind"]["metadata"]["blind"] == "yes"


def test_a_blind_record_cannot_be_made_with_a_suggestion() -> None:
    """The mistake is caught where the record is made, not after people have seen it."""
    with pytest.raises(ValueError, match="asked blind"):
        DeskRecord(Item("i", "t"), 1, "random", 0.1, blind=True, suggestion=Suggestion("billing", 0.5, "t"))


def test_a_record_keeps_the_way_it_was_first_asked(new_desk: NewDesk) -> None:
    """A suggestion once shown cannot be unseen: a later blind publication does not relabel the record as blind."""
    desk = new_desk()
    desk.publish([a_record("i")])
    assert desk.publish([a_record("i", blind=True, round=2)]) == 0
    Person.joins(desk).answers("i", "billing")
    assert [answer.blind for answer in desk.collect()] == [False]


def test_an_edited_answer_is_seen(new_desk: NewDesk) -> None:
    """A completed record can still be edited; the next collect has the new label and a later time."""
    desk = new_desk()
    desk.publish([a_record("i", blind=True)])
    person = Person.joins(desk)
    person.answers("i", "billing")
    (first,) = desk.collect()
    assert (first.label, first.annotator, first.blind, first.rehearsed) == ("billing", person.username, True, False)
    person.answers("i", "returns")
    (second,) = desk.collect()
    assert second.label == "returns"
    assert second.answered_at > first.answered_at
    assert second.answered_at.endswith(("+00:00", "Z"))


def test_two_annotators_are_both_collected_where_two_are_wanted(new_desk: NewDesk) -> None:
    """With min_submitted = 2 a record waits until two people have answered, and both answers come back."""
    desk = new_desk(a_task(unique("two-annotators"), min_submitted=2))
    desk.publish([a_record("i")])
    for person, label, waiting in ((Person.joins(desk), "billing", 1), (Person.joins(desk), "returns", 0)):
        person.answers("i", label)
        assert desk.waiting() == waiting
    assert sorted(str(answer.label) for answer in desk.collect()) == ["billing", "returns"]


def test_a_discard_is_a_pass_and_a_draft_is_nothing(new_desk: NewDesk) -> None:
    """A pass comes back with no label and is not waited for; a draft may still change and stays with its author."""
    desk = new_desk()
    desk.publish([a_record("passed"), a_record("drafted")])
    person = Person.joins(desk)
    person.answers("passed", None, status="discarded")
    person.answers("drafted", "billing", status="draft")
    assert [(answer.item_id, answer.label) for answer in desk.collect()] == [("passed", None)]
    assert desk.waiting() == 1


def test_every_text_survives_as_it_is(new_desk: NewDesk) -> None:
    """Scripts, emoji, markup, line ends, zero-width and control characters, but for the null that HTML has not."""
    desk = new_desk()
    desk.publish([a_record(name, text) for name, text in ODD_TEXTS.items()])
    shown = {name: html.unescape(record["fields"]["text"]) for name, record in records_of(desk).items()}
    assert shown == {name: text.replace("\0", "\ufffd") for name, text in ODD_TEXTS.items()}


def test_half_a_surrogate_pair_and_nan_do_not_stop_a_batch(new_desk: NewDesk) -> None:
    """What cannot be written as UTF-8 or JSON is replaced or left out, and the batch goes through."""
    desk = new_desk()
    extra = {"price": float("inf"), "shop": "café", "round": "of applause"}
    suggestion = Suggestion("billing", float("nan"), "t")
    odd = a_record("i", "broken \ud83d here", uncertainty=float("nan"), metadata=extra, suggestion=suggestion)
    assert desk.publish([odd, a_record("whole")]) == 2
    held = records_of(desk)["i"]
    assert held["fields"]["text"] == "broken \ufffd here"
    assert held["metadata"] == {
        "round": 1,
        "reason": "the model is unsure",
        "blind": "no",
        "assigned": ["anyone"],
        "shown": '"billing"',
        "shop": "café",
        "item_round": "of applause",
    }
    assert held["suggestions"][0]["score"] is None


def test_the_dataset_says_what_the_task_says(new_desk: NewDesk) -> None:
    """Guidelines, question, all labels in their order and the overlap are those of the task, and follow its edits."""
    task = a_task(unique("dataset-says"), labels=tuple(f"label {n}" for n in range(40)), guidelines="Read twice.")
    desk = new_desk(task)
    desk.publish([a_record("i", blind=True)])
    path = f"/datasets/{desk.dataset_id()}"
    dataset = desk.api.call("GET", path, doing="testing")
    assert dataset["guidelines"] == "Read twice."
    (question,) = desk.api.call("GET", f"{path}/questions", doing="testing")["items"]
    assert [option["value"] for option in question["settings"]["options"]] == list(task.label_names)
    assert question["settings"]["visible_options"] == 40
    edited = task.model_copy(
        update={"guidelines": "Read once.", "desk": task.desk.model_copy(update={"min_submitted": 2})}
    )
    desk = new_desk(edited)
    desk.publish([a_record("j", blind=True)])
    dataset = desk.api.call("GET", path, doing="testing")
    assert (dataset["guidelines"], dataset["distribution"]["min_submitted"]) == ("Read once.", 2)


def test_other_labels_are_another_dataset(new_desk: NewDesk) -> None:
    """Argilla fixes the labels of a published dataset, so a new label set starts a new one beside the old."""
    task = a_task(unique("other-labels"))
    first = new_desk(task)
    first.publish([a_record("i")])
    second = new_desk(task.model_copy(update={"labels": (*task.labels, Label(name="other"))}))
    second.publish([a_record("i")])
    assert first.dataset_id() != second.dataset_id()


def test_the_link_leads_to_the_least_certain_record_first(new_desk: NewDesk) -> None:
    """The address opens the annotation page of this dataset, sorted by falling uncertainty."""
    desk = new_desk()
    desk.publish([a_record("i")])
    expected = (
        f"{desk.api.url}/dataset/{desk.dataset_id()}/annotation-mode"
        "?page=1&status=pending&sort=metadata.uncertainty.desc"
    )
    assert desk.link() == expected


def test_what_argilla_cannot_hold_is_said_before_anything_is_made(new_desk: NewDesk) -> None:
    """Guidelines and label names have limits in Argilla; the error names limit and length."""
    for task, said in (
        (a_task(unique("too-long"), guidelines="x" * 10_001), "10,001"),
        (a_task(unique("too-long"), labels=("a" * 201, "b")), "201"),
    ):
        desk = new_desk(task)
        with pytest.raises(InputError, match=said):
            desk.publish([a_record("i", blind=True)])
        assert desk.dataset_id() is None


def test_a_label_unknown_to_the_dataset_is_refused_with_the_servers_words(new_desk: NewDesk) -> None:
    """A suggestion outside the schema is a mistake of the caller: the error quotes what Argilla says."""
    desk = new_desk()
    with pytest.raises(DeskError, match="422") as caught:
        desk.publish([a_record("i", suggestion=Suggestion("nonsense", 0.5, "t"))])
    assert "pushing records 1 to 1 of 1" in caught.value.what
    assert desk.publish([a_record("i")]) == 1
    assert LABELS[0] not in caught.value.what
