"""A file, or a folder of Parquet, as a plan of shards; and their rows, each file read once from front to back."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.formats import check_there, empty, format_of, parquet_count
from serving.items import ItemTable, open_items
from serving.receipts import Plan, Shard, run_id_of
from serving.tables import Row, name_of, read_rows
from stillhouse.errors import InputError
from stillhouse.settings import Data

FOOTER_BYTES = 8  # the length of a Parquet file's footer, and the mark at its end
CHUNK_BYTES = 2**20


def files_of(source: Path) -> list[Path]:
    """The file itself; of a folder, all its Parquet files by name, hidden and underscored ones left out."""
    if not source.is_dir():
        format_of(source)
        check_there(source)
        return [source]
    inside = [path.relative_to(source) for path in source.rglob("*.parquet") if path.is_file()]
    shown = sorted(path for path in inside if not any(part.startswith((".", "_")) for part in path.parts))
    if not shown:
        raise InputError(
            f"no Parquet in the folder {source}",
            expected="files *.parquet",
            found=", ".join(sorted(path.name for path in source.iterdir())[:5]) or "an empty folder",
            fix="name a file in it, or convert the files",
        )
    return [source / path for path in shown]


def run_id_for(source: Path, **options: Any) -> str:
    """The id of the run over this source as it is now; `options` are whatever else the outcome depends on."""
    files = files_of(source)
    return run_id_of(files=[(path.name, fingerprint(path)) for path in files], **options)


def fingerprint(path: Path) -> str:
    """Changes with a file's content. Of Parquet its footer, size and time of change are enough: it may be very large.

    The footer has the place, size and bounds of each column of each row group.
    """
    with path.open("rb") as file:
        if format_of(path) != "parquet":
            return hashlib.file_digest(file, "sha256").hexdigest()
        stat = path.stat()
        file.seek(max(0, stat.st_size - FOOTER_BYTES))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, stat.st_size - FOOTER_BYTES - length))
        return f"{hashlib.sha256(file.read()).hexdigest()} {stat.st_size} {stat.st_mtime_ns}"


def plan_for(source: Path, run_id: str, *, shard_rows: int) -> Plan:
    """Shards of at most `shard_rows` rows, none of them over two files, in the order of files and rows.

    Of Parquet only the metadata is read; a text file is read whole, and its mistakes of form come out here.
    Raises InputError.
    """
    shards: list[Shard] = []
    first = 0
    for path in files_of(source):
        rows = parquet_count(path) if format_of(path) == "parquet" else sum(1 for _ in read_rows(path))
        for start in range(0, rows, shard_rows):
            shards.append(Shard(len(shards), str(path), start, min(shard_rows, rows - start), first + start))
        first += rows
    if not shards:
        raise empty(source, "no rows")
    return Plan(run_id, tuple(shards))


@dataclass(slots=True)
class Reading:
    """Hands out the rows of shards. Asked for in the plan's order, no row of a file is read twice."""

    data: Data
    home: Path
    table: ItemTable | None = field(default=None, init=False)
    _rows: Iterator[tuple[str, Row, str]] = field(default_factory=lambda: iter(()), init=False)
    _at: int = field(default=0, init=False)

    def open(self, shard: Shard) -> ItemTable:
        """The table a shard is of. Raises InputError, or TaskError for columns that are missing."""
        path = Path(shard.file)
        if self.table is None or self.table.path != path:
            self.table = open_items(path, self.data, home=self.home)
            self._rows, self._at = self.table.rows(), 0
        return self.table

    def rows(self, shard: Shard) -> Iterator[tuple[str, Row, str]]:
        """Place, row, and what its conversion met with, for each row of the shard."""
        table = self.open(shard)
        if self._at != shard.start:
            self._rows, self._at = table.rows(shard.start), shard.start
        for entry in itertools.islice(self._rows, shard.rows):
            self._at += 1
            yield entry


def sample_of(source: Path, text: str, most: int) -> tuple[int, float]:
    """Rows in all, and the mean characters of the column `text` in the first rows, `most` of them over all files."""
    files = files_of(source)
    total, chars, seen = 0, 0, 0
    for path in files:
        looked = itertools.islice(read_rows(path), max(1, most // len(files)))
        lengths = [len(name_of(row.get(text))) for _, row in looked]
        chars, seen = chars + sum(lengths), seen + len(lengths)
        total += parquet_count(path) if format_of(path) == "parquet" else sum(1 for _ in read_rows(path))
    return total, chars / max(seen, 1)
