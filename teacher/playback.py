"""The HTTP side of the recorded teacher: /v1/models, /v1/chat/completions and /v1/messages, true or with planned faults."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from prompts.delimit import asked_about, enclosed
from teacher.faults import FaultPlay, Faults, RequestLog
from teacher.playback_answers import HEADERS, Unfit, check_key, json_response
from teacher.playback_batches import Answer, BatchDesk
from teacher.playback_faults import counted, planned_error, with_fault
from teacher.playback_replies import Api, Question, error_of, reply_of
from teacher.wire import CHAT_PATH, tokens_about
from teacher.wire_anthropic import MESSAGES_PATH

MOST_BYTES = 16 * 1024 * 1024


def make_app(models: Mapping[str, Mapping[str, str]], faults: Faults, log: RequestLog) -> web.Application:
    """The server for replies by model and text; `log` is written to, from the server's thread."""
    play = FaultPlay(faults)

    async def answer(request: web.Request) -> web.StreamResponse:
        api: Api = "anthropic_messages" if request.path.endswith(MESSAGES_PATH) else "openai_chat"
        try:
            check_key(request, faults.api_key)
            question = question_in(api, await request.read(), models)
            fault = play.next(question.text, question.input_tokens + question.output_tokens)
            if fault is not None and fault.kind == "status":
                return planned_error(api, fault)
            content = recorded_reply(question, models)
        except Unfit as unfit:
            return unfit.response(api)
        body = reply_of(question, content)
        if fault is not None:
            instead = reply_of(question, fault.content, fault.finish_reason, fault.refusal)
            return await with_fault(request, fault, body, instead, HEADERS)
        log.served[question.text] += 1
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

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
        return json_response(200, {"object": "list", "data": entries})

    app = web.Application(client_max_size=MOST_BYTES)
    for path in (CHAT_PATH, MESSAGES_PATH):
        app.router.add_post("/v1" + path, counted(answer, play, log))
    app.router.add_get("/v1/models", listed)
    BatchDesk(faults, log, _batched(models, play, log)).add_to(app)
    return app


def _batched(models: Mapping[str, Mapping[str, str]], play: FaultPlay, log: RequestLog) -> Answer:
    def batched(api: Api, body: bytes) -> tuple[int, bytes]:
        """One request of a batch: faults of the connection cannot happen to it."""
        try:
            question = question_in(api, body, models)
            fault = play.next(question.text, 0)
            if fault is not None and fault.kind == "status":
                return fault.status, orjson.dumps(error_of(api, fault.status, fault.code, fault.message))
            content = recorded_reply(question, models)
        except Unfit as unfit:
            return unfit.status, orjson.dumps(error_of(api, unfit.status, unfit.code, unfit.message))
        if fault is not None and fault.kind == "content":
            return 200, reply_of(question, fault.content, fault.finish_reason, fault.refusal)
        log.served[question.text] += 1
        return 200, reply_of(question, content)

    return batched


def question_in(api: Api, body: bytes, models: Mapping[str, Mapping[str, str]]) -> Question:
    """What is asked about; the last message of the user with a text between markers counts, as examples come before it and a repair after."""
    try:
        asked: Any = orjson.loads(body)
        model = asked["model"]
        contents = [message["content"] for message in asked["messages"] if message["role"] == "user"]
        room = asked.get("max_tokens", 0)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise Unfit(400, "invalid_request", 'Expected a chat request with "model" and "messages".') from error
    if api == "anthropic_messages" and not room:
        raise Unfit(400, "invalid_request", "max_tokens: Field required")
    if not isinstance(model, str) or model not in models:
        names = ", ".join(sorted(models)) or "none"
        raise Unfit(404, "model_not_found", f"This is a recording. It has the models {names}; not {model!r}.")
    shown = (words for words in map(_words, reversed(contents)) if enclosed(words) is not None)
    message = next(shown, "")
    text, key = enclosed(message), asked_about(message)
    if text is None or key is None:
        raise Unfit(
            400, "not_our_prompt", "This is a recording. It answers prompts with a text between Stillhouse's markers."
        )
    room = room if isinstance(room, int) else 0
    cached = tokens_about(len(_words(asked.get("system")))) if api == "anthropic_messages" else 0
    return Question(api, model, text, key, tokens_about(len(body)), room, cached)


def _words(content: object) -> str:
    """The text of a message's content, which is a string, or a list of parts where a picture goes with it."""
    if isinstance(content, list):
        return "\n".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return content if isinstance(content, str) else ""


def recorded_reply(question: Question, models: Mapping[str, Mapping[str, str]]) -> str:
    said = models[question.model]
    content = said.get(question.key, said.get(question.text))
    if content is not None:
        return content
    start = question.text[:60] + ("…" if len(question.text) > 60 else "")
    raise Unfit(
        404,
        "no_recording",
        f"This is a recorded teacher, not a model: {question.model} has no recording of the text {start!r}. "
        "Only the messages it was recorded on can be asked.",
    )
