"""Where in a text the words are that a teacher repeated, even if it changed some: found, or named why not, never guessed."""

import heapq
import re
from bisect import bisect_right
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Literal

from prompts.diff import blocks_of, same_parts
from prompts.fold import Folded, fold
from stillhouse.records import CharSpan

# unaligned: not in the text. ambiguous: in the text more than once. overlap: over another span. count_mismatch: more or
# fewer than were asked for. unknown_label: not one of the task's.
Finding = Literal["unaligned", "ambiguous", "overlap", "count_mismatch", "unknown_label"]

LEAST_LIKENESS = 0.7  # of a quote and the words it may stand for (difflib's ratio: 2 * same / both lengths)
CLEARLY_BETTER = 0.05  # two places whose likeness differs by less are both meant
LEAST_COVERED = 0.5  # of a tagged surface's characters that must be found in the text
MOST_COMPARED = 500  # places, those whose letters fit best: a text of one word over and over has thousands
LETTERS_COMPARED = 20_000  # of a quote, in all places together: letters that all look alike take the square of that
LONG_LETTERS = 400  # of a quote of few words, for the same reason
LONG_QUOTE = 24  # words, from which a diff with the whole text is surer than trying every place


def align_quote(text: str, quote: str, occurrence: int | None) -> CharSpan | Finding:
    """Where a quote stands in the text: its `occurrence`-th place from 1, or its only one.

    Exactly as written; else up to case, white space and Unicode forms; else the place most like it. A number that does
    not fit counts for nothing: then the quote must have one place only.
    """
    if not quote.strip():
        return "unaligned"
    for look, wanted in ((_exact, quote.strip()), (_alike, quote), (_fuzzy, quote)):
        places = look(text, wanted)
        if len(places) == 1:
            return places[0]
        if places:
            return places[occurrence - 1] if occurrence is not None and 1 <= occurrence <= len(places) else "ambiguous"
    return "unaligned"


def occurrence_of(text: str, span: CharSpan) -> int:
    """The number, from 1, by which `align_quote` finds these words at this place; 1 where no number would."""
    places = _exact(text, text[slice(*span)])
    return places.index(span) + 1 if span in places else 1


def align_tagged(text: str, tagged_plain: str, spans_in_tagged: Sequence[CharSpan]) -> list[CharSpan | Finding]:
    """Where spans of a text that a teacher wrote again stand in the true one; a result for each, in their order.

    Words are compared first (Myers-like, see `prompts.diff`), then the characters of what lies between; both folded, so
    that case, quotes and white space do not count.
    """
    if tagged_plain.strip() == text.strip():  # the same words: not even a mark within a character may move
        shift = _indent(text) - _indent(tagged_plain)
        return [_within(text, start + shift, end + shift) for start, end in spans_in_tagged]
    if not spans_in_tagged:
        return []
    true, said = fold(text), fold(tagged_plain)
    place = _places(said, true)
    taken = set(place)
    edges = _Edges(true, said)
    return [
        _settle(text, tagged_plain, span, _moved(true, said, place, taken, edges, span)) for span in spans_in_tagged
    ]


def covered(text: str, tagged_plain: str) -> float:
    """The share of the text's words that the teacher wrote again, 0 to 1."""
    true = fold(text).words()
    return sum(n for _, _, n in same_parts(fold(tagged_plain).words(), true)) / len(true) if true else 1.0


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def _within(text: str, start: int, end: int) -> CharSpan:
    return min(max(start, 0), len(text)), min(max(end, 0), len(text))


class _Edges:
    """The words around a character of the two folded texts."""

    def __init__(self, true: Folded, said: Folded) -> None:
        self.true_starts = [start for start, _ in true.tokens]
        self.true_ends = [end for _, end in true.tokens]
        self.said_starts = {start for start, _ in said.tokens}
        self.said_ends = {end for _, end in said.tokens}

    def true_word(self, at: int) -> CharSpan:
        """The word that character `at` of the true text is in; itself where it is in none."""
        number = bisect_right(self.true_starts, at) - 1
        if number < 0 or at >= self.true_ends[number]:
            return at, at + 1
        return self.true_starts[number], self.true_ends[number]


def _places(said: Folded, true: Folded) -> list[int]:
    """For each character of the folded tagged text its place in the folded true one, or -1."""
    place = [-1] * len(said.text)
    at_said = at_true = 0
    blocks = same_parts(said.words(), true.words())
    pairs = [(said.tokens[i + k], true.tokens[j + k][0]) for i, j, n in blocks for k in range(n)]
    pairs.append(((len(said.text), len(said.text)), len(true.text)))
    for (start, end), there in pairs:
        for a, b, size in blocks_of(said.text[at_said:start], true.text[at_true:there]):
            place[at_said + a : at_said + a + size] = range(at_true + b, at_true + b + size)
        place[start:end] = range(there, there + end - start)
        at_said, at_true = end, there + end - start
    return place


def _moved(
    true: Folded, said: Folded, place: Sequence[int], taken: set[int], edges: _Edges, span: CharSpan
) -> CharSpan | Finding:
    inside = [k for k in said.within(*span) if said.text[k] != " "]
    found = [place[k] for k in inside if place[k] >= 0]
    if not found or len(found) < LEAST_COVERED * len(inside):
        return "unaligned"
    low, high = found[0], found[-1] + 1
    if high - low > 2 * len(inside) + 8:  # its words were found, but far from each other
        return "unaligned"
    # A letter lost or changed at the edge of a word: the span takes the word's letters that nothing else stands for.
    if inside[0] in edges.said_starts:
        first = edges.true_word(low)[0]
        while low > first and low - 1 not in taken:
            low -= 1
    if inside[-1] + 1 in edges.said_ends:
        last = edges.true_word(high - 1)[1]
        while high < last and high not in taken:
            high += 1
    return true.back(low, high)


def _settle(text: str, tagged: str, span: CharSpan, found: CharSpan | Finding) -> CharSpan | Finding:
    """What folding leaves out (joiners, marks of direction) is taken back where the surface stands there exactly."""
    if isinstance(found, str):
        return found
    surface = tagged[slice(*span)]
    if fold(surface).text.strip() != fold(text[slice(*found)]).text.strip():
        return found
    for shift in (0, -1, 1, -2, 2):
        if found[0] + shift >= 0 and text.startswith(surface, found[0] + shift):
            return found[0] + shift, found[0] + shift + len(surface)
    return found


def _exact(text: str, quote: str) -> list[CharSpan]:
    """Places as whole words, else anywhere."""
    before = r"(?<!\w)" if re.match(r"\w", quote) else ""
    after = r"(?!\w)" if re.match(r"\w", quote[-1]) else ""
    for pattern in (before + re.escape(quote) + after, re.escape(quote)):
        if places := [found.span() for found in re.finditer(pattern, text)]:
            return places
    return []


def _alike(text: str, quote: str) -> list[CharSpan]:
    true, wanted = fold(text), fold(quote).text.strip()
    return [true.back(*place) for place in _exact(true.text, wanted)] if wanted else []


def _fuzzy(text: str, quote: str) -> list[CharSpan]:
    """The places most like a quote, none of which overlap, in the order of the text."""
    true, wanted = fold(text), fold(quote)
    count = len(wanted.tokens)
    if not count or not true.tokens:
        return []
    if count >= LONG_QUOTE or len(wanted.text) > LONG_LETTERS:
        return _by_diff(text, quote, true, wanted)
    near = _near(true, wanted.text.strip(), count)
    near.sort(key=lambda place: (-place[0], place[1], place[2]))
    chosen: list[tuple[int, int]] = []
    for likeness, start, end in near:
        if likeness < near[0][0] - CLEARLY_BETTER:
            break
        if all(end <= other_start or start >= other_end for other_start, other_end in chosen):
            chosen.append((start, end))
    return [true.back(*place) for place in sorted(chosen)]


def _near(true: Folded, wanted: str, count: int) -> list[tuple[float, int, int]]:
    """(likeness, start, end) of every run of about `count` words that is like enough."""
    compare = SequenceMatcher(None, autojunk=False)
    compare.set_seq2(wanted)
    spread = max(1, count // 6)
    bounds = []
    for first in range(len(true.tokens)):
        for last in range(first + max(1, count - spread), min(first + count + spread, len(true.tokens)) + 1):
            start, end = true.tokens[first][0], true.tokens[last - 1][1]
            compare.set_seq1(true.text[start:end])
            if compare.real_quick_ratio() >= LEAST_LIKENESS and (bound := compare.quick_ratio()) >= LEAST_LIKENESS:
                bounds.append((-bound, start, end))
    near = []
    for _, start, end in heapq.nsmallest(min(MOST_COMPARED, LETTERS_COMPARED // len(wanted)), bounds):
        compare.set_seq1(true.text[start:end])
        if (likeness := compare.ratio()) >= LEAST_LIKENESS:
            near.append((likeness, start, end))
    return near


def _by_diff(text: str, quote: str, true: Folded, wanted: Folded) -> list[CharSpan]:
    (found,) = align_tagged(text, quote, [(0, len(quote))])
    if isinstance(found, str):
        return []
    inside = true.within(*found)
    there = [true.text[start:end] for start, end in true.tokens if inside.start <= start < inside.stop]
    ratio = SequenceMatcher(None, wanted.words(), there, autojunk=False).ratio()
    return [found] if ratio >= LEAST_LIKENESS else []
