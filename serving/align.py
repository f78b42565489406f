"""Where given tokens stand in their text: read off from left to right, never searched for."""

from collections.abc import Sequence

from stillhouse.records import CharSpan

CHARS_SHOWN = 24


def spans_of_tokens(text: str, tokens: Sequence[str]) -> tuple[CharSpan, ...]:
    """The characters of each token in `text`.

    Only whitespace may stand between tokens: a token that is looked for further on could be found in the wrong place.
    Raises ValueError with the token (counted from 0) that is not where it should be, or the text that none covers.
    """
    spans = []
    at = 0
    for number, token in enumerate(tokens):
        word = token.strip()
        if not word:
            raise ValueError(f"token {number} is empty")
        at = _next(text, at)
        if not text.startswith(word, at):
            found = repr(text[at : at + CHARS_SHOWN]) if at < len(text) else "the end of the text"
            raise ValueError(f"token {number} ({word!r}) does not stand at character {at}, found {found}")
        spans.append((at, at + len(word)))
        at += len(word)
    at = _next(text, at)
    if at < len(text):
        raise ValueError(f"no token covers {text[at : at + CHARS_SHOWN]!r} at character {at}")
    return tuple(spans)


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
