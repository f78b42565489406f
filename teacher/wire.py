"""The shapes of APIs: a request in the shape its teacher's API wants, and a reply read by the shape it has.

A reply tells by itself whose it is, so that whoever reads a stored one need not know who was asked.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from prompts.render import Message, Prompt
from stillhouse.settings import Teacher
from teacher.wire_anthropic import MESSAGES_PATH, VERSION, is_message, message_choice, message_usage, messages_body
from teacher.wire_decisions import (
    DECISIONS_PATH,
    SYSTEMONE_PATH,
    decision_choice,
    decisions_body,
    systemone_body,
)
from teacher.wire_shapes import (
    Asking,
    Choice,
    MaxTokensField,
    Usage,
    loaded,
    mapping,
    token_count,
    tokens_about,
)

__all__ = ["Asking", "Choice", "MaxTokensField", "Usage", "tokens_about"]  # and all that is defined here

CHAT_PATH = "/chat/completions"
MODELS_PATH = "/models"
IMAGE_TOKENS = 1_000  # of a picture, about: it is charged by its size, and sent as an address or as very many letters
_PATHS = {
    "openai_chat": CHAT_PATH,
    "openai_decisions": DECISIONS_PATH,
    "systemone": SYSTEMONE_PATH,
    "anthropic_messages": MESSAGES_PATH,
}


@dataclass(frozen=True, slots=True)
class ApiProblem:
    """What an error response says: its code, the parameter it names, and a text fit for a terminal."""

    code: str
    param: str
    message: str


def path_of(teacher: Teacher) -> str:
    """Where requests go, under `base_url`."""
    return _PATHS[teacher.api]


def body_of(teacher: Teacher, prompt: Prompt, asking: Asking) -> bytes:
    """The request in the shape of the teacher's API."""
    if asking.decide is not None:
        decided = systemone_body if teacher.api == "systemone" else decisions_body
        return decided(teacher.model, prompt, asking.decide)
    shaped = messages_body if teacher.api == "anthropic_messages" else chat_body
    return shaped(teacher.model, prompt, asking)


def key_headers(teacher: Teacher, key: str) -> dict[str, str]:
    """What says who is asking, and in which version of the API."""
    if teacher.api == "anthropic_messages":
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}
    return {"Authorization": f"Bearer {key}"} if key else {}


def chat_body(model: str, prompt: Prompt, asking: Asking) -> bytes:
    """Canonical JSON: the same question has the same bytes, whenever it is asked.

    The schema's keys stay in order: a server makes the model write them in that of the schema, label before confidence.
    """
    body: dict[str, object] = {
        "model": model,
        "messages": [{"role": message.role, "content": _content(message)} for message in prompt.messages],
        asking.max_tokens_field: asking.max_tokens,
    }
    if asking.temperature is not None:
        body["temperature"] = asking.temperature
    if asking.n > 1:
        body["n"] = asking.n
    if asking.top_logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = asking.top_logprobs
    if asking.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "label", "strict": True, "schema": orjson.Fragment(orjson.dumps(asking.schema))},
        }
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def tokens_asked(prompt: Prompt, asking: Asking) -> int:
    """About what limits count of a request: the tokens sent, and those of the reply at its longest."""
    sent = sum(tokens_about(len(message.content)) + IMAGE_TOKENS * bool(message.image) for message in prompt.messages)
    return sent + asking.max_tokens * asking.n


def request_key(body: bytes, *, model: str, endpoint: str, variant: str, sample: int) -> str:
    """Names a question for good: equal keys may share one paid reply."""
    digest = hashlib.sha256(body)
    for part in (model, endpoint, variant, str(sample)):
        digest.update(b"\x1f" + part.encode())
    return digest.hexdigest()


def read_choices(body: bytes) -> tuple[Choice, ...]:
    """The answers in a reply; none if it is not the JSON we know."""
    reply = mapping(loaded(body))
    if is_message(reply):
        return (message_choice(reply),)
    if (decision := decision_choice(reply)) is not None:
        return (decision,)
    choices = reply.get("choices")
    if not isinstance(choices, list):
        return ()
    return tuple(_choice(choice) for choice in choices if isinstance(choice, dict))


def read_usage(request: bytes, reply: bytes) -> Usage:
    """Tokens as the reply states them, or bytes/4 of both sides."""
    usage = mapping(mapping(loaded(reply)).get("usage"))
    sent, received = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
    if sent is not None and received is not None:
        cached = token_count(mapping(usage.get("prompt_tokens_details")).get("cached_tokens")) or 0
        return Usage(sent, received, stated=True, cache_read=min(cached, sent))
    if (stated := message_usage(usage)) is not None:
        return stated
    said = sum(len(choice.content.encode("utf-8", "replace")) for choice in read_choices(reply))
    return Usage(tokens_about(len(request)), tokens_about(said), stated=False)


def read_problem(body: bytes) -> ApiProblem:
    """What an error response says, in any of the shapes servers use."""
    answer = loaded(body)
    error = mapping(answer).get("error", answer)
    if isinstance(error, dict):
        texts = {key: error.get(key) for key in ("code", "type", "param", "message", "detail")}
        code = str(texts["code"] or texts["type"] or "")
        message = str(texts["message"] or texts["detail"] or "")
        return ApiProblem(code, str(texts["param"] or ""), _one_line(message))
    text = error if isinstance(error, str) else body[:400].decode("utf-8", "replace")
    return ApiProblem("", "", _one_line(text))


def _content(message: Message) -> str | list[dict[str, object]]:
    if not message.image:
        return message.content
    return [
        {"type": "text", "text": message.content},
        {"type": "image_url", "image_url": {"url": message.image}},
    ]


def _choice(choice: Mapping[str, Any]) -> Choice:
    message = mapping(choice.get("message"))
    content = message.get("content")
    finish = choice.get("finish_reason")
    return Choice(
        content=content if isinstance(content, str) else "",
        finish_reason=finish if isinstance(finish, str) else "",
        refused=bool(message.get("refusal")) or finish == "content_filter",
        tokens=_tokens(mapping(choice.get("logprobs")).get("content")),
    )


def _tokens(content: object) -> tuple[tuple[str, Mapping[str, float]], ...]:
    tokens = []
    for entry in content if isinstance(content, list) else ():
        said = mapping(entry).get("token")
        shown = mapping(entry).get("top_logprobs")
        if not isinstance(said, str) or not isinstance(shown, list):
            continue
        top: dict[str, float] = {}
        for alternative in shown:
            token, logprob = mapping(alternative).get("token"), mapping(alternative).get("logprob")
            if isinstance(token, str) and isinstance(logprob, int | float):
                top[token] = float(logprob)
        tokens.append((said, top))
    return tuple(tokens)


def _one_line(text: str) -> str:
    """Server texts end in a terminal: no line breaks, no control characters, no novels."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:400]
