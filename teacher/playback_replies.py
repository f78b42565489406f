"""The replies and errors of the recorded teacher, in the shape of the API that was asked."""

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from teacher.wire import tokens_about

Api = Literal["openai_chat", "anthropic_messages"]
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Question:
    """`key` has the text, and the pair and predicate of the prompt (see `prompts.delimit`)."""

    api: Api
    model: str
    text: str
    key: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # of the input, what the prompt marks for the cache


def reply_of(question: Question, content: str | None, finish_reason: str = "stop", refusal: str | None = None) -> bytes:
    """The reply to a question, in the shape of its API."""
    shaped = _message if question.api == "anthropic_messages" else _completion
    return orjson.dumps(shaped(question, content, finish_reason, refusal))


def without_answer(body: bytes) -> bytes:
    """The same reply with nothing in it."""
    reply = orjson.loads(body)
    return orjson.dumps({**reply, ("content" if reply.get("type") == "message" else "choices"): []})


def error_of(api: Api, status: int, code: str, message: str) -> dict[str, Any]:
    """An error's body; Anthropic's names its kind only, so a code of our own goes in its place where there is one."""
    if api == "anthropic_messages":
        kind = "no_recording" if code == "no_recording" else _ERROR_TYPES.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "recording"}
    return {"error": {"message": message, "type": "recording", "param": None, "code": code}}


def _completion(question: Question, content: str | None, finish_reason: str, refusal: str | None) -> dict[str, Any]:
    output_tokens = tokens_about(len((content or "").encode()))
    return {
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


def _message(question: Question, content: str | None, finish_reason: str, refusal: str | None) -> dict[str, Any]:
    return {
        "id": "recording",
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": [] if content is None else [{"type": "text", "text": content}],
        "stop_reason": "refusal" if refusal else _STOP_REASONS.get(finish_reason, finish_reason),
        "stop_sequence": None,
        "usage": {
            "input_tokens": question.input_tokens - question.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": question.cached_tokens,
            "output_tokens": tokens_about(len((content or "").encode())),
        },
    }
