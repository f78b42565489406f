"""One dataset of a task on an Argilla server: found, made, brought up to date, read."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from argilla_setup.argilla_api import PAGE, ArgillaApi
from argilla_setup.argilla_dataset import (
    ANYONE,
    ASSIGNED,
    UNCERTAINTY,
    Queue,
    dataset_name,
    distribution,
    fields_of,
    guidelines,
    properties,
    question_body,
    question_words,
    questions_of,
    vector_settings,
)
from kinds.kind import Kind

_VERSIONS = "guidelines"  # in a dataset's metadata: [since, version] of each set of guidelines that people could read


class OpenQueue:
    """A dataset that may not exist yet; what the server has is asked each time, never remembered."""

    def __init__(self, api: ArgillaApi, kind: Kind, queue: Queue) -> None:
        self.api, self.kind, self.queue = api, kind, queue
        self.task, self.name = kind.task, dataset_name(kind.task, queue)

    def workspace_id(self) -> str | None:
        workspaces = self.api.call("GET", "/me/workspaces", doing="looking for the workspace")["items"]
        return next((str(each["id"]) for each in workspaces if each["name"] == self.task.desk.workspace), None)

    def workspace_id_or_new(self) -> str:
        known = self.workspace_id()
        if known is None:
            body = {"name": self.task.desk.workspace}
            known = str(self.api.call("POST", "/workspaces", doing="making the workspace", body=body)["id"])
        return known

    def found(self) -> dict[str, Any] | None:
        """The dataset, ready or half made."""
        workspace_id = self.workspace_id()
        if workspace_id is None:
            return None
        found = self.api.call(
            "GET", "/me/datasets", doing="looking for the dataset", workspace_id=workspace_id, name=self.name
        )["items"]
        return next((dict(each) for each in found if each["name"] == self.name), None)

    def ready(self) -> dict[str, Any] | None:
        found = self.found()
        return found if found and found["status"] == "ready" else None

    def ready_or_new(self) -> dict[str, Any]:
        """The dataset as the task says it should be."""
        found = self.found()
        if found and found["status"] != "ready":
            # A run that was killed while it made the dataset left a draft: nobody saw it, and it holds no records.
            self.api.call("DELETE", f"/datasets/{found['id']}", doing="removing a half made dataset")
            found = None
        return self.brought_up_to_date(found) if found else self._made()

    def brought_up_to_date(self, dataset: dict[str, Any]) -> dict[str, Any]:
        """What may change once a dataset is published: guidelines, the questions' words, overlap, properties."""
        path, doing = f"/datasets/{dataset['id']}", f"updating the dataset {self.name}"
        wanted = {"guidelines": guidelines(self.task), "distribution": distribution(self.task, self.queue)}
        if any(dataset.get(name) != value for name, value in wanted.items()):
            dataset = self.api.call("PATCH", path, doing=doing, body=wanted)
        versions = _versions(dataset)
        if not versions or versions[-1][1] != self.task.guidelines_id():
            # Since when, by the server's clock, as are the times of answers.
            since = max([dataset["updated_at"], *self._reworded(dataset)], key=utc)
            dataset = self._with_versions(dataset, [*versions, [since, self.task.guidelines_id()]])
        doing = "reading the properties"
        known = {each["name"] for each in self.api.call("GET", f"/me{path}/metadata-properties", doing=doing)["items"]}
        self._add_properties(dataset, known)
        return dataset

    def _reworded(self, dataset: Mapping[str, Any]) -> Iterator[str]:
        """Questions and descriptions as the task words them now; when each was changed."""
        words = {question.name: question_words(question) for question in questions_of(self.kind, self.queue)}
        for question in self._items(dataset, "questions"):
            body = words[question["name"]]
            if any(question.get(name) != value for name, value in body.items()):
                path = f"/questions/{question['id']}"
                yield self.api.call("PATCH", path, doing="updating a question", body=body)["updated_at"]

    def _made(self) -> dict[str, Any]:
        """Make and publish the dataset, and its workspace when missing."""
        doing = f"making the dataset {self.name}"
        body = {
            "name": self.name,
            "workspace_id": self.workspace_id_or_new(),
            "guidelines": guidelines(self.task),
            "allow_extra_metadata": True,
            "distribution": distribution(self.task, self.queue),
            "metadata": {_VERSIONS: [["", self.task.guidelines_id()]]},
        }
        made = self.api.call("POST", "/datasets", doing=doing, body=body)
        path = f"/datasets/{made['id']}"
        for field in fields_of(self.task, self.queue):
            self.api.call("POST", f"{path}/fields", doing=doing, body=field)
        for question in questions_of(self.kind, self.queue):
            self.api.call("POST", f"{path}/questions", doing=doing, body=question_body(question))
        self._add_properties(made, set())
        return dict(self.api.call("PUT", f"{path}/publish", doing=doing))

    def _add_properties(self, dataset: Mapping[str, Any], known: set[str]) -> None:
        for body in properties():
            if body["name"] not in known:
                path = f"/datasets/{dataset['id']}/metadata-properties"
                self.api.call("POST", path, doing=f"making the dataset {self.name}", body=body)

    def vectors_named(self, dataset: Mapping[str, Any], dimensions: int) -> str:
        """The name under which vectors of that length are kept; made when it is missing."""
        wanted = vector_settings(dimensions)
        if wanted["name"] not in {each["name"] for each in self._items(dataset, "vectors-settings")}:
            path = f"/datasets/{dataset['id']}/vectors-settings"
            self.api.call("POST", path, doing=f"making the dataset {self.name}", body=wanted)
        return str(wanted["name"])

    def question_ids(self, dataset: Mapping[str, Any]) -> dict[str, str]:
        return {question["name"]: question["id"] for question in self._items(dataset, "questions")}

    def fields(self, dataset: Mapping[str, Any]) -> set[str]:
        """Names; a dataset that an earlier version made may lack some, and no field can be added to it."""
        return {each["name"] for each in self._items(dataset, "fields")}

    def records(self, dataset: Mapping[str, Any], *, doing: str, include: str = "") -> Iterator[dict[str, Any]]:
        """All that have an external id: what others put into the dataset is theirs."""
        for record in self.api.records(str(dataset["id"]), doing=doing, include=include):
            if record["external_id"] is not None:
                yield record

    def pending(self) -> list[dict[str, Any]]:
        """The records that Argilla calls pending, with their responses; few, so this is cheap to repeat."""
        dataset = self.ready()
        if dataset is None:
            return []
        scope = {"entity": "record", "property": "status"}
        body = {"filters": {"and": [{"type": "terms", "scope": scope, "values": ["pending"]}]}}
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        while True:
            page = self.api.call(
                "POST",
                f"/datasets/{dataset['id']}/records/search",
                doing="reading what is unanswered",
                body=body,
                include="responses",
                offset=offset,
                limit=PAGE,
            )["items"]
            found.update((hit["record"]["id"], hit["record"]) for hit in page)
            if len(page) < PAGE:
                return [record for record in found.values() if record["external_id"] is not None]
            offset += PAGE

    def link(self, annotator: str, status: str = "pending") -> str:
        """The page where people answer, the least certain record first; the server's address before there is one."""
        dataset = self.ready()
        if dataset is None:
            return self.api.url
        mine = f"&metadata={ASSIGNED}.{quote(annotator)}.{ANYONE}" if annotator else ""
        query = f"page=1&status={status}{mine}&sort=metadata.{UNCERTAINTY}.desc"
        return f"{self.api.url}/dataset/{dataset['id']}/annotation-mode?{query}"

    def _items(self, dataset: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
        path = f"/datasets/{dataset['id']}/{what}"
        items: list[dict[str, Any]] = self.api.call("GET", path, doing=f"reading the dataset {self.name}")["items"]
        return items

    def _with_versions(self, dataset: Mapping[str, Any], versions: list[list[str]]) -> dict[str, Any]:
        metadata = {**(dataset.get("metadata") or {}), _VERSIONS: versions}
        path, doing = f"/datasets/{dataset['id']}", "noting the version of the guidelines"
        # Argilla 2.8 changes metadata in place and then does not see that there is something to save: first away with it.
        self.api.call("PATCH", path, doing=doing, body={"metadata": None})
        return dict(self.api.call("PATCH", path, doing=doing, body={"metadata": metadata}))


def guidelines_at(dataset: Mapping[str, Any], moment: dt.datetime) -> str:
    """The version of the guidelines that people could read at that moment; "" where it is not known."""
    read = ""
    for since, version in _versions(dataset):
        if not since or utc(since) <= moment:
            read = version
    return read


def utc(moment: str) -> dt.datetime:
    """The server writes UTC without saying so."""
    parsed = dt.datetime.fromisoformat(moment)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


def _versions(dataset: Mapping[str, Any]) -> list[list[str]]:
    return list((dataset.get("metadata") or {}).get(_VERSIONS) or ())
