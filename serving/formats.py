"""The kinds of file that hold rows, told by suffix, and how each is read: streamed, with the place of every row."""

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from stillhouse.errors import InputError

Row = dict[str, Any]
Format = Literal["jsonl", "csv", "tsv", "parquet"]

FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
DELIMITERS = {"csv": ",", "tsv": "\t"}
ROWS_A_BATCH = 4096
LONGEST_CELL = 16 * 2**20  # a longer one is a quote that nobody closed: without a limit it swallows the file
HEAD_BYTES = 64 * 2**10


def format_of(path: Path) -> Format:
    """Raises InputError for a suffix that is none of them; `.gz` may stand behind all but Parquet."""
    zipped = path.suffix.lower() == ".gz"
    suffix = (Path(path.stem).suffix if zipped else path.suffix).lower()
    kind = FORMATS.get(suffix)
    if kind is None or (zipped and kind == "parquet"):
        raise InputError(
            f"{path}: unknown kind of file",
            expected=f"one of {', '.join(FORMATS)}, and .gz behind all but .parquet",
            found=("".join(path.suffixes[-2:]) if zipped else path.suffix) or "no suffix",
            fix="rename the file, or convert it",
        )
    return kind


def is_zipped(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def check_there(path: Path) -> None:
    """Raises InputError where there is no file, or one of 0 bytes."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder", expected="a file", found="a folder", fix="name a file in it")
        if not path.is_file():
            raise InputError(f"no file {path}", expected="a file", found="nothing", fix="correct the path")
        if path.stat().st_size == 0:
            raise empty(path, "0 bytes")
    except OSError as error:
        raise unreadable(path, error) from error


def empty(path: Path, found: str) -> InputError:
    return InputError(f"{path} is empty", expected="at least one row", found=found, fix="give a file with rows")


def unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read", expected="a whole file", found=str(error), fix="check the file and its permissions"
    )


def text_rows(path: Path, kind: Format) -> Iterator[tuple[str, Row]]:
    """The rows of JSONL, CSV and TSV. Raises InputError with the line."""
    try:
        with _binary(path) as file:
            if encoding := _wide_encoding(file.read(HEAD_BYTES)):
                raise _not_utf8(path, "bytes of a wide encoding, from the start", encoding)
        with io.TextIOWrapper(_binary(path), encoding="utf-8-sig", newline="") as text:
            yield from _json_rows(path, text) if kind == "jsonl" else _csv_rows(path, text, DELIMITERS[kind])
    except UnicodeDecodeError as error:
        raise _encoding_error(path) from error
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def parquet_rows(path: Path, columns: Sequence[str] | None, start: int = 0) -> Iterator[tuple[str, Row]]:
    """The rows of Parquet from row `start` (counted from 0) on; only `columns` are read where they are given."""
    try:
        with pq.ParquetFile(path) as file:
            groups, number = _groups_from(file, start)
            for batch in file.iter_batches(batch_size=ROWS_A_BATCH, row_groups=groups, columns=columns):
                first = max(0, start - number)
                for place, row in enumerate(batch.slice(first).to_pylist(), start=number + first + 1):
                    yield f"row {place}", row
                number += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _broken_parquet(path, error) from error


def parquet_columns(path: Path) -> list[str]:
    try:
        with pq.ParquetFile(path) as file:
            if not file.metadata.num_rows:
                raise empty(path, "no rows")
            return list(file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise _broken_parquet(path, error) from error


def parquet_count(path: Path) -> int:
    """How many rows it has, from its metadata."""
    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _broken_parquet(path, error) from error


def _groups_from(file: Any, start: int) -> tuple[list[int], int]:
    """The row groups that hold row `start` and what follows, and how many rows come before them."""
    before = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if before + rows > start:
            return list(range(group, file.num_row_groups)), before
        before += rows
    return [], before


def _broken_parquet(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(path, error)  # the system refused it: what stands in it is not to blame
    return InputError(
        f"{path} is not Parquet, or is broken",
        expected="a whole Parquet file",
        found=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
        fix="write or copy it again",
    )


def _binary(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if is_zipped(path) else path.open("rb")  # type: ignore[return-value]


def _json_rows(path: Path, text: IO[str]) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: not JSON, or a number of thousands of digits
            raise _json_error(path, number, line, "not JSON", str(error)) from error
        if not isinstance(row, dict):
            raise _json_error(path, number, line, "not a JSON object", f"a value of type {type(row).__name__}")
        yield f"line {number}", row


def _json_error(path: Path, number: int, line: str, what: str, found: str) -> InputError:
    array = number == 1 and line.lstrip().startswith("[")
    return InputError(
        f"{path}, line {number}: {'a JSON array, not JSON lines' if array else what}",
        expected="one JSON object a line",
        found=found,
        fix=f"convert it: jq -c '.[]' {path.name} > {path.stem}.jsonl" if array else "mend the line",
    )


def _csv_rows(path: Path, text: IO[str], delimiter: str) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    began = 1
    try:
        for cells in reader:
            place, began = f"line {began}", reader.line_num + 1  # a quoted cell may go over several lines
            if not cells:
                continue
            if header is None:
                header = _checked_header(path, cells)
            elif len(cells) != len(header):
                raise InputError(
                    f"{path}, {place}: a row of another width",
                    expected=f"{len(header)} cells, as in the header",
                    found=str(len(cells)),
                    fix="quote cells that hold the delimiter or a line break",
                )
            else:
                yield place, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {began}: the row that begins here is not CSV",
            expected="quotes that are closed, and doubled inside a quoted cell",
            found=str(error),
            fix="mend the quotes of that row",
        ) from error


def _checked_header(path: Path, header: list[str]) -> list[str]:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(
            f"{path}: a column stands twice in the header",
            expected="names that differ",
            found=", ".join(repr(name) for name in twice),
            fix="rename one of them",
        )
    return header


def _encoding_error(path: Path) -> InputError:
    """Find the line and the byte again: the decoder counted in chunks."""
    with _binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x} at line {number}, byte {error.start + 1} of the line"
                return _not_utf8(path, found, likely_encoding(line + file.read(HEAD_BYTES)))
    return _not_utf8(path, "a character cut off at the end of the file", "UTF-8")


def _not_utf8(path: Path, found: str, encoding: str) -> InputError:
    name = path.stem if is_zipped(path) else path.name
    fix = f"convert it: iconv -f {encoding} -t UTF-8 {name} > utf8-{name}"
    return InputError(
        f"{path} is not UTF-8",
        expected="text in UTF-8",
        found=f"{found}; it looks like {encoding}",
        fix="write the file again" if encoding == "UTF-8" else fix,
    )


def _wide_encoding(head: bytes) -> str:
    """UTF-16 and UTF-32 are recognised by their mark, or by the zero bytes between the letters."""
    if head.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) * 4 < len(head):
        return ""
    return "UTF-16LE" if odd > even else "UTF-16BE"


def likely_encoding(sample: bytes) -> str:
    """The commonest encoding whose letters look like this sample: a suggestion for a person, never used to decode."""
    high = [byte for byte in sample if byte >= 0x80]
    pairs = sum(1 for a, b in itertools.pairwise(sample) if a >= 0x80 and b >= 0x80)
    if pairs * 2 < len(high):
        return "WINDOWS-1252"  # accents stand alone between plain letters
    if sum(byte in {0x82, 0x83} for byte in high) * 4 > len(high):
        return "SHIFT_JIS"  # kana begin with these
    return "WINDOWS-1251" if sum(byte >= 0xC0 for byte in high) * 10 > 9 * len(high) else "GB18030"
