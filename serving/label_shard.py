"""One shard of a table labelled by a student: rows in, a Parquet file out, in bounded memory."""

import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kinds.kind import Kind, Spans
from serving.ahead import ahead
from serving.items import ItemTable
from serving.receipts import MODULUS, Made, Shard, ids_hash
from serving.shards import Reading
from serving.tables import Row, name_of
from serving.verdicts import Predicts, Verdict, verdicts
from stillhouse.errors import InputError
from stillhouse.records import Item
from stillhouse.settings import Data

COLUMNS = {
    "id": pa.string(),
    "label": pa.string(),
    "probability": pa.float64(),
    "abstained": pa.bool_(),
    "model": pa.string(),
    "source": pa.string(),
    "cost_usd": pa.float64(),
}
OF_CASCADES = ("source", "cost_usd")
CHUNK_ROWS = 4_096  # sorted by length together; two or three chunks are in memory at a time
MOST_CELLS = 2**22  # of a chunk's probabilities: long texts, each token with many columns, make chunks of fewer rows

# What an item that the student abstained on comes to: the next step of the cascade.
NextStep = Callable[[Sequence[Item], Sequence[Verdict]], Sequence[Verdict]]
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Labelling:
    """How all rows of a job are labelled. `data` names the columns, `home` is the folder of task.toml.

    `next_step` gets what the student abstained on (items and verdicts) and gives its verdicts; with it the rows have
    the columns source and cost_usd too, and `next_id` says in words what its verdicts depend on.
    `metadata` are columns that it needs.
    """

    student: Predicts
    kind: Kind
    data: Data
    home: Path
    model_id: str
    threshold: float = 0.0
    next_step: NextStep | None = None
    next_id: str = ""
    metadata: tuple[str, ...] = ()
    chunk_rows: int = CHUNK_ROWS

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise InputError(
                "the threshold is no probability", expected="0 to 1", found=str(self.threshold), fix="correct it"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in COLUMNS if self.next_step or name not in OF_CASCADES)

    def reading(self) -> Reading:
        # What is read here is not shown to people by itself: no metadata but what was asked for, no limit of length.
        return Reading(self.data.model_copy(update={"metadata": self.metadata, "max_chars": sys.maxsize}), self.home)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A row that waits for its label. Without an item it cannot be read, and `problem` says why."""

    id: str | None
    item: Item | None
    units: Spans
    problem: str


def label_shard(how: Labelling, reading: Reading, shard: Shard, *, progress: Progress | None = None) -> Made:
    """The rows of one shard as a Parquet file: a function of its rows and of `how`, for any engine to run.

    `reading` may be kept from shard to shard. Rows are written in their order: id, label (a list or an object as
    JSON), probability, abstained, model, source, cost_usd. An id that the source lacks is the row's number in it.
    """
    table = reading.open(shard)
    buffer = io.BytesIO()
    counts: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    rows, ids, problem = 0, 0, ""
    schema = pa.schema([(name, COLUMNS[name]) for name in how.columns])
    with pq.ParquetWriter(buffer, schema) as writer:
        for chunk, prepared in ahead(_prepared(how, table, reading.rows(shard), shard)):
            said = _said(how, chunk, prepared)
            writer.write_table(_as_table(how, chunk, said).select(how.columns).cast(schema))
            rows += len(chunk)
            ids += ids_hash(row.id or "" for row in chunk)
            counts.update(abstained=sum(verdict.abstained for verdict in said))
            counts.update(unreadable=sum(row.item is None for row in chunk))
            sources.update(verdict.source for verdict in said)
            problem = problem or next((row.problem for row in chunk if row.problem), "")
            if progress is not None:
                progress(rows)
    facts = {"abstained": counts["abstained"], "unreadable": counts["unreadable"], "problem": problem}
    return Made(buffer.getvalue(), rows, ids % MODULUS, {**facts, "sources": dict(sources)})


def _prepared(
    how: Labelling, table: ItemTable, rows: Iterator[tuple[str, Row, str]], shard: Shard
) -> Iterator[tuple[list[_Waiting], Any]]:
    """Chunks with what the student reads of them: made in another thread."""
    for chunk in _chunks(_waiting(how, table, rows, shard), how.chunk_rows, len(how.kind.columns)):
        items = [row.item for row in chunk if row.item is not None]
        yield chunk, how.student.prepare(items) if items else None


def _waiting(
    how: Labelling, table: ItemTable, rows: Iterator[tuple[str, Row, str]], shard: Shard
) -> Iterator[_Waiting]:
    where = f"{Path(shard.file).name}, " if shard.first != shard.start else ""  # of several files
    nothing = how.kind.units(Item("", ""))[:0]
    for number, (place, row, failed) in enumerate(rows, start=shard.first):
        item_id = str(number) if table.made_ids else name_of(row.get(table.data.id)) or None
        item, problems = (None, [failed]) if failed else table.item(row)
        if item is None:
            yield _Waiting(item_id, None, nothing, f"{where}{place}: {problems[0]}")
        else:
            yield _Waiting(item_id, item, how.kind.units(item), "")


def _chunks(rows: Iterator[_Waiting], most_rows: int, columns: int) -> Iterator[list[_Waiting]]:
    chunk: list[_Waiting] = []
    cells = 0
    for row in rows:
        more = len(row.units) * columns
        if chunk and (len(chunk) == most_rows or cells + more > MOST_CELLS):
            yield chunk
            chunk, cells = [], 0
        chunk.append(row)
        cells += more
    if chunk:
        yield chunk


def _said(how: Labelling, chunk: Sequence[_Waiting], prepared: Any) -> list[Verdict]:
    """The verdict of each row; what the student abstains on has taken the next step."""
    unreadable = Verdict(None, None, abstained=True)
    readable = [number for number, row in enumerate(chunk) if row.item is not None]
    items = [row.item for row in chunk if row.item is not None]
    said = [unreadable] * len(chunk)
    if not items:
        return said
    units = [chunk[number].units for number in readable]
    probs = how.student.predict(prepared)
    thresholds = how.student.thresholds
    found = verdicts(how.kind, items, units, probs, thresholds=thresholds, threshold=how.threshold)
    for number, verdict in zip(readable, found, strict=True):
        said[number] = verdict
    unsure = [number for number in readable if said[number].abstained]
    if how.next_step is not None and unsure:
        asked = [item for number in unsure if (item := chunk[number].item) is not None]
        for number, verdict in zip(unsure, how.next_step(asked, [said[n] for n in unsure]), strict=True):
            said[number] = verdict
    return said


def _as_table(how: Labelling, chunk: Sequence[_Waiting], said: Sequence[Verdict]) -> pa.Table:
    return pa.table(
        {
            "id": [row.id for row in chunk],
            "label": [_cell(how.kind, verdict) for verdict in said],
            "probability": [verdict.probability for verdict in said],
            "abstained": [verdict.abstained for verdict in said],
            "model": [how.model_id] * len(chunk),
            "source": [verdict.source for verdict in said],
            "cost_usd": [verdict.cost_usd for verdict in said],
        }
    )


def _cell(kind: Kind, verdict: Verdict) -> str | None:
    if verdict.label is None or kind.task.kind == "single_label":
        return None if verdict.label is None else str(verdict.label)
    return json.dumps(verdict.label, ensure_ascii=False)
