"""Tables as JSONL, CSV or Parquet, by suffix: their rows, their columns, and the problems found in them."""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.formats import Row, check_there, empty, format_of, parquet_columns, parquet_rows, text_rows
from serving.writing import write_rows
from stillhouse.errors import TaskError

__all__ = [
    "DEFAULT_ID",
    "Findings",
    "Row",
    "columns_of",
    "format_of",
    "ids_are_made",
    "is_whole",
    "missing_columns",
    "name_of",
    "read_rows",
    "write_rows",
]

MOST_PROBLEMS = 20
ROWS_FOR_COLUMNS = 100
DEFAULT_ID = "id"


def read_rows(path: Path, *, columns: Sequence[str] | None = None, start: int = 0) -> Iterator[tuple[str, Row]]:
    """Each row with its place ("line 12", "row 12" in Parquet), in bounded memory; `.gz` is unpacked.

    A row of CSV that goes over several lines is placed where it begins. Where `columns` are named, Parquet reads no
    others. From row `start` (counted from 0) on: Parquet goes there, of text the rows before are read and passed over.
    Raises InputError where the file is missing, empty, not UTF-8, or not of the kind its suffix says.
    """
    kind = format_of(path)
    check_there(path)
    if kind == "parquet":
        rows = parquet_rows(path, columns, start)
    else:
        rows = itertools.islice(text_rows(path, kind), start, None)
    first = next(rows, None)
    if first is None and start == 0:
        raise empty(path, "no rows")
    if first is not None:
        yield first
        yield from rows


def columns_of(path: Path, wanted: Sequence[str] = ()) -> list[str]:
    """The names of a file's columns, in their order. Raises InputError.

    Parquet and CSV have them at the start. Of JSONL the first hundred rows are looked at, and on until every `wanted`
    column has been seen: one that first appears late must not count as missing.
    """
    if format_of(path) == "parquet":
        check_there(path)
        return parquet_columns(path)
    names: dict[str, None] = {}
    for number, (_, row) in enumerate(read_rows(path)):
        if number >= ROWS_FOR_COLUMNS and (format_of(path) != "jsonl" or all(name in names for name in wanted)):
            break
        names.update(dict.fromkeys(row))
    return list(names)


@dataclass(slots=True)
class Findings:
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


def ids_are_made(id_column: str, columns: Sequence[str]) -> bool:
    """Ids are made where there is no column "id", the default; a column that was named must be there."""
    return id_column == DEFAULT_ID and id_column not in columns


def is_whole(text: str) -> bool:
    """Whether UTF-8 can hold it: JSON may spell half of an emoji, as in a text cut off by length."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _guess(name: str, known: Sequence[str]) -> str:
    folded = {other.strip().casefold(): other for other in known}
    close = difflib.get_close_matches(name.strip().casefold(), list(folded), n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
