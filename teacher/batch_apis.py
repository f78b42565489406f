"""The batch APIs of OpenAI and Anthropic: how requests are handed in, found again, followed and fetched.

Source: OpenAI's reference of files and batches (at most 50,000 requests, 200 MB), Anthropic's of message batches (100,000,
256 MB; a custom_id has at most 64 characters, as a request key has). Both name a request by custom_id and answer within a day.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from stillhouse.ledger import BatchNote
from teacher.verdicts import asked_status
from teacher.wire import CHAT_PATH
from teacher.wire_anthropic import MESSAGES_PATH
from teacher.wire_shapes import loaded, mapping, token_count

LISTED = 100  # batches a page of a listing
CLOCKS_DIFFER_S = 600.0
NAME = "stillhouse"  # of the entry in a batch's metadata that holds our name for it


class BatchFailedError(Exception):
    """The API took the batch and then would not work on it. `full`: only because too much is handed in already."""

    def __init__(self, said: str, *, full: bool = False) -> None:
        super().__init__(said)
        self.full = full


class GoneError(Exception):
    """The API does not know, or no longer, what is asked for."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a batch is: requests answered so far, and whether there will be no more."""

    answered: int
    ended: bool
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request; status 0: it was not worked on."""

    key: str
    status: int
    body: bytes


class Wires(Protocol):
    """HTTP as batches need it, with the retries that are safe; paths are under `base_url`."""

    async def get(self, path: str) -> bytes: ...

    async def post(self, path: str, body: bytes, kind: str | None = None) -> bytes: ...

    async def ended(self, batch_id: str) -> Standing: ...


class BatchApi(Protocol):
    """One maker's way. `line` is a request as it is handed in."""

    def line(self, key: str, body: bytes) -> bytes: ...

    async def hand_in(self, wires: Wires, note: BatchNote, lines: Sequence[bytes]) -> str: ...

    async def find(self, wires: Wires, note: BatchNote, others: frozenset[str]) -> str: ...

    async def standing(self, wires: Wires, batch_id: str) -> Standing: ...

    async def results(self, wires: Wires, batch_id: str, standing: Standing) -> list[Result]: ...


class OpenAiBatches:
    """A file of lines, then a batch of it; our name for it goes into its metadata."""

    def line(self, key: str, body: bytes) -> bytes:
        asked = {"custom_id": key, "method": "POST", "url": f"/v1{CHAT_PATH}", "body": orjson.Fragment(body)}
        return orjson.dumps(asked)

    async def hand_in(self, wires: Wires, note: BatchNote, lines: Sequence[bytes]) -> str:
        kind, form = _form(note.name, b"\n".join(lines) + b"\n")
        file_id = _id(await wires.post("/files", form, kind))
        asked = {
            "input_file_id": file_id,
            "endpoint": f"/v1{CHAT_PATH}",
            "completion_window": "24h",
            "metadata": {NAME: note.name},
        }
        return _id(await wires.post("/batches", orjson.dumps(asked)))

    async def find(self, wires: Wires, note: BatchNote, others: frozenset[str]) -> str:
        """By our name in its metadata; "" if it never arrived."""
        after = ""
        while True:
            page = mapping(loaded(await wires.get(f"/batches?limit={LISTED}{after}")))
            batches = _mappings(page.get("data"))
            for batch in batches:
                if mapping(batch.get("metadata")).get(NAME) == note.name and batch.get("id") not in others:
                    return str(batch["id"])
            oldest = min((batch.get("created_at") or 0 for batch in batches), default=0)
            if not page.get("has_more") or oldest < note.noted_at_s - CLOCKS_DIFFER_S:
                return ""
            after = f"&after={batches[-1].get('id')}"

    async def standing(self, wires: Wires, batch_id: str) -> Standing:
        batch = mapping(loaded(await wires.get(f"/batches/{batch_id}")))
        counts = mapping(batch.get("request_counts"))
        if batch.get("status") == "failed":
            problems = _mappings(mapping(batch.get("errors")).get("data"))
            said = "; ".join(str(problem.get("message") or problem.get("code")) for problem in problems[:3])
            full = any(problem.get("code") == "token_limit_exceeded" for problem in problems)
            raise BatchFailedError(said or "no reason given", full=full)
        answered = (token_count(counts.get("completed")) or 0) + (token_count(counts.get("failed")) or 0)
        return Standing(answered, batch.get("status") in {"completed", "expired", "cancelled"}, batch)

    async def results(self, wires: Wires, batch_id: str, standing: Standing) -> list[Result]:
        """From the file of replies and that of errors; either may be missing."""
        del batch_id
        results = []
        for name in ("output_file_id", "error_file_id"):
            if file_id := standing.raw.get(name):
                results += [_openai_result(row) for row in _rows(await wires.get(f"/files/{file_id}/content"))]
        return results


class AnthropicBatches:
    """Requests in one body. A batch carries no name of ours: one is found again by its size, time and custom ids."""

    def line(self, key: str, body: bytes) -> bytes:
        return orjson.dumps({"custom_id": key, "params": orjson.Fragment(body)})

    async def hand_in(self, wires: Wires, note: BatchNote, lines: Sequence[bytes]) -> str:
        del note
        body = b'{"requests":[' + b",".join(lines) + b"]}"
        return _id(await wires.post(f"{MESSAGES_PATH}/batches", body))

    async def find(self, wires: Wires, note: BatchNote, others: frozenset[str]) -> str:
        """Whose results have our keys; "" if none has. What a batch holds shows only once it has ended."""
        keys = {key for key, _ in note.asked}
        for batch in await self._since(wires, note.noted_at_s - CLOCKS_DIFFER_S):
            batch_id, counts = str(batch.get("id")), mapping(batch.get("request_counts"))
            if batch_id in others or sum(count for count in counts.values() if isinstance(count, int)) != len(keys):
                continue
            try:
                ended = await wires.ended(batch_id)
                results = await self.results(wires, batch_id, ended)
            except GoneError:  # somebody else's, deleted meanwhile
                continue
            if any(result.key in keys for result in results):
                return batch_id
        return ""

    async def standing(self, wires: Wires, batch_id: str) -> Standing:
        batch = mapping(loaded(await wires.get(f"{MESSAGES_PATH}/batches/{batch_id}")))
        counts = mapping(batch.get("request_counts"))
        answered = sum(token_count(counts.get(name)) or 0 for name in ("succeeded", "errored", "canceled", "expired"))
        return Standing(answered, batch.get("processing_status") == "ended", batch)

    async def results(self, wires: Wires, batch_id: str, standing: Standing) -> list[Result]:
        del standing  # its results_url may be on another host, which must not get the key
        return [_anthropic_result(row) for row in _rows(await wires.get(f"{MESSAGES_PATH}/batches/{batch_id}/results"))]

    async def _since(self, wires: Wires, since_s: float) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        after = ""
        while True:
            page = mapping(loaded(await wires.get(f"{MESSAGES_PATH}/batches?limit={LISTED}{after}")))
            batches = _mappings(page.get("data"))
            fresh = [batch for batch in batches if _seconds(batch.get("created_at")) >= since_s]
            found += fresh
            if not page.get("has_more") or len(fresh) < len(batches) or not batches:
                return found
            after = f"&after_id={batches[-1].get('id')}"


def _openai_result(row: Mapping[str, Any]) -> Result:
    response = mapping(row.get("response"))
    status = token_count(response.get("status_code")) or 0
    return Result(str(row.get("custom_id")), status, orjson.dumps(response.get("body")))


def _anthropic_result(row: Mapping[str, Any]) -> Result:
    result = mapping(row.get("result"))
    key = str(row.get("custom_id"))
    if result.get("type") == "succeeded":
        return Result(key, 200, orjson.dumps(result.get("message")))
    if result.get("type") == "errored":
        error = mapping(result.get("error"))
        return Result(key, asked_status(str(mapping(error.get("error")).get("type"))), orjson.dumps(error))
    return Result(key, 0, b"{}")


def _form(name: str, lines: bytes) -> tuple[str, bytes]:
    """A file of requests as a form, and its Content-Type. The boundary is ours and occurs in no request."""
    boundary = f"----{name}"
    while boundary.encode() in lines:
        boundary += "-"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return f"multipart/form-data; boundary={boundary}", head.encode() + lines + f"\r\n--{boundary}--\r\n".encode()


def _id(body: bytes) -> str:
    found = mapping(loaded(body)).get("id")
    if not isinstance(found, str) or not found:
        raise BatchFailedError("the API names no id")
    return found


def _rows(lines: bytes) -> Iterator[Mapping[str, Any]]:
    return (mapping(loaded(line)) for line in lines.splitlines() if line.strip())


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [mapping(entry) for entry in value] if isinstance(value, list) else []


def _seconds(stamp: object) -> float:
    try:
        return dt.datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return float("inf")  # unreadable: not older than anything
