"""Texts and spans survive the way to Argilla's page and back."""

from hypothesis import given
from hypothesis import strategies as st

from argilla_setup.argilla_dataset import questions_of
from argilla_setup.page import as_html, from_html, spans_in_text, spans_on_page
from tests.argilla_setup.kinds_asked import asked

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("😀&<>\r\n;#"))


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@given(TEXTS)
def test_a_text_comes_back_and_is_never_shorter_than_the_page_counts(text: str) -> None:
    """The server refuses spans behind the end of what it holds, and the page counts UTF-16 units."""
    sent = as_html(text)
    assert from_html(sent) == text
    assert len(sent) >= utf16(text)
    assert not set("<>\r") & set(sent)


@given(TEXTS.filter(bool), st.data())
def test_spans_come_back_and_cover_the_same_words_on_the_page(text: str, data: st.DataObject) -> None:
    """UTF-16 units on the page, characters here; cut from the text as the page has it, the words are the same."""
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    spans = [{"start": start, "end": end, "label": "a"}]
    (shown,) = spans_on_page(text, spans)
    raw = text.encode("utf-16-le")[2 * shown["start"] : 2 * shown["end"]]
    assert raw.decode("utf-16-le") == text[start:end]
    assert spans_in_text(text, [shown]) == spans


def test_a_span_that_cuts_a_character_has_all_of_it_and_none_reaches_beyond() -> None:
    """A mouse can end a selection in the middle of an emoji, or behind the text."""
    assert spans_in_text("😀a", [{"start": 1, "end": 2, "label": "a"}]) == [{"start": 0, "end": 1, "label": "a"}]
    assert spans_in_text("a😀", [{"start": 0, "end": 2, "label": "a"}]) == [{"start": 0, "end": 2, "label": "a"}]
    assert spans_in_text("a😀", [{"start": 1, "end": 9, "label": "a"}]) == [{"start": 1, "end": 2, "label": "a"}]


def test_one_question_must_be_answered_and_none_is_added_without_need() -> None:
    """Argilla publishes no dataset without a required question; marks may be empty, labels and texts may not."""
    required = {
        name: [(question.name, question.type) for question in questions_of(asked(name).kind) if question.required]
        for name in ("pair", "multi_label", "spans", "tokens", "roles", "fields")
    }
    assert required["pair"] == [("label", "label")]
    assert required["multi_label"] == required["fields"] == [("complete", "label")]
    assert [kind for name in ("spans", "tokens", "roles") for _, kind in required[name]] == ["span"] * 3
