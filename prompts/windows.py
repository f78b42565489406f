"""Texts longer than a teacher can take: cut into windows at the ends of lines and sentences, read one by one, merged."""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prompts.parse import Reading
from stillhouse.records import CharSpan, Item, Value, VoteStatus
from stillhouse.task import KindName

WINDOW_TOKENS = 6_000
BYTES_A_TOKEN = 4
OVERLAP = 0.1  # of a window that the next one repeats: a span at its end is whole in one of them
_ENDS = (re.compile(r"\n+"), re.compile(r"[.!?。！？…]+[\"'”’)\]]*\s+|[。！？]"), re.compile(r"\s+"))


def windows(text: str, max_tokens: int) -> list[CharSpan]:
    """Overlapping stretches of about `max_tokens` (bytes/4) at most, which cover the text; one if it fits.

    A window ends after a line, else after a sentence, else after a word, in its last third; else in mid-word.
    """
    most = max(8, max_tokens * BYTES_A_TOKEN)
    sizes = [0]
    for char in text:
        sizes.append(sizes[-1] + (1 if char < "\x80" else len(char.encode("utf-8", "surrogatepass"))))
    found: list[CharSpan] = []
    start = 0
    while True:
        end = max(start + 1, bisect_right(sizes, sizes[start] + most) - 1)
        if end >= len(text):
            found.append((start, len(text)))
            return found
        end = _end_before(text, start + 2 * (end - start) // 3, end)
        found.append((start, end))
        # The next window begins at a good place within the overlap, and never where this one began.
        start = max(start + 1, _end_before(text, end - int((end - start) * OVERLAP), end, first=True))


def windows_of(item: Item, max_tokens: int) -> list[tuple[int, Item]]:
    """The item's windows as items of their own, each with its offset in the text; itself alone if it fits.

    Given tokens go with the window they are in. Of an item with a focus only the windows that hold it count.
    """
    cut = windows(item.text, max_tokens)
    if len(cut) == 1:
        return [(0, item)]
    parts = []
    for start, end in cut:
        if item.focus is not None and not start <= item.focus[0] < item.focus[1] <= end:
            continue
        tokens = item.tokens and tuple((a - start, b - start) for a, b in item.tokens if start <= a and b <= end)
        focus = item.focus and (item.focus[0] - start, item.focus[1] - start)
        parts.append((start, replace(item, text=item.text[start:end], tokens=tokens, focus=focus)))
    return parts or [(0, item)]


def merge(kind: KindName, item: Item, parts: Sequence[tuple[int, Item]], readings: Sequence[Reading]) -> Reading:
    """The reading of a whole item from those of its windows; findings say how many there were.

    single_label: the mean; multi_label: each label's highest chance; spans: all, in characters of the item's text, one
    of those that overlap under one label; tokens: the first tag a token got; fields: the first value, or all of them
    where there may be many. A window that cannot be read makes the reading of labels and spans "repaired".
    """
    if len(readings) == 1:
        return readings[0]
    usable = [(*part, reading) for part, reading in zip(parts, readings, strict=True) if reading.usable]
    findings = sum((Counter(reading.findings) for reading in readings), Counter[str]())
    findings["windows"] = len(readings)
    if not usable:
        return replace(readings[0], findings=dict(findings))
    clean = len(usable) == len(readings) and all(reading.status == "ok" for _, _, reading in usable)
    status: VoteStatus = "ok" if clean else "repaired"
    origin = usable[0][2].origin
    if kind in {"single_label", "multi_label"}:
        columns = list(zip(*(reading.probs for _, _, reading in usable), strict=True))
        single = kind == "single_label"
        probs = tuple(math.fsum(column) / len(usable) if single else max(column) for column in columns)
        return Reading(probs, max(0.0, 1.0 - math.fsum(probs)) if single else 0.0, origin, status, None, dict(findings))
    said = [(start, part, reading.value) for start, part, reading in usable]
    return Reading((), 0.0, origin, status, _merged(kind, item, said), dict(findings))


def _merged(kind: KindName, item: Item, said: Sequence[tuple[int, Item, Value | None]]) -> Value:
    if kind == "fields":
        return _fields([value for _, _, value in said if isinstance(value, dict)])
    lists = [(start, part, value) for start, part, value in said if isinstance(value, list)]
    return _tags(item, lists) if kind == "tokens" else _spans(lists)


def _spans(said: Sequence[tuple[int, Item, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Of two spans of one label that overlap the longer stays: the other was cut by the end of its window."""
    moved = [
        {**span, "start": span["start"] + start, "end": span["end"] + start}
        for start, _, spans in said
        for span in spans
    ]
    moved.sort(key=lambda span: (span["start"] - span["end"], span["start"], span["label"]))
    kept: list[dict[str, Any]] = []
    for span in moved:
        if not any(_overlap(span, other) and span["label"] == other["label"] for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: (span["start"], span["end"], span["label"]))


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["start"] < other["end"] and other["start"] < one["end"])


def _tags(item: Item, said: Sequence[tuple[int, Item, list[Any]]]) -> list[Any]:
    at = {token: number for number, token in enumerate(item.tokens or ())}
    tags: list[Any] = [None] * len(at)
    for start, part, values in said:
        for (a, b), tag in zip(part.tokens or (), values, strict=True):
            number = at[a + start, b + start]
            tags[number] = tag if tags[number] is None else tags[number]
    return tags


def _fields(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for value in values:
        for name, said in value.items():
            known = merged.get(name)
            if isinstance(known, list) and isinstance(said, list):
                merged[name] = [*known, *(one for one in said if one not in known)]
            elif known is None:
                merged[name] = said
    return merged


def _end_before(text: str, low: int, high: int, *, first: bool = False) -> int:
    """The last good place to cut in low to high, or the first, or else high."""
    for pattern in _ENDS:
        ends = [found.end() for found in pattern.finditer(text, low, high)]
        if ends:
            return ends[0] if first else ends[-1]
    return high
