"""What the responses on a record amount to: an answer, a no to the suggestion, or something that goes back."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argilla_setup.argilla_dataset import ANYONE, ASSIGNED, BLIND, NO, NOT_BY, RIGHT, VERIFY, YES, Queue
from argilla_setup.argilla_queue import guidelines_at, utc
from argilla_setup.argilla_record import item_of, shown_of, value_of
from argilla_setup.desk import Denial, OpenRecord, is_rehearsed, value_denied
from kinds.kind import Kind
from stillhouse.records import Answer, Value, Way

GIVEN = {"submitted", "discarded"}  # a draft is not an answer yet


@dataclass(frozen=True, slots=True)
class Response:
    """One person's response to one record, as read; `problems` say why it is none."""

    id: str
    way: Way
    item_id: str
    annotator: str
    submitted: bool
    values: Mapping[str, Any]
    label: Value | None
    suggested: Value | None
    denies: bool
    problems: tuple[str, ...]
    blind: bool
    guidelines: str
    saved: tuple[dt.datetime, dt.datetime]

    def answer(self, seconds: float | None) -> Answer:
        return Answer(
            item_id=self.item_id,
            annotator=self.annotator,
            label=self.label,
            blind=self.blind,
            rehearsed=is_rehearsed(self.annotator),
            answered_at=self.saved[1].isoformat(),
            seconds=None if is_rehearsed(self.annotator) else seconds,
            way=self.way,
            suggested=self.suggested,
            guidelines=self.guidelines,
        )

    def denial(self, seconds: float | None) -> Denial:
        assert self.suggested is not None
        answer = self.answer(seconds)
        return Denial(
            item_id=self.item_id,
            annotator=self.annotator,
            value=self.suggested,
            rehearsed=answer.rehearsed,
            denied_at=answer.answered_at,
            seconds=answer.seconds,
            guidelines=self.guidelines,
        )


def given(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [response for response in record.get("responses") or () if response["status"] in GIVEN]


def open_record(record: Mapping[str, Any], queue: Queue, missing: int, answered_by: tuple[str, ...]) -> OpenRecord:
    way, item_id = queue.asked(record["external_id"])
    metadata = record["metadata"] or {}
    return OpenRecord(
        key=record["id"],
        item=item_of(record, item_id),
        way=way,
        missing=missing,
        answered_by=answered_by,
        assigned=tuple(name for name in metadata.get(ASSIGNED) or () if name != ANYONE),
        not_by=tuple(metadata.get(NOT_BY) or ()),
        suggested=shown_of(record),
    )


def responses_on(
    record: Mapping[str, Any], queue: Queue, dataset: Mapping[str, Any], kind: Kind, names: Mapping[str, str]
) -> Iterator[Response]:
    """Every response that is given; `names` are usernames by id."""
    way, item_id = queue.asked(record["external_id"])
    suggested = shown_of(record)
    metadata = record["metadata"] or {}
    for response in given(record):
        annotator = names.get(response["user_id"], response["user_id"])
        submitted = response["status"] == "submitted"
        label, denies, problems = None, False, list[str]()
        if submitted and annotator in (metadata.get(NOT_BY) or ()):
            problems = ["expected somebody else, who has not answered the item before"]
        elif submitted and queue is VERIFY:
            label, denies = _judged(kind, suggested, response["values"][RIGHT]["value"])
        elif submitted:
            label, problems = value_of(kind, item_of(record, item_id), response["values"])
        saved = utc(response["inserted_at"]), utc(response["updated_at"])
        yield Response(
            id=response["id"],
            way=way,
            item_id=item_id,
            annotator=annotator,
            submitted=submitted,
            values=response["values"],
            label=label,
            suggested=suggested,
            denies=denies,
            problems=tuple(problems),
            blind=metadata.get(BLIND) == YES,
            guidelines=guidelines_at(dataset, saved[1]),
            saved=saved,
        )


def _judged(kind: Kind, suggested: Value | None, said: str) -> tuple[Value | None, bool]:
    """The value that yes or no says, and whether it is a no that says none."""
    if said != NO or suggested is None:
        return suggested, False
    other = value_denied(kind.task.label_names, kind.task.kind, suggested)
    return other, other is None
