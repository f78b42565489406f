"""The batch APIs of the recorded teacher, OpenAI's and Anthropic's: files, batches and results, kept in memory."""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import BodyPartReader, web

from teacher.faults import BatchFault, Faults, RequestLog
from teacher.playback_answers import HEADERS, Unfit, check_key, error_response, json_response
from teacher.playback_replies import Api
from teacher.wire_anthropic import MESSAGES_PATH

PAGE = 100
_ANTHROPIC = f"/v1{MESSAGES_PATH}/batches"
Answer = Callable[[Api, bytes], tuple[int, bytes]]


@dataclass(slots=True)
class _Batch:
    """`results` are (custom_id, status, body) of those answered; `rest` the ids of those not worked on."""

    id: str
    created_s: float
    ends_s: float
    results: Sequence[tuple[str, int, bytes]]
    rest: Sequence[str]
    fault: BatchFault | None
    metadata: Any = None

    @property
    def ended(self) -> bool:
        return time.time() >= self.ends_s

    def count(self, *, good: bool) -> int:
        return sum((status < 400) == good for _, status, _ in self.results) if self.ended else 0


@dataclass
class BatchDesk:
    """What has been handed in so far. `answer` is how one request is answered."""

    faults: Faults
    log: RequestLog
    answer: Answer
    files: dict[str, bytes] = field(default_factory=dict)
    openai: dict[str, _Batch] = field(default_factory=dict)
    anthropic: dict[str, _Batch] = field(default_factory=dict)

    def add_to(self, app: web.Application) -> None:
        for method, path, page in (
            ("POST", "/v1/files", self._upload),
            ("GET", "/v1/files/{id}/content", self._content),
            ("POST", "/v1/batches", self._create),
            ("GET", "/v1/batches", self._list),
            ("GET", "/v1/batches/{id}", self._show),
            ("POST", _ANTHROPIC, self._create_messages),
            ("GET", _ANTHROPIC, self._list_messages),
            ("GET", _ANTHROPIC + "/{id}", self._show_messages),
            ("GET", _ANTHROPIC + "/{id}/results", self._results),
        ):
            app.router.add_route(method, path, self._guarded(page))

    def _guarded(self, page: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                check_key(request, self.faults.api_key)
                response: web.StreamResponse = await page(request)
            except Unfit as unfit:
                return unfit.response("anthropic_messages" if request.path.startswith(_ANTHROPIC) else "openai_chat")
            return response

        return guarded

    def _take(self, api: Api, requests: Sequence[tuple[str, bytes]], metadata: Any = None) -> _Batch:
        """Answer a batch as its fault says, ready once its time has come."""
        number = len(self.log.batches)
        self.log.batches.append(len(requests))
        fault = self.faults.batches[number] if number < len(self.faults.batches) else None
        share = 1.0 if fault is None or fault.kind == "lost" else 0.0 if fault.kind == "failed" else fault.answered
        cut = round(share * len(requests))
        now_s = time.time()
        return _Batch(
            id=f"batch_{number}",
            created_s=now_s,
            ends_s=now_s + self.faults.batch_s,
            results=[(custom_id, *self.answer(api, body)) for custom_id, body in requests[:cut]],
            rest=[custom_id for custom_id, _ in requests[cut:]],
            fault=fault,
            metadata=metadata,
        )

    # -- OpenAI -----------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        parts: dict[str, bytes] = {}
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader):
                parts[part.name or ""] = bytes(await part.read())
        if parts.get("purpose") != b"batch" or "file" not in parts:
            raise Unfit(400, "invalid_request", "Expected a form with purpose=batch and a file.")
        name = f"file_{len(self.files)}"
        self.files[name] = parts["file"]
        return json_response(200, {"id": name, "object": "file", "bytes": len(parts["file"])})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        if name in self.files:
            return web.Response(body=self.files[name], headers=HEADERS)
        kind, _, batch_id = name.partition("-")
        return web.Response(body=_openai_lines(self._of(self.openai, batch_id), kind), headers=HEADERS)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        lines = [orjson.loads(line) for line in self.files[asked["input_file_id"]].splitlines() if line]
        if {line["url"] for line in lines} != {asked["endpoint"]} or asked["completion_window"] != "24h":
            raise Unfit(400, "invalid_request", "Expected lines for the endpoint, within 24h.")
        requests = [(line["custom_id"], orjson.dumps(line["body"])) for line in lines]
        batch = self._take("openai_chat", requests, asked.get("metadata"))
        self.openai[batch.id] = batch
        return _lost(request) if _is_lost(batch) else json_response(200, _openai_shape(batch))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        page, more = _page(list(self.openai.values()), request.query.get("after"))
        return json_response(200, {"data": [_openai_shape(batch) for batch in page], "has_more": more})

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return json_response(200, _openai_shape(self._of(self.openai, request.match_info["id"])))

    # -- Anthropic --------------------------------------------------------------------------------------------------

    async def _create_messages(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())["requests"]
        if not all(0 < len(entry["custom_id"]) <= 64 for entry in asked):
            raise Unfit(400, "invalid_request", "custom_id: at most 64 characters")
        requests = [(entry["custom_id"], orjson.dumps(entry["params"])) for entry in asked]
        batch = self._take("anthropic_messages", requests)
        self.anthropic[batch.id] = batch
        if batch.fault is not None and batch.fault.kind == "failed":
            return error_response("anthropic_messages", 400, batch.fault.code, batch.fault.message)
        return _lost(request) if _is_lost(batch) else json_response(200, _anthropic_shape(batch))

    async def _list_messages(self, request: web.Request) -> web.StreamResponse:
        page, more = _page(list(self.anthropic.values()), request.query.get("after_id"))
        return json_response(200, {"data": [_anthropic_shape(batch) for batch in page], "has_more": more})

    async def _show_messages(self, request: web.Request) -> web.StreamResponse:
        return json_response(200, _anthropic_shape(self._of(self.anthropic, request.match_info["id"])))

    async def _results(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=_anthropic_lines(self._of(self.anthropic, request.match_info["id"])), headers=HEADERS)

    def _of(self, batches: dict[str, _Batch], batch_id: str) -> _Batch:
        if batch_id not in batches:
            raise Unfit(404, "not_found", f"There is no batch {batch_id!r}.")
        return batches[batch_id]


def _is_lost(batch: _Batch) -> bool:
    return batch.fault is not None and batch.fault.kind == "lost"


def _lost(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


def _page(batches: Sequence[_Batch], after: str | None) -> tuple[Sequence[_Batch], bool]:
    """Newest first, PAGE of them, from behind `after`."""
    newest = list(reversed(batches))
    start = next((place + 1 for place, batch in enumerate(newest) if batch.id == after), 0)
    return newest[start : start + PAGE], len(newest) > start + PAGE


def _openai_shape(batch: _Batch) -> dict[str, Any]:
    status, kind = "in_progress", batch.fault.kind if batch.fault is not None else ""
    if batch.ended:
        status = kind if kind in {"expired", "cancelled", "failed"} else "completed"
    shape: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "created_at": int(batch.created_s),
        "status": status,
        "metadata": batch.metadata,
        "request_counts": {
            "total": len(batch.results) + len(batch.rest),
            "completed": batch.count(good=True),
            "failed": batch.count(good=False),
        },
        "output_file_id": f"output-{batch.id}" if batch.count(good=True) else None,
        "error_file_id": f"error-{batch.id}" if batch.count(good=False) or (batch.ended and batch.rest) else None,
        "errors": None,
    }
    if status == "failed" and batch.fault is not None:
        shape["errors"] = {"object": "list", "data": [{"code": batch.fault.code, "message": batch.fault.message}]}
    return shape


def _openai_lines(batch: _Batch, kind: str) -> bytes:
    lines = [
        {"custom_id": custom_id, "response": {"status_code": status, "body": orjson.loads(body)}, "error": None}
        for custom_id, status, body in batch.results
        if (status < 400) == (kind == "output")
    ]
    if kind == "error":
        expired = {"code": "batch_expired", "message": "This request could not be executed in time."}
        lines += [{"custom_id": custom_id, "response": None, "error": expired} for custom_id in batch.rest]
    return b"\n".join(map(orjson.dumps, reversed(lines))) + b"\n"  # in no order that anybody may rely on


def _anthropic_shape(batch: _Batch) -> dict[str, Any]:
    rest = "canceled" if batch.fault is not None and batch.fault.kind == "cancelled" else "expired"
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    counts["processing"] = 0 if batch.ended else len(batch.results) + len(batch.rest)
    counts |= {"succeeded": batch.count(good=True), "errored": batch.count(good=False)}
    counts[rest] = len(batch.rest) if batch.ended else 0
    return {
        "id": batch.id,
        "type": "message_batch",
        "created_at": dt.datetime.fromtimestamp(batch.created_s, dt.UTC).isoformat(),
        "processing_status": "ended" if batch.ended else "in_progress",
        "request_counts": counts,
        "results_url": "http://elsewhere.invalid/results" if batch.ended else None,
    }


def _anthropic_lines(batch: _Batch) -> bytes:
    if not batch.ended:
        raise Unfit(404, "not_found", "The batch has not ended.")
    rest = "canceled" if batch.fault is not None and batch.fault.kind == "cancelled" else "expired"
    lines: list[dict[str, Any]] = [{"custom_id": custom_id, "result": {"type": rest}} for custom_id in batch.rest]
    for custom_id, status, body in batch.results:
        told = {"type": "succeeded", "message": orjson.loads(body)}
        if status >= 400:
            told = {"type": "errored", "error": orjson.loads(body)}
        lines.append({"custom_id": custom_id, "result": told})
    return b"\n".join(map(orjson.dumps, lines)) + b"\n"
