"""Marker lines around a text of the pool, which that text cannot forge."""

import hashlib
import re
from typing import Literal, get_args

TAG_DIGITS = 10
Part = Literal["text", "pair", "predicate", "tokens", "answer"]
_ASKED: tuple[Part, ...] = ("text", "pair", "predicate")  # in the order of a message
ATTEMPTS_CHECKED = 4  # of tags that were passed over because another part of the message had them
_ENCLOSED = {
    part: re.compile(rf"<{part}-([0-9a-f]{{{TAG_DIGITS}}})>\n(.*)\n</{part}-\1>", re.DOTALL) for part in get_args(Part)
}


def sendable(text: str) -> str:
    """The text as UTF-8 can carry it: half a surrogate pair, which JSON files may hold, becomes U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def tag_of(text: str, *others: str, digits: int = TAG_DIGITS) -> str:
    """A tag derived from the text that occurs neither in it nor in others; the same text has the same tag, so replies are
    reusable.

    A short hash alone could be forged by search; going on to the next hash while the text contains the tag cannot.
    """
    folded = [part.casefold() for part in (text, *others)]
    attempt = 0
    while any((digest := _digest(text, attempt, digits)) in part for part in folded):
        attempt += 1
    return digest


def enclose(text: str, *others: str, part: Part = "text") -> str:
    """The text between two marker lines, which `others` in the same message cannot forge either."""
    text = sendable(text)
    tag = tag_of(text, *others)
    return f"<{part}-{tag}>\n{text}\n</{part}-{tag}>"


def enclosed(message: str, part: Part = "text") -> str | None:
    """The exact text that `enclose` put into a message, or None if there is none."""
    found = _found(message, part)
    return None if found is None else found.group(2)


def asked_about(message: str) -> str | None:
    """What tells one question from another in a message: its text, and the pair and predicate that follow it.

    Each is looked for after the one before: a text may hold what looks like the markers of a pair.
    """
    said: dict[str, str] = {}
    rest = message
    for part in _ASKED:
        found = _found(rest, part)
        if found is not None:
            said[part], rest = found.group(2), rest[found.end() :]
        elif part == "text":
            return None
    return question_key(**said)


def _found(message: str, part: Part) -> re.Match[str] | None:
    found = _ENCLOSED[part].search(message)
    if found is None or found.group(1) in found.group(2).casefold():
        return None
    tags = (_digest(found.group(2), attempt, TAG_DIGITS) for attempt in range(ATTEMPTS_CHECKED))
    return found if found.group(1) in tags else None


def question_key(text: str, pair: str | None = None, predicate: str | None = None) -> str:
    """The text alone where there is nothing else, so that recordings of texts are found by their text."""
    parts = [text, *(f"{name}:{value}" for name, value in (("pair", pair), ("predicate", predicate)) if value)]
    return "\x1f".join(parts)


def _digest(text: str, attempt: int, digits: int) -> str:
    return hashlib.sha256(f"{attempt}\x1f{text}".encode("utf-8", "surrogatepass")).hexdigest()[:digits]
