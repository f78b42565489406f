"""Texts as two people would call them the same: case, Unicode forms, quotes, white space, with the way back."""

import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass

from stillhouse.records import CharSpan

_SAME = str.maketrans(
    {**dict.fromkeys("‘’‚‛`´ʼ′", "'"), **dict.fromkeys("“”„‟«»″", '"'), **dict.fromkeys("‐‑‒–—―−", "-")}
)
# Scripts written without spaces: every character is a word, or a whole sentence would be one.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text, where each of its characters was (`starts`, `ends`), and its words as spans of `text`."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    tokens: tuple[CharSpan, ...]

    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.tokens]

    def within(self, start: int, end: int) -> range:
        """The folded characters that come from original characters start to end."""
        return range(bisect_left(self.starts, start), bisect_left(self.starts, end))

    def back(self, start: int, end: int) -> CharSpan:
        """A span of the folded text as one of the original; it must not be empty."""
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """NFKC and casefold of each character with its marks; runs of white space are one blank; what shows nothing is gone."""
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < len(text):
        start = at
        at += 1
        while at < len(text) and unicodedata.category(text[at])[0] == "M":
            at += 1
        for char in _folded(text[start:at]):
            if char == " " and out and out[-1] == " ":
                ends[-1] = at
                continue
            out.append(char)
            starts.append(start)
            ends.append(at)
    folded = "".join(out)
    return Folded(folded, tuple(starts), tuple(ends), tuple(found.span() for found in _TOKEN.finditer(folded)))


def _folded(cluster: str) -> str:
    if cluster.isascii():
        return " " if cluster.isspace() or cluster < " " else cluster.lower()
    if unicodedata.category(cluster[0]) == "Cf":
        return ""
    form = unicodedata.normalize("NFKC", cluster.translate(_SAME)).casefold()
    return "".join(" " if char.isspace() else char for char in form)
