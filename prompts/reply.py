"""What replies of every kind have in common: thoughts before the answer, refusals, JSON among words, a confidence."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

CHARS_READ = 20_000
LONGEST_READ = 200_000  # of replies that repeat a text
OBJECTS_TRIED = 64
NOTHING = frozenset({"", "none", "null", "n/a", "na"})
REFUSAL = re.compile(
    r"^\W{0,4}(?:i['’]?m sorry|i am sorry|sorry,|i can(?:no|['’])t |i can not |i['’]?m unable|i am unable|i won['’]t )",
    re.IGNORECASE,
)
_THINKING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_NUMBER = re.compile(r"\s*(\d{1,3}(?:\.\d{1,12})?|\.\d{1,12})\s*(%?)\s*")


def without_thinking(text: str, most: int = CHARS_READ) -> tuple[str, bool]:
    """Reasoning models may think aloud before they answer; an unclosed thought has no answer after it."""
    text = text[:most]
    answer = _THINKING.sub("", text, count=1)
    if answer.lstrip().startswith("<think>"):
        return "", True
    return answer, answer != text


def confidence_of(value: object) -> float | None:
    percent = False
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value)
        if found is None:
            return None
        value, percent = float(found.group(1)), bool(found.group(2))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if percent and 0 <= value <= 100:
        return float(value) / 100
    if 0 <= value <= 1:
        return float(value)
    return float(value) / 100 if 10 < value <= 100 else None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant)


@dataclass(frozen=True, slots=True)
class Found:
    value: Mapping[str, object]
    whole: bool


def only_object(text: str, keys: set[str], spell: Callable[[str], str] = str.casefold) -> Found | None:
    """The only JSON object in a reply that has one of the keys, spelled by `spell`; None if there is none, or two that differ."""
    stripped = text.strip()
    found: list[Found] = []
    at, tried = 0, 0
    while (at := stripped.find("{", at)) >= 0 and tried < OBJECTS_TRIED:
        tried += 1
        try:
            value, end = DECODER.raw_decode(stripped, at)
        except (ValueError, RecursionError):
            if stripped[at + 1 :].lstrip()[:1] == '"':
                return None  # a broken object: its inside could be anything
            at += 1
            continue
        if {spell(name) for name in value} & keys and all(value != other.value for other in found):
            found.append(Found(value, at == 0 and end == len(stripped)))
        at = end
    return found[0] if len(found) == 1 else None
