"""Labelling a file: formats, bounded memory, whole or not at all."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from serving.tables import read_rows, write_rows
from stillhouse.errors import DiskFullError, InputError, ModelError, TaskError
from stillhouse.probabilities import Floats
from stillhouse.records import Item
from tests.serving.keywords import ROWS, WANTED, BrokenStudent, KeywordStudent, LostStudent, label

SUFFIXES = ("jsonl", "csv", "tsv", "parquet", "jsonl.gz", "csv.gz")
ROOT = Path(__file__).parents[2]
SLOW_LABELLING = """
import sys, time
from pathlib import Path
from tests.serving.keywords import KeywordStudent, label

class Slow(KeywordStudent):
    def predict(self, items):
        if len(self.sizes) == 3:
            print("half", flush=True)
            time.sleep(60)
        return super().predict(items)

label(Path(sys.argv[1]), Path(sys.argv[2]), Slow(), chunk_rows=4096)
"""


def source_of(folder: Path, suffix: str = "jsonl", rows: Any = ROWS) -> Path:
    path = folder / f"in.{suffix}"
    write_rows(path, rows, ("id", "text"))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


@pytest.mark.parametrize("into", SUFFIXES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_goes_into_every_other(tmp_path: Path, suffix: str, into: str) -> None:
    """Ids, labels, probabilities and abstentions are the same whatever holds them."""
    target = tmp_path / f"out.{into}"
    counts = label(source_of(tmp_path, suffix), target)
    assert (counts.rows, counts.abstained) == (4, 2)
    found = [
        (r["id"], r["label"] or None, float(r["probability"]) if r["probability"] else None, r["abstained"])
        for r in read(target)
    ]
    text = into.startswith(("csv", "tsv"))
    assert found == [(i, la, p, str(a).lower() if text else a) for i, la, p, a in WANTED]


def test_parquet_keeps_its_types_where_the_first_rows_have_no_text(tmp_path: Path) -> None:
    """Five thousand empty rows first do not make the probability a string."""
    rows = [{"id": str(n), "text": "" if n < 5000 else "bill"} for n in range(5001)]
    label(source_of(tmp_path, rows=rows), tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")[-1]["probability"] == pytest.approx(0.9)


def test_without_ids_rows_are_numbered(tmp_path: Path) -> None:
    """Across chunks, from 0."""
    write_rows(tmp_path / "in.jsonl", ROWS, ("text",))
    label(tmp_path / "in.jsonl", tmp_path / "out.jsonl", chunk_rows=3)
    assert [r["id"] for r in read(tmp_path / "out.jsonl")] == ["0", "1", "2", "3"]


def test_a_row_that_cannot_be_read_is_counted_and_named(tmp_path: Path) -> None:
    """Not only that it abstains: how many there are, and what is wrong with the first."""
    counts = label(source_of(tmp_path), tmp_path / "out.jsonl")
    assert (counts.unreadable, counts.problem) == (1, "line 2: the text is empty")


def test_half_a_character_abstains(tmp_path: Path) -> None:
    """An emoji cut in two is no text that a student can read."""
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "bill \\ud83e"}\n')
    assert label(tmp_path / "in.jsonl", tmp_path / "out.jsonl").abstained == 1


def test_memory_is_bounded(tmp_path: Path) -> None:
    """40 MB of texts pass through less than a fifth of that, and no call has more than a chunk."""
    source = source_of(tmp_path, rows=({"id": str(n), "text": "bill " * 400} for n in range(20_000)))
    student = KeywordStudent()
    tracemalloc.start()
    label(source, tmp_path / "out.csv", student, chunk_rows=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
    assert max(student.sizes) == 500


def test_a_kill_in_the_middle_leaves_the_old_target(tmp_path: Path) -> None:
    """-9 while rows are being written: what stood there before stands there still."""
    source = source_of(tmp_path, rows=({"id": str(n), "text": "bill"} for n in range(40_000)))
    target = tmp_path / "out.jsonl"
    target.write_text("old\n")
    command = [sys.executable, "-c", SLOW_LABELLING, str(source), str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert target.read_text() == "old\n"


def test_a_failing_student_leaves_nothing_and_keeps_its_error(tmp_path: Path) -> None:
    """Its OSError is not blamed on the target."""
    with pytest.raises(ConnectionError):
        label(source_of(tmp_path), tmp_path / "out.jsonl", LostStudent())
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_probabilities_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """Rather than delivered as a label."""
    with pytest.raises(ModelError, match="not finite"):
        label(source_of(tmp_path), tmp_path / "out.jsonl", BrokenStudent())


@pytest.mark.parametrize("link", [False, True])
def test_the_source_is_never_overwritten(tmp_path: Path, link: bool) -> None:
    """Neither by its name nor by a hard link to it."""
    source = source_of(tmp_path)
    target = tmp_path / "link.jsonl" if link else source
    if link:
        target.hardlink_to(source)
    with pytest.raises(InputError, match="source itself"):
        label(source, target)


def test_an_unknown_target_is_refused_before_the_source_is_read(tmp_path: Path) -> None:
    """The source does not even exist."""
    with pytest.raises(InputError, match=r"out\.xlsx: unknown kind of file"):
        label(tmp_path / "nowhere.jsonl", tmp_path / "out.xlsx")


def test_an_error_in_the_middle_leaves_the_old_target(tmp_path: Path) -> None:
    """The third chunk is broken: what stood there before stands there still, and nothing beside it."""

    class Tired(KeywordStudent):
        def predict(self, items: Sequence[Item]) -> Floats:
            if len(self.sizes) == 2:
                raise ConnectionError("tired")
            return super().predict(items)

    target = tmp_path / "out.jsonl"
    target.write_text("old\n")
    source = source_of(tmp_path, rows=({"id": str(n), "text": "bill"} for n in range(9)))
    with pytest.raises(ConnectionError):
        label(source, target, Tired())
    assert target.read_text() == "old\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """The target's parent is a file: an error of the target, with nothing foreign in it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"out\.jsonl.* cannot be written"):
        label(source_of(tmp_path), tmp_path / "file" / "out.jsonl")


def test_a_missing_column_is_guessed(tmp_path: Path) -> None:
    """The columns that are there are listed."""
    write_rows(tmp_path / "in.csv", [{"id": "1", "texts": "x"}], ("id", "texts"))
    with pytest.raises(TaskError, match=r"no column 'text' \(did you mean 'texts'\?\); found: id, texts"):
        label(tmp_path / "in.csv", tmp_path / "out.csv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", ["jsonl", "csv.gz", "parquet"])
def test_a_full_disk_is_named_and_costs_no_work(tmp_path: Path, suffix: str) -> None:
    """The hidden file leads to a device without room: no target appears, and a repeat asks the student nothing again."""
    source, target, again = source_of(tmp_path), tmp_path / f"out.{suffix}", KeywordStudent()
    (tmp_path / f".{target.name}.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="make room"):
        label(source, target)
    assert not target.exists()
    assert label(source, target, again).rows == 4
    assert again.sizes == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", target.name]


def test_a_folder_as_target_is_refused_before_any_work(tmp_path: Path) -> None:
    """The student is not asked."""
    student = KeywordStudent()
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(InputError, match="folder"):
        label(source_of(tmp_path), tmp_path / "out.csv", student)
    assert student.sizes == []
