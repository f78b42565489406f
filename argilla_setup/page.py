"""Text and spans as Argilla's page has them: it puts a text in as HTML and counts UTF-16 units, not characters.

So of "if a<b then c > d" a person would see "if a d"; behind an emoji or a carriage return every span would be off, and
the server, which counts characters, would refuse one near the end. Therefore such characters travel as character
references: the page shows them as they are, and what the server holds is never shorter than what the page counts.
"""

import bisect
import html
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

_READ_OTHERWISE = re.compile("[&<>\r\U00010000-\U0010ffff]")


def as_html(text: str) -> str:
    """The text so that a page shows it to the letter; a null character, which HTML has not, becomes U+FFFD."""
    return _READ_OTHERWISE.sub(lambda found: f"&#{ord(found[0])};", text.replace("\0", "\ufffd"))


def from_html(text: str) -> str:
    return html.unescape(text)


def spans_on_page(text: str, spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Spans in characters as spans in UTF-16 units."""
    at = _units(text)
    return [{"start": at[span["start"]], "end": at[span["end"]], "label": span["label"]} for span in spans]


def spans_in_text(text: str, spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The other way round. One that cuts a character in two has all of it; nothing reaches beyond the text."""
    at = _units(text)
    return [
        {
            "start": max(bisect.bisect_right(at, span["start"]) - 1, 0),
            "end": min(bisect.bisect_left(at, span["end"]), len(text)),
            "label": span["label"],
        }
        for span in spans
    ]


def _units(text: str) -> Sequence[int]:
    """Where each character begins, in UTF-16 units, and where the text ends."""
    if not text or max(text) <= "\uffff":
        return range(len(text) + 1)
    return [0, *itertools.accumulate(2 if char > "\uffff" else 1 for char in text)]
