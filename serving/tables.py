"""Tables of texts and labels as JSONL, CSV or Parquet, by suffix: streamed, or read and checked as a whole."""

import difflib
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from serving.formats import Row, check_there, empty, kind_of, parquet_columns, parquet_rows, text_rows
from serving.writing import write_rows
from stillhouse.errors import TaskError
from stillhouse.records import Item

__all__ = [
    "DEFAULT_ID",
    "ReadItems",
    "Row",
    "columns_of",
    "is_whole",
    "kind_of",
    "made_id",
    "missing_columns",
    "name_of",
    "read_items",
    "read_labels",
    "read_rows",
    "write_rows",
]

MOST_PROBLEMS = 20
ROWS_FOR_COLUMNS = 100
DEFAULT_ID = "id"


def read_rows(path: Path, *, columns: Sequence[str] | None = None) -> Iterator[tuple[str, Row]]:
    """Each row with its place ("line 12", "row 12" in Parquet), in bounded memory; `.gz` is unpacked.

    A row of CSV that goes over several lines is placed where it begins. Where `columns` are named, Parquet reads no
    others. Raises InputError where the file is missing, empty, not UTF-8, or not of the kind its suffix says.
    """
    kind = kind_of(path)
    check_there(path)
    rows = parquet_rows(path, columns) if kind == "parquet" else text_rows(path, kind)
    first = next(rows, None)
    if first is None:
        raise empty(path, "no rows")
    yield first
    yield from rows


def columns_of(path: Path) -> list[str]:
    """The names in the first hundred rows, in their order; of Parquet those in the schema. Raises InputError."""
    if kind_of(path) == "parquet":
        check_there(path)
        return parquet_columns(path)
    names: dict[str, None] = {}
    for _, row in itertools.islice(read_rows(path), ROWS_FOR_COLUMNS):
        names.update(dict.fromkeys(row))
    return list(names)


@dataclass(frozen=True, slots=True)
class ReadItems:
    """The items of a file, how many repeated texts were left out, and the characters of the longest text."""

    items: list[Item]
    dropped: int
    longest: int


@dataclass(slots=True)
class _Findings:
    """The first problems of a file and the count of all: a file that is wrong throughout must not fill the memory."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if self.count <= MOST_PROBLEMS:
            self.shown.append(problem)

    def raise_any(self, path: Path) -> None:
        if self.count:
            more = [f"and {self.count - MOST_PROBLEMS:,} more"] if self.count > MOST_PROBLEMS else []
            raise TaskError([*self.shown, *more], where=str(path))


def read_items(
    path: Path,
    *,
    id_column: str,
    text_column: str,
    metadata_columns: Sequence[str] = (),
    max_chars: int,
    duplicate_texts: Literal["error", "drop"] = "error",
) -> ReadItems:
    """Read and check a pool. Where there is no column "id", the default, ids are made from a hash of the text.

    Raises InputError where the file cannot be read, and one TaskError with every problem of its rows.
    """
    columns = columns_of(path)
    made_ids = _ids_are_made(id_column, columns)
    wanted = [text_column, *metadata_columns, *([] if made_ids else [id_column])]
    _raise_missing(path, wanted, columns)
    findings, items = _Findings(), list[Item]()
    place_of_id: dict[str, str] = {}
    id_of_text: dict[str, str] = {}
    dropped = 0
    for place, row in read_rows(path, columns=wanted):
        text = row.get(text_column)
        problem = _text_problem(text, max_chars)
        item_id = ("" if problem else made_id(str(text))) if made_ids else name_of(row.get(id_column))
        if problem:
            findings.add(f"{place}: {problem}")
        if not made_ids and not item_id:
            findings.add(f"{place}: no {id_column}")
        repeats = not problem and text in id_of_text
        if repeats and duplicate_texts == "drop":
            dropped += 1
            continue
        if repeats:
            findings.add(_repeated_text(place, item_id, id_of_text[str(text)], place_of_id))
        elif item_id in place_of_id:
            findings.add(f"{place}: the id {item_id!r} stands in {place_of_id[item_id]} too; ids must differ")
        if item_id:
            place_of_id.setdefault(item_id, place)
        if not problem:
            id_of_text.setdefault(str(text), item_id)
            items.append(Item(item_id, str(text), {name: _plain(row.get(name)) for name in metadata_columns}))
    findings.raise_any(path)
    return ReadItems(items, dropped, max((len(item.text) for item in items), default=0))


def read_labels(
    path: Path, *, id_column: str, label_column: str, allowed: Sequence[str], text_column: str | None = None
) -> dict[str, str]:
    """Gold or known labels by id. With a `text_column`, ids are made where `read_items` would make them.

    Raises InputError, or one TaskError with every row whose label is not in `allowed` or whose id is not new.
    """
    columns = columns_of(path)
    made_from = text_column if text_column is not None and _ids_are_made(id_column, columns) else None
    wanted = [made_from or id_column, label_column]
    _raise_missing(path, wanted, columns)
    findings = _Findings()
    found: dict[str, str] = {}
    place_of_id: dict[str, str] = {}
    for place, row in read_rows(path, columns=wanted):
        label, key = name_of(row.get(label_column)), row.get(wanted[0])
        item_id = name_of(key) if made_from is None or not isinstance(key, str) else made_id(key)
        if label not in allowed:
            findings.add(f"{place}: {_label_problem(label, allowed)}")
        if not item_id:
            findings.add(f"{place}: no {wanted[0]}")
        elif made_from is not None and found.get(item_id) == label:
            continue  # the same text with the same label is no contradiction
        elif item_id in place_of_id:
            findings.add(
                f"{place}: {f'the id {item_id!r}' if made_from is None else 'its text'} stands in "
                f"{place_of_id[item_id]} too"
            )
        else:
            place_of_id[item_id], found[item_id] = place, label
    findings.raise_any(path)
    return found


def missing_columns(wanted: Sequence[str], columns: Sequence[str]) -> list[str]:
    """A problem for each column that is wanted and not there, with a guess at the slip."""
    one = columns[0] if len(columns) == 1 else ""
    other = next((f"; are its cells separated by {mark!r}?" for mark in ("\t", ";", "|", ",") if mark in one), "")
    return [
        f"no column {name!r}{_guess(name, columns)}; found: {', '.join(columns)}{other}"
        for name in dict.fromkeys(wanted)
        if name not in columns
    ]


def name_of(value: object) -> str:
    """An id or a label as text: 12 and "12" are the same name, and null, NaN and blanks are none."""
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return ""
    text = str(value)
    return text if text.strip() else ""


def made_id(text: str) -> str:
    """The id of a text that has none: the first 16 hex digits of its SHA-256, so the same in every run."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ids_are_made(id_column: str, columns: Sequence[str]) -> bool:
    return id_column == DEFAULT_ID and id_column not in columns


def _raise_missing(path: Path, wanted: Sequence[str], columns: Sequence[str]) -> None:
    if problems := missing_columns(wanted, columns):
        raise TaskError(problems, where=str(path))


def _text_problem(text: object, max_chars: int) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        return "the text is empty"
    if not isinstance(text, str):
        return f"the text is {type(text).__name__} and not a string"
    if len(text) > max_chars:
        return f"the text has {len(text):,} characters; data.max_chars is {max_chars:,}"
    return "" if is_whole(text) else "the text holds half a character (a lone surrogate), which UTF-8 cannot"


def is_whole(text: str) -> bool:
    """Whether UTF-8 can hold it: JSON may spell half of an emoji, as in a text cut off by length."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _repeated_text(place: str, item_id: str, first_id: str, place_of_id: dict[str, str]) -> str:
    where = place_of_id.get(first_id)
    first = f"of {first_id!r}{f' ({where})' if where else ''}"
    again = (
        f"{place}: {item_id!r} has the text {first} again"
        if item_id != first_id
        else (f"{place}: the text {first} stands here again, under the same id")
    )
    return again + '; remove one, or set data.duplicate_texts = "drop"'


def _label_problem(label: str, allowed: Sequence[str]) -> str:
    if not label:
        return "no label"
    return f"{label!r} is not a label of the task{_guess(label, allowed) or f' (it has {_some(allowed)})'}"


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _guess(name: str, known: Sequence[str]) -> str:
    folded = {other.strip().casefold(): other for other in known}
    close = difflib.get_close_matches(name.strip().casefold(), list(folded), n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def _plain(value: object) -> str | int | float:
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return ""
    return value if isinstance(value, str | int | float) else str(value)
