"""Texts of the pool and values inside Markdown: shown to the letter, whatever they hold."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kinds.kind import Kind, Question
from stillhouse.records import Item, Value

_TAGS = re.compile("</?(?:strong|mark|sub)>")
_REFERENCE = re.compile("&(?:#([0-9]+)|amp|lt|gt);")
_MARKUP = re.compile("[!-/:-@\\[-`{-~\0\x0b\x0c]|^[ \t]+")


def as_markdown(text: str) -> str:
    """The text for any place in Markdown, a table or a list too: on one line, with <br> where it had line ends.

    Every ASCII sign is a character reference, which cannot begin markup, HTML, a link or a formula in CommonMark
    (section 2.5) or in its extensions.
    """
    lines = re.split("\r\n|\r|\n", text.replace("\0", "\ufffd"))
    return "<br>".join(
        _MARKUP.sub(lambda found: "".join(f"&#{ord(char)};" for char in found[0]), line) for line in lines
    )


def as_plain(markdown: str) -> str:
    """What a person would see of Markdown made here, as lines of text: for files that nobody renders."""
    bare = _TAGS.sub("", markdown.replace("<br>", "\n"))
    return _REFERENCE.sub(lambda found: chr(int(found[1])) if found[1] else html.unescape(found[0]), bare)


def value_as_markdown(kind: Kind, item: Item, value: Value) -> str:
    """A value as a person can judge it: what is marked stands in its text, each field on a line, a label by its name."""
    shown = kind.suggest(item, value)
    asked = [question for question in kind.questions() if shown.get(question.name)]
    if not asked:
        return "*nothing*"
    if len(kind.questions()) == 1:
        return _part(item, asked[0], shown[asked[0].name])
    lines = [f"- {as_markdown(q.title)}: {_part(item, q, shown[q.name])}" for q in asked]
    return "\n".join(lines)


def _part(item: Item, question: Question, value: Any) -> str:
    if question.type == "span":
        return _marked(item.text, value)
    if question.type == "text":
        return ", ".join(f"<strong>{as_markdown(line)}</strong>" for line in str(value).splitlines())
    names = [str(name) for name in value] if isinstance(value, list) else [str(value)]
    described = dict(question.labels)
    return "<br>".join(
        f"<strong>{as_markdown(name)}</strong>" + (f" ({as_markdown(described[name])})" if described.get(name) else "")
        for name in names
    )


def _marked(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """The text with its spans marked and named; overlapping ones as a list, since they cannot be marked in one text."""
    ordered = sorted(spans, key=lambda span: (span["start"], span["end"], span["label"]))
    parts, at = [], 0
    for span in ordered:
        if span["start"] < at:
            return "\n".join(f"- {_named(text, each)}" for each in ordered)
        parts += [as_markdown(text[at : span["start"]]), _named(text, span)]
        at = span["end"]
    return "".join([*parts, as_markdown(text[at:])])


def _named(text: str, span: Mapping[str, Any]) -> str:
    words = as_markdown(text[span["start"] : span["end"]])
    return f"<mark>{words}</mark> <sub>{as_markdown(span['label'])}</sub>"
