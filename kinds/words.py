"""Words of a text in any script as character spans: the units of tasks that mark spans and have no given tokens."""

import itertools
import re
import unicodedata
from functools import lru_cache

import numpy as np

from kinds.kind import Spans

_ZWJ = "\u200d"
# Scripts written without spaces: each character (with its marks) is a unit, or a whole sentence would be one.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x31FF),  # CJK radicals, kana, bopomofo
    (0x3400, 0x9FFF),  # CJK
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width kana
    (0x20000, 0x323AF),
)
_FLAG = (0x1F1E6, 0x1F1FF)  # two of these are one flag
_SKIN = (0x1F3FB, 0x1F3FF)
# Nothing attaches across white space, so a text is read in stretches that end there: as much ASCII as there is, which has
# nothing that attaches and needs no look at each character, or else one word.
_STRETCHES = re.compile(r"[\x00-\x7f]+(?:(?<=\s)|\Z)|\S+")
_ASCII = re.compile(r"[A-Za-z]+|[0-9]+|[!-/:-@\[-`{-~]")


def word_spans(text: str) -> Spans:
    """(u, 2): runs of letters, runs of digits, and every other visible character by itself.

    What a reader sees as one character stays whole: marks, joiners, variation selectors, skin tones and flags belong to
    what they follow (after Unicode Annex 29, without its tables). White space and controls are in no unit.
    """
    spans: list[tuple[int, int]] = []
    for stretch in _STRETCHES.finditer(text):
        start, end = stretch.span()
        if text[start:end].isascii():
            spans += [found.span() for found in _ASCII.finditer(text, start, end)]
        else:
            spans += _any_script(text, start, end)
    return np.fromiter(itertools.chain.from_iterable(spans), np.int64, 2 * len(spans)).reshape(-1, 2)


def _any_script(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The units of a stretch of the text, character by character."""
    spans: list[tuple[int, int]] = []
    run = ""  # what the unit that is open can be continued with: "letter", "digit", "flag" or nothing
    joined = False
    for at in range(start, end):
        char = text[at]
        kind = _kind(char)
        if kind == "space":
            run, joined = "", False
            continue
        attached = bool(spans) and spans[-1][1] == at
        if attached and (kind == "mark" or joined or (run and kind == run)):
            spans[-1] = spans[-1][0], at + 1
            joined = char == _ZWJ
            run = "" if run == "flag" and kind == "flag" else run
            continue
        if kind == "mark" and unicodedata.category(char) in {"Cf", "Cc"}:
            run = ""  # a joiner or a direction mark with nothing before it shows nothing
            continue
        spans.append((at, at + 1))
        run, joined = (kind if kind in {"letter", "digit", "flag"} else ""), False
    return spans


@lru_cache(maxsize=2**14)
def _kind(char: str) -> str:
    code, category = ord(char), unicodedata.category(char)
    if category[0] == "M" or category == "Cf" or _SKIN[0] <= code <= _SKIN[1]:
        return "mark"
    if char.isspace() or category[0] in "ZC":
        return "space"
    if _FLAG[0] <= code <= _FLAG[1]:
        return "flag"
    if category[0] == "L":
        return "single" if any(low <= code <= high for low, high in _UNSPACED) else "letter"
    return "digit" if category[0] == "N" else "single"
