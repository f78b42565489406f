"""Plans of files and folders, rows of shards, and labelling that is killed and goes on."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.label import label_file
from serving.receipts import done, read_plan
from serving.roots import root_of
from serving.shards import Reading, fingerprint, plan_for, run_id_for
from serving.tables import read_rows, write_rows
from stillhouse.errors import InputError, StoreLockedError
from stillhouse.probabilities import Floats
from stillhouse.records import Item
from stillhouse.settings import Data
from tests.serving.keywords import KeywordStudent, label, labelling

ROOT = Path(__file__).parents[2]
ROWS = 100
KILLED_IN = """
import os, signal, sys
from pathlib import Path
from tests.serving.keywords import KeywordStudent, label

class Killed(KeywordStudent):
    def predict(self, items):
        if len(self.sizes) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(items)

label(Path(sys.argv[1]), Path(sys.argv[2]), Killed(), chunk_rows=5, shard_rows=10)
"""


class Tired(KeywordStudent):
    """Fails in its third call."""

    def predict(self, items: Sequence[Item]) -> Floats:
        if len(self.sizes) == 2:
            raise ConnectionError("tired")
        return super().predict(items)


def texts(count: int = ROWS, first: int = 0) -> list[dict[str, Any]]:
    return [{"id": f"i{n}", "text": ("bill", "🦊", "?")[n % 3] + f" {n}"} for n in range(first, first + count)]


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 7) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def source_of(folder: Path, sort: str) -> Path:
    """100 rows as a file, or as a folder of three files in two folders."""
    if sort != "folder":
        path = folder / f"in.{sort}"
        if sort == "parquet":
            write_parquet(path, texts())
        else:
            write_rows(path, texts(), ("id", "text"))
        return path
    write_parquet(folder / "in" / "b" / "2.parquet", texts(45, 55))
    write_parquet(folder / "in" / "a.parquet", texts(33))
    write_parquet(folder / "in" / "b" / "1.parquet", texts(22, 33))
    write_parquet(folder / "in" / "_tmp" / "x.parquet", texts(5))
    return folder / "in"


def read(target: Path) -> list[dict[str, Any]]:
    paths = sorted(target.glob("part-*.parquet")) if target.is_dir() else [target]
    return [row for path in paths for _, row in read_rows(path)]


def killed(source: Path, target: Path, calls: int) -> None:
    command = [sys.executable, "-c", KILLED_IN, str(source), str(target), str(calls)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("sort", ["jsonl", "csv.gz", "parquet", "folder"])
def test_every_row_is_in_one_shard(tmp_path: Path, sort: str) -> None:
    """In the order of files and rows; no shard goes over two files."""
    source = source_of(tmp_path, sort)
    plan = plan_for(source, "r", shard_rows=10)
    reading = Reading(Data(pool=""), tmp_path)
    ids = [row["id"] for shard in plan.shards for _, row, _ in reading.rows(shard)]
    assert ids == [f"i{n}" for n in range(ROWS)]
    assert plan.rows == ROWS
    assert len(plan.shards) == (4 + 3 + 5 if sort == "folder" else 10)


@pytest.mark.parametrize("sort", ["jsonl", "parquet", "folder"])
def test_a_shard_can_be_read_alone(tmp_path: Path, sort: str) -> None:
    """By a worker that never saw the ones before it, and out of order; places are those of the file."""
    plan = plan_for(source_of(tmp_path, sort), "r", shard_rows=10)
    in_order = Reading(Data(pool=""), tmp_path)
    wanted = {shard.number: list(in_order.rows(shard)) for shard in plan.shards}
    for shard in reversed(plan.shards):
        assert list(Reading(Data(pool=""), tmp_path).rows(shard)) == wanted[shard.number]


@pytest.mark.parametrize("sort", ["jsonl", "parquet", "folder"])
def test_killed_twice_and_repeated_no_row_is_lost_or_doubled(tmp_path: Path, sort: str) -> None:
    """-9 in the middle of a shard: the third command labels only what is missing, and the output is the undisturbed one."""
    source = source_of(tmp_path, sort)
    suffix = "" if sort == "folder" else f".{sort}"
    target, calm = tmp_path / f"out{suffix}", tmp_path / f"calm{suffix}"
    killed(source, target, 7)
    killed(source, target, 5)
    assert not target.is_file()
    last = KeywordStudent()
    counts = label(source, target, last, chunk_rows=5, shard_rows=10)
    assert counts.resumed == ROWS - sum(last.sizes) == (55 if sort == "folder" else 50)
    assert counts.rows == ROWS
    label(source, calm, chunk_rows=5, shard_rows=10)
    assert read(target) == read(calm)
    assert Counter(row["id"] for row in read(target)) == Counter({f"i{n}": 1 for n in range(ROWS)})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({source.name, target.name, calm.name})


def test_a_folder_becomes_a_folder_that_readers_of_parquet_take_as_it_is(tmp_path: Path) -> None:
    """One file a shard; what the job keeps of itself is in an underscored folder, which they leave out."""
    source = source_of(tmp_path, "folder")
    label(source, tmp_path / "out", shard_rows=50)
    table = pq.read_table(tmp_path / "out")
    assert table.column("id").to_pylist() == [f"i{n}" for n in range(ROWS)]
    assert table.schema.names == ["id", "label", "probability", "abstained", "model"]
    again = KeywordStudent()
    assert label(source, tmp_path / "out", again, shard_rows=50).rows == ROWS
    assert again.sizes == []


def test_a_folder_can_become_one_file(tmp_path: Path) -> None:
    """If the target is called like one; rows without ids are numbered over all files."""
    source = source_of(tmp_path, "folder")
    for path in source.rglob("[a-z0-9]*.parquet"):
        pq.write_table(pq.read_table(path, columns=["text"]), path)
    label(source, tmp_path / "out.csv", shard_rows=50)
    assert [row["id"] for row in read(tmp_path / "out.csv")] == [str(n) for n in range(ROWS)]


def test_an_error_keeps_what_is_finished(tmp_path: Path) -> None:
    """The student fails in the second shard: the first is not labelled again."""
    source, target = source_of(tmp_path, "jsonl"), tmp_path / "out.jsonl"
    with pytest.raises(ConnectionError):
        label(source, target, Tired(), chunk_rows=40, shard_rows=40)
    assert label(source, target, chunk_rows=40, shard_rows=40).resumed == 40 + 40


@pytest.mark.parametrize("change", ["threshold", "model", "source", "shards"])
def test_what_would_change_a_row_begins_anew(tmp_path: Path, change: str) -> None:
    """Another threshold, student, source or size of shards: nothing of the interrupted command is taken."""
    source, target = source_of(tmp_path, "jsonl"), tmp_path / "out.jsonl"
    killed(source, target, 7)
    if change == "source":
        write_rows(source, texts(99), ("id", "text"))
    more = {"threshold": 0.7} if change == "threshold" else {"model_id": "m2"} if change == "model" else {}
    how = labelling(tmp_path, chunk_rows=5, **more)
    assert label_file(how, source, target, shard_rows=20 if change == "shards" else 10).resumed == 0


def test_a_folder_of_other_labels_is_not_touched(tmp_path: Path) -> None:
    """Neither labels of another threshold nor files that are no labels at all."""
    source = source_of(tmp_path, "folder")
    label(source, tmp_path / "out")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    with pytest.raises(InputError, match="holds other files"):
        label(source, tmp_path / "out", shard_rows=7)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="files that are no labels"):
        label(source, tmp_path / "mine")


def test_labels_do_not_go_among_the_texts(tmp_path: Path) -> None:
    """They would be read as texts by the next command."""
    source = source_of(tmp_path, "folder")
    with pytest.raises(InputError, match="is in the source"):
        label(source, source / "labels")


def test_a_folder_without_parquet_is_named(tmp_path: Path) -> None:
    """With what is in it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"found: a\.txt"):
        label(tmp_path / "in", tmp_path / "out")


def test_two_commands_do_not_label_into_one_target(tmp_path: Path) -> None:
    """The second is told, and the first goes on."""
    source, target = source_of(tmp_path, "jsonl"), tmp_path / "out.jsonl"

    class Second(KeywordStudent):
        def predict(self, items: Sequence[Item]) -> Floats:
            if not self.sizes:
                with pytest.raises(StoreLockedError):
                    label(source, target)
            return super().predict(items)

    assert label(source, target, Second()).rows == ROWS


def test_a_bad_shard_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """It killed its process five times: the sixth command leaves it alone, does the rest, and names its rows."""
    source, target = source_of(tmp_path, "jsonl"), tmp_path / "out.jsonl"
    root = root_of(tmp_path / ".out.jsonl.shards")
    killed(source, target, 3)
    plan = read_plan(root)
    assert plan is not None
    root.write("_job/attempts/00001.json", b'{"run_id": "%s", "attempt": 5}' % plan.run_id.encode())
    with pytest.raises(InputError, match=r"rows 10 to 19 of .*in\.jsonl"):
        label(source, target, chunk_rows=5, shard_rows=10)
    assert sorted(done(root, plan)) == [n for n in range(10) if n != 1]


def test_a_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    """Also of Parquet of the same size, whose content is not read for it."""
    for suffix in ("jsonl", "parquet"):
        path = tmp_path / f"in.{suffix}"
        write_rows(path, [{"text": "aaa"}], ("text",))
        before = fingerprint(path), run_id_for(path, model="m")
        assert before == (fingerprint(path), run_id_for(path, model="m"))
        write_rows(path, [{"text": "aab"}], ("text",))
        os.utime(path, ns=(1, 1))
        assert fingerprint(path) != before[0]
        assert run_id_for(path, model="m") != before[1]
