"""A JSON schema as a regular expression of its compact JSON: the grammar of structured output, for the model of these tests."""

import importlib
import json
from collections.abc import Mapping
from typing import Any

# It comes with transformers, has no stubs, and knows what may yet become a match.
regex: Any = importlib.import_module("regex")
_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]){0,80}"'
_NUMBER = r"-?(?:0|[1-9]\d{0,8})(?:\.\d{1,8})?"
_OF_TYPE = {
    "string": _STRING,
    "number": _NUMBER,
    "integer": r"-?(?:0|[1-9]\d{0,8})",
    "boolean": "true|false",
    "null": "null",
}
MOST_ENTRIES = 3  # of an array, so that every reply ends


def json_regex(schema: Mapping[str, Any]) -> str:
    """What the schemas of the prompts use: objects with all their keys in order, arrays, enums, anyOf, plain types."""
    if "enum" in schema:
        return _any(regex.escape(json.dumps(value, ensure_ascii=False)) for value in schema["enum"])
    if "anyOf" in schema:
        return _any(json_regex(part) for part in schema["anyOf"])
    if schema["type"] == "object":
        pairs = (f"{regex.escape(json.dumps(key))}:{json_regex(part)}" for key, part in schema["properties"].items())
        return r"\{" + ",".join(pairs) + r"\}"
    if schema["type"] == "array":
        entry = json_regex(schema["items"])
        return rf"\[(?:{entry}(?:,{entry}){{0,{MOST_ENTRIES - 1}}})?\]"
    return f"(?:{_OF_TYPE[schema['type']]})"


def _any(ways: Any) -> str:
    return "(?:" + "|".join(ways) + ")"
