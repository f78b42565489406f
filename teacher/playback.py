"""The HTTP side of the recorded teacher: /v1/models and /v1/chat/completions, true or with planned faults."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from prompts.delimit import asked_about, enclosed
from teacher.faults import Fault, FaultPlay, Faults, RequestLog
from teacher.wire import tokens_about

MOST_BYTES = 16 * 1024 * 1024
HEADERS = {"x-stillhouse-recorded": "true"}
DRIPS = 10


@dataclass(frozen=True, slots=True)
class _Question:
    """`key` has the text, and the pair and predicate of the prompt (see `prompts.delimit`)."""

    model: str
    text: str
    key: str
    input_tokens: int
    output_tokens: int


class _Unfit(Exception):  # noqa: N818 - it is an answer, not an error
    """A request that gets an error response."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.response = _error(status, code, message)


def make_app(models: Mapping[str, Mapping[str, str]], faults: Faults, log: RequestLog) -> web.Application:
    """The server for replies by model and text; `log` is written to, from the server's thread."""
    play = FaultPlay(faults)

    async def chat(request: web.Request) -> web.StreamResponse:
        log.requests += 1
        log.in_flight += 1
        log.most_in_flight = max(log.most_in_flight, log.in_flight)
        try:
            if faults.latency_s:
                await asyncio.sleep(faults.latency_s)
            response = await answer(request)
        finally:
            log.in_flight -= 1
        log.statuses[response.status] += 1
        return response

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            _check_key(request, faults.api_key)
            question = _question(await request.read(), models)
            fault = play.next(question.text, question.input_tokens + question.output_tokens)
            if fault is not None and fault.kind == "status":
                return _planned_error(fault)
            content = _recorded(question, models)
        except _Unfit as unfit:
            return unfit.response
        if fault is not None:
            return await _with_fault(request, fault, question, content)
        log.served[question.text] += 1
        return web.Response(body=_reply(question, content), content_type="application/json", headers=HEADERS)

    async def listed(_: web.Request) -> web.Response:
        entries = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "recording",
                "stillhouse": {"recorded": True, "items": len(said)},
            }
            for name, said in sorted(models.items())
        ]
        return _json(200, {"object": "list", "data": entries})

    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", listed)
    return app


def _check_key(request: web.Request, api_key: str | None) -> None:
    if api_key is not None and request.headers.get("Authorization") != f"Bearer {api_key}":
        raise _Unfit(401, "invalid_api_key", "Incorrect API key provided.")


def _question(body: bytes, models: Mapping[str, Mapping[str, str]]) -> _Question:
    """What is asked about; the first message with a text between markers counts, as a repair repeats it."""
    try:
        asked: Any = orjson.loads(body)
        model, contents = asked["model"], [message["content"] for message in asked["messages"]]
        room = asked.get("max_tokens", 0)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise _Unfit(400, "invalid_request", 'Expected a chat request with "model" and "messages".') from error
    if not isinstance(model, str) or model not in models:
        names = ", ".join(sorted(models)) or "none"
        raise _Unfit(404, "model_not_found", f"This is a recording. It has the models {names}; not {model!r}.")
    shown = (words for words in map(_words, contents) if enclosed(words) is not None)
    message = next(shown, "")
    text, key = enclosed(message), asked_about(message)
    if text is None or key is None:
        raise _Unfit(
            400, "not_our_prompt", "This is a recording. It answers prompts with a text between Stillhouse's markers."
        )
    return _Question(model, text, key, tokens_about(len(body)), room if isinstance(room, int) else 0)


def _words(content: object) -> str:
    """The text of a message's content, which is a string, or a list of parts where a picture goes with it."""
    if isinstance(content, list):
        return "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def _recorded(question: _Question, models: Mapping[str, Mapping[str, str]]) -> str:
    said = models[question.model]
    content = said.get(question.key, said.get(question.text))
    if content is not None:
        return content
    start = question.text[:60] + ("…" if len(question.text) > 60 else "")
    raise _Unfit(
        404,
        "no_recording",
        f"This is a recorded teacher, not a model: {question.model} has no recording of the text {start!r}. "
        "Only the messages it was recorded on can be asked.",
    )


def _reply(question: _Question, content: str | None, finish_reason: str = "stop", refusal: str | None = None) -> bytes:
    output_tokens = tokens_about(len((content or "").encode()))
    return orjson.dumps(
        {
            "id": "recording",
            "object": "chat.completion",
            "created": 0,
            "model": question.model,
            "system_fingerprint": "recording",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": refusal},
                    "logprobs": None,
                    "finish_reason": finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": question.input_tokens,
                "completion_tokens": output_tokens,
                "total_tokens": question.input_tokens + output_tokens,
            },
        }
    )


async def _with_fault(request: web.Request, fault: Fault, question: _Question, content: str) -> web.StreamResponse:
    body = _reply(question, content)
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "wrong_json":
        body = body[: len(body) // 2]
    elif fault.kind == "empty_choices":
        body = orjson.dumps({**orjson.loads(body), "choices": []})
    elif fault.kind == "content":
        body = _reply(question, fault.content, fault.finish_reason, fault.refusal)
    elif fault.kind in {"disconnect", "drip"}:
        return await _piecewise(request, fault, body)
    return web.Response(body=body, content_type="application/json", headers=HEADERS)


async def _piecewise(request: web.Request, fault: Fault, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    if fault.kind == "disconnect":
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response
    size = -(-len(body) // DRIPS)
    for start in range(0, len(body), size):
        await asyncio.sleep(fault.seconds / DRIPS)
        await response.write(body[start : start + size])
    return response


def _planned_error(fault: Fault) -> web.Response:
    response = _error(fault.status, fault.code, fault.message)
    if fault.retry_after_s is not None:
        response.headers["Retry-After"] = f"{fault.retry_after_s:g}"
    if fault.retry_after_ms is not None:
        response.headers["retry-after-ms"] = f"{fault.retry_after_ms:g}"
    return response


def _error(status: int, code: str, message: str) -> web.Response:
    return _json(status, {"error": {"message": message, "type": "recording", "param": None, "code": code}})


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json", headers=HEADERS)
