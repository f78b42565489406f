"""A file of any size, or a folder of Parquet, labelled: in shards with receipts, so that a kill costs one shard."""

import fcntl
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from serving.formats import FORMATS, format_of
from serving.label_shard import CHUNK_ROWS, Labelling, Progress, label_shard
from serving.receipts import (
    HOME,
    MOST_ATTEMPTS,
    Made,
    Plan,
    Receipt,
    Shard,
    done,
    quarantined,
    read_plan,
    settle,
    work,
    write_plan,
)
from serving.roots import Root, root_of
from serving.shards import Reading, plan_for, run_id_for
from serving.tables import Row, write_rows
from stillhouse.errors import InputError, StoreLockedError

FORMAT = 1  # of what a shard's file holds: with another, the same input is another run
SHARD_ROWS = 16_384
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """`abstained` counts rows below the threshold and rows that cannot be read; `unreadable` the latter alone.

    `problem` is what was wrong with the first of these. `resumed` are rows that an earlier, interrupted command had
    labelled, `seconds` is this one's time. `sources` counts rows by who said their label.
    """

    rows: int
    abstained: int
    seconds: float
    unreadable: int = 0
    problem: str = ""
    resumed: int = 0
    sources: dict[str, int] = field(default_factory=dict)

    @property
    def rows_per_s(self) -> float:
        return (self.rows - self.resumed) / max(self.seconds, 1e-9)


def label_file(
    how: Labelling,
    source: Path,
    target: Path,
    *,
    shard_rows: int = SHARD_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> LabelCounts:
    """Label a file into a file, or a folder of Parquet into a folder (or a file): a row for each row, in its order.

    Shards are finished one after another in a hidden folder beside the target (in the target, if it is a folder); what
    an interrupted call finished is kept, as long as source, student and options are the same. A target that is a file
    appears when it is whole. `progress` gets rows done and rows in all. Raises InputError or TaskError for a source or
    target that cannot be used, DiskFullError where there is no room, ModelError for a student whose probabilities are
    none.
    """
    into_folder = source.is_dir() and not any(suffix.lower() in FORMATS for suffix in target.suffixes)
    _check_target(source, target, into_folder=into_folder)
    run_id = run_id_of_labels(how, source, shard_rows)
    root = root_of((target if into_folder else target.with_name(f".{target.name}.shards")).absolute())
    with _held(root):
        try:
            plan = planned(root, run_id, source, shard_rows, into_folder=into_folder)
            told = None if progress is None else _told(progress, plan.rows)
            receipts, counts = label_shards(how, root, plan, progress=told)
        except BaseException:
            if not into_folder and not root.sizes():
                root.remove_all()  # nothing is finished that a repeat could go on from
            raise
        if not into_folder:
            rows = labelled_rows(root, receipts, as_json=how.kind.task.kind != "single_label")
            write_rows(target, rows, how.columns)
            root.remove_all()
    return counts


def label_shards(
    how: Labelling,
    root: Root,
    plan: Plan,
    *,
    progress: Progress | None = None,
    most_attempts: int = MOST_ATTEMPTS,
) -> tuple[list[Receipt], LabelCounts]:
    """Every shard of the plan, one after another; those with a receipt are done already. `progress` gets rows done.

    Returns the receipts in the plan's order, each file verified. Raises what labelling raises; InputError at the end
    where a shard is in quarantine, once all others are done.
    """
    started, reading = time.monotonic(), how.reading()
    before = done(root, plan)
    caught = {shard.number for shard in quarantined(root, plan, before, most_attempts)}
    rows = resumed = sum(receipt.rows for receipt in before.values())
    if progress is not None:
        progress(rows)
    for shard in plan.shards:
        if shard.number in before or shard.number in caught:
            continue
        told = None if progress is None else _after(progress, rows)
        make = _maker(how, reading, told)
        rows += work(root, plan, shard, make, most_attempts=most_attempts).rows
    receipts = settle(root, plan, most_attempts=most_attempts)
    return receipts, counts_of(receipts, seconds=time.monotonic() - started, resumed=resumed)


def labelled_rows(root: Root, receipts: Iterable[Receipt], *, as_json: bool) -> Iterator[Row]:
    """The rows of finished shards in their order. `as_json`: labels are values that were written as JSON."""
    for receipt in receipts:
        with root.fs.open(root.url(receipt.file), "rb") as file, pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=CHUNK_ROWS):
                for row in batch.to_pylist():
                    if as_json and row["label"] is not None:
                        row["label"] = json.loads(row["label"])
                    yield row


def counts_of(receipts: Sequence[Receipt], *, seconds: float = 0.0, resumed: int = 0) -> LabelCounts:
    """What the receipts of a job add up to."""
    sources: Counter[str] = Counter()
    for receipt in receipts:
        sources.update(receipt.facts["sources"])
    return LabelCounts(
        rows=sum(receipt.rows for receipt in receipts),
        abstained=sum(receipt.facts["abstained"] for receipt in receipts),
        seconds=seconds,
        unreadable=sum(receipt.facts["unreadable"] for receipt in receipts),
        problem=next((receipt.facts["problem"] for receipt in receipts if receipt.facts["problem"]), ""),
        resumed=resumed,
        sources=dict(sources),
    )


def _maker(how: Labelling, reading: Reading, progress: Progress | None) -> Callable[[Shard], Made]:
    return lambda shard: label_shard(how, reading, shard, progress=progress)


def _after(progress: Progress, rows: int) -> Progress:
    return lambda more: progress(rows + more)


def _told(progress: Callable[[int, int], None], total: int) -> Progress:
    return lambda rows: progress(rows, total)


def run_id_of_labels(how: Labelling, source: Path, shard_rows: int) -> str:
    """Changes with whatever could change a row of the output."""
    module = (how.data.convert or "").partition(":")[0]
    convert = how.home.joinpath(*module.split(".")).with_suffix(".py") if module else None
    return run_id_for(
        source,
        format=FORMAT,
        model=how.model_id,
        task=how.kind.task.schema_hash(),
        data=how.data.model_dump(mode="json"),
        convert=hashlib.sha256(convert.read_bytes()).hexdigest() if convert and convert.is_file() else "",
        threshold=how.threshold,
        next_step=how.next_id,
        rows=[shard_rows, how.chunk_rows],
    )


def planned(root: Root, run_id: str, source: Path, shard_rows: int, *, into_folder: bool) -> Plan:
    """The plan that stands, or a new one. Raises InputError for a folder that holds anything else."""
    plan = read_plan(root)
    if plan is not None and plan.run_id == run_id:
        return plan
    if into_folder and (plan is not None or root.sizes()):
        raise InputError(
            f"the folder {root.path} holds other files",
            expected="a folder that is new, or that the same command has begun",
            found="labels of another source, student or threshold" if plan else "files that are no labels",
            fix="name another folder, or remove this one",
        )
    root.remove(root.sizes())  # what another run had begun: its source, its student or an option was another
    if root.fs.exists(root.url(HOME)):
        root.fs.rm(root.url(HOME), recursive=True)
    plan = plan_for(source, run_id, shard_rows=shard_rows)
    write_plan(root, plan)
    return plan


@contextmanager
def _held(root: Root) -> Iterator[None]:
    """One command at a time: two would do each shard twice. Raises StoreLockedError."""
    folder = Path(root.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written",
            expected="a folder that may be written",
            found=str(error),
            fix="check the folder and its permissions",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreLockedError(
                f"{folder} is in use",
                expected="one command at a time that labels into it",
                found="another one at work",
                fix="wait for it to end, or name another target",
            ) from error
        yield


def _check_target(source: Path, target: Path, *, into_folder: bool) -> None:
    if into_folder:
        if target.resolve().is_relative_to(source.resolve()):
            raise InputError(
                f"{target} is in the source",
                expected="a folder outside of it: labels would count as texts",
                found=f"a folder in {source}",
                fix="choose another folder",
            )
        return
    format_of(target)
    if target.is_dir():
        raise InputError(f"{target} is a folder", expected="a file to write", found="a folder", fix="name a file in it")
    if source.resolve() == target.resolve() or (source.exists() and target.exists() and source.samefile(target)):
        raise InputError(
            f"{target} is the source itself",
            expected="another file to write",
            found="the same",
            fix="choose another name",
        )
