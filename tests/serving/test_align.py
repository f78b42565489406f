"""Given tokens found in their text, whatever the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.align import spans_of_tokens

WORDS = st.lists(st.text(min_size=1, max_size=5).filter(lambda w: w.strip() == w), min_size=1, max_size=8)
SPACES = st.text(st.sampled_from(" \t\n\u00a0\u2003"), max_size=3)


@given(WORDS, st.lists(SPACES, min_size=9, max_size=9))
def test_tokens_are_found_whatever_white_space_is_between(words: list[str], spaces: list[str]) -> None:
    """None at all, too: the characters of each span are the token."""
    text = "".join(space + word for space, word in zip(spaces, words, strict=False)) + spaces[-1]
    assert [text[a:b] for a, b in spans_of_tokens(text, words)] == words


@given(WORDS, WORDS)
def test_other_tokens_are_never_placed(words: list[str], others: list[str]) -> None:
    """What aligns is the text but for white space."""
    text = " ".join(words)
    try:
        spans_of_tokens(text, others)
    except ValueError:
        assert "".join(text.split()) != "".join("".join(others).split())
    else:
        assert "".join(text.split()) == "".join("".join(others).split())


def test_a_repeated_word_is_not_looked_for_further_on() -> None:
    """ "the" of the second place must not be taken for a token that is missing in the first."""
    with pytest.raises(ValueError, match=r"token 1 \('the'\) does not stand at character 4, found 'cat saw the dog'"):
        spans_of_tokens("now cat saw the dog", ["now", "the", "dog"])
