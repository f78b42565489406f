"""What people see in Argilla of each way to ask, who sees what, and what follows the task after a dataset is published."""

import json
import stat
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from argilla_setup.annotators import FILE, invite
from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_desk import ArgillaDesk
from stillhouse.errors import DeskError, InputError
from stillhouse.records import Suggestion
from stillhouse.task import Label
from tests.argilla_setup.kinds_asked import asked
from tests.argilla_setup.people import NewDesk, Person, a_record, a_task, asked_again, records_of, unique


def as_the_page_asks(person: Person, link: str) -> list[str]:
    """The items that a link leads to, searched with its filters and order as the page of Argilla does."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    name, *values = query["metadata"].split(".")
    entity, sorted_by, order = query["sort"].split(".")
    body = {
        "filters": {
            "and": [
                {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": [query["status"]]},
                {"type": "terms", "scope": {"entity": "metadata", "metadata_property": name}, "values": values},
            ]
        },
        "sort": [{"scope": {"entity": entity, "metadata_property": sorted_by}, "order": order}],
    }
    path = urlsplit(link).path.split("/")[2]
    hits = person.api.call("POST", f"/me/datasets/{path}/records/search", doing="testing", body=body)["items"]
    return [hit["record"]["external_id"] for hit in hits]


def test_a_link_of_ones_own_leads_to_what_is_assigned_or_anybodys(new_desk: NewDesk) -> None:
    """The hardest first, nothing of another's, and what is dealt again moves over."""
    desk = new_desk()
    dealt = {"a": ("ann",), "b": ("ben",), "c": (), "d": ("ann", "ben")}
    batch = [a_record(item, uncertainty=n / 10, assigned=names) for n, (item, names) in enumerate(dealt.items())]
    desk.publish(batch)
    person = Person.joins(desk)
    assert as_the_page_asks(person, desk.link("ann")) == ["d", "c", "a"]
    assert as_the_page_asks(person, desk.link("ben")) == ["d", "c", "b"]
    desk.publish([a_record("a", assigned=("ben",))])
    assert as_the_page_asks(person, desk.link("ben")) == ["d", "c", "b", "a"]


def test_each_way_has_a_link_of_its_own(new_desk: NewDesk) -> None:
    """Verifying and reviewing stand on other pages; before anything is asked in a way, the link is the server."""
    desk = new_desk()
    desk.publish([a_record("i")])
    assert desk.link(way="verify") == desk.api.url
    desk.publish([asked_again("i", "verify"), asked_again("i", "second")])
    links = [desk.link(way=way) for way in ("label", "verify", "second", "adjudicate")]
    assert len(set(links)) == 3
    assert links[2] == links[3]


def test_a_suggestion_to_verify_stands_in_words_and_is_not_chosen_beforehand(new_desk: NewDesk) -> None:
    """Yes must be said, not left standing."""
    case = asked("spans")
    desk = new_desk(case.task)
    suggestion = Suggestion(case.value, 0.99, "belief")
    desk.publish([asked_again("i", "verify", text=case.item.text, suggestion=suggestion)])
    record = records_of(desk, "verify")["i"]
    assert record["suggestions"] == []
    assert "<mark>GitLab</mark> <sub>app</sub>" in record["fields"]["suggested"]
    assert "&#60;b&#62;" in record["fields"]["suggested"]


def test_context_and_reason_stand_beside_the_text_unless_they_could_bias(new_desk: NewDesk) -> None:
    """In words; of what is asked blind only what its maker put there, of a second opinion the same."""
    desk = new_desk()
    batch = [a_record("seen", context="**Like it**: b"), a_record("blind", blind=True, context="*From the guidelines*")]
    desk.publish([*batch, a_record("bare", blind=True), asked_again("i", "adjudicate", reason="people <differ>")])
    held = {item: record["fields"].get("context") for item, record in records_of(desk).items()}
    assert held == {
        "seen": "*Why it is asked: the model is unsure.*\n\n**Like it**: b",
        "blind": "*From the guidelines*",
        "bare": None,
    }
    assert records_of(desk, "adjudicate")["i"]["fields"]["context"] == "*Why it is asked: people &#60;differ&#62;.*"


def test_an_answer_names_the_guidelines_that_could_be_read(new_desk: NewDesk) -> None:
    """Guidelines, questions and descriptions may change while records are out: earlier answers keep the earlier version."""
    first = a_task(unique("versions"))
    reworded = first.model_copy(update={"labels": (*first.labels[:2], Label(name="returns", description="sent back"))})
    second = reworded.model_copy(update={"guidelines": "Read twice.", "question": "Which one?"})
    desk = new_desk(first)
    desk.publish([a_record(item) for item in "abc"])
    person = Person.joins(desk)
    for task, item in ((first, "a"), (reworded, "b"), (second, "c")):
        new_desk(task).publish([])
        person.answers(item, "billing")
    read = {answer.item_id: answer.guidelines for answer in new_desk(second).collect()}
    assert read == {"a": first.guidelines_id(), "b": reworded.guidelines_id(), "c": second.guidelines_id()}
    assert len(set(read.values())) == 3
    path = f"/datasets/{desk.dataset_id()}"
    assert desk.api.call("GET", path, doing="testing")["guidelines"] == "Read twice."
    (question,) = desk.api.call("GET", f"{path}/questions", doing="testing")["items"]
    assert (question["title"], "returns: sent back" in question["description"]) == ("Which one?", True)


def test_a_dataset_of_an_earlier_version_goes_on(new_desk: NewDesk) -> None:
    """It has no field for context and no property for assignment: the one is left out, the other added."""
    desk = new_desk()
    new_desk(a_task(unique("makes-the-workspace"))).publish([a_record("i")])
    name, call = f"{desk.task.name}-{desk.task.schema_hash()}", desk.api.call
    body = {"name": name, "workspace_id": desk.workspace_id(), "guidelines": "Be kind."}
    path = f"/datasets/{call('POST', '/datasets', doing='testing', body=body)['id']}"
    text = {"name": "text", "title": "Text", "required": True, "settings": {"type": "text", "use_markdown": False}}
    call("POST", f"{path}/fields", doing="testing", body=text)
    options = [{"value": label, "text": label} for label in desk.task.label_names]
    settings = {"type": "label_selection", "options": options, "visible_options": 3}
    question = {"name": "label", "title": "Which?", "required": True, "settings": settings}
    call("POST", f"{path}/questions", doing="testing", body=question)
    call("PUT", f"{path}/publish", doing="testing")
    old = {"external_id": "old", "fields": {"text": "t"}, "metadata": {"round": 1, "blind": "yes"}}
    call("PUT", f"{path}/records/bulk", doing="testing", body={"items": [old]})
    person = Person.joins(desk)
    person.answers("old", "billing")
    assert desk.publish([a_record("new", context="help", assigned=("ann",)), a_record("old")]) == 1
    assert set(records_of(desk)["new"]["fields"]) == {"text"}
    assert as_the_page_asks(person, desk.link("ann")) == ["new"]
    (answer,) = desk.collect()
    assert (answer.item_id, answer.blind, answer.suggested, answer.guidelines) == ("old", True, None, "")


def test_texts_like_it_are_found_by_its_vector(new_desk: NewDesk) -> None:
    """Vectors of another length, from another base model, stand beside the first ones."""
    desk = new_desk()
    near, far = (1.0, 0.0, 0.1), (0.0, 1.0, 0.0)
    desk.publish([a_record("a", vector=(1.0, 0.0, 0.0)), a_record("b", vector=far), a_record("c", vector=near)])
    assert desk.publish([a_record("d", vector=(1.0, 0.0)), a_record("e")]) == 2
    record = records_of(desk)["a"]["id"]
    query = {"query": {"vector": {"name": "embedding-3", "record_id": record, "order": "most_similar"}}}
    path = f"/me/datasets/{desk.dataset_id()}/records/search"
    hits = desk.api.call("POST", path, doing="testing", body=query, limit=2)["items"]
    assert hits[0]["record"]["external_id"] == "c"


@pytest.mark.parametrize(("labels", "visible"), [(2, None), (3, 3), (77, 77), (150, 40)])
def test_labels_stay_in_their_order_and_many_are_searched(new_desk: NewDesk, labels: int, visible: int | None) -> None:
    """While they fit the page all have a number key; of more than a hundred some do, and the search box finds the rest."""
    names = tuple(f"label {n}" for n in reversed(range(labels)))
    desk = new_desk(a_task(unique("many"), labels=names))
    desk.publish([a_record("i", blind=True)])
    (question,) = desk.api.call("GET", f"/datasets/{desk.dataset_id()}/questions", doing="testing")["items"]
    assert [option["value"] for option in question["settings"]["options"]] == list(names)
    assert question["settings"].get("visible_options") == visible


def test_what_is_deleted_in_argilla_stops_nothing(new_desk: NewDesk) -> None:
    """A record or a person that is gone takes their answers along; everybody else's come."""
    desk = new_desk()
    desk.publish([a_record(item) for item in "abc"])
    stays, goes = Person.joins(desk), Person.joins(desk)
    stays.answers("a", "billing")
    stays.answers("b", "billing")
    goes.answers("c", "returns")
    assert len(desk.collect()) == 3
    desk.api.call("DELETE", f"/records/{records_of(desk)['a']['id']}", doing="testing")
    users = {user["username"]: user["id"] for user in desk.api.call("GET", "/users", doing="testing")["items"]}
    desk.api.call("DELETE", f"/users/{users[goes.username]}", doing="testing")
    assert [(answer.item_id, answer.annotator) for answer in desk.collect()] == [("b", stays.username)]
    assert desk.collect(changed=True) == []


def test_a_draft_and_a_withdrawn_answer_are_none(new_desk: NewDesk) -> None:
    """Asked only for what has changed, an answer that became a draft again is gone, and comes back when it is sent."""
    desk = new_desk()
    desk.publish([a_record("i")])
    person = Person.joins(desk)
    person.answers("i", "billing")
    assert len(desk.collect(changed=True)) == 1
    person.answers("i", "returns", status="draft")
    assert (desk.collect(changed=True), desk.collect(), desk.waiting()) == ([], [], 1)
    person.answers("i", "returns")
    assert [answer.label for answer in desk.collect(changed=True)] == ["returns"]


def test_seconds_are_those_between_two_submissions_of_one_person(new_desk: NewDesk) -> None:
    """Over all that a person answers, in whatever way; the first has none."""
    desk = new_desk()
    desk.publish([a_record("a"), asked_again("a", "verify"), a_record("b")])
    anna, ben = Person.joins(desk), Person.joins(desk)
    anna.answers("a", "billing")
    ben.answers("b", "billing")
    time.sleep(0.35)
    anna.judges("a", "yes")
    seconds = {(answer.annotator, answer.way): answer.seconds for answer in desk.collect()}
    assert seconds.pop((anna.username, "verify")) or 0 > 0.3
    assert set(seconds.values()) == {None}


def test_annotators_are_made_once_and_can_log_in(new_desk: NewDesk, tmp_path: Path) -> None:
    """Their passwords lie in a file for its owner alone; those who are there already keep theirs."""
    desk, names = new_desk(), [unique("ann"), unique("ben")]
    assert invite(desk, names[:1], tmp_path) == names[:1]
    assert invite(desk, names, tmp_path) == names[1:]
    assert invite(desk, names, tmp_path) == []
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    passwords = json.loads((tmp_path / FILE).read_text())
    assert list(passwords) == names
    for name in names:
        login = {"username": name, "password": passwords[name]}
        reply = desk.api.session.post(f"{desk.api.url}/api/v1/token", data=login, timeout=30)
        assert reply.status_code in {200, 201}
    path = f"/workspaces/{desk.workspace_id()}/users"
    members = {user["username"]: user["role"] for user in desk.api.call("GET", path, doing="testing")["items"]}
    assert {members[name] for name in names} == {"annotator"}


def test_a_name_that_a_filter_cannot_hold_is_refused(tmp_path: Path) -> None:
    """A full stop ends a value in the addresses of Argilla's page. Nobody is made, and no server is asked."""
    desk = ArgillaDesk("http://127.0.0.1:9", "key", a_task("names"))
    for name in ("a.b", "a~b", "", "anyone"):
        with pytest.raises(InputError, match="cannot be the name"):
            invite(desk, ["ann", name], tmp_path)
    assert not (tmp_path / FILE).exists()


def test_a_password_is_written_before_its_user_is_made(tmp_path: Path) -> None:
    """A server that goes in between leaves a password without a user, never a user without a password."""

    class Dying(ArgillaApi):
        def call(self, method: str, path: str, **_: object) -> object:
            if method == "POST" and path == "/users":
                assert list(json.loads((tmp_path / FILE).read_text())) == ["ann"]
                raise DeskError("gone")
            return {"items": [{"id": "w", "name": "stillhouse"}] if path == "/me/workspaces" else []}

    desk = ArgillaDesk("http://127.0.0.1:9", "key", a_task("names"))
    desk.api = Dying("http://127.0.0.1:9", "key")
    for queue in desk.queues.values():
        queue.api = desk.api
    for _ in range(2):
        with pytest.raises(DeskError, match="gone"):
            invite(desk, ["ann"], tmp_path)
    assert len(json.loads((tmp_path / FILE).read_text())) == 1
