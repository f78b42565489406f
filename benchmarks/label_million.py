"""A million short texts from Parquet labelled in bounded memory, killed twice with -9 and repeated: no row lost or doubled.

The student is tiny (2 layers of 32 dimensions, built on the spot, knows three labels): rows and memory are what is measured
here, not its speed. What a real student labels in a second is in benchmarks.student_labelling.
python -m benchmarks.label_million [--quick] --json OUT
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import at_least, at_most, report
from stillhouse.task import Task

ROWS, QUICK_ROWS = 1_000_000, 40_000
ROWS_A_GROUP = 100_000
WORDS_A_TEXT = 10
MOST_MIB = 1536
KILLED_AT = (1 / 3, 2 / 3)
SAMPLE = 2_000
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Life:
    """One command: how it ended, the most memory it held, and its time."""

    killed: bool
    peak_mib: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller measurement, under 50 s on free cores")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--child", nargs=3, type=Path, help="student, source, target: label, and nothing else")
    given = parser.parse_args()
    if given.child:
        _label(*given.child)
        return
    rows = given.rows or (QUICK_ROWS if given.quick else ROWS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        student, source, target = folder / "student", folder / "texts.parquet", folder / "labels.parquet"
        write_student(folder / "base", student)
        write_texts(source, rows)
        lives = [_life(student, source, target, kill_after=share * rows) for share in KILLED_AT]
        parts = target.with_name(f".{target.name}.shards")
        kept = sum(1 for _ in (parts / "_job" / "receipts").iterdir())
        lives.append(_life(student, source, target, kill_after=None))
        ids = pq.read_table(target, columns=["id"]).column("id").to_numpy()
        other = _differing(student, source, target, rows)
    seconds = sum(life.seconds for life in lives)
    print(
        f"{rows:,} rows in {seconds:,.0f} s of three commands, {rows / seconds:,.0f} rows/s; {kept} shards stood at the end"
    )
    wanted = {f"r{number}" for number in range(rows)}
    report(
        [
            at_least("commands killed with -9 as they worked", sum(life.killed for life in lives), 2),
            at_most("rows lost", len(wanted - set(ids)), 0),
            at_most("rows doubled", len(ids) - len(set(ids)), 0),
            at_most(f"of {SAMPLE} rows, labels that differ from those of the texts alone", other, 0),
            at_most("peak memory of a command, MiB", round(max(life.peak_mib for life in lives)), MOST_MIB),
        ],
        given.json,
    )


def _life(student: Path, source: Path, target: Path, *, kill_after: float | None) -> Life:
    """Label until the end, or until so many rows have receipts; then a little more, so that a shard is in the middle."""
    command = [sys.executable, "-m", "benchmarks.label_million", "--child", str(student), str(source), str(target)]
    started, peak = time.monotonic(), 0.0
    receipts = target.with_name(f".{target.name}.shards") / "_job" / "receipts"
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            peak = max(peak, _peak_mib(process.pid))
            if kill_after is not None and _finished_rows(receipts) >= kill_after:
                time.sleep(float(np.random.default_rng(int(kill_after)).uniform(0.2, 1.0)))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(LOOK_EVERY_S)
        code = process.returncode
    if code not in {0, -signal.SIGKILL}:
        raise SystemExit(f"labelling ended with {code}")
    return Life(code == -signal.SIGKILL, peak, time.monotonic() - started)


def _finished_rows(receipts: Path) -> int:
    from serving.label import SHARD_ROWS

    return SHARD_ROWS * sum(1 for path in receipts.glob("*.json")) if receipts.exists() else 0


def _peak_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def write_student(base: Path, folder: Path) -> None:
    from tests.trainer.tiny import LABELS, messages, settings, write_tiny_bert
    from trainer.artifact import save_student
    from trainer.inputs import Inputs
    from trainer.student import fit_student

    write_tiny_bert(base)
    texts, labels = messages(300)
    targets = np.eye(len(LABELS))[labels]
    student = fit_student(Inputs(texts), targets, np.ones(len(texts)), LABELS, settings(base), seed=0, recipe="head")
    save_student(student, folder, task_json=_task().model_dump_json(), metrics={}, card="A student for a benchmark.\n")


def _task() -> Task:
    from tests.trainer.tiny import LABELS

    labels = [{"name": name} for name in LABELS]
    raw = {"name": "million", "labels": labels, "data": {"pool": "-"}, "teachers": [{"name": "t", "model": "m"}]}
    return Task.model_validate(raw)


def write_texts(path: Path, rows: int) -> None:
    from tests.trainer.tiny import WORDS

    rng, words = np.random.default_rng(0), np.array(WORDS.split())
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROWS_A_GROUP):
            count = min(ROWS_A_GROUP, rows - start)
            drawn = words[rng.integers(0, len(words), (count, WORDS_A_TEXT))]
            texts = [" ".join(line) for line in drawn.tolist()]
            ids = [f"r{start + number}" for number in range(count)]
            writer.write_table(pa.table({"id": ids, "text": texts}, schema=schema))


def _label(student: Path, source: Path, target: Path) -> None:
    from serving.label import label_file
    from serving.label_shard import Labelling
    from serving.student import kind_in, labeller_of
    from trainer.artifact import model_id_of

    kind = kind_in(student)
    how = Labelling(labeller_of(student, kind), kind, kind.task.data, target.parent, model_id_of(student))
    label_file(how, source, target)


def _differing(student: Path, source: Path, target: Path, rows: int) -> int:
    """Some rows labelled again, by themselves."""
    from serving.student import kind_in, labeller_of
    from stillhouse.records import Item

    labeller = labeller_of(student, kind_in(student))
    some = np.sort(np.random.default_rng(1).choice(rows, min(SAMPLE, rows), replace=False))
    texts = pq.read_table(source, columns=["text"]).column("text").take(pa.array(some)).to_pylist()
    said = pq.read_table(target, columns=["label"]).column("label").take(pa.array(some)).to_pylist()
    probs = labeller.predict(labeller.prepare([Item("", text) for text in texts]))
    return sum(labeller.kind.columns[row.argmax()] != label for row, label in zip(probs, said, strict=True))


if __name__ == "__main__":
    main()
