"""The rows of a table as items: text, pair, tokens, focus and image, read and checked together."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from serving.align import spans_of_tokens
from serving.cells import focus_of, image_of, plain_of, text_of, tokens_of
from serving.convert import Convert, converted, load_convert
from serving.tables import Findings, Row, columns_of, ids_are_made, missing_columns, name_of, read_rows
from stillhouse.errors import TaskError
from stillhouse.records import CharSpan, Item
from stillhouse.settings import Data

T = TypeVar("T")
DEFAULT_TEXT = "text"
ROWS_TRIED = 20


@dataclass(frozen=True, slots=True)
class ReadItems:
    """The items of a file, how many repeated ones were left out, and the characters of the longest text."""

    items: list[Item]
    dropped: int
    longest: int


@dataclass(frozen=True, slots=True)
class ItemTable:
    """A file whose rows are items, once its columns have been seen; `open_items` makes it."""

    path: Path
    data: Data
    columns: tuple[str, ...]
    made_ids: bool
    made_texts: bool
    convert: Convert | None

    def rows(self, start: int = 0) -> Iterator[tuple[str, Row, str]]:
        """Place, row, and what its conversion met with ("" if nothing), from row `start` on."""
        for place, row in read_rows(self.path, columns=None if self.convert else self.columns, start=start):
            yield (place, *(converted(self.convert, row) if self.convert else (row, "")))

    def item(self, row: Row) -> tuple[Item | None, list[str]]:
        """The row as an item, or all that is wrong with it. Its id is "" where the row has none."""
        data, tried = self.data, _Tried()
        tokens = tried(tokens_of, row.get(data.tokens), data.tokens) if data.tokens else None
        text = " ".join(tokens or ()) if self.made_texts else row.get(data.text)
        if tokens or not self.made_texts:
            text = tried(text_of, text, "text", data.max_chars)
        pair = tried(text_of, row.get(data.pair), "pair", data.max_chars) if data.pair else ""
        spans = tried(_aligned, text, tokens, data.tokens) if text and tokens else None
        focus = tried(focus_of, row.get(data.focus), data.focus, spans) if data.focus and spans else None
        image = tried(image_of, row.get(data.image), data.image) if data.image else ""
        if tried.problems:
            return None, tried.problems
        metadata = {name: plain_of(row.get(name)) for name in data.metadata}
        item = Item("", str(text), metadata, pair=pair or "", tokens=spans, focus=focus, image=image or "")
        return replace(item, id=made_id(item) if self.made_ids else name_of(row.get(data.id))), []


@dataclass(slots=True)
class _Tried:
    """Reads cells one after another; what one raises is a problem of the row and does not hide that of the next."""

    problems: list[str] = field(default_factory=list)

    def __call__(self, read: Callable[..., T], *what: object) -> T | None:
        try:
            return read(*what)
        except ValueError as error:
            self.problems.append(str(error))
            return None


def open_items(path: Path, data: Data, *, home: Path, also: Sequence[str] = (), whole_items: bool = True) -> ItemTable:
    """Look at a file's columns and at its converter, which is loaded from `home` (the folder of task.toml).

    Columns in `also` must be there too. Without `whole_items` only ids are needed, and the columns of the item are
    asked for only where ids are made of them. Ids are made where there is no column "id", texts are joined from tokens
    where there is no column "text": both are the defaults; a column that was named must be there, but for
    data.text = data.tokens, which asks for joined texts. Raises InputError, or TaskError for columns that are missing.
    """
    if data.focus and not data.tokens:
        raise TaskError(
            [f"data.focus: {data.focus!r} is the position of a token, so data.tokens must name a column"],
            where=str(path),
        )
    convert = load_convert(data.convert, home) if data.convert else None
    parts = [name for name in (data.text, data.pair, data.tokens, data.focus, data.image) if name]
    wanted = [*(parts if whole_items else ()), *(data.metadata if whole_items else ()), data.id, *also]
    columns = columns_of(path, wanted)
    if convert is not None:
        columns += [name for name in _made_columns(path, convert) if name not in columns]
    made_ids = ids_are_made(data.id, columns)
    made_texts = data.tokens is not None and (
        data.text == data.tokens or (data.text == DEFAULT_TEXT and data.text not in columns)
    )
    needed = [name for name in parts if whole_items or made_ids]
    needed = [name for name in needed if name != data.text or not made_texts or name == data.tokens]
    needed += [*(data.metadata if whole_items else ()), *([] if made_ids else [data.id]), *also]
    if problems := missing_columns(needed, columns):
        raise TaskError(problems, where=str(path))
    return ItemTable(path, data, tuple(dict.fromkeys(needed)), made_ids, made_texts, convert)


def read_items(path: Path, data: Data, *, home: Path | None = None) -> ReadItems:
    """Read and check a file of items, as `data` names its columns. `home` is the folder of task.toml (default: here).

    An item repeats another where text, pair, focus and image are the same. Where there is no column "id", the
    default, ids are made from a hash of these. Raises InputError where the file cannot be read, and one TaskError with
    every problem of its rows.
    """
    table = open_items(path, data, home=home or Path())
    findings, items = Findings(), list[Item]()
    place_of_id: dict[str, str] = {}
    id_of: dict[tuple[object, ...], str] = {}
    dropped = 0
    for place, row, failed in table.rows():
        item, problems = (None, [failed]) if failed else table.item(row)
        for problem in problems:
            findings.add(f"{place}: {problem}")
        item_id = item.id if item else "" if table.made_ids else name_of(row.get(data.id))
        if not table.made_ids and not item_id:
            findings.add(f"{place}: no {data.id}")
        first = None if item is None else id_of.get(same(item))
        if first is not None and data.duplicate_texts == "drop":
            dropped += 1
            continue
        if first is not None:
            findings.add(_repeated(place, item_id, first, place_of_id, data))
        elif item_id in place_of_id:
            findings.add(f"{place}: the id {item_id!r} stands in {place_of_id[item_id]} too; ids must differ")
        if item_id:
            place_of_id.setdefault(item_id, place)
        if item is not None:
            id_of.setdefault(same(item), item_id)
            items.append(item)
    findings.raise_any(path)
    return ReadItems(items, dropped, max((len(item.text) for item in items), default=0))


def same(item: Item) -> tuple[object, ...]:
    """What makes two items one: everything the question is about."""
    return item.text, item.pair, item.focus, item.image


def made_id(item: Item) -> str:
    """The id of an item that has none: the first 16 hex digits of the SHA-256 of what it is, so the same in every run.

    Of an item that is nothing but a text it is the hash of the text.
    """
    focus = "" if item.focus is None else f"{item.focus[0]}-{item.focus[1]}"
    rest = (item.pair, focus, item.image)
    parts = (item.text, *rest) if any(rest) else (item.text,)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def _aligned(text: str, tokens: Sequence[str], column: str) -> tuple[CharSpan, ...]:
    try:
        return spans_of_tokens(text, tokens)
    except ValueError as error:
        raise ValueError(
            f"the {column}: {error}; where tokens and texts are not of one source, set data.text = {column!r}: "
            "then the text is the tokens, joined by blanks"
        ) from error


def _made_columns(path: Path, convert: Convert) -> list[str]:
    """The columns of the first row that can be converted. Raises TaskError where none of the first rows can."""
    problems = []
    for place, row in itertools.islice(read_rows(path), ROWS_TRIED):
        made, failed = converted(convert, row)
        if not failed:
            return list(made)
        problems.append(f"{place}: {failed}")
    if len(problems) == ROWS_TRIED:
        problems.append(f"none of the first {ROWS_TRIED} rows can be converted; the others were not tried")
    raise TaskError(problems, where=str(path))


def _repeated(place: str, item_id: str, first_id: str, place_of_id: dict[str, str], data: Data) -> str:
    what = " and ".join(["text", *(name for name in ("pair", "focus", "image") if getattr(data, name))])
    where = place_of_id.get(first_id)
    first = f"of {first_id!r}{f' ({where})' if where else ''}"
    again = (
        f"{place}: {item_id!r} has the {what} {first} again"
        if item_id != first_id
        else f"{place}: the {what} {first} stands here again, under the same id"
    )
    return again + '; remove one, or set data.duplicate_texts = "drop"'
