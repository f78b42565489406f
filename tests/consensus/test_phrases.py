"""Phrases are found as whole words, as they stand in the text, in one pass."""

from consensus.phrases import Phrases


def found(text: str, *phrases: str, cased: bool = False) -> list[str]:
    index = Phrases.of((phrase, number, cased) for number, phrase in enumerate(phrases))
    return [text[start:end] for _, (start, end) in index.find(text)]


def test_a_phrase_is_found_as_whole_words_whatever_its_case() -> None:
    """A part of a word is another word."""
    assert found("PIN, my Pin and a pinned pin-up", "pin") == ["PIN", "Pin", "pin"]


def test_white_space_between_the_words_of_a_phrase_does_not_count() -> None:
    """A line end stands between words as a blank does."""
    assert found("the meeting\n  room", "meeting room") == ["meeting\n  room"]


def test_case_counts_where_it_is_said_to() -> None:
    """An abbreviation is not the word that is spelt like it."""
    assert found("it is for IT", "IT", cased=True) == ["IT"]


def test_characters_that_fold_to_several_do_not_move_what_comes_after() -> None:
    """Places are those of the text as it is."""
    assert found("Straße İstanbul: ÇOK printer", "STRASSE", "printer") == ["Straße", "printer"]


def test_scripts_without_spaces_are_searched_too() -> None:
    """In Chinese each character is a word."""
    assert found("我要退款吗", "退款") == ["退款"]


def test_of_overlapping_phrases_of_one_owner_the_longest_counts() -> None:
    """A gazetteer marks New York City once; another owner's phrase in it counts by itself."""
    index = Phrases.of([("New York", 0, False), ("new york city", 0, False), ("york", 1, False)])
    assert index.find("New York City") == [(0, (0, 13)), (1, (4, 8))]


def test_signs_are_words_of_a_phrase() -> None:
    """C++ is not C."""
    assert found("C, C++ and F#", "c++", "f#") == ["C++", "F#"]


def test_nothing_is_found_by_no_phrases() -> None:
    """An empty list of keywords abstains."""
    assert Phrases.of([("  ", 0, False)]).find("text") == []
