"""Rehearsed experts: simulated people who answer from known labels, with a known error rate, through the real desk."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from argilla_setup.annotators import ensure_users
from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_dataset import NO, RIGHT, YES
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.argilla_record import responses_of
from argilla_setup.desk import REHEARSED_PREFIX, OpenRecord
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

    def chosen(self, record: OpenRecord) -> list[str]:
        """Who answers a record next: those it is assigned to, or whoever may where those are no experts (in a rehearsal,
        nobody else is there), in an order of the item's own, so that work is shared.
        """
        item_id, taken = record.item.id, {*record.answered_by, *record.not_by}
        assigned = set(record.assigned) & set(self.names)
        free = [name for name in self.names if name not in taken and name in (assigned or self.names)]
        return sorted(free, key=lambda name: (self._draw("who", item_id, name), name))[: record.missing]

    def agrees(self, record: OpenRecord, annotator: str) -> bool:
        """Whether the suggestion to verify is what they would have answered."""
        return self.answer(record.item, annotator) == self.kind.normal(record.item, record.suggested)

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
    """Answer every open record, in whatever way it asks, each expert with an API key of their own.

    Returns how many answers were given. Items without a known label stay open and are reported at the end.
    """
    work, unknown = _work(desk, experts)
    if any(work.values()):
        # Their passwords are kept nowhere: they enter by API key only.
        users = ensure_users(desk, experts.names, lambda _: secrets.token_urlsafe(24))
        for name, records in work.items():
            responses = [
                {"record_id": record.key, "status": "submitted", "values": _values(desk.kind, record, experts, name)}
                for record in records
            ]
            _submit(ArgillaApi(desk.api.url, users[name]["api_key"]), name, responses)
    _complain_of(unknown)
    return sum(map(len, work.values()))


def answer_in_files(desk: FileDesk, experts: RehearsedExperts) -> int:
    """The same for the file desk: each expert's answers are added to a file of their own among the answers."""
    work, unknown = _work(desk, experts)
    for name, records in work.items():
        desk.add_answers(
            name,
            [(r, experts.agrees(r, name) if r.way == "verify" else experts.answer(r.item, name)) for r in records],
        )
    _complain_of(unknown)
    return sum(map(len, work.values()))


def _work(desk: ArgillaDesk | FileDesk, experts: RehearsedExperts) -> tuple[dict[str, list[OpenRecord]], list[str]]:
    """What each expert is to answer, and the items that they know nothing of. Raises InputError, before anybody answers."""
    work: dict[str, list[OpenRecord]] = {name: [] for name in experts.names}
    open_records = desk.open()
    _check_known(experts, {record.item.id: record.item for record in open_records})
    for record in open_records:
        chosen = experts.chosen(record) if record.item.id in experts.known else []
        if len(chosen) < record.missing and record.item.id in experts.known:
            raise _too_few(experts, record)
        for name in chosen:
            work[name].append(record)
    return work, [record.item.id for record in open_records if record.item.id not in experts.known]


def _values(kind: Kind, record: OpenRecord, experts: RehearsedExperts, name: str) -> dict[str, dict[str, Any]]:
    if record.way == "verify":
        return {RIGHT: {"value": YES if experts.agrees(record, name) else NO}}
    said = responses_of(kind, record.item, experts.answer(record.item, name))
    return {question: {"value": value} for question, value in said.items()}


def _too_few(experts: RehearsedExperts, record: OpenRecord) -> InputError:
    return InputError(
        "too few rehearsed experts",
        expected=f"{record.missing} more to answer {record.item.id!r} (way {record.way!r}), which "
        + (
            f"{', '.join([*record.answered_by, *record.not_by])} have answered"
            if record.not_by or record.answered_by
            else "nobody has answered yet"
        ),
        found=f"desk.rehearse_annotators = {experts.annotators}",
        fix="raise desk.rehearse_annotators, or lower desk.min_submitted and the number of opinions asked for",
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
