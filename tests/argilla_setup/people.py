"""What the tests of the desk share: a small task, records for it, and a person who answers through the API."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.desk import DeskRecord
from kinds.single_label import QUESTION
from stillhouse.records import Item, Suggestion
from stillhouse.settings import Data, Desk, Teacher
from stillhouse.task import Label, Task

LABELS = ("billing", "delivery", "returns")
NewDesk = Callable[..., ArgillaDesk]


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


def records_of(desk: ArgillaDesk) -> dict[str, dict[str, Any]]:
    """What the server holds, by item id."""
    dataset_id = desk.dataset_id()
    assert dataset_id is not None
    found = list(desk.api.records(dataset_id, doing="testing", include="responses,suggestions"))
    by_id = {record["external_id"]: record for record in found}
    assert len(by_id) == len(found), "an item was doubled"
    return by_id


@dataclass(frozen=True)
class Person:
    """An annotator of the desk's workspace who enters with a key of their own, as the pages of Argilla do."""

    desk: ArgillaDesk
    username: str
    api: ArgillaApi

    @classmethod
    def joins(cls, desk: ArgillaDesk) -> "Person":
        username = f"person-{secrets.token_hex(4)}"
        user = desk.api.call(
            "POST",
            "/users",
            doing="testing",
            body={"username": username, "first_name": "P", "role": "annotator", "password": secrets.token_hex(8)},
        )
        path = f"/workspaces/{desk.workspace_id()}/users"
        desk.api.call("POST", path, doing="testing", body={"user_id": user["id"]})
        return cls(desk, username, ArgillaApi(desk.api.url, user["api_key"]))

    def answers(self, item_id: str, label: str | None, status: str = "submitted") -> None:
        """The first answer to an item, or the edit of it. `label` None with status discarded is a pass."""
        self.responds(item_id, {QUESTION: label} if label else None, status)

    def responds(self, item_id: str, values: dict[str, Any] | None, status: str = "submitted") -> None:
        """The same with a response to each question, by its name."""
        record = records_of(self.desk)[item_id]
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
