"""Texts of the pool inside Markdown are shown to the letter and do nothing."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from argilla_setup.markdown import as_markdown, as_plain, value_as_markdown
from tests.argilla_setup.kinds_asked import NAMES, asked

RENDERER = MarkdownIt("gfm-like", {"html": True, "linkify": False})  # HTML goes through, as on Argilla's page
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) ![x](https://tracker.example/x.png)",
    "https://evil.example www.evil.example a@evil.example <https://evil.example>",
    "    indented code",
    "\tindented",
    "```js\nalert(1)\n```",
    "# heading\n\nparagraph\n---\n> quote\n1. one\n- two\n* * *",
    "a | b\n--|--\n1 | 2",
    "$$\\href{javascript:alert(1)}{x}$$ `code` ~~gone~~ **bold** _it_",
    "&lt;b&gt; &#60; &amp;amp; \\* [x]: http://evil.example",
    "a\r\nb\rc\nd",
    "*Why it is asked: because.*",
)
SURROUNDINGS = ("{}", "- {}", "> {}", "**People said**\n\n- {} (2 people)\n", "| a |\n|---|\n| {} |")


class Shown(HTMLParser):
    """What a browser would show, and with which tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", list[str]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag if not attrs else f"{tag} {attrs}")
        self.text += "\n" if tag == "br" else ""

    def handle_data(self, data: str) -> None:
        self.text += data


def is_inert(text: str, around: str) -> None:
    shown = Shown(RENDERER.render(around.format(as_markdown(text))))
    without = Shown(RENDERER.render(around.format("words")))
    assert [tag for tag in shown.tags if tag != "br"] == without.tags
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    assert lines in shown.text


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_words_wherever_they_stand(text: str, around: str) -> None:
    """No tag but the line breaks that the text has, and every sign of it can be read."""
    is_inert(text, around)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zs"]) | st.sampled_from("<>&*_`[]()#-$|!\\:/@\n"), min_size=1
    )
)
def test_any_text_is_shown_to_the_letter(text: str) -> None:
    """Whatever signs meet."""
    is_inert(text, "x {} x")


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_any_kind_can_be_judged(name: str) -> None:
    """Each label, mark and field of it stands there in words, and the pool's text adds no tags."""
    case = asked(name)
    shown = Shown(RENDERER.render(value_as_markdown(case.kind, case.item, case.value)))
    assert set(shown.tags) <= {"p", "ul", "li", "mark", "sub", "strong", "br"}
    parts = case.value if isinstance(case.value, list) else [case.value]
    parts = [*case.value.values()] if isinstance(case.value, dict) else parts
    for part in parts:
        words = [case.item.text[part["start"] : part["end"]], part["label"]] if isinstance(part, dict) else [part]
        words = part if isinstance(part, list) else words
        assert all(str(word) in shown.text for word in words if word)
    if case.empty is not None and name != "fields":
        assert Shown(RENDERER.render(value_as_markdown(case.kind, case.item, case.empty))).text.strip() == "nothing"


@given(text=st.text())
def test_what_is_made_for_a_page_reads_as_it_was_in_a_file(text: str) -> None:
    """A file that nobody renders shows the text, not its references; line ends are told alike."""
    shown = as_plain(f"<strong>{as_markdown(text)}</strong>")
    assert shown == text.replace("\0", "\ufffd").replace("\r\n", "\n").replace("\r", "\n")
