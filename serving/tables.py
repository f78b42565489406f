"""Tables of texts as JSONL, CSV or Parquet, by suffix: streamed in, checked as a whole, written at once or not at all."""

import csv
import difflib
import gzip
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.errors import DiskFullError, InputError, TaskError
from stillhouse.records import Item

JSONL, CSV, TSV, PARQUET = (".jsonl", ".ndjson"), (".csv",), (".tsv",), (".parquet",)
SUFFIXES = (*JSONL, *CSV, *TSV, *PARQUET)
MOST_PROBLEMS = 20
ROWS_A_GROUP = 8192
DEFAULT_ID = "id"

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row with its place ("line 12"), in bounded memory; `.gz` behind JSONL and CSV is unpacked.

    Raises InputError where the file is missing, empty, not UTF-8, or not of the kind its suffix says.
    """
    rows = _rows(path)
    try:
        first = next(rows)
    except StopIteration:
        raise InputError(
            f"{path} is empty", expected="at least one row", found="none", fix="give a file with rows"
        ) from None
    yield first
    yield from rows


def columns_of(path: Path) -> list[str]:
    """The names in the first hundred rows, in their order."""
    names: dict[str, None] = {}
    for _, row in itertools.islice(read_rows(path), 100):
        names.update(dict.fromkeys(row))
    return list(names)


@dataclass(frozen=True, slots=True)
class ReadItems:
    """The items of a file, and how many repeated texts were left out."""

    items: list[Item]
    dropped: int


def read_items(
    path: Path,
    *,
    id_column: str,
    text_column: str,
    metadata_columns: Sequence[str] = (),
    max_chars: int = 20_000,
    duplicate_texts: Literal["error", "drop"] = "error",
) -> ReadItems:
    """Read and check a pool. Where the default id column is missing, ids are made from a hash of the text.

    Raises InputError where the file cannot be read, and one TaskError with every problem of its rows.
    """
    columns = columns_of(path)
    made_ids = id_column == DEFAULT_ID and id_column not in columns
    wanted = [text_column, *metadata_columns, *([] if made_ids else [id_column])]
    problems = _missing(wanted, columns)
    if problems:
        raise TaskError(problems, where=str(path))
    items: list[Item] = []
    place_of_id: dict[str, str] = {}
    id_of_text: dict[str, str] = {}
    dropped = 0
    for place, row in read_rows(path):
        text = row.get(text_column)
        problem = _text_problem(text, max_chars)
        if problem:
            problems.append(f"{place}: {problem}")
            continue
        text = str(text)
        item_id = _made_id(text) if made_ids else str(row.get(id_column) if row.get(id_column) is not None else "")
        if not item_id:
            problems.append(f"{place}: no {id_column}")
        elif text in id_of_text:
            if duplicate_texts == "error":
                problems.append(
                    f'{place}: the text of {id_of_text[text]} again; remove it, or set data.duplicate_texts = "drop"'
                )
            dropped += 1
        elif item_id in place_of_id:
            problems.append(f"{place}: the id {item_id!r} stands in {place_of_id[item_id]} too")
        else:
            place_of_id[item_id], id_of_text[text] = place, item_id
            items.append(Item(item_id, text, {name: _plain(row.get(name)) for name in metadata_columns}))
    _raise(problems, path)
    return ReadItems(items, dropped)


def read_labels(path: Path, *, id_column: str, label_column: str, allowed: Sequence[str]) -> dict[str, str]:
    """Label by id. Raises InputError, or one TaskError with every row whose label is not allowed or whose id is not new."""
    problems = _missing([id_column, label_column], columns_of(path))
    if problems:
        raise TaskError(problems, where=str(path))
    found: dict[str, str] = {}
    for place, row in read_rows(path):
        item_id, label = str(row.get(id_column, "")), row.get(label_column)
        if label not in allowed:
            problems.append(f"{place}: {label!r} is not a label of the task{_guess(str(label), allowed)}")
        elif item_id in found:
            problems.append(f"{place}: the id {item_id!r} stands twice")
        else:
            found[item_id] = str(label)
    _raise(problems, path)
    return found


def write_rows(target: Path, rows: Iterable[Row], columns: Sequence[str]) -> int:
    """Write rows by the target's suffix and return how many; a kill leaves the old file or none, never half a one.

    Raises InputError for an unknown suffix, DiskFullError where there is no room.
    """
    kind = kind_of(target)
    with _whole_file(target) as part:
        if kind == "parquet":
            return _write_parquet(part, rows, columns)
        with part.open("w", encoding="utf-8", newline="") as file:
            return _write_jsonl(file, rows, columns) if kind == "jsonl" else _write_csv(file, rows, columns, kind)


def kind_of(path: Path) -> Literal["jsonl", "csv", "tsv", "parquet"]:
    """Raises InputError for a suffix that is none of them."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    for suffixes, kind in ((JSONL, "jsonl"), (CSV, "csv"), (TSV, "tsv"), (PARQUET, "parquet")):
        if suffix.lower() in suffixes:
            return kind  # type: ignore[return-value]
    raise InputError(
        f"{path}: unknown kind of file",
        expected=f"one of {', '.join(SUFFIXES)}",
        found=path.suffix or "no suffix",
        fix="rename or convert it",
    )


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    kind = kind_of(path)
    if not path.is_file():
        raise InputError(f"no file {path}", expected="a file that can be read", found="nothing", fix="correct the path")
    try:
        if kind == "parquet":
            yield from _parquet_rows(path)
        else:
            with _opened(path) as file:
                yield from _json_rows(path, file) if kind == "jsonl" else _csv_rows(path, file, kind)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8",
            expected="text in UTF-8",
            found=f"byte 0x{error.object[error.start]:02x}, as in Latin-1 or Windows-1252",
            fix=f"convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > fixed{path.suffix}",
        ) from error
    except (OSError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read", found=str(error), fix="check the file and its permissions"
        ) from error


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _json_rows(path: Path, file: IO[str]) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not JSON",
                expected="one JSON object a line",
                found=str(error),
                fix="mend the line",
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, line {number}: no object",
                expected="one JSON object a line",
                found=type(row).__name__,
                fix="mend the line",
            )
        yield f"line {number}", row


def _csv_rows(path: Path, file: IO[str], kind: str) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(file, delimiter="\t" if kind == "tsv" else ",", strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: a row of another width",
                    expected=f"{len(header)} cells, as in the header",
                    found=f"{len(cells)}",
                    fix="quote cells with commas or line breaks in them",
                )
            yield f"line {reader.line_num}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: not CSV", found=str(error), fix="mend the quotes of that line"
        ) from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        number = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_A_GROUP):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except pa.ArrowException as error:
        raise InputError(
            f"{path} is not Parquet", expected="a Parquet file", found=str(error), fix="write it again"
        ) from error


def _text_problem(text: object, max_chars: int) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        return "the text is empty"
    if not isinstance(text, str):
        return f"the text is {type(text).__name__} and not a string"
    if len(text) > max_chars:
        return f"the text has {len(text):,} characters; data.max_chars is {max_chars:,}"
    return ""


def _missing(wanted: Sequence[str], columns: Sequence[str]) -> list[str]:
    return [
        f"no column {name!r}{_guess(name, columns)}; found: {', '.join(columns)}"
        for name in wanted
        if name not in columns
    ]


def _guess(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _raise(problems: list[str], path: Path) -> None:
    if problems:
        more = [f"and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        raise TaskError([*problems[:MOST_PROBLEMS], *more], where=str(path))


def _made_id(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, str | int | float) else "" if value is None else str(value)


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """A sibling to write to, put in the target's place when all went well."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(target)
    except OSError as error:
        if error.errno in {28, 122}:
            raise DiskFullError(
                f"no room left to write {target}",
                expected="free disk space",
                found=str(error),
                fix="make room and repeat",
            ) from error
        raise InputError(
            f"{target} cannot be written", found=str(error), fix="check the folder and its permissions"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _write_jsonl(file: IO[str], rows: Iterable[Row], columns: Sequence[str]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps({name: row.get(name) for name in columns}, ensure_ascii=False) + "\n")
        count += 1
    return count


def _write_csv(file: IO[str], rows: Iterable[Row], columns: Sequence[str], kind: str) -> int:
    writer = csv.DictWriter(file, columns, delimiter="\t" if kind == "tsv" else ",", lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in rows:
        writer.writerow({name: "" if row.get(name) is None else row[name] for name in columns})
        count += 1
    return count


def _write_parquet(part: Path, rows: Iterable[Row], columns: Sequence[str]) -> int:
    count, writer = 0, None
    pending = iter(rows)
    try:
        while group := list(itertools.islice(pending, ROWS_A_GROUP)):
            table = pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in group])
            if writer is None:
                schema = pa.schema(
                    [pa.field(f.name, pa.string() if pa.types.is_null(f.type) else f.type) for f in table.schema]
                )
                writer = pq.ParquetWriter(part, schema)
            writer.write_table(table.cast(writer.schema))
            count += len(group)
    finally:
        if writer is not None:
            writer.close()
    return count
