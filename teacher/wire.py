"""The shape of OpenAI's chat API: the body of a request, and what can be read from a response without trusting it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from prompts.render import Message, Prompt

CHAT_PATH = "/chat/completions"
MODELS_PATH = "/models"
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]


@dataclass(frozen=True, slots=True)
class Asking:
    """What a request asks for beside its messages; only what this API is known to take."""

    max_tokens: int
    max_tokens_field: MaxTokensField = "max_tokens"
    temperature: float | None = 0.0
    n: int = 1
    top_logprobs: int = 0
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of a reply. `tokens` holds each token said with the logprobs of its alternatives."""

    content: str
    finish_reason: str
    refused: bool
    tokens: tuple[tuple[str, Mapping[str, float]], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int
    stated: bool  # False: estimated here, because the reply did not say


@dataclass(frozen=True, slots=True)
class ApiProblem:
    """What an error response says: its code, the parameter it names, and a text fit for a terminal."""

    code: str
    param: str
    message: str


def chat_body(model: str, prompt: Prompt, asking: Asking) -> bytes:
    """Canonical JSON: the same question has the same bytes, whenever it is asked."""
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
            "json_schema": {"name": "label", "strict": True, "schema": asking.schema},
        }
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def request_key(body: bytes, *, model: str, endpoint: str, variant: str, sample: int) -> str:
    """Names a question for good: equal keys may share one paid reply."""
    digest = hashlib.sha256(body)
    for part in (model, endpoint, variant, str(sample)):
        digest.update(b"\x1f" + part.encode())
    return digest.hexdigest()


def read_choices(body: bytes) -> tuple[Choice, ...]:
    """The answers in a reply; none if it is not the JSON we know."""
    choices = _mapping(_json(body)).get("choices")
    if not isinstance(choices, list):
        return ()
    return tuple(_choice(choice) for choice in choices if isinstance(choice, dict))


def read_usage(request: bytes, reply: bytes) -> Usage:
    """Tokens as the reply states them, or bytes/4 of both sides."""
    usage = _mapping(_mapping(_json(reply)).get("usage"))
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if isinstance(sent, int) and isinstance(received, int) and 0 <= sent < 10**9 and 0 <= received < 10**9:
        return Usage(sent, received, stated=True)
    said = sum(len(choice.content.encode("utf-8", "replace")) for choice in read_choices(reply))
    return Usage(tokens_about(len(request)), tokens_about(said), stated=False)


def tokens_about(byte_count: int) -> int:
    """The bytes/4 heuristic: right within about a third for English, and nothing more than that."""
    return (byte_count + 3) // 4


def read_problem(body: bytes) -> ApiProblem:
    """What an error response says, in any of the shapes servers use."""
    loaded = _json(body)
    error = _mapping(loaded).get("error", loaded)
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
    message = _mapping(choice.get("message"))
    content = message.get("content")
    finish = choice.get("finish_reason")
    return Choice(
        content=content if isinstance(content, str) else "",
        finish_reason=finish if isinstance(finish, str) else "",
        refused=bool(message.get("refusal")) or finish == "content_filter",
        tokens=_tokens(_mapping(choice.get("logprobs")).get("content")),
    )


def _tokens(content: object) -> tuple[tuple[str, Mapping[str, float]], ...]:
    tokens = []
    for entry in content if isinstance(content, list) else ():
        said = _mapping(entry).get("token")
        shown = _mapping(entry).get("top_logprobs")
        if not isinstance(said, str) or not isinstance(shown, list):
            continue
        top: dict[str, float] = {}
        for alternative in shown:
            token, logprob = _mapping(alternative).get("token"), _mapping(alternative).get("logprob")
            if isinstance(token, str) and isinstance(logprob, int | float):
                top[token] = float(logprob)
        tokens.append((said, top))
    return tuple(tokens)


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _one_line(text: str) -> str:
    """Server texts end in a terminal: no line breaks, no control characters, no novels."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:400]
