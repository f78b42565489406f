"""No text can forge the markers around it."""

from hypothesis import given
from hypothesis import strategies as st

from prompts.delimit import enclose, enclosed, sendable, tag_of


@given(st.text())
def test_any_text_comes_back_exactly(text: str) -> None:
    """What was enclosed is what is found."""
    assert enclosed(enclose(text)) == sendable(text)
    assert enclosed(f"before\n{enclose(text)}\nafter") == sendable(text)


@given(st.text(), st.text(alphabet="<>/text-\n0123456789abcdef"))
def test_a_text_around_foreign_markers_comes_back_exactly(inner: str, noise: str) -> None:
    """Markers of another text, whole or in parts, are text like any other."""
    text = f"{noise}{enclose(inner)}{noise}</text-{tag_of(inner)}>"
    assert enclosed(enclose(text)) == sendable(text)


def test_a_text_that_holds_its_own_tag_gets_another() -> None:
    """Even the tag that was found by search does not survive being written into the text."""
    # Tags of two digits can be forged by search, so here the text does hold what would have been its own.
    texts = [f"a text that says {number:02x} and {number % 7:02x}" for number in range(256)]
    assert all(tag_of(text, digits=2) not in text for text in texts)


def test_the_same_text_has_the_same_markers() -> None:
    """So a repeated run asks the same question, and its reply is known."""
    assert enclose("need 7-zip") == enclose("need 7-zip")


def test_a_message_without_markers_holds_no_text() -> None:
    """Neither plain words, nor markers whose tag is not that of the text between them."""
    assert enclosed("need 7-zip") is None
    assert enclosed("<text-0000000000>\nneed 7-zip\n</text-0000000000>") is None
