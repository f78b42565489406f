"""The HTTP face of a service: POST /v1/label, health, metrics; every refusal in one form, with what to do about it."""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.asked import Question, asked_items
from serving.batcher import ClosedError, QueueFullError
from serving.metrics import Metrics
from serving.service import Service, Serving
from serving.verdicts import Verdict
from stillhouse.errors import StillhouseError
from stillhouse.records import Item

LABEL, METRICS, LIVE, READY = "/v1/label", "/metrics", "/health/live", "/health/ready"
PATHS = (LABEL, METRICS, LIVE, READY, "/openapi.json")
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring and take."""

    bytes: int = 4 * 2**20
    texts: int = 256
    seconds: float = 30.0


class Answer(BaseModel):
    """The label of one text. A label that is a list or an object is one; its probability is the expected score."""

    id: str
    label: Any
    probability: float | None
    abstained: bool
    source: Annotated[str, Field(description="student, teacher, or people: it waits at their desk")]
    cost_usd: Annotated[float, Field(description="what the teacher's replies behind it cost when they were paid for")]
    note: Annotated[str, Field(description="why a next step was not taken")] = ""


class Answers(BaseModel):
    """An answer for each text, in the order of the request."""

    model: str
    answers: list[Answer]


class Problem(BaseModel):
    """What was wrong, and what to do."""

    model_config = ConfigDict(title="Problem")
    code: str
    message: str
    expected: str = ""
    found: str = ""
    what_to_do: str = ""


class RefusedError(Exception):
    """A request that gets no answer. Stays inside this module."""

    def __init__(self, status: int, code: str, message: str, **said: str) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code=code, message=message, **said)

    def response(self) -> Response:
        headers = {"Retry-After": "1"} if self.status in {429, 503} else {}
        return _json({"error": self.problem.model_dump()}, self.status, headers)


def create_app(what: Serving, *, limits: Limits | None = None, token: str = "") -> FastAPI:
    """The application of a student. With a token every path but health asks for `Authorization: Bearer TOKEN`.

    No page of it loads anything from elsewhere: FastAPI's own pages of documentation would, and are off.
    """
    limits = limits or Limits()
    metrics = Metrics(what.model_id)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = service = Service(what, metrics)
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title=f"Stillhouse: {what.kind.task.name}",
        description=what.kind.task.question,
        version=what.model_id,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Gate, metrics=metrics, token=token)
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"description": why, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Refusal"}}}}
        for status, why in (
            (401, "no token, or another"),
            (413, "too many bytes or texts"),
            (422, "a text that cannot be read"),
            (429, "too much waits already"),
            (503, "the server is stopping"),
            (504, "no answer in time"),
        )
    }
    body = {"required": True, "content": {JSON: {"schema": Question.model_json_schema()}}}

    @app.post(LABEL, response_model=Answers, responses=refusals, openapi_extra={"requestBody": body})
    async def label(request: Request) -> Response:
        """Label one text or many."""
        try:
            async with asyncio.timeout(limits.seconds):
                items = _items(await _body(request, limits), what, limits)
                said = await request.app.state.service.label(items)
        except RefusedError as error:
            return error.response()
        except (QueueFullError, ClosedError, TimeoutError, StillhouseError) as error:
            return _refused(error, limits).response()
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        return _json({"model": what.model_id, "answers": _answers(items, said)})

    @app.get(LIVE)
    async def live() -> dict[str, bool]:
        """Whether the process answers at all."""
        return {"live": True}

    @app.get(READY)
    async def ready(request: Request) -> Response:
        """Whether a request would be taken now."""
        waiting = request.app.state.service.student.waiting
        taken = waiting < what.most_waiting
        return _json({"ready": taken, "model": what.model_id, "waiting": waiting}, 200 if taken else 503)

    @app.get(METRICS)
    async def prometheus() -> Response:
        """In Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    _with_refusals(app)
    return app


class Gate:
    """Around the application: asks for the token, counts requests and their time."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, token: str) -> None:
        self.app, self.metrics, self.token = app, metrics, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._may(scope):
                await self.app(scope, receive, counted)
            else:
                await _no_token().response()(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self.metrics.request(path, status, time.perf_counter() - started)

    def _may(self, scope: Scope) -> bool:
        if not self.token or scope["path"] in {LIVE, READY}:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self.token}".encode())


async def _body(request: Request, limits: Limits) -> bytes:
    """Never more than the limit is held, whatever a header says."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limits.bytes:
            raise RefusedError(
                413,
                "too_many_bytes",
                "the request is too large",
                expected=f"at most {limits.bytes:,} bytes",
                found="more",
                what_to_do="send the texts in several requests",
            )
    return bytes(body)


def _items(body: bytes, what: Serving, limits: Limits) -> list[Item]:
    """What is asked, read and checked. Raises RefusedError with every mistake."""
    try:
        question = Question.model_validate_json(body)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()[:5])
        raise _unreadable(wrong) from error
    asked = question.asked
    if len(asked) > limits.texts:
        raise RefusedError(
            413,
            "too_many_texts",
            "the request has too many texts",
            expected=f"at most {limits.texts:,} texts",
            found=f"{len(asked):,}",
            what_to_do="send them in several requests, or label a file: stillhouse label",
        )
    items, problems = asked_items(asked, what.kind.task)
    if problems:
        raise _unreadable("; ".join(problems[:5]))
    return items


def _unreadable(found: str) -> RefusedError:
    return RefusedError(
        422,
        "unreadable",
        "the request cannot be read",
        expected='{"text": "…"}, {"texts": ["…", …]} or {"items": [{"text": "…", …}, …]}; see /openapi.json',
        found=found,
        what_to_do="mend it: nothing of it was labelled",
    )


def _refused(error: Exception, limits: Limits) -> RefusedError:
    """What went wrong behind the door, as the caller may know it."""
    if isinstance(error, QueueFullError):
        return RefusedError(429, "busy", "too many texts wait already", what_to_do="try again in a second")
    if isinstance(error, ClosedError):
        return RefusedError(503, "stopping", "the server is stopping", what_to_do="try again: another may have come up")
    if isinstance(error, TimeoutError):
        return RefusedError(
            504,
            "too_slow",
            "no answer in time",
            expected=f"an answer within {limits.seconds:g} s",
            what_to_do="try again: what a teacher said meanwhile is kept; or send fewer texts",
        )
    assert isinstance(error, StillhouseError)
    said = {"expected": error.expected, "found": error.found, "what_to_do": error.fix}
    return RefusedError(500, type(error).__name__, error.what, **said)


def _no_token() -> RefusedError:
    return RefusedError(
        401,
        "no_token",
        "this server asks for a token",
        expected="the header Authorization: Bearer TOKEN",
        found="none, or another token",
        what_to_do="ask who runs the server",
    )


def _answers(items: Sequence[Item], said: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [
        {
            "id": item.id,
            "label": verdict.label,
            "probability": verdict.probability,
            "abstained": verdict.abstained,
            "source": verdict.source,
            "cost_usd": verdict.cost_usd,
            "note": verdict.note,
        }
        for item, verdict in zip(items, said, strict=True)
    ]


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, JSON)


def _with_refusals(app: FastAPI) -> None:
    """The form of a refusal, which no route returns by itself, in the description of the API."""
    described = app.openapi()
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas["Refusal"] = {"type": "object", "required": ["error"], "properties": {"error": Problem.model_json_schema()}}
