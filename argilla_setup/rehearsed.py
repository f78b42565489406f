"""Rehearsed experts: simulated people who answer from known labels, with a known error rate, through the real desk."""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.argilla_record import item_of, responses_of
from argilla_setup.desk import REHEARSED_PREFIX
from argilla_setup.file_desk import FileDesk
from kinds.kind import Kind
from stillhouse.errors import DeskError, InputError
from stillhouse.records import Item, Value

CHUNK = 100  # as many responses as Argilla takes at once
_DRAWS = 2**64


@dataclass(frozen=True)
class RehearsedExperts:
    """What they know and how often they err. An answer depends on seed, item and annotator only: repeats agree."""

    known: Mapping[str, Value]
    kind: Kind
    error_rate: float = 0.0
    annotators: int = 2
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{REHEARSED_PREFIX}{number}" for number in range(1, self.annotators + 1))

    def answer(self, item: Item, annotator: str) -> Value:
        """The known value, or with the error rate a mistake as the kind knows them."""
        right = self.kind.normal(item, self.known[item.id])
        if self._draw("error", item.id, annotator) >= self.error_rate:
            return right
        rng = np.random.default_rng(self._number("label", item.id, annotator))
        return self.kind.normal(item, self.kind.mistake(item, right, rng))

    def chosen(self, item_id: str, answered_by: Iterable[str], missing: int) -> list[str]:
        """Who answers an item next: those who have not yet, in an order of the item's own, so that work is shared."""
        taken = set(answered_by)
        free = sorted(
            (name for name in self.names if name not in taken), key=lambda n: (self._draw("who", item_id, n), n)
        )
        return free[:missing]

    def unusable(self, item: Item) -> str:
        """What is wrong with what they know of the item."""
        problems = self.kind.problems(item, self.known[item.id])
        return f"{item.id!r}: {'; '.join(problems)}" if problems else ""

    def _draw(self, what: str, item_id: str, annotator: str) -> float:
        return self._number(what, item_id, annotator) / _DRAWS

    def _number(self, what: str, item_id: str, annotator: str) -> int:
        key = json.dumps([what, self.seed, item_id, annotator]).encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest())


def answer_in_argilla(desk: ArgillaDesk, experts: RehearsedExperts) -> int:
    """Answer every pending record until it has enough answers, each expert with an API key of their own.

    Returns how many answers were given. Items without a known label stay open and are reported at the end.
    """
    wanted = desk.task.desk.min_submitted
    _check_count(experts, wanted)
    open_records = {record["external_id"]: record for record in desk.pending()}
    if not open_records:
        return 0
    items = {item_id: item_of(record) for item_id, record in open_records.items()}
    _check_known(experts, items)
    users = _ensure_users(desk, experts.names)
    name_of = {user["id"]: name for name, user in users.items()}
    work: dict[str, list[dict[str, Any]]] = {name: [] for name in experts.names}
    unknown = []
    for item_id, record in open_records.items():
        given = [each for each in record.get("responses") or () if each["status"] != "draft"]
        missing = wanted - len(given)
        if item_id not in experts.known:
            unknown += [str(item_id)] if missing > 0 else []
            continue
        answered_by = [name_of[each["user_id"]] for each in given if each["user_id"] in name_of]
        for name in experts.chosen(item_id, answered_by, max(missing, 0)):
            said = responses_of(desk.kind, items[item_id], experts.answer(items[item_id], name))
            values = {question: {"value": value} for question, value in said.items()}
            work[name].append({"record_id": record["id"], "status": "submitted", "values": values})
    for name, responses in work.items():
        _submit(ArgillaApi(desk.api.url, users[name]["api_key"]), name, responses)
    _complain_of(unknown)
    return sum(len(responses) for responses in work.values())


def answer_in_files(desk: FileDesk, experts: RehearsedExperts) -> int:
    """The same for the file desk: each expert's answers are added to a file of their own among the answers."""
    wanted = desk.task.desk.min_submitted
    _check_count(experts, wanted)
    pending, items = desk.pending(), desk.items()
    _check_known(experts, {item_id: items[item_id] for item_id in pending})
    work: dict[str, list[tuple[str, Value]]] = {name: [] for name in experts.names}
    unknown = []
    for item_id, answered_by in pending.items():
        if item_id not in experts.known:
            unknown.append(item_id)
            continue
        for name in experts.chosen(item_id, answered_by, wanted - len(answered_by)):
            work[name].append((item_id, experts.answer(items[item_id], name)))
    for name, answers in work.items():
        desk.add_answers(name, answers)
    _complain_of(unknown)
    return sum(len(answers) for answers in work.values())


def _check_count(experts: RehearsedExperts, wanted: int) -> None:
    if experts.annotators < wanted:
        raise InputError(
            "too few rehearsed experts",
            expected=f"at least {wanted}, because every record wants {wanted} answers (desk.min_submitted)",
            found=f"desk.rehearse_annotators = {experts.annotators}",
            fix="raise desk.rehearse_annotators or lower desk.min_submitted",
        )


def _check_known(experts: RehearsedExperts, items: Mapping[str, Item]) -> None:
    problems = [experts.unusable(item) for item_id, item in items.items() if item_id in experts.known]
    if found := [problem for problem in problems if problem]:
        raise InputError(
            "the rehearsed experts know what the task does not have",
            expected="values of the task",
            found="; ".join(found[:5]),
            fix="mend the file named by desk.rehearse, or its column desk.rehearse_label",
        )


def _complain_of(unknown: list[str]) -> None:
    if unknown:
        raise InputError(
            "the rehearsed experts cannot answer every item",
            expected="a known label for each published item in the file named by desk.rehearse",
            found=f"{len(unknown)} without one, such as {', '.join(repr(item) for item in sorted(unknown)[:3])}",
            fix="add them to that file, or answer them in Argilla yourself",
        )


def _ensure_users(desk: ArgillaDesk, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The experts as annotators of the workspace. They are never deleted: their answers would go with them."""
    doing = "preparing the rehearsed experts"
    users = {user["username"]: user for user in desk.api.call("GET", "/users", doing=doing)["items"]}
    path = f"/workspaces/{desk.workspace_id()}/users"
    members = {user["username"] for user in desk.api.call("GET", path, doing=doing)["items"]}
    for name in names:
        if name not in users:
            password = secrets.token_urlsafe(24)  # kept nowhere: they enter by API key only
            body = {"username": name, "first_name": name, "role": "annotator", "password": password}
            users[name] = desk.api.call("POST", "/users", doing=doing, body=body)
        if name not in members:
            desk.api.call("POST", path, doing=doing, body={"user_id": users[name]["id"]})
    return {name: users[name] for name in names}


def _submit(api: ArgillaApi, name: str, responses: list[dict[str, Any]]) -> None:
    for start in range(0, len(responses), CHUNK):
        items = responses[start : start + CHUNK]
        replies = api.call("POST", "/me/responses/bulk", doing=f"answering as {name}", body={"items": items})["items"]
        refused = [reply["error"]["detail"] for reply in replies if reply.get("error")]
        if refused:
            raise DeskError(
                f"Argilla refused answers of {name}",
                expected=f"{len(items)} answers taken",
                found=f"{len(refused)} refused, the first with: {refused[0][:200]}",
                fix="mend what it says and repeat the command: the answers that were taken stay",
            )
