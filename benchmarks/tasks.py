"""What people's answers buy on every kind of task: ours against random picks, the teacher alone and all truths.

Each row is a corpus of `benchmarks.corpora`; people are simulated by its truths. One job is a row's fixed part (teacher
and full supervision) or one seed of it; what is done is in the JSON file after every job.
python -m benchmarks.tasks [ROWS...] [--seeds N] [--jobs J] [--json FILE] [--plot FILE]
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.arms import Point, Scored, Setting, World, full_supervision, rounds_of, teacher_alone, world_of
from benchmarks.compare import Row, plot, summary, tables
from benchmarks.corpora import CORPORA
from benchmarks.figures import DATA_VARIABLE


@dataclass(frozen=True, slots=True)
class Job:
    """A seed of a row; None is the row's fixed part, which comes first and fills the cache."""

    row: str
    seed: int | None
    setting: Setting
    cache: Path


@dataclass(frozen=True, slots=True)
class Done:
    """What a job found; `why_not` instead of points where the row cannot be measured here."""

    job: Job
    points: list[Point]
    facts: Mapping[str, Any]
    why_not: str = ""


def work(job: Job) -> Done:
    """One job, in a process of its own; says a line as each arm ends."""
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    try:
        world = world_of(job.row, job.setting, job.cache)
        _say(job, "prepared", started)
        facts = {
            "votes_are": world.votes_are,
            "items": len(world.truths),
            "gold": len(world.gold_truths),
            "units": len(world.corpus.features),
            "columns": len(world.corpus.kind.columns),
        }
        return Done(job, list(_points(job, world)), facts)
    except SystemExit:
        return Done(job, [], {}, "its data is not here")
    except Exception:  # noqa: BLE001 - one row that fails must not cost the others
        return Done(job, [], {}, traceback.format_exc())


def _points(job: Job, world: World) -> Iterator[Point]:
    if job.seed is None:
        for arm in (teacher_alone, full_supervision):
            started = time.monotonic()
            point = arm(world)
            _say(job, _words(point), started)
            yield point
        return
    for name in ("ours", "random"):
        started = time.monotonic()
        points = rounds_of(world, name, job.seed, job.setting)
        _say(job, _words(points[-1]), started)
        yield from (_light(point) for point in points[:-1])
        yield points[-1]


def _light(point: Point) -> Point:
    """Without the scores of single items, which only last rounds are compared by."""
    return replace(point, delivered=replace(point.delivered, of_items=[]), student=replace(point.student, of_items=[]))


def _words(point: Point) -> str:
    student = point.student.figures[point.student.main]
    return f"{point.arm}: delivered {point.delivered.score:.4f}, student {point.student.main} {student:.4f}"


def _say(job: Job, what: str, started: float) -> None:
    seed = "" if job.seed is None else f" seed {job.seed}"
    print(f"{job.row}{seed} {what} ({time.monotonic() - started:.1f} s)", flush=True)


def rows_from(done: Sequence[Done]) -> list[Row]:
    """The rows of which the fixed part and at least one seed are there, in the order they were begun."""
    rows = []
    for fixed in (one for one in done if one.job.seed is None and one.points):
        seeds = sorted(
            (one for one in done if one.job.row == fixed.job.row and one.job.seed is not None and one.points),
            key=lambda one: one.job.seed or 0,
        )
        if seeds:
            teacher, full = fixed.points
            of_arm = {
                arm: [[point for point in one.points if point.arm == arm] for one in seeds]
                for arm in ("ours", "random")
            }
            facts = fixed.facts
            rows.append(Row(fixed.job.row, facts["votes_are"], facts["items"], facts["gold"], teacher, full, **of_arm))
    return rows


def write(done: Sequence[Done], setting: Setting, path: Path) -> None:
    """Everything so far; the file is whole at every moment."""
    told = {
        "setting": asdict(setting),
        "people": "simulated: answers are the truths of the data sets",
        "rows": [summary(row) for row in rows_from(done)],
        "jobs": [
            {
                "row": one.job.row,
                "seed": one.job.seed,
                **one.facts,
                "why_not": one.why_not,
                "points": [point.to_json() for point in one.points],
            }
            for one in done
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(told) + "\n", encoding="utf-8")
    part.replace(path)


def read(path: Path) -> tuple[list[Done], Setting]:
    """What `write` wrote."""
    told = json.loads(path.read_text(encoding="utf-8"))
    setting = Setting(**told["setting"])
    facts = ("votes_are", "items", "gold", "units", "columns")
    done = [
        Done(
            Job(one["row"], one["seed"], setting, Path()),
            [_point(point) for point in one["points"]],
            {name: one[name] for name in facts if name in one},
            one["why_not"],
        )
        for one in told["jobs"]
    ]
    return done, setting


def _point(told: Mapping[str, Any]) -> Point:
    parts = {what: Scored(**told[what]) for what in ("delivered", "student")}
    sure = told["certificate"]
    return Point(**{**told, **parts, "certificate": None if sure is None else tuple(sure)})


def run_all(names: Sequence[str], seeds: int, jobs: int, setting: Setting, cache: Path, out: Path | None) -> list[Done]:
    """Fixed parts first in their order, seeds of a row as soon as its cache is filled; seed by seed over all rows."""
    done: list[Done] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting: set[Future[Done]] = {pool.submit(work, Job(name, None, setting, cache)) for name in names}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                one = future.result()
                done.append(one)
                if one.why_not:
                    print(f"{one.job.row} seed {one.job.seed} left out: {one.why_not}", flush=True)
                elif one.job.seed is None:
                    waiting |= {pool.submit(work, replace(one.job, seed=seed)) for seed in range(seeds)}
            if out is not None:
                write(done, setting, out)
    return sorted(done, key=lambda one: names.index(one.job.row))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"some of {', '.join(CORPORA)}; none: all")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of selection; the corpus is the same for all")
    parser.add_argument("--n", type=int, default=Setting.n, help="items of the pool")
    parser.add_argument("--gold", type=int, default=Setting.gold)
    parser.add_argument("--rounds", type=int, default=Setting.rounds)
    parser.add_argument("--budget", type=float, default=Setting.budget, help="share of the pool that people answer")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--base", default=Setting.base, help="the student's base: package:NAME or a folder")
    parser.add_argument("--data", type=Path, help="the folder that holds the data sets")
    parser.add_argument("--cache", type=Path, help="where features are kept; a temporary folder unless given")
    parser.add_argument("--json", type=Path, help="where everything is written, after every job")
    parser.add_argument("--plot", type=Path, help="where the plot is written (SVG or PNG)")
    parser.add_argument("--show", type=Path, help="measure nothing: tables (and plot) of an earlier --json file")
    given = parser.parse_args()
    if unknown := [name for name in given.rows if name not in CORPORA]:
        parser.error(f"no such rows: {', '.join(unknown)}")
    os.environ["OMP_NUM_THREADS"] = "1"  # the jobs inherit it: threads that wait for each other are slower than one
    if given.data is not None:
        os.environ[DATA_VARIABLE] = str(given.data.resolve())
    setting = Setting(given.n, given.gold, given.budget, given.rounds, given.base)
    if given.show is not None:
        done, _ = read(given.show)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            cache = given.cache or Path(temporary)
            done = run_all(given.rows or list(CORPORA), given.seeds, given.jobs, setting, cache, given.json)
    rows = rows_from(done)
    print("\n" + tables(rows))
    if given.plot is not None and rows:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
