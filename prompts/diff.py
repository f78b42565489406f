"""Which parts of two sequences are the same, in order: unique elements first, difflib in what lies between."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

# Pairs of equal elements that difflib may look at in one gap: about a second; beyond that a gap stays unmatched.
MOST_WORK = 4_000_000
_Block = tuple[int, int, int]


def same_parts(a: Sequence[str], b: Sequence[str]) -> list[_Block]:
    """Blocks (start in a, start in b, length), in order and without overlap.

    Patience diff (Cohen): the elements that occur once on both sides, in the longest order they share, split both
    sequences into gaps. Memory is linear in the lengths.
    """
    done: list[_Block] = []
    gaps = [(0, len(a), 0, len(b))]
    while gaps:
        alo, ahi, blo, bhi = gaps.pop()
        start = 0
        while alo + start < ahi and blo + start < bhi and a[alo + start] == b[blo + start]:
            start += 1
        if start:
            done.append((alo, blo, start))
        alo, blo = alo + start, blo + start
        end = 0
        while ahi - end > alo and bhi - end > blo and a[ahi - end - 1] == b[bhi - end - 1]:
            end += 1
        ahi, bhi = ahi - end, bhi - end
        if end:
            done.append((ahi, bhi, end))
        if alo == ahi or blo == bhi:
            continue
        anchors = _anchors(a[alo:ahi], b[blo:bhi], 1)
        if not anchors and work(a[alo:ahi], b[blo:bhi]) > MOST_WORK:
            anchors = _anchors(a[alo:ahi], b[blo:bhi], 3)
        if not anchors:
            done += ((alo + i, blo + j, n) for i, j, n in blocks_of(a[alo:ahi], b[blo:bhi]))
            continue
        edges = [(0, 0), *anchors, (ahi - alo, bhi - blo)]
        gaps += [(alo + i, alo + k, blo + j, blo + m) for (i, j), (k, m) in pairwise(edges)]
    return sorted(done)


def work(a: Sequence[str], b: Sequence[str]) -> int:
    """How many pairs of equal elements there are: what difflib has to look at."""
    there = Counter(b)
    return sum(count * there[element] for element, count in Counter(a).items())


def blocks_of(a: Sequence[str], b: Sequence[str]) -> Iterator[_Block]:
    """The matching blocks of difflib, or none where they would take too long."""
    if work(a, b) <= MOST_WORK:
        for block in SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks():
            if block.size:
                yield block.a, block.b, block.size


def _anchors(a: Sequence[str], b: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Places where runs of `width` elements that occur once on both sides match, rising on both sides."""
    left, right = _once(a, width), _once(b, width)
    pairs = [(at, right[run]) for run, at in left.items() if run in right]
    pairs.sort()
    # The longest rising subsequence (Fredman 1975): `tails[n]` ends the best one of length n + 1.
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_, place) in enumerate(pairs):
        length = bisect_left(tails, place)
        before.append(ends[length - 1] if length else -1)
        if length == len(tails):
            tails.append(place)
            ends.append(number)
        else:
            tails[length], ends[length] = place, number
    chosen = []
    number = ends[-1] if ends else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = before[number]
    return chosen[::-1]


def _once(elements: Sequence[str], width: int) -> dict[tuple[str, ...], int]:
    runs = [tuple(elements[at : at + width]) for at in range(len(elements) - width + 1)]
    counts = Counter(runs)
    return {run: at for at, run in enumerate(runs) if counts[run] == 1}
