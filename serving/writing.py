"""Rows written to a file by its suffix: the whole file appears at once, or not at all."""

import csv
import errno
import gzip
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.formats import DELIMITERS, ROWS_A_BATCH, Format, Row, format_of, is_zipped
from stillhouse.errors import DiskFullError, InputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Fixed types: a first group without any label must not decide what the column is.
PARQUET_TYPES = {"probability": pa.float64(), "abstained": pa.bool_(), "cost_usd": pa.float64()}

Write = Callable[[Sequence[Row]], None]


def write_rows(target: Path, rows: Iterable[Row], columns: Sequence[str]) -> int:
    """Write rows by the target's suffix and return how many.

    They go to a hidden file beside the target, which takes its place when the last row is on the disk. A kill leaves
    the old target or none. In Parquet a column is text, but for those of PARQUET_TYPES. Lists and objects are
    JSON; where the format has none, in CSV and Parquet, they are text that spells it.
    Raises InputError for a target that cannot be written, DiskFullError where there is no room.
    """
    kind = format_of(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with _writing(target):
        if target.is_dir():
            raise InputError(
                f"{target} is a folder", expected="a file to write", found="a folder", fix="name a file in it"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("wb")
    try:
        try:
            count = _write_all(file, kind, target, rows, columns)
            with _writing(target):
                file.flush()
                os.fsync(file.fileno())
        finally:
            with suppress(OSError):  # closing writes what is left: after a full disk it fails once more
                file.close()
        with _writing(target):
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count


def _write_all(file: IO[bytes], kind: Format, target: Path, rows: Iterable[Row], columns: Sequence[str]) -> int:
    """Only writing counts as the target's fault: an error of the rows' own source goes through as it is."""
    pending, count = iter(rows), 0
    with _writing(target):
        write, finish = _writer(file, kind, is_zipped(target), columns)
    while group := list(itertools.islice(pending, ROWS_A_BATCH)):
        with _writing(target):
            write(group)
        count += len(group)
    with _writing(target):
        finish()
    return count


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFullError(
                f"no room left to write {target}",
                expected="free disk space",
                found=str(error),
                fix="make room and repeat; nothing was written",
            ) from error
        raise InputError(
            f"{target} cannot be written",
            expected="a folder that may be written",
            found=str(error),
            fix="check the folder and its permissions",
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"{target} cannot be written",
            expected="text that UTF-8 can hold",
            found=f"half a character (a lone surrogate) in {error.object[:40]!r}",
            fix="mend that value in the source",
        ) from error


def _writer(file: IO[bytes], kind: Format, zipped: bool, columns: Sequence[str]) -> tuple[Write, Callable[[], None]]:
    if kind == "parquet":
        return _parquet_writer(file, columns)
    # No name and no time in the gzip header: the same rows make the same bytes.
    packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) if zipped else None
    text = io.TextIOWrapper(packed or file, encoding="utf-8", newline="", write_through=False)
    write = _jsonl_write(text, columns) if kind == "jsonl" else _csv_write(text, columns, DELIMITERS[kind])

    def finish() -> None:
        text.flush()
        text.detach()  # or its end would close `file`, which is still to be synced
        if packed is not None:
            packed.close()

    return write, finish


def _jsonl_write(text: IO[str], columns: Sequence[str]) -> Write:
    def write(rows: Sequence[Row]) -> None:
        text.writelines(json.dumps(_cut(row, columns), ensure_ascii=False) + "\n" for row in rows)

    return write


def _csv_write(text: IO[str], columns: Sequence[str], delimiter: str) -> Write:
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)

    def write(rows: Sequence[Row]) -> None:
        writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)

    return write


def _parquet_writer(file: IO[bytes], columns: Sequence[str]) -> tuple[Write, Callable[[], None]]:
    schema = pa.schema([pa.field(name, PARQUET_TYPES.get(name, pa.string())) for name in columns])
    writer = pq.ParquetWriter(file, schema)

    def write(rows: Sequence[Row]) -> None:
        typed = [
            {name: value if name in PARQUET_TYPES else _string(value) for name, value in _cut(row, columns).items()}
            for row in rows
        ]
        writer.write_table(pa.Table.from_pylist(typed, schema=schema))

    return write, writer.close


def _cut(row: Mapping[str, Any], columns: Sequence[str]) -> Row:
    return {name: row.get(name) for name in columns}


def _cell(value: object) -> object:
    """What CSV shows: nothing for null, and true and false as JSON has them."""
    if value is None:
        return ""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else value


def _string(value: object) -> str | None:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return None if value is None else str(value)
