"""Processes of this machine: one a worker, each by itself, so that a worker that dies takes no other along."""

import multiprocessing
import multiprocessing.connection
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.engine import Job, Outcome
from jobs.work import do
from stillhouse.errors import InputError

MOST_LOST_WORKERS = 5  # by one job: then it is the job that kills them
CONTEXT = multiprocessing.get_context("spawn")  # a forked child would inherit torch's threads in any state


@dataclass(slots=True)
class _Worker:
    """A process, this side of its pipe, and the number of the job it is at."""

    process: Any
    pipe: Any
    job: int | None = None


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """`workers` processes. Files are where they are."""

    workers: int = 1
    name: str = "local"
    shares_files: bool = True

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError("no workers", expected="at least 1", found=str(self.workers), fix="give --workers 1")

    def run(self, work: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """A job whose process is lost is given to a new one, MOST_LOST_WORKERS times in all."""
        waiting = deque(range(len(jobs)))
        lost = [0] * len(jobs)
        crew = [_started() for _ in range(min(self.workers, len(jobs)))]
        try:
            while waiting or any(worker.job is not None for worker in crew):
                for worker in crew:
                    if worker.job is None and waiting:
                        worker.job = waiting.popleft()
                        worker.pipe.send((work, dict(jobs[worker.job])))
                for number, worker in _ready(crew):
                    at = worker.job
                    assert at is not None
                    try:
                        result, failure = worker.pipe.recv()
                    except (EOFError, ConnectionResetError):
                        crew[number] = _started()
                        lost[at] += 1
                        if lost[at] < MOST_LOST_WORKERS:
                            waiting.appendleft(at)
                            continue
                        result, failure = None, f"its process was lost {lost[at]} times"
                    else:
                        worker.job = None
                    yield Outcome(at, result, failure)
        finally:
            for worker in crew:
                worker.pipe.close()
            for worker in crew:
                worker.process.join(0.2 if worker.job is None else 0)
                worker.process.kill()

    def place(self, path: Path) -> str:
        return str(path.absolute())

    def root_for(self, source: Path, target: Path) -> str:  # noqa: ARG002 - only the target counts here
        return str(target.absolute())

    def fetch(self, place: str, target: Path) -> None:
        source = Path(place)
        if source.absolute() == target.absolute():
            return
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _started() -> _Worker:
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(there,), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def _ready(crew: list[_Worker]) -> list[tuple[int, _Worker]]:
    """The workers whose pipe has something to say, be it that nobody is there any more."""
    busy = {worker.pipe: number for number, worker in enumerate(crew) if worker.job is not None}
    return [(busy[pipe], crew[busy[pipe]]) for pipe in multiprocessing.connection.wait(list(busy))]


def _work(pipe: Any) -> None:
    """In the worker: jobs until the other side has no more. What fails is said in words; the worker goes on."""
    while True:
        try:
            work, job = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            said = (dict(do(work, job)), "")
        except KeyboardInterrupt:
            return
        except Exception as error:  # noqa: BLE001 - a job's failure is its outcome, whatever it was
            said = ({}, f"{type(error).__name__}: {error}")
        pipe.send(said if not said[1] else (None, said[1]))
