"""Words that a teacher repeated are found in the text again, whatever it did to them, or it is said why not."""

import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.alignment import GOAL, QUICK_TEXTS, SEED, corrupt, helpdesk, recalls, wnut17
from prompts.align import align_quote, align_tagged, covered
from prompts.fold import fold

# What breaks offsets: clusters of several characters, right to left, line ends, characters that show nothing.
PIECES = st.sampled_from(
    [
        *"ab. ,\n\t",
        "e\u0301",
        "é",
        "\r\n",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "👍🏽",
        "שלום",
        "مرحبا",
        "\u200b",
        "\u200f",
        "\ufeff",
        "\u00a0",
        "नमस्ते",
        "漢字",
        "ﬁ",
        "ß",
        "İ",
        "“x”",
        "foo",
        "Bar",
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@given(TEXTS, st.data())
def test_spans_of_a_text_repeated_exactly_are_the_same(text: str, data: st.DataObject) -> None:
    """Whatever the text is made of, its own offsets come back."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert align_tagged(text, text, [(start, end)]) == [(start, end)]


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(["Hello world. ", "x\r\n"]))
def test_a_surface_that_was_kept_is_found_as_it_is(before: str, surface: str, after: str, added: str) -> None:
    """Words put in before do not move it: text[start:end] is what was tagged."""
    text, tagged = f"{before} [{surface}] {after}", f"{added}{before} [{surface}] {after}"
    start = len(added) + len(before) + 1
    (found,) = align_tagged(text, tagged, [(start, start + len(surface) + 2)])
    assert not isinstance(found, str)
    assert text[slice(*found)] == f"[{surface}]"


@given(TEXTS)
def test_folding_knows_the_way_back(text: str) -> None:
    """Every folded character comes from a stretch of the text, in order, and folding again changes nothing more."""
    folded = fold(text)
    assert len(folded.text) == len(folded.starts) == len(folded.ends)
    assert all(0 <= a < b <= len(text) for a, b in zip(folded.starts, folded.ends, strict=True))
    assert list(folded.starts) == sorted(folded.starts)
    assert fold(folded.text).text == folded.text


@given(TEXTS, TEXTS)
def test_any_two_texts_give_places_within_the_text(text: str, tagged: str) -> None:
    """Nonsense in, a place that exists or a name out; never an error."""
    for found in (*align_tagged(text, tagged, [(0, len(tagged))]), align_quote(text, tagged, 1)):
        assert isinstance(found, str) or 0 <= found[0] <= found[1] <= len(text)


@pytest.mark.parametrize(
    ("tagged", "surface"),
    [
        ("I met Ana Lópes in PARIS today", "Ana Lópes"),  # a typo
        ("I met Ana Lo\u0301pez in Paris today", "Ana Lo\u0301pez"),  # another Unicode form
        ("I met  ANA\nLÓPEZ in Paris today", "ANA\nLÓPEZ"),  # case and white space
        ("Well: I have met Ana López in Paris", "Ana López"),  # other words around it
        ("I met Ana Ana López in Paris today", "Ana Ana López"),  # a word said twice
        ("I met na López in Paris today", "na López"),  # a letter lost at its edge
        ("I met Ana Lópe in Paris today", "Ana Lópe"),
    ],
)
def test_a_changed_surface_is_found(tagged: str, surface: str) -> None:
    """Typos, case, forms, doubled words and lost letters do not move a span."""
    text = "I met Ana López in Paris today"
    start = tagged.index(surface)
    (found,) = align_tagged(text, tagged, [(start, start + len(surface))])
    assert found == (6, 15)


def test_words_that_the_text_does_not_have_are_unaligned() -> None:
    """A span that the teacher made up is not put somewhere."""
    text = "The printer on floor 3 is broken"
    assert align_tagged(text, "The printer Zebulon on floor 3 is broken", [(12, 19)]) == ["unaligned"]
    assert align_quote(text, "Zebulon Quux", 1) == "unaligned"
    assert align_quote(text, "  ", 1) == "unaligned"


def test_the_second_of_two_equal_surfaces_is_the_second() -> None:
    """A diff knows which one was tagged."""
    text = "Teams calls Teams, and Teams is down"
    assert align_tagged(text, "Teams calls teams and Teams is down.", [(12, 17), (22, 27)]) == [(12, 17), (23, 28)]


@pytest.mark.parametrize(
    ("quote", "occurrence", "found"),
    [
        ("he", 1, (5, 7)),  # as a word, not in "then" or "the"
        ("he", 2, (28, 30)),
        ("he", None, "ambiguous"),
        ("he", 7, "ambiguous"),
        ("saw", 5, (8, 11)),  # a wrong number does not matter where there is one place
        ("the old man", 1, (12, 23)),
        ("The OLD\nman", 1, (12, 23)),
        ("the odl man", 1, (12, 23)),
        ("old men and", None, (16, 27)),
        ("odl mna", None, (16, 23)),
        ("young women", None, "unaligned"),
    ],
)
def test_a_quote_is_found_by_its_words_and_its_number(quote: str, occurrence: int | None, found: object) -> None:
    """Exactly, then folded, then by likeness; more than one place without a number that tells is ambiguous."""
    assert align_quote("Then he saw the old man and he ran", quote, occurrence) == found


def test_of_two_misspelled_places_the_number_tells() -> None:
    """Both names are as like the quote; without a number nothing is guessed."""
    text = "Obama met Merkel. Later Obama left."
    assert align_quote(text, "Obmaa", 2) == (24, 29)
    assert align_quote(text, "Obmaa", None) == "ambiguous"


def test_a_long_quote_is_found_though_some_words_differ() -> None:
    """A clause of a contract, quoted with mistakes."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    text = " ".join(words)
    quote = corrupt(" ".join(words[100:160]), (), rng).text
    found = align_quote(text, quote, 1)
    assert not isinstance(found, str)
    assert abs(found[0] - text.index("word100")) <= 8
    assert abs(found[1] - text.index(" word160")) <= 8


def test_what_was_repeated_is_a_share() -> None:
    """All, half, nothing."""
    assert covered("one two three four", "One TWO three - four!") == 1.0
    assert covered("one two three four", "one two") == 0.5
    assert covered("one two three four", "I cannot do that") == 0.0


@pytest.mark.parametrize("text", ["a" * 20_000, "a " * 10_000, "ab, " * 5_000, "漢字かな" * 5_000])
def test_monotonous_texts_take_no_longer_than_a_few_seconds(text: str) -> None:
    """difflib alone would take minutes: what is too much work is unaligned instead."""
    begun_s = time.perf_counter()
    align_tagged(text, "b" + text[:-9] + "c", [(100, 120)])
    align_quote(text, f"zz {text[:30]} zz", 1)
    assert time.perf_counter() - begun_s < 20


def test_normalised_forms_are_one_text() -> None:
    """A teacher that writes composed characters is understood where the text has them apart."""
    text = unicodedata.normalize("NFD", "Café Zoë, Ærø")
    said = unicodedata.normalize("NFC", text)
    (found,) = align_tagged(text, said, [(5, 8)])
    assert not isinstance(found, str)
    assert unicodedata.normalize("NFC", text[slice(*found)]) == "Zoë"


@pytest.mark.parametrize("name", ["helpdesk", "wnut17"])
def test_nearly_all_entities_are_found_with_a_tenth_of_the_words_changed(name: str) -> None:
    """Inline tags and quotes with occurrence both reach the goal; an exact search does not."""
    texts = {"helpdesk": helpdesk, "wnut17": wnut17}[name](QUICK_TEXTS)
    if not texts:
        pytest.skip(f"the data set {name} is not here; it does not ship with the project")
    found = recalls(texts, np.random.default_rng(SEED))
    assert found["inline tags"] >= GOAL
    assert found["quotes and occurrence"] >= GOAL
    assert found["exact search"] < GOAL
    assert found["inline tags, placed wrongly"] <= 1 - GOAL


def test_a_quote_that_stands_exactly_is_found_without_trying_every_place() -> None:
    """Even where each letter looks like every other: what is fuzzy is only tried when nothing else finds the quote."""
    text = "a" * 20_000
    assert align_quote(text, text, 1) == (0, len(text))
    assert align_quote(text, f"{text[:10_000]}b{text[:9_000]}", 1) == "unaligned"
