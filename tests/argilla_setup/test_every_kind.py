"""What both desks promise for every kind of task: what is shown, what comes back, and what is not taken."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.argilla_record import responses_of, value_of
from argilla_setup.desk import DeskRecord
from argilla_setup.embedded import Connection
from argilla_setup.file_desk import FileDesk
from argilla_setup.page import from_html, spans_on_page
from argilla_setup.rehearsed import RehearsedExperts, answer_in_argilla, answer_in_files
from stillhouse.errors import InputError
from stillhouse.records import Item, Suggestion, Value
from tests.argilla_setup.kinds_asked import EMPTY_NAMES, NAMES, TEXT, Asked, a_task_of, asked, span
from tests.argilla_setup.people import Person, records_of

EveryDesk = ArgillaDesk | FileDesk
Opened = Callable[[Asked], EveryDesk]


@pytest.fixture(params=["files", "embedded"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Both desks, each opened for a task."""
    if request.param == "files":
        return lambda case: FileDesk(tmp_path / case.task.name, case.task)
    connection: Connection = request.getfixturevalue("embedded")
    return lambda case: ArgillaDesk(connection.url, connection.api_key, case.task)


@pytest.fixture
def argilla(embedded: Connection) -> Callable[[Asked], ArgillaDesk]:
    return lambda case: ArgillaDesk(embedded.url, embedded.api_key, case.task)


def a_record(case: Asked, item_id: str = "i", *, blind: bool = False) -> DeskRecord:
    suggestion = None if blind else Suggestion(case.value, 0.75, "teacher t", doubt="app 'GitLab' & more")
    return DeskRecord(replace(case.item, id=item_id), 1, "uncertain", 0.5, blind, suggestion)


def rehearse(desk: EveryDesk, experts: RehearsedExperts) -> int:
    return answer_in_files(desk, experts) if isinstance(desk, FileDesk) else answer_in_argilla(desk, experts)


class FilePerson:
    """Somebody who fills in a file."""

    def __init__(self, desk: FileDesk) -> None:
        self.desk = desk

    def says(self, item: Item, value: Value) -> None:
        line = json.dumps({"id": item.id, "label": value}, ensure_ascii=False)
        (self.desk.answers_folder / "anna.jsonl").write_text(line, encoding="utf-8")


class PagePerson:
    """Somebody who answers on the page of Argilla, which sends what `responses_of` says."""

    def __init__(self, desk: ArgillaDesk) -> None:
        self.desk, self.person = desk, Person.joins(desk)

    def says(self, item: Item, value: Value) -> None:
        self.person.responds(item.id, responses_of(self.desk.kind, item, value))


def somebody(desk: EveryDesk) -> FilePerson | PagePerson:
    return FilePerson(desk) if isinstance(desk, FileDesk) else PagePerson(desk)


@pytest.mark.parametrize("name", NAMES)
def test_rehearsed_answers_come_back_as_exactly_the_value(opened: Opened, name: str) -> None:
    """Emoji, markup, carriage returns and scripts from right to left shift no span, and no field loses a sign."""
    case = asked(name)
    desk = opened(case)
    assert desk.publish([a_record(case), a_record(case, "blind", blind=True)]) == 2
    assert desk.publish([a_record(case), a_record(case, "blind", blind=True)]) == 0
    experts = RehearsedExperts({"i": case.value, "blind": case.other}, case.kind)
    assert rehearse(desk, experts) == 2
    assert {(a.item_id, json.dumps(a.label), a.blind, a.rehearsed) for a in desk.collect()} == {
        ("i", json.dumps(case.value), False, True),
        ("blind", json.dumps(case.other), True, True),
    }
    assert (desk.waiting(), desk.sent_back()) == (0, [])


@pytest.mark.parametrize("name", NAMES)
def test_rehearsed_mistakes_come_back_as_made_and_repeat(opened: Opened, name: str) -> None:
    """An expert who always errs gives a value the kind calls a mistake, the same one each time."""
    case = asked(name)
    desk = opened(case)
    desk.publish([a_record(case)])
    experts = RehearsedExperts({"i": case.value}, case.kind, error_rate=1.0, seed=3)
    rehearse(desk, experts)
    (answer,) = desk.collect()
    assert answer.label == experts.answer(case.item, answer.annotator)
    assert answer.label == experts.answer(case.item, answer.annotator)
    assert answer.label != case.value


@pytest.mark.parametrize("name", NAMES)
def test_an_edited_answer_is_seen(opened: Opened, name: str) -> None:
    """The last word of a person counts."""
    case = asked(name)
    desk = opened(case)
    desk.publish([a_record(case)])
    person = somebody(desk)
    person.says(case.item, case.value)
    assert [answer.label for answer in desk.collect()] == [case.value]
    person.says(case.item, case.other)
    assert [answer.label for answer in desk.collect()] == [case.other]


@pytest.mark.parametrize("name", EMPTY_NAMES)
def test_nothing_is_an_answer_where_it_means_something(opened: Opened, name: str) -> None:
    """No span, no label that applies, no field filled: the person says so, and it is no pass."""
    case = asked(name)
    assert case.empty is not None
    desk = opened(case)
    desk.publish([a_record(case, blind=True)])
    assert desk.waiting() == 1
    somebody(desk).says(case.item, case.empty)
    assert [answer.label for answer in desk.collect()] == [case.empty]
    assert desk.waiting() == 0


@pytest.mark.parametrize("name", NAMES)
def test_argilla_shows_the_suggestion_its_score_and_the_doubt_unless_blind(
    argilla: Callable[[Asked], ArgillaDesk], name: str
) -> None:
    """Read back from the server, the suggestions are the value; a blind record has neither them nor the doubt."""
    case = asked(name)
    desk = argilla(case)
    desk.publish([a_record(case), a_record(case, "blind", blind=True)])
    held = records_of(desk)
    questions = desk.api.call("GET", f"/datasets/{desk.dataset_id()}/questions", doing="testing")["items"]
    named = {question["id"]: question["name"] for question in questions}
    shown = {named[each["question_id"]]: {"value": each["value"]} for each in held["i"]["suggestions"]}
    assert value_of(case.kind, case.item, shown) == (case.value, [])
    for each in held["i"]["suggestions"]:
        assert each["score"] == ([0.75] * len(each["value"]) if isinstance(each["value"], list) else 0.75)
    assert held["i"]["fields"].get("doubt") == (None if case.task.kind == "single_label" else "app 'GitLab' &#38; more")
    assert held["blind"]["suggestions"] == []
    assert "doubt" not in held["blind"]["fields"]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_file_has_what_a_person_needs_and_the_suggestion_can_be_copied(tmp_path: Path, name: str) -> None:
    """Suggestion, doubt, pair, tokens and focus stand in the line; the suggestion copied into the label is the value."""
    case = asked(name)
    desk = FileDesk(tmp_path, case.task)
    desk.publish([a_record(case), a_record(case, "blind", blind=True)])
    seen, blind = (json.loads(line) for line in (tmp_path / "batch-01.jsonl").read_text("utf-8").splitlines())
    assert (seen["doubt"], seen.get("pair", "")) == ("app 'GitLab' & more", case.item.pair)
    assert [word for word, _, _ in seen.get("tokens", [])] == [TEXT[a:b] for a, b in case.item.tokens or ()]
    assert ("focus" in seen) == (case.item.focus is not None)
    assert blind["suggestion"] is None
    assert "doubt" not in blind
    (desk.answers_folder / "anna.jsonl").write_text(json.dumps({**seen, "label": seen["suggestion"]}))
    assert [answer.label for answer in desk.collect()] == [case.value]


def test_scores_of_parts_go_with_their_spans(argilla: Callable[[Asked], ArgillaDesk]) -> None:
    """Where each span has its own score, the page shows that one beside it."""
    case = asked("spans")
    desk = argilla(case)
    suggestion = Suggestion(case.value, 0.5, "t", part_scores=(0.9, 0.25, 1.5))
    desk.publish([replace(a_record(case), suggestion=suggestion)])
    (held,) = records_of(desk)["i"]["suggestions"]
    assert held["score"] == [0.9, 0.25, 1.0]


def test_people_see_the_second_text_and_what_is_asked_about(argilla: Callable[[Asked], ArgillaDesk]) -> None:
    """A pair has a field named like its column; a predicate is shown in brackets in its sentence."""
    pair, roles = asked("pair"), asked("roles")
    for case in (pair, roles):
        argilla(case).publish([a_record(case)])
    fields = {name: from_html(text) for name, text in records_of(argilla(pair))["i"]["fields"].items()}
    assert (fields["text"], fields["pair"]) == (TEXT, pair.item.pair)
    path = f"/datasets/{argilla(pair).dataset_id()}/fields"
    titles = {each["name"]: each["title"] for each in pair_fields(argilla(pair), path)}
    assert titles == {"text": "Text", "pair": "target", "context": "To help you"}
    assert "I [[use]] <b>" in from_html(records_of(argilla(roles))["i"]["fields"]["focus"])


def pair_fields(desk: ArgillaDesk, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.api.call("GET", path, doing="testing")["items"]
    return found


@pytest.mark.parametrize("name", ["multi_label", "fields"])
def test_cannot_say_is_a_pass(argilla: Callable[[Asked], ArgillaDesk], name: str) -> None:
    """The other answer to "is that all?" has no label, whatever else was filled in, and is not waited for."""
    case = asked(name)
    desk = argilla(case)
    desk.publish([a_record(case)])
    responses = responses_of(case.kind, case.item, case.value)
    assert responses["complete"] == "yes"
    Person.joins(desk).responds("i", {**responses, "complete": "cannot say"})
    assert [answer.label for answer in desk.collect()] == [None]
    assert desk.waiting() == 0


def test_an_impossible_answer_goes_back_to_its_author(argilla: Callable[[Asked], ArgillaDesk]) -> None:
    """Two roles for one token: the others are collected, the item waits, one line says whose and why, the draft stays."""
    case = asked("roles")
    desk = argilla(case)
    desk.publish([a_record(case), a_record(case, "good")])
    person = Person.joins(desk)
    (question,) = responses_of(case.kind, case.item, case.value)
    halves = spans_on_page(TEXT, [span("<b>Git", "A0"), span("Lab</b>", "A1")])
    person.responds("i", {question: halves})
    person.responds("good", responses_of(case.kind, case.item, case.value))
    assert [answer.item_id for answer in desk.collect()] == ["good"]
    (line,) = desk.sent_back()
    for said in ("'i'", person.username, "overlap", "status=draft"):
        assert said in line
    assert desk.waiting() == 1
    (draft,) = records_of(desk)["i"]["responses"]
    assert (draft["status"], draft["values"][question]["value"]) == ("draft", halves)
    assert (len(desk.collect()), desk.sent_back()) == (1, [])
    person.responds("i", {question: halves[:1]})
    assert [answer.label for answer in desk.collect()] == [case.value, [span("<b>GitLab</b>", "A0")]]
    assert desk.waiting() == 0


@pytest.mark.parametrize(("question", "wrong"), [("since", "last spring"), ("price", "much"), ("apps_used", " \n\n")])
def test_what_a_person_wrote_in_a_field_never_vanishes(question: str, wrong: str) -> None:
    """A date or number that is none is a problem, never a missing field; blank lines are nothing."""
    case = asked("fields")
    responses = {**responses_of(case.kind, case.item, case.value), question: wrong}
    known = {each.name for each in case.kind.questions()}
    _, problems = value_of(case.kind, case.item, {k: {"value": v} for k, v in responses.items() if k in known})
    assert bool(problems) == bool(wrong.strip())
    assert all(wrong in problem for problem in problems)


def test_people_find_what_they_see(argilla: Callable[[Asked], ArgillaDesk]) -> None:
    """Texts are sent as HTML, and the search of the embedded server still knows their signs."""
    case = asked("spans")
    desk = argilla(case)
    desk.publish([a_record(case), replace(a_record(case, "other"), item=Item("other", "amp lt 60"), suggestion=None)])
    path = f"/me/datasets/{desk.dataset_id()}/records/search"
    for words, expected in (("<b>gitlab</b>", ["i"]), ("& jira", ["i"]), ("😀", ["i"]), ("60", ["other"])):
        hits = desk.api.call("POST", path, doing="testing", body={"query": {"text": {"q": words}}})["items"]
        assert [hit["record"]["external_id"] for hit in hits] == expected


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("multi_label", ["biling"], "did you mean 'billing'?"),
        ("spans", [{"start": 0, "end": 999, "label": "app"}], "999"),
        ("spans", [{"text": "😀", "label": "ap"}], "did you mean 'app'?"),
        ("spans", [{"text": "s", "label": "app"}], "stands 2 times in the text"),
        ("spans", [{"text": "Excel", "label": "app"}], "stands 0 times in the text"),
        ("tokens", ["NOUN"], "one a token"),
        ("fields", {"since": "last spring"}, "last spring"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(tmp_path: Path, name: str, value: Value, said: str) -> None:
    """The file desk says what was expected and found, and guesses the slip."""
    case = asked(name)
    desk = FileDesk(tmp_path, case.task)
    desk.publish([a_record(case)])
    FilePerson(desk).says(case.item, value)
    with pytest.raises(InputError, match=r"anna\.jsonl, line 1") as caught:
        desk.collect()
    assert said in str(caught.value)


def test_spans_can_be_given_by_their_words(tmp_path: Path) -> None:
    """Nobody counts characters: words that stand once in the text are enough, beside spans with their place."""
    case = asked("spans")
    desk = FileDesk(tmp_path, case.task)
    desk.publish([a_record(case)])
    FilePerson(desk).says(case.item, [{"text": "🚀", "label": "app"}, span("GitLab", "app")])
    assert [answer.label for answer in desk.collect()] == [[span("GitLab", "app"), span("🚀", "app")]]


def test_a_choice_of_one_label_is_refused_before_anything_is_made(argilla: Callable[[Asked], ArgillaDesk]) -> None:
    """Argilla wants two labels in a question of labels; the error names the question and a way out."""
    case = replace(asked("multi_label"), task=a_task_of("multi_label", ("billing",)), value=["billing"])
    desk = argilla(case)
    with pytest.raises(InputError, match="at least 2"):
        desk.publish([a_record(case)])
    assert desk.dataset_id() is None
