"""What stands in one cell, as a part of an item: a text, tokens, a position, an address. What does not fit raises."""

import json
from typing import Any

from serving.tables import is_whole
from stillhouse.records import CharSpan

ADDRESSES = ("https://", "http://", "data:image/")
CHARS_SHOWN = 40


def text_of(cell: object, what: str, max_chars: int) -> str:
    """Raises ValueError, as all of these do, with the problem as a person reads it."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError(f"the {what} is empty")
    if not isinstance(cell, str):
        raise ValueError(f"the {what} is {type(cell).__name__} and not a string")  # noqa: TRY004 - one error for every cell
    if len(cell) > max_chars:
        raise ValueError(f"the {what} has {len(cell):,} characters; data.max_chars is {max_chars:,}")
    if not is_whole(cell):
        raise ValueError(f"the {what} holds half a character (a lone surrogate), which UTF-8 cannot")
    return cell


def tokens_of(cell: object, column: str) -> tuple[str, ...]:
    """A list of texts; in CSV it is written as JSON."""
    tokens = json_of(cell, f"the {column}", "a list of texts") if isinstance(cell, str) else cell
    if not isinstance(tokens, list) or not tokens:
        raise ValueError(f"the {column}: expected a list of texts, found {shown(cell)}")
    for number, token in enumerate(tokens):
        if not isinstance(token, str) or not token.strip() or not is_whole(token):
            raise ValueError(f"the {column}: expected texts, found {shown(token)} as token {number}")
    return tuple(token.strip() for token in tokens)


def focus_of(cell: object, column: str, spans: tuple[CharSpan, ...]) -> CharSpan:
    """The token at a position, counted from 0."""
    text = str(cell).strip()
    whole = isinstance(cell, float) and cell.is_integer()  # how Parquet keeps positions where some row has none
    at = int(cell) if whole else int(text) if text.isascii() and text.isdecimal() else -1  # type: ignore[call-overload]
    if not 0 <= at < len(spans):
        raise ValueError(f"the {column}: expected the position of a token, 0 to {len(spans) - 1}, found {shown(cell)}")
    return spans[at]


def image_of(cell: object, column: str) -> str:
    """An address that a teacher can follow, or "" where a row has no picture."""
    if cell is None or cell in ("", b""):
        return ""
    if not isinstance(cell, str) or not cell.startswith(ADDRESSES):
        raise ValueError(
            f"the {column}: expected an address that begins with {' or '.join(ADDRESSES)}, found {shown(cell)}"
        )
    return cell


def json_of(text: str, what: str, wanted: str) -> Any:
    """What a cell of CSV spells as JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what}: expected {wanted} as JSON, found {shown(text)}") from error


def plain_of(cell: object) -> str | int | float:
    """A value of metadata as the desk can show it."""
    if cell is None or cell != cell:  # noqa: PLR0124 - only NaN differs from itself
        return ""
    return cell if isinstance(cell, str | int | float) else str(cell)


def shown(cell: object) -> str:
    """A cell in a message: its beginning."""
    said = "nothing" if cell is None else repr(cell)
    return said if len(said) <= CHARS_SHOWN else f"{said[:CHARS_SHOWN]}…"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
