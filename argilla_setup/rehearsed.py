"""Rehearsed experts: simulated people who answer from known labels, with a known error rate, through the real desk."""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_dataset import QUESTION
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.desk import REHEARSED_PREFIX
from argilla_setup.file_desk import FileDesk
from stillhouse.errors import DeskError, InputError

CHUNK = 100  # as many responses as Argilla takes at once
_DRAWS = 2**64


@dataclass(frozen=True)
class RehearsedExperts:
    """What they know and how often they err. An answer depends on seed, item and annotator only: repeats agree."""

    known: Mapping[str, str]
    labels: tuple[str, ...]
    error_rate: float = 0.0
    annotators: int = 2
    seed: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{REHEARSED_PREFIX}{number}" for number in range(1, self.annotators + 1))

    def answer(self, item_id: str, annotator: str) -> str:
        """The known label, or with the error rate any of the others, each as likely."""
        errs, which = self._draw("error", item_id, annotator), self._draw("label", item_id, annotator)
        right = self.known[item_id]
        if errs >= self.error_rate:
            return right
        others = [label for label in self.labels if label != right]
        return others[int(which * len(others))]

    def chosen(self, item_id: str, answered_by: Iterable[str], missing: int) -> list[str]:
        """Who answers an item next: those who have not yet, in an order of the item's own, so that work is shared."""
        taken = set(answered_by)
        free = sorted(
            (name for name in self.names if name not in taken), key=lambda n: (self._draw("who", item_id, n), n)
        )
        return free[:missing]

    def _draw(self, what: str, item_id: str, annotator: str) -> float:
        key = json.dumps([what, self.seed, item_id, annotator]).encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) / _DRAWS


def answer_in_argilla(desk: ArgillaDesk, experts: RehearsedExperts) -> int:
    """Answer every pending record until it has enough answers, each expert with an API key of their own.

    Returns how many answers were given. Items without a known label stay open and are reported at the end.
    """
    wanted = desk.task.desk.min_submitted
    _check(experts, wanted)
    open_records = desk.pending()
    if not open_records:
        return 0
    users = _ensure_users(desk, experts.names)
    name_of = {user["id"]: name for name, user in users.items()}
    work: dict[str, list[tuple[str, str]]] = {name: [] for name in experts.names}
    unknown = []
    for record in open_records:
        item_id = record["external_id"]
        given = [each for each in record.get("responses") or () if each["status"] != "draft"]
        missing = wanted - len(given)
        if item_id not in experts.known:
            unknown += [str(item_id)] if missing > 0 else []
            continue
        answered_by = [name_of[each["user_id"]] for each in given if each["user_id"] in name_of]
        for name in experts.chosen(item_id, answered_by, max(missing, 0)):
            work[name].append((record["id"], experts.answer(item_id, name)))
    for name, answers in work.items():
        _submit(ArgillaApi(desk.api.url, users[name]["api_key"]), name, answers)
    _complain_of(unknown)
    return sum(len(answers) for answers in work.values())


def answer_in_files(desk: FileDesk, experts: RehearsedExperts) -> int:
    """The same for the file desk: each expert's answers are added to a file of their own among the answers."""
    wanted = desk.task.desk.min_submitted
    _check(experts, wanted)
    work: dict[str, list[tuple[str, str]]] = {name: [] for name in experts.names}
    unknown = []
    for item_id, answered_by in desk.pending().items():
        if item_id not in experts.known:
            unknown.append(item_id)
            continue
        for name in experts.chosen(item_id, answered_by, wanted - len(answered_by)):
            work[name].append((item_id, experts.answer(item_id, name)))
    for name, answers in work.items():
        desk.add_answers(name, answers)
    _complain_of(unknown)
    return sum(len(answers) for answers in work.values())


def _check(experts: RehearsedExperts, wanted: int) -> None:
    if experts.annotators < wanted:
        raise InputError(
            "too few rehearsed experts",
            expected=f"at least {wanted}, because every record wants {wanted} answers (desk.min_submitted)",
            found=f"desk.rehearse_annotators = {experts.annotators}",
            fix="raise desk.rehearse_annotators or lower desk.min_submitted",
        )
    outside = sorted(set(experts.known.values()) - set(experts.labels))
    if outside:
        raise InputError(
            "the rehearsed experts know labels that the task does not have",
            expected=f"one of: {', '.join(experts.labels)}",
            found=", ".join(repr(label) for label in outside[:5]),
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


def _submit(api: ArgillaApi, name: str, answers: list[tuple[str, str]]) -> None:
    for start in range(0, len(answers), CHUNK):
        items = [
            {"record_id": record_id, "status": "submitted", "values": {QUESTION: {"value": label}}}
            for record_id, label in answers[start : start + CHUNK]
        ]
        replies = api.call("POST", "/me/responses/bulk", doing=f"answering as {name}", body={"items": items})["items"]
        refused = [reply["error"]["detail"] for reply in replies if reply.get("error")]
        if refused:
            raise DeskError(
                f"Argilla refused answers of {name}",
                expected=f"{len(items)} answers taken",
                found=f"{len(refused)} refused, the first with: {refused[0][:200]}",
                fix="mend what it says and repeat the command: the answers that were taken stay",
            )
