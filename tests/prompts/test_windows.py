"""Long texts are cut where a reader would cut them, and what was said of the pieces is put together."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.parse import Reading, abstain
from prompts.windows import WINDOW_TOKENS, merge, windows, windows_of
from stillhouse.records import Item, Value

SENTENCE = "A sentence of eight words stands here again. "
LONG = SENTENCE * 40


def said(value: Value, **findings: int) -> Reading:
    return Reading((), 0.0, "sample", "ok", value, findings)


@given(st.text(alphabet="ab .\n漢👩", max_size=600), st.integers(1, 60))
def test_windows_cover_the_text_and_fit(text: str, max_tokens: int) -> None:
    """From the first character to the last, each overlapping or touching the next, none too long."""
    cut = windows(text, max_tokens)
    assert cut[0][0] == 0
    assert cut[-1][1] == len(text)
    for (start, end), (later, further) in pairwise(cut):
        assert start < later <= end < further
    assert all(len(text[a:b].encode()) <= max(8, 4 * max_tokens) for a, b in cut)


def test_a_text_that_fits_is_one_window() -> None:
    """Up to the limit nothing is cut."""
    assert windows("a" * 4 * WINDOW_TOKENS, WINDOW_TOKENS) == [(0, 4 * WINDOW_TOKENS)]
    assert windows("", 5) == [(0, 0)]
    item = Item("a", "short")
    assert windows_of(item, 5) == [(0, item)]


def test_windows_begin_and_end_with_sentences_and_overlap() -> None:
    """No sentence is cut, and what stands at an end is whole in the next window."""
    cut = windows(LONG, 150)
    assert len(cut) > 2
    assert all(start % len(SENTENCE) == 0 and end % len(SENTENCE) == 0 for start, end in cut)
    assert all(later < end for (_, end), (later, _) in pairwise(cut))


def test_given_tokens_and_focus_go_with_their_window() -> None:
    """Their offsets are those of the window's text; without the focus a window asks nothing."""
    at = LONG.index("words", 900)
    tokens = tuple((start, start + 1) for start in range(0, len(LONG), len(SENTENCE)))
    parts = windows_of(Item("a", LONG, tokens=tokens, focus=(at, at + 5)), 150)
    assert 1 <= len(parts) < len(windows(LONG, 150))
    for _, part in parts:
        assert part.focus is not None
        assert part.text[slice(*part.focus)] == "words"
        assert {part.text[a:b] for a, b in part.tokens or ()} == {"A"}


def test_distributions_are_averaged_and_chances_are_the_highest() -> None:
    """One label: what the windows say on average; many: applies anywhere, applies."""
    parts = [(0, Item("a", "x")), (1, Item("a", "y"))]
    readings = [Reading(probs, 0.0, "logprob", "ok") for probs in ((0.9, 0.1), (0.5, 0.5))]
    single = merge("single_label", Item("a", "xy"), parts, readings)
    assert single.probs == pytest.approx((0.7, 0.3))
    assert single.findings == {"windows": 2}
    assert merge("multi_label", Item("a", "xy"), parts, readings).probs == (0.9, 0.5)


def test_spans_are_moved_and_those_in_the_overlap_count_once() -> None:
    """Of two that overlap under one label the longer stays: the other was cut."""
    parts = [(0, Item("a", "0123456789")), (6, Item("a", "6789012345"))]
    first = said([{"start": 1, "end": 3, "label": "A"}, {"start": 7, "end": 10, "label": "A"}])
    second = said([{"start": 1, "end": 7, "label": "A"}, {"start": 1, "end": 4, "label": "B"}], unaligned=1)
    merged = merge("spans", Item("a", "0123456789012345"), parts, [first, second])
    assert merged.value == [
        {"start": 1, "end": 3, "label": "A"},
        {"start": 7, "end": 10, "label": "B"},
        {"start": 7, "end": 13, "label": "A"},
    ]
    assert merged.findings == {"windows": 2, "unaligned": 1}


def test_tags_are_put_back_and_fields_filled_up() -> None:
    """The first tag of a token, the first value of a field, all values where there may be many."""
    item = Item("a", "x y z", tokens=((0, 1), (2, 3), (4, 5)))
    parts = [(0, Item("a", "x y", tokens=((0, 1), (2, 3)))), (2, Item("a", "y z", tokens=((0, 1), (2, 3))))]
    assert merge("tokens", item, parts, [said(["A", None]), said(["B", "C"])]).value == ["A", "B", "C"]
    fields = [said({"one": None, "many": ["p"]}), said({"one": "1", "many": ["p", "q"]})]
    assert merge("fields", item, parts, fields).value == {"one": "1", "many": ["p", "q"]}


def test_a_window_that_cannot_be_read_is_seen() -> None:
    """What the others say counts, repaired; if none can be read, nothing does."""
    parts = [(0, Item("a", "x")), (1, Item("a", "y"))]
    lost = abstain(0, "truncated", "sample")
    assert merge("spans", Item("a", "xy"), parts, [said([]), lost]).status == "repaired"
    assert merge("spans", Item("a", "xy"), parts, [lost, lost]).status == "truncated"
