"""Marker lines around a text of the pool, which that text cannot forge."""

import hashlib
import re

TAG_DIGITS = 10
_ENCLOSED = re.compile(rf"<text-([0-9a-f]{{{TAG_DIGITS}}})>\n(.*)\n</text-\1>", re.DOTALL)


def sendable(text: str) -> str:
    """The text as UTF-8 can carry it: half a surrogate pair, which JSON files may hold, becomes U+FFFD."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def tag_of(text: str, digits: int = TAG_DIGITS) -> str:
    """A tag derived from the text that does not occur in it; the same text has the same tag, so replies are reusable.

    A short hash alone could be forged by search; going on to the next hash while the text contains the tag cannot.
    """
    folded = text.casefold()
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{attempt}\x1f{text}".encode("utf-8", "surrogatepass")).hexdigest()[:digits]
        if digest not in folded:
            return digest
        attempt += 1


def enclose(text: str) -> str:
    """The text between two marker lines."""
    text = sendable(text)
    tag = tag_of(text)
    return f"<text-{tag}>\n{text}\n</text-{tag}>"


def enclosed(message: str) -> str | None:
    """The exact text that `enclose` put into a message, or None if there is none."""
    found = _ENCLOSED.search(message)
    if found is None or tag_of(found.group(2)) != found.group(1):
        return None
    return found.group(2)
