"""A million rows on local processes, Ray and simulated Modal, workers killed all the while; large plans; resuming.

    python -m benchmarks.engines [--quick] [--rows N] [--kills N] --json OUT

The student is tiny (benchmarks.label_million), Modal is the control plane of tests/jobs: what is measured is the engines, not
the model. The overhead of an engine is measured with one worker and no kill, against the same shards in this process.
"""

import argparse
import gc
import hashlib
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.figures import Figure, at_least, at_most, report
from benchmarks.label_million import write_student, write_texts
from jobs.engine import Engine
from jobs.labels import LabelJob, label_on
from jobs.local import LocalProcesses
from jobs.on_modal import ModalApp
from jobs.ray_tasks import RayTasks
from serving.receipts import Made, Plan, Shard, done, ids_hash, read_plan, settle, status, work, write_plan
from serving.roots import root_of
from serving.student import task_in
from tests.jobs.control_plane import ControlPlane

ROWS, QUICK_ROWS = 1_000_000, 20_000
KILLS, QUICK_KILLS = 20, 2
SHARDS = 100
PLAN_SHARDS, RESUMED_SHARDS = 10_000, 400
FAILING = 0.05  # of the attempts of the simulated plan


@dataclass(frozen=True, slots=True)
class World:
    student: Path
    source: Path
    rows: int

    def job(self, shard_rows: int) -> LabelJob:
        return LabelJob(self.student, self.source, task_in(self.student).data, self.source, shard_rows=shard_rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller measurement, under 50 s on free cores")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--only", nargs="*", default=["plan", "killed", "overhead"], help="plan, killed, overhead")
    parser.add_argument("--engines", nargs="*", default=["local", "ray", "modal"])
    given = parser.parse_args()
    rows = given.rows or (QUICK_ROWS if given.quick else ROWS)
    kills = given.kills if given.kills is not None else (QUICK_KILLS if given.quick else KILLS)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "plan" in given.only:
            figures += _large_plan(folder / "plan") + _resumed(folder / "resumed")
        world = World(folder / "student", folder / "source", rows)
        world.source.mkdir()
        write_student(folder / "base", world.student)
        write_texts(world.source / "texts.parquet", rows)
        found: dict[str, str] = {}
        for engine in given.engines if "killed" in given.only else ():
            figures += _killed(engine, world, folder / f"out-{engine}", kills, found)
        if len(found) > 1:
            figures.append(at_most("engines whose rows differ from the first's", len(set(found.values())) - 1, 0))
        if "overhead" in given.only:
            figures += _overhead(world, folder, given.engines)
    report(figures, given.json)


def _killed(name: str, world: World, target: Path, kills: int, found: dict[str, str]) -> list[Figure]:
    """All rows on one engine while its workers die; what came out goes to `found` as one hash of ids and labels."""
    started = time.monotonic()
    with _engine(name, target) as (engine, pids, written), _killer(pids, kills, written) as struck:
        while True:
            try:
                label_on(engine, world.job(world.rows // SHARDS), target)
            except Exception as error:  # noqa: BLE001 - a user would repeat the command, whatever it was
                print(f"{name}: repeated after {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            break
    ids, digest = _content(target)
    found[name] = digest
    said = (
        f"{name}: {world.rows:,} rows, {len(struck)} kills, {time.monotonic() - started:.0f} s, content {digest[:16]}"
    )
    print(said, file=sys.stderr)
    return [
        at_least(f"{name}: workers killed with -9", len(struck), kills),
        at_most(f"{name}: rows lost", world.rows - len(set(ids)), 0),
        at_most(f"{name}: rows doubled", len(ids) - len(set(ids)), 0),
    ]


def _content(target: Path) -> tuple[list[str], str]:
    rows: list[tuple[str, str]] = []
    for path in sorted(target.glob("part-*.parquet")):
        table = pq.read_table(path, columns=["id", "label"])
        rows += zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update("\x1f".join(row).encode())
    return [row[0] for row in rows], digest.hexdigest()


@contextmanager
def _engine(name: str, target: Path, workers: int = 2) -> Iterator[tuple[Engine, Callable[[], list[int]], Path]]:
    """The engine, how to find the processes that work for it now, and where their receipts appear."""
    if name == "local":
        yield LocalProcesses(workers), lambda: _processes(b"spawn_main"), target
    elif name == "ray":
        os.environ.update(RAY_worker_niceness="0")  # 15 unless told: on a busy machine such workers hardly start
        yield RayTasks(cpus=2.0 / workers), lambda: _processes(b"ray::_said"), target
        import ray

        ray.shutdown()
    else:
        with ControlPlane(target.with_name(f"plane-{target.name}"), containers=workers) as plane:
            os.environ.update(plane.environment)
            with ModalApp() as engine:
                yield engine, lambda: _containers(plane), plane.volume("stillhouse-data") / "jobs"


def _processes(said: bytes) -> list[int]:
    """Those among the processes that descend from this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if said in (entry / "cmdline").read_bytes() and _mine(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _mine(pid: int) -> bool:
    while pid > 1 and pid != os.getpid():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return pid == os.getpid()


def _containers(plane: ControlPlane) -> list[int]:
    ended = {event["container"] for event in plane.events("ended")}
    at_work = {event["container"] for event in plane.events("taken")} - ended
    return [event["pid"] for event in plane.events("started") if event["container"] in at_work]


@contextmanager
def _killer(pids: Callable[[], list[int]], kills: int, written: Path) -> Iterator[list[int]]:
    """kill -9 of a worker at random moments, until there were so many; each time some shard has been done since."""
    struck: list[int] = []
    over = threading.Event()
    rng = np.random.default_rng(0)

    def strike() -> None:
        while len(struck) < kills and not over.wait(float(rng.uniform(0.0, 0.5))):
            at_work = [pid for pid in pids() if pid not in struck]
            if at_work:
                pid = at_work[int(rng.integers(len(at_work)))]
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                struck.append(pid)
                _wait_for_more(written, over)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    try:
        yield struck
    finally:
        over.set()
        thread.join()


def _wait_for_more(written: Path, over: threading.Event) -> None:
    """Two more shards: a kill is a rare event, even where it is common."""
    before = len(list(written.rglob("receipts/*.json")))
    until_s = time.monotonic() + 60.0
    while not over.is_set() and time.monotonic() < until_s:
        if len(list(written.rglob("receipts/*.json"))) >= before + 2:
            return
        time.sleep(0.2)


def _overhead(world: World, folder: Path, engines: Sequence[str]) -> list[Figure]:
    """Seconds beyond the work itself, which the receipts state: one worker an engine, no kill, starting included."""
    figures = []
    for name in engines:
        target = folder / f"overhead-{name}"
        with _engine(name, target, workers=1) as (engine, _, _):
            started = time.monotonic()
            labelled = label_on(engine, world.job(world.rows // 4), target)
            passed = time.monotonic() - started
        print(f"{name}: {passed:.1f} s for {labelled.worker_seconds:.1f} s of work", file=sys.stderr)
        share = passed / labelled.worker_seconds - 1
        figures.append(at_most(f"{name}: overhead at {world.rows // 4:,} rows a shard", share, 0.1))
    return figures


def _large_plan(folder: Path) -> list[Figure]:
    """Ten thousand shards, one in twenty attempts failing: planning, status, and whether all of it comes to an end."""
    root, rng = root_of(folder), np.random.default_rng(0)
    started = time.monotonic()
    plan = Plan("simulated", tuple(Shard(n, "all.parquet", 10 * n, 10, 10 * n) for n in range(PLAN_SHARDS)))
    write_plan(root, plan)
    read = read_plan(root)
    assert read is not None
    planning = time.monotonic() - started

    def make(shard: Shard) -> Made:
        if rng.random() < FAILING:
            raise RuntimeError("a simulated failure")
        ids = [f"{shard.first + row}" for row in range(shard.rows)]
        return Made(str(ids).encode(), len(ids), ids_hash(ids), {"sources": {}, "abstained": 0, "unreadable": 0})

    failures = 0
    for shard in read.shards:
        while True:
            try:
                work(root, read, shard, make)
            except RuntimeError:
                failures += 1
                continue
            break
    gc.collect()
    started, cpu = time.monotonic(), time.process_time()
    at = status(root, read)
    looking, cpu = time.monotonic() - started, time.process_time() - cpu
    receipts = settle(root, read)
    total = sum(int(receipt.ids, 16) for receipt in receipts) % (1 << 128)
    right = total == ids_hash(str(number) for number in range(10 * PLAN_SHARDS))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{failures} simulated failures over {PLAN_SHARDS:,} shards", file=sys.stderr)
    return [
        at_most(f"{PLAN_SHARDS:,} shards: seconds to plan", planning, 5),
        at_most(f"{PLAN_SHARDS:,} shards: seconds of status, by the clock", looking, 5),
        at_most(f"{PLAN_SHARDS:,} shards: CPU-seconds of status", cpu, 5),
        at_most(f"{PLAN_SHARDS:,} shards: MiB of this process", memory, 500),
        at_least(f"{PLAN_SHARDS:,} shards: done, every id once", float(right and at.done == PLAN_SHARDS), 1),
    ]


def _resumed(folder: Path) -> list[Figure]:
    """What a repeated command pays for shards that are done: looking at their receipts."""
    root = root_of(folder)
    plan = Plan("simulated", tuple(Shard(n, "all.parquet", n, 1, n) for n in range(RESUMED_SHARDS)))
    write_plan(root, plan)
    for shard in plan.shards:
        work(root, plan, shard, lambda one: Made(b"x", 1, ids_hash([str(one.number)])))
    started = time.monotonic()
    found = done(root, plan)
    seconds = time.monotonic() - started
    return [
        at_most(f"{RESUMED_SHARDS} finished shards: seconds to see that", seconds, 2),
        at_least(f"{RESUMED_SHARDS} finished shards: seen", len(found), RESUMED_SHARDS),
    ]


if __name__ == "__main__":
    main()
