"""The desk in Argilla, embedded or any other server: pushes records, reads answers, and may be repeated at will."""

from collections.abc import Mapping, Sequence
from typing import Any

from argilla_setup.argilla_api import PAGE, ArgillaApi
from argilla_setup.argilla_dataset import BLIND, ROUND, UNCERTAINTY, create_dataset, dataset_name, guidelines
from argilla_setup.argilla_record import item_of, to_argilla, value_of
from argilla_setup.desk import Denial, DeskRecord, is_rehearsed
from kinds.registry import kind_of
from stillhouse.errors import DeskError
from stillhouse.records import Answer, Way
from stillhouse.task import Task

CHUNK = 100
_YES, _NO = "yes", "no"
_GIVEN = {"submitted", "discarded"}  # a draft is not an answer yet


class ArgillaDesk:
    """People answer in Argilla. One dataset holds all rounds of a task with one set of labels."""

    def __init__(self, url: str, api_key: str, task: Task) -> None:
        self.api = ArgillaApi(url.rstrip("/"), api_key)
        self.task, self.kind = task, kind_of(task)
        self._sent_back: list[str] = []

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Push in chunks that each arrive whole or not at all; known items are left as they were first published."""
        if not batch:
            return 0
        dataset_id = self._dataset_id_or_new()
        published = {
            record["external_id"]: record["metadata"] or {}
            for record in self.api.records(dataset_id, doing="reading what is published")
        }
        by_id = {record.item_id: record for record in reversed(batch)}  # the first of two with one id stays
        records = [by_id[item_id] for item_id in dict.fromkeys(record.item_id for record in batch)]
        # The same record again goes through, as an upsert: on a stock server it mends a search index that missed it.
        due = [record for record in records if _same_asking(published.get(record.item_id), record)]
        question_ids = self._question_ids(dataset_id)
        for start in range(0, len(due), CHUNK):
            chunk = due[start : start + CHUNK]
            self.api.call(
                "PUT",
                f"/datasets/{dataset_id}/records/bulk",
                doing=f"pushing records {start + 1} to {start + len(chunk)} of {len(due)}",
                body={"items": [to_argilla(record, self.kind, question_ids) for record in chunk]},
            )
        return sum(record.item_id not in published for record in records)

    def denied(self) -> list[Denial]:
        return []

    def collect(self, *, changed: bool = False) -> list[Answer]:  # noqa: ARG002
        """Reads all records every time: Argilla gives no sign on a completed record whose answer was edited."""
        dataset_id = self.dataset_id()
        if dataset_id is None:
            return []
        names = self._usernames()
        answers, self._sent_back = [], []
        for record in self.api.records(dataset_id, doing="reading answers", include="responses"):
            for response in _given(record) if record["external_id"] is not None else ():
                annotator = names.get(response["user_id"], response["user_id"])
                answer = self._answer(record, response, annotator)
                answers += [answer] if answer else []
        return sorted(answers, key=lambda answer: (answer.item_id, answer.annotator))

    def sent_back(self) -> list[str]:
        return list(self._sent_back)

    def _answer(self, record: Mapping[str, Any], response: Mapping[str, Any], annotator: str) -> Answer | None:
        """None where the responses together make no possible value: they become a draft of the same person again."""
        value, problems = None, list[str]()
        if response["status"] == "submitted":
            value, problems = value_of(self.kind, item_of(record), response["values"])
        if problems:
            body = {"status": "draft", "values": response["values"]}
            self.api.call("PUT", f"/responses/{response['id']}", doing="sending an answer back", body=body)
            link = self.link().replace("status=pending", "status=draft")
            self._sent_back.append(
                f"{record['external_id']!r} by {annotator}: {'; '.join(problems)}; mend it at {link}"
            )
            return None
        return Answer(
            item_id=record["external_id"],
            annotator=annotator,
            label=value,
            blind=(record["metadata"] or {}).get(BLIND) == _YES,
            rehearsed=is_rehearsed(annotator),
            answered_at=_in_utc(response["updated_at"]),
        )

    def waiting(self) -> int:
        wanted = self.task.desk.min_submitted
        return sum(len(given) < wanted for given in (_given(record) for record in self.pending()))

    def pending(self) -> list[dict[str, Any]]:
        """The records that Argilla calls pending, with their responses; few, so this is cheap to repeat."""
        dataset_id = self.dataset_id()
        if dataset_id is None:
            return []
        scope = {"entity": "record", "property": "status"}
        body = {"filters": {"and": [{"type": "terms", "scope": scope, "values": ["pending"]}]}}
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        while True:
            page = self.api.call(
                "POST",
                f"/datasets/{dataset_id}/records/search",
                doing="reading what is unanswered",
                body=body,
                include="responses",
                offset=offset,
                limit=PAGE,
            )["items"]
            found.update((hit["record"]["id"], hit["record"]) for hit in page)
            if len(page) < PAGE:
                return list(found.values())
            offset += PAGE

    def link(self, annotator: str = "", way: Way = "label") -> str:  # noqa: ARG002
        dataset_id = self.dataset_id()
        if dataset_id is None:
            return self.api.url
        query = f"page=1&status=pending&sort=metadata.{UNCERTAINTY}.desc"
        return f"{self.api.url}/dataset/{dataset_id}/annotation-mode?{query}"

    def workspace_id(self) -> str | None:
        workspaces = self.api.call("GET", "/me/workspaces", doing="looking for the workspace")["items"]
        return next((str(each["id"]) for each in workspaces if each["name"] == self.task.desk.workspace), None)

    def dataset_id(self) -> str | None:
        found = self._dataset()
        return str(found["id"]) if found and found["status"] == "ready" else None

    def _dataset(self) -> dict[str, Any] | None:
        workspace_id = self.workspace_id()
        if workspace_id is None:
            return None
        name = dataset_name(self.task)
        found = self.api.call(
            "GET", "/me/datasets", doing="looking for the dataset", workspace_id=workspace_id, name=name
        )["items"]
        return next((dict(each) for each in found if each["name"] == name), None)

    def _dataset_id_or_new(self) -> str:
        found = self._dataset()
        if found and found["status"] != "ready":
            # A run that was killed while it made the dataset left a draft: nobody saw it, and it holds no records.
            self.api.call("DELETE", f"/datasets/{found['id']}", doing="removing a half made dataset")
            found = None
        if found is None:
            return create_dataset(self.api, self.kind)
        wanted = {
            "guidelines": guidelines(self.task),
            "distribution": {"strategy": "overlap", "min_submitted": self.task.desk.min_submitted},
        }
        if any(found.get(name) != value for name, value in wanted.items()):
            self.api.call("PATCH", f"/datasets/{found['id']}", doing="updating guidelines and overlap", body=wanted)
        return str(found["id"])

    def _question_ids(self, dataset_id: str) -> dict[str, str]:
        questions = self.api.call("GET", f"/datasets/{dataset_id}/questions", doing="looking for the questions")[
            "items"
        ]
        return {question["name"]: question["id"] for question in questions}

    def _usernames(self) -> dict[str, str]:
        """Names by id. An admin's key may not list all users, so it lists those of the workspace."""
        try:
            users = self.api.call("GET", "/users", doing="reading the names of annotators")
        except DeskError:
            path = f"/workspaces/{self.workspace_id()}/users"
            users = self.api.call("GET", path, doing="reading the names of annotators")
        return {user["id"]: user["username"] for user in users["items"]}


def _same_asking(metadata: Mapping[str, Any] | None, record: DeskRecord) -> bool:
    """Not published yet, or published in just this way; else an old suggestion would stay on a record called blind."""
    if metadata is None:
        return True
    return metadata.get(ROUND) == record.round and metadata.get(BLIND) == (_YES if record.blind else _NO)


def _given(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [response for response in record.get("responses") or () if response["status"] in _GIVEN]


def _in_utc(moment: str) -> str:
    """The server writes UTC without saying so."""
    return moment if moment.endswith("Z") or "+" in moment else f"{moment}+00:00"
