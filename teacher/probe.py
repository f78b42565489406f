"""Finding out with one tiny call what an API honours, silently ignores, or refuses."""

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from prompts.render import Message, Prompt
from stillhouse.errors import TeacherError
from stillhouse.ledger import StoredReply
from stillhouse.settings import DECISION_APIS
from teacher.calls import Call, Calls, RejectedError, worst_usd
from teacher.capabilities import (
    DECIDES,
    MOST_TOP_LOGPROBS,
    RECORDED,
    Capabilities,
    Finding,
    capabilities_from_json,
    endpoint_of,
    memory_key,
)
from teacher.transport import TransportError, get, redacted
from teacher.wire import MODELS_PATH, Asking, body_of, read_choices, request_key, tokens_asked

PROBE_ITEM = "(probe)"
FEWER_TOP_LOGPROBS = 5  # the most that some APIs show
_QUESTION = Prompt((Message("user", "Is ice cold? Answer with one word."),), "probe", "verbalised")
_SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["label"],
    "additionalProperties": False,
}
_EVERYTHING = Asking(max_tokens=16, temperature=0.7, n=2, top_logprobs=MOST_TOP_LOGPROBS, schema=_SCHEMA)
_ALL_OF_MESSAGES = Asking(max_tokens=16, temperature=0.7, schema=_SCHEMA)  # that API has neither n nor logprobs


async def capabilities_of(calls: Calls, memory: MutableMapping[str, Any]) -> Capabilities:
    """From memory, else by asking; what is found out is remembered."""
    teacher = calls.teacher
    if teacher.recording is not None:
        return RECORDED
    if teacher.api in DECISION_APIS:
        memory[memory_key(teacher)] = DECIDES.to_json()  # so that whoever looks sees that nothing is left to find out
        return DECIDES
    stored = memory.get(memory_key(teacher))
    known = capabilities_from_json(stored) if isinstance(stored, dict) else None
    if known is None:
        known = RECORDED if await _says_recorded(calls) else await _probe(calls)
        memory[memory_key(teacher)] = known.to_json()
    return known


async def _says_recorded(calls: Calls) -> bool:
    """Whether /v1/models marks this model as a recording; a server without that page is simply not one."""
    try:
        response = await get(calls.session, calls.teacher.base_url.rstrip("/") + MODELS_PATH)
        listed = orjson.loads(response.body)["data"]
        return any(
            entry["id"] == calls.teacher.model and entry.get("stillhouse", {}).get("recorded") is True
            for entry in listed
        )
    except (TransportError, orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return False


@dataclass(frozen=True, slots=True)
class _Refused:
    """Which parts of the request had to be taken out before the API took it."""

    asking: Asking
    parts: frozenset[str] = frozenset()


async def _probe(calls: Calls) -> Capabilities:
    messages = calls.teacher.api == "anthropic_messages"
    state = _Refused(_ALL_OF_MESSAGES if messages else _EVERYTHING)
    while True:
        try:
            reply = await calls.reply(_call(calls, state.asking))
        except RejectedError as error:
            lesser = _less(state, f"{error.problem.param} {error.problem.message}".lower(), one_room=messages)
            if lesser is None:
                raise TeacherError(
                    f"teacher {calls.teacher.name}: the API refuses the simplest request",
                    expected=f"a reply of {calls.teacher.model} from {calls.teacher.base_url}",
                    found=redacted(error.said, calls.teacher),
                    fix="correct model and base_url of this teacher in task.toml",
                ) from error
            state = lesser
        else:
            return _found(reply, state)


def _call(calls: Calls, asking: Asking) -> Call:
    body = body_of(calls.teacher, _QUESTION, asking)
    key = request_key(body, model=calls.teacher.model, endpoint=endpoint_of(calls.teacher), variant="probe", sample=0)
    cost = worst_usd(calls.price, calls.teacher, body, len(_QUESTION.messages), asking.max_tokens * asking.n)
    return Call(key, body, PROBE_ITEM, cost, tokens_asked(_QUESTION, asking))


def _less(state: _Refused, complaint: str, *, one_room: bool = False) -> _Refused | None:
    """The request without the part the API complains of; where it names none, without the most exotic one left.

    `one_room`: there is no other name for max_tokens to try.
    """
    asking = state.asking
    present = {
        "top_logprobs": asking.top_logprobs > 0,
        "logprobs": asking.top_logprobs > 0,
        "response_format": asking.schema is not None,
        "max_tokens": asking.max_tokens_field == "max_tokens" and not one_room,
        "temperature": asking.temperature is not None,
        "n": asking.n > 1,
    }
    words = set(complaint.replace("'", " ").replace('"', " ").replace("`", " ").replace(",", " ").split())
    aliases = {"response_format": {"response_format", "json_schema", "schema", "output_config", "output_config.format"}}
    named = [part for part, there in present.items() if there and words & aliases.get(part, {part})]
    left = named or [p for p in ("response_format", "top_logprobs", "n", "temperature", "max_tokens") if present[p]]
    if not left:
        return None
    part = left[0]
    if part == "top_logprobs" and asking.top_logprobs > FEWER_TOP_LOGPROBS:
        return replace(state, asking=replace(asking, top_logprobs=FEWER_TOP_LOGPROBS))
    without = {
        "top_logprobs": replace(asking, top_logprobs=0),
        "logprobs": replace(asking, top_logprobs=0),
        "response_format": replace(asking, schema=None),
        "max_tokens": replace(asking, max_tokens_field="max_completion_tokens"),
        "temperature": replace(asking, temperature=None),
        "n": replace(asking, n=1),
    }
    return _Refused(without[part], state.parts | {"logprobs" if part == "top_logprobs" else part})


def _found(reply: StoredReply, state: _Refused) -> Capabilities:
    choices = read_choices(reply.body)
    top = max((len(tops) for choice in choices for _, tops in choice.tokens), default=0)
    structured = bool(choices) and _is_answer(choices[0].content)

    def finding(part: str, *, seen: bool) -> Finding:
        return "refused" if part in state.parts else "honoured" if seen else "ignored"

    return Capabilities(
        logprobs=finding("logprobs", seen=top > 0),
        n=finding("n", seen=len(choices) > 1),
        response_format=finding("response_format", seen=structured),
        temperature=finding("temperature", seen=True),  # whether it does anything cannot be told from one reply
        top_logprobs=state.asking.top_logprobs,
        max_tokens_field=state.asking.max_tokens_field,
    )


def _is_answer(content: str) -> bool:
    try:
        return orjson.loads(content) in ({"label": "yes"}, {"label": "no"})
    except orjson.JSONDecodeError:
        return False
