"""What the tests of the desk share: a small task, records for it, and a person who answers through the API."""

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from argilla_setup.annotators import ensure_users
from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_dataset import NO, RIGHT, YES, queue_of
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.argilla_record import responses_of
from argilla_setup.desk import DeskRecord, OpenRecord
from argilla_setup.file_desk import FileDesk
from kinds.single_label import QUESTION
from stillhouse.records import Item, Suggestion, Value, Way
from stillhouse.settings import Data, Desk, Teacher
from stillhouse.task import Label, Task

LABELS = ("billing", "delivery", "returns")
NewDesk = Callable[..., ArgillaDesk]
DeskOf = Callable[[Task], ArgillaDesk | FileDesk]


def unique(name: str) -> str:
    """A server that stays between runs must not show one test what an earlier run left."""
    return f"{name}-{secrets.token_hex(4)}"


def a_task(name: str, labels: tuple[str, ...] = LABELS, min_submitted: int = 1, guidelines: str = "Be kind.") -> Task:
    return Task(
        name=name,
        labels=tuple(Label(name=label, description=f"about {label}") for label in labels),
        data=Data(pool="pool.jsonl"),
        teachers=(Teacher(name="t", model="m"),),
        guidelines=guidelines,
        desk=Desk(min_submitted=min_submitted),
    )


def a_record(item_id: str, text: str = "Where is my parcel?", *, blind: bool = False, **changes: Any) -> DeskRecord:
    suggestion = None if blind else Suggestion(label="delivery", score=0.625, agent="teacher t")
    given = {"round": 1, "reason": "uncertain", "uncertainty": 0.5, "suggestion": suggestion, **changes}
    item = Item(item_id, text, metadata=given.pop("metadata", {}))
    return DeskRecord(item, blind=blind, **given)


def asked_again(item_id: str, way: Way, **changes: Any) -> DeskRecord:
    """The same item in another way."""
    given = {"suggestion": Suggestion("delivery", 0.99, "belief"), "reason": "the first answer surprises"}
    return a_record(item_id, way=way, **{**given, **changes})


def records_of(desk: ArgillaDesk, way: Way = "label") -> dict[str, dict[str, Any]]:
    """What the server holds of what is asked in that way, by item id."""
    dataset_id, queue = desk.dataset_id(way), queue_of(way)
    assert dataset_id is not None
    found = list(desk.api.records(dataset_id, doing="testing", include="responses,suggestions"))
    asked = [(*queue.asked(record["external_id"]), record) for record in found]
    found = [record for of, _, record in asked if of == way]
    by_id = {item_id: record for of, item_id, record in asked if of == way}
    assert len(by_id) == len(found), "an item was doubled"
    return by_id


_joined: Counter[str] = Counter()


def _next_name(task: str) -> str:
    _joined[task] += 1
    return f"person-{_joined[task]}"


@dataclass(frozen=True)
class Person:
    """An annotator of the desk's workspace who enters with a key of their own, as the pages of Argilla do."""

    desk: ArgillaDesk
    username: str
    api: ArgillaApi

    @classmethod
    def joins(cls, desk: ArgillaDesk, username: str = "") -> "Person":
        """Somebody new to this desk; a server makes each of them once, since it takes its time over a password."""
        username = username or _next_name(desk.task.name)
        (user,) = ensure_users(desk, [username], lambda _: secrets.token_hex(8)).values()
        return cls(desk, username, ArgillaApi(desk.api.url, user["api_key"]))

    def answers(self, item_id: str, label: str | None, status: str = "submitted", way: Way = "label") -> None:
        """The first answer to an item, or the edit of it. `label` None with status discarded is a pass."""
        self.responds(item_id, {QUESTION: label} if label else None, status, way)

    def judges(self, item_id: str, said: str) -> None:
        """Yes or no to a suggestion."""
        self.responds(item_id, {RIGHT: said}, way="verify")

    def responds(
        self, item_id: str, values: dict[str, Any] | None, status: str = "submitted", way: Way = "label"
    ) -> None:
        """The same with a response to each question, by its name."""
        record = records_of(self.desk, way)[item_id]
        body: dict[str, Any] = {
            "status": status,
            "values": values and {name: {"value": value} for name, value in values.items()},
        }
        mine = self.api.call("GET", "/me", doing="testing")["id"]
        given = [each["id"] for each in record["responses"] if each["user_id"] == mine]
        if given:
            self.api.call("PUT", f"/responses/{given[0]}", doing="testing", body=body)
        else:
            self.api.call("POST", f"/records/{record['id']}/responses", doing="testing", body=body)


class Somebody:
    """A person at either desk, who says what they mean in the form that the desk wants."""

    def __init__(self, desk: ArgillaDesk | FileDesk, name: str = "") -> None:
        self.desk, self.name = desk, name or _next_name(desk.task.name)
        self.person = Person.joins(desk, self.name) if isinstance(desk, ArgillaDesk) else None

    def says(self, item: Item | str, said: Value | bool, way: Way = "label") -> None:
        """A value, or yes or no where that is asked."""
        item = Item(item, "") if isinstance(item, str) else item
        if isinstance(self.desk, FileDesk):
            self.desk.add_answers(self.name, [(OpenRecord("", item, way, 1), said)])
            return
        assert self.person is not None
        if isinstance(said, bool):
            self.person.judges(item.id, YES if said else NO)
        else:
            self.person.responds(item.id, responses_of(self.desk.kind, item, said), way=way)
