"""The desk in Argilla, embedded or any other server: pushes records, reads answers, and may be repeated at will."""

from collections.abc import Sequence

from argilla_setup.argilla_answers import Response, given, open_record, responses_on
from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_dataset import LABEL, QUEUES, Queue, check, distribution, queue_of
from argilla_setup.argilla_queue import OpenQueue
from argilla_setup.argilla_record import assignment, to_argilla
from argilla_setup.desk import Denial, DeskRecord, OpenRecord
from argilla_setup.timing import by_person
from kinds.registry import kind_of
from stillhouse.errors import DeskError
from stillhouse.records import Answer, Way
from stillhouse.task import Task

CHUNK = 100


class ArgillaDesk:
    """People answer in Argilla: labels, verifications and reviews in a dataset each, for a task with one set of labels."""

    def __init__(self, url: str, api_key: str, task: Task) -> None:
        self.api = ArgillaApi(url.rstrip("/"), api_key)
        self.task, self.kind = task, kind_of(task)
        self.queues = {queue: OpenQueue(self.api, self.kind, queue) for queue in QUEUES}
        self._read: dict[Queue, tuple[str, list[Response]]] = {}  # by the dataset's last activity before it was read
        self._answers: dict[tuple[str, str, Way], Answer] = {}
        self._denied: list[Denial] = []
        self._sent_back: list[str] = []

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Push in chunks that each arrive whole or not at all; what is out already keeps all but its assignment."""
        if batch:
            check(self.kind)
        new = 0
        for queue, opened in self.queues.items():
            records = {record.item_id + record.way: record for record in reversed(batch) if record.way in queue.ways}
            in_order = dict.fromkeys(record.item_id + record.way for record in batch if record.way in queue.ways)
            if in_order:
                new += self._push(opened, [records[key] for key in in_order])
            elif dataset := opened.ready():
                opened.brought_up_to_date(dataset)
        return new

    def _push(self, opened: OpenQueue, records: Sequence[DeskRecord]) -> int:
        dataset = opened.ready_or_new()
        doing = "reading what is published"
        known = {record["external_id"]: record for record in opened.records(dataset, doing=doing)}
        fields, question_ids = opened.fields(dataset), opened.question_ids(dataset)
        vectors = {
            length: opened.vectors_named(dataset, length)
            for length in sorted({len(record.vector) for record in records if record.vector})
        }
        due, new = [], 0
        for record in records:
            external_id = opened.queue.external_id(record.way, record.item_id)
            if external_id not in known:
                named = vectors.get(len(record.vector or ()), "")
                due.append(to_argilla(record, self.kind, fields=fields, question_ids=question_ids, vectors=named))
                new += 1
            elif known[external_id]["status"] == "pending":
                # Again, though nothing may have changed: on a stock server it mends a search index that missed it.
                metadata = {**(known[external_id]["metadata"] or {}), **assignment(record)}
                due.append({"external_id": external_id, "metadata": metadata})
        for start in range(0, len(due), CHUNK):
            chunk = due[start : start + CHUNK]
            self.api.call(
                "PUT",
                f"/datasets/{dataset['id']}/records/bulk",
                doing=f"pushing records {start + 1} to {start + len(chunk)} of {len(due)}",
                body={"items": chunk},
            )
        return new

    def collect(self, *, changed: bool = False) -> list[Answer]:
        """Reads all records: Argilla gives no sign on a completed record whose answer was edited.

        With `changed` only the datasets in which anybody has done anything since. Answers that somebody's script logs for
        other people are not activity to Argilla, and are found by reading all.
        """
        names: dict[str, str] | None = None
        read, sent_back = dict[Queue, tuple[str, list[Response]]](), list[str]()
        for queue, opened in self.queues.items():
            dataset = opened.ready()
            if dataset is None:
                continue
            before = self._read.get(queue)
            if changed and before and before[0] == dataset["last_activity_at"]:
                read[queue] = before
                continue
            names = self._usernames() if names is None else names
            found = [
                response
                for record in opened.records(dataset, doing="reading answers", include="responses")
                for response in responses_on(record, queue, dataset, self.kind, names)
            ]
            sent_back += [self._send_back(response) for response in found if response.problems]
            read[queue] = dataset["last_activity_at"], [response for response in found if not response.problems]
        self._read, self._sent_back = read, sent_back
        responses = [response for _, some in read.values() for response in some]
        seconds = by_person((response.annotator, response.saved) for response in responses)
        timed = list(zip(responses, seconds, strict=True))
        self._denied = sorted(
            (response.denial(took) for response, took in timed if response.denies),
            key=lambda denial: (denial.item_id, denial.annotator),
        )
        earlier = self._answers if changed else {}
        answers = [response.answer(took) for response, took in timed if not response.denies]
        self._answers = {(answer.item_id, answer.annotator, answer.way): answer for answer in answers}
        return [self._answers[key] for key in sorted(self._answers) if earlier.get(key) != self._answers[key]]

    def denied(self) -> list[Denial]:
        return list(self._denied)

    def sent_back(self) -> list[str]:
        return list(self._sent_back)

    def _send_back(self, response: Response) -> str:
        """It becomes a draft of the same person again, who still has what they did."""
        body = {"status": "draft", "values": response.values}
        self.api.call("PUT", f"/responses/{response.id}", doing="sending an answer back", body=body)
        link = self.queues[queue_of(response.way)].link("", status="draft")
        problems = "; ".join(response.problems)
        return f"{response.item_id!r} by {response.annotator}: {problems}; mend it at {link}"

    def waiting(self) -> int:
        return sum(
            len(given(record)) < distribution(self.task, queue)["min_submitted"]
            for queue, opened in self.queues.items()
            for record in opened.pending()
        )

    def open(self) -> list[OpenRecord]:
        names, found = self._usernames(), list[OpenRecord]()
        for queue, opened in self.queues.items():
            wanted = distribution(self.task, queue)["min_submitted"]
            for record in opened.pending():
                answered_by = tuple(names.get(each["user_id"], each["user_id"]) for each in given(record))
                if len(answered_by) < wanted:
                    found.append(open_record(record, queue, wanted - len(answered_by), answered_by))
        return found

    def link(self, annotator: str = "", way: Way = "label") -> str:
        return self.queues[queue_of(way)].link(annotator)

    def workspace_id(self) -> str | None:
        return self.queues[LABEL].workspace_id()

    def dataset_id(self, way: Way = "label") -> str | None:
        dataset = self.queues[queue_of(way)].ready()
        return str(dataset["id"]) if dataset else None

    def _usernames(self) -> dict[str, str]:
        """Names by id. An admin's key may not list all users, so it lists those of the workspace."""
        try:
            users = self.api.call("GET", "/users", doing="reading the names of annotators")
        except DeskError:
            path = f"/workspaces/{self.workspace_id()}/users"
            users = self.api.call("GET", path, doing="reading the names of annotators")
        return {user["id"]: user["username"] for user in users["items"]}
