"""Local processes and Ray: the same rows from every engine, whatever is killed on the way."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs.engine import Engine
from jobs.labels import LabelJob, label_on
from jobs.local import LocalProcesses
from jobs.ray_tasks import RayTasks
from serving.receipts import read_plan, status
from serving.roots import root_of
from stillhouse.errors import InputError
from tests.jobs.conftest import ROWS, Texts


@pytest.fixture(scope="module", params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "local":
        yield LocalProcesses(workers=2)
        return
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")  # 15 unless told: on a busy machine such workers hardly start
        yield RayTasks()
        ray.shutdown()


def rows_of(folder: Path) -> dict[str, str]:
    """Every row of a folder of labels by its id; a doubled one is an error."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("part-*.parquet")):
        for row in pq.read_table(path, columns=["id", "label"]).to_pylist():
            assert row["id"] not in found
            found[row["id"]] = row["label"]
    return found


def job_of(texts: Texts, shard_rows: int = 50) -> LabelJob:
    return LabelJob(texts.student, texts.source, texts.data, texts.source, shard_rows=shard_rows)


def test_every_engine_labels_each_row_once_as_the_student_says(engine: Engine, texts: Texts, tmp_path: Path) -> None:
    """The rows are those of the source, and their labels those of the student asked directly; a repeat does nothing."""
    told: list[int] = []
    done = label_on(engine, job_of(texts), tmp_path / "out", progress=lambda rows, _: told.append(rows))
    assert rows_of(tmp_path / "out") == texts.labels
    assert (done.counts.rows, told[-1], len(done.receipts)) == (ROWS, ROWS, 12)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    again = label_on(engine, job_of(texts), tmp_path / "out")
    assert again.counts.resumed == ROWS
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")} == before
    plan = read_plan(root_of(tmp_path / "out"))
    assert plan is not None
    assert status(root_of(tmp_path / "out"), plan).rows_done == ROWS  # read off receipts alone


def test_a_file_that_cannot_be_planned_says_why(engine: Engine, texts: Texts, tmp_path: Path) -> None:
    """What is wrong with the source comes back in words, whatever machine found it."""
    (tmp_path / "empty").mkdir()
    job = LabelJob(texts.student, tmp_path / "empty", texts.data, tmp_path)
    with pytest.raises(InputError, match="no Parquet"):
        label_on(engine, job, tmp_path / "out")


def workers() -> list[int]:
    """Processes of this one that are at work on a job."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            said = (entry / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == os.getpid() and b"spawn_main" in said:
            found.append(int(entry.name))
    return found


def test_workers_killed_in_mid_work_lose_and_double_nothing(texts: Texts, tmp_path: Path) -> None:
    """kill -9 of a process at work after the second and the tenth receipt: each row comes out once."""
    struck: list[int] = []
    over = threading.Event()

    def kill() -> None:
        receipts = tmp_path / "out" / "_job" / "receipts"
        for after in (2, 10):
            while not over.is_set() and len(list(receipts.glob("*.json")) if receipts.exists() else []) < after:
                time.sleep(0.005)
            for pid in workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                struck.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        label_on(LocalProcesses(workers=2), job_of(texts, shard_rows=30), tmp_path / "out")
    finally:
        over.set()
        killer.join()
    assert rows_of(tmp_path / "out") == texts.labels
    assert len(struck) == 2
