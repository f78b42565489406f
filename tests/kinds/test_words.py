"""Words of a text in any script."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinds.words import _any_script, word_spans

PIECES = st.sampled_from(
    ["a", "Z", "0", "-", " ", "\n", "\x00", "\x1c", "\x85", "\u2028", "é", "\u0301", "\u200d", "👩", "🏽", "🇩", "東"]
)


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in word_spans(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("José's e-mail", ["José", "'", "s", "e", "-", "mail"]),
        ("Jose\u0301 ok", ["Jose\u0301", "ok"]),
        ("v2.10\r\nERR-4012", ["v", "2", ".", "10", "ERR", "-", "4012"]),
        ("👩🏽\u200d💻 hi", ["👩🏽\u200d💻", "hi"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("❤\ufe0f!", ["❤\ufe0f", "!"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("a\u200bb", ["a\u200bb"]),
        ("\u200e \u200b", []),
        ("", []),
    ],
)
def test_words_are_what_a_reader_sees(text: str, expected: list[str]) -> None:
    """Marks, joiners, skin tones and flags stay with their character; scripts without spaces go by character."""
    assert words(text) == expected


@given(st.text(max_size=60))
def test_units_cover_every_visible_character_once_and_in_order(text: str) -> None:
    """No overlap, no empty unit, no white space inside, and nothing visible left out."""
    spans = word_spans(text).tolist()
    assert all(start < end for start, end in spans)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    covered = {at for start, end in spans for at in range(start, end)}
    for at, char in enumerate(text):
        hidden = char.isspace() or unicodedata.category(char)[0] in "ZC"
        if not hidden:
            assert at in covered
        if char.isspace():
            assert at not in covered


@given(st.text(max_size=40), st.text(max_size=40))
def test_words_do_not_depend_on_what_is_beyond_white_space(first: str, second: str) -> None:
    """A text's words are those of its parts."""
    assert words(f"{first}\n{second}") == words(first) + words(second)


@given(st.lists(st.one_of(PIECES, st.characters()), max_size=40).map("".join))
def test_the_quick_way_through_ascii_finds_the_same_units(text: str) -> None:
    """Stretches of ASCII are read by one pattern: as if every character had been looked at in turn."""
    assert word_spans(text).tolist() == [list(span) for span in _any_script(text, 0, len(text))]
