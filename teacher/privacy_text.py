"""A text with pieces of it exchanged: what it reads like, and which character of the one is which of the other."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stillhouse.records import CharSpan


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters `start` to `end` of the text as it was, and what stands in their place."""

    start: int
    end: int
    surrogate: str


@dataclass(frozen=True)
class Rewritten:
    """`pieces` are in order and do not overlap; `entities` are the spans of `original` that they are parts of."""

    original: str
    pieces: tuple[Piece, ...] = ()
    entities: tuple[CharSpan, ...] = field(default=())

    @cached_property
    def text(self) -> str:
        if not self.pieces:
            return self.original
        parts, at = [], 0
        for piece in self.pieces:
            parts += [self.original[at : piece.start], piece.surrogate]
            at = piece.end
        return "".join([*parts, self.original[at:]])

    def to(self, start: int, end: int) -> CharSpan:
        """Where a span of the original stands in the rewritten text; one that begins or ends within a piece has all of it."""
        return _moved(self._before, self._after, start, end)

    def back(self, start: int, end: int) -> CharSpan:
        """Where a span of the rewritten text stands in the original; one that begins or ends within a piece has all of it."""
        return _moved(self._after, self._before, start, end)

    def changed(self, start: int, end: int) -> bool:
        """Whether a span of the rewritten text has a surrogate in it, or a part of one."""
        return any(a < end and start < b for a, b in self._after)

    @cached_property
    def _before(self) -> list[CharSpan]:
        return [(piece.start, piece.end) for piece in self.pieces]

    @cached_property
    def _after(self) -> list[CharSpan]:
        spans, shift = [], 0
        for piece in self.pieces:
            start = piece.start + shift
            spans.append((start, start + len(piece.surrogate)))
            shift += len(piece.surrogate) - (piece.end - piece.start)
        return spans


def _moved(here: Sequence[CharSpan], there: Sequence[CharSpan], start: int, end: int) -> CharSpan:
    first = bisect_right(here, start, key=lambda span: span[0]) - 1  # the last piece that begins at `start` or before
    last = bisect_right(here, end - 1, key=lambda span: span[0]) - 1
    if first >= 0 and start < here[first][1]:
        new_start = there[first][0]
    else:
        new_start = start + (there[first][1] - here[first][1] if first >= 0 else 0)
    if last >= 0 and end <= here[last][1]:
        new_end = there[last][1]
    else:
        new_end = end + (there[last][1] - here[last][1] if last >= 0 else 0)
    return new_start, max(new_end, new_start)
