"""Anthropic's messages API: the body of a request, and what its replies say.

Source: the API's reference and the types of its Python SDK (usage, stop_reason, output_config). It has no logprobs and
one answer a call.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from prompts.render import Message, Prompt
from teacher.wire_shapes import CACHE_READ, Asking, Choice, Usage, mapping, token_count

MESSAGES_PATH = "/messages"
VERSION = "2023-06-01"
# Bounds that a schema of this API may not state; the parser checks them anyway.
UNSTATED = frozenset({"minimum", "maximum", "multipleOf", "minLength", "maxLength", "maxItems", "minItems"})
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def messages_body(model: str, prompt: Prompt, asking: Asking) -> bytes:
    """Canonical JSON, but for the schema's keys, which stay in order (see `teacher.wire.chat_body`). The system text, the
    same for every item of a task, is marked for the cache.
    """
    system = "\n\n".join(message.content for message in prompt.messages if message.role == "system")
    body: dict[str, object] = {
        "model": model,
        "max_tokens": asking.max_tokens,
        "messages": [
            {"role": message.role, "content": _content(message)}
            for message in prompt.messages
            if message.role != "system"
        ],
    }
    if system:
        body["system"] = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
    if asking.temperature is not None:
        body["temperature"] = asking.temperature
    if asking.schema is not None:
        body["output_config"] = {
            "format": {"type": "json_schema", "schema": orjson.Fragment(orjson.dumps(_schema(asking.schema)))}
        }
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def is_message(reply: Mapping[str, Any]) -> bool:
    return reply.get("type") == "message" and isinstance(reply.get("content"), list)


def message_choice(reply: Mapping[str, Any]) -> Choice:
    """The one answer of a message: its text blocks, as thinking is not meant for the reader."""
    blocks = [mapping(block) for block in reply["content"]]
    texts = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    stopped = reply.get("stop_reason")
    finish = _FINISH.get(stopped, stopped) if isinstance(stopped, str) else ""
    return Choice("".join(texts), finish, refused=finish == "content_filter")


def message_usage(usage: Mapping[str, Any]) -> Usage | None:
    """Tokens as the reply states them; what was cached is not in its `input_tokens`."""
    sent, received = token_count(usage.get("input_tokens")), token_count(usage.get("output_tokens"))
    if sent is None or received is None:
        return None
    written = token_count(usage.get("cache_creation_input_tokens")) or 0
    read = token_count(usage.get("cache_read_input_tokens")) or 0
    return Usage(
        sent + written + read, received, stated=True, cache_written=written, cache_read=read, read_share=CACHE_READ
    )


def _content(message: Message) -> str | list[dict[str, object]]:
    if not message.image:
        return message.content
    return [{"type": "image", "source": _source(message.image)}, {"type": "text", "text": message.content}]


def _source(address: str) -> dict[str, str]:
    """A data: address carries the picture itself, which this API takes apart from its type."""
    head, comma, data = address.partition(",")
    if address.startswith("data:") and comma and head.endswith(";base64"):
        return {"type": "base64", "media_type": head.removeprefix("data:").removesuffix(";base64"), "data": data}
    return {"type": "url", "url": address}


def _schema(schema: object, *, names: bool = False) -> object:
    """The schema without the bounds; `names` for the level of a schema whose keys are names of properties."""
    if isinstance(schema, Mapping):
        return {
            key: _schema(value, names=key in {"properties", "$defs"} and not names)
            for key, value in schema.items()
            if names or key not in UNSTATED
        }
    return [_schema(part) for part in schema] if isinstance(schema, list | tuple) else schema
