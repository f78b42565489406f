"""Texts of the pool inside Markdown: shown to the letter, whatever they hold."""

import re

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
