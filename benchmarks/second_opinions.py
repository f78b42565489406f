"""What a second opinion buys, for each answer people give: the loop's own picks and follow-ups, experts who err at a known rate.

python -m benchmarks.second_opinions --run runs/demo [--seeds 5] [--errors 0.05,0.15] [--jobs 2] --json OUT
Votes come from a run's store (make demo leaves one), answers from what its rehearsed experts know; each of them errs on
items of their own, and whoever decides sees both opinions and errs as often as anybody.
"""

import argparse
import dataclasses
import itertools
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from argilla_setup.rehearsed import RehearsedExperts
from benchmarks.figures import Figure, report
from benchmarks.rehearsed_pool import RehearsedPool, rehearsed_pool
from loop.asked import Asked
from loop.choose import next_picks
from loop.evaluate import certified
from loop.follow import follow_ups, unchecked
from loop.kept import keep
from loop.view import view_of
from stillhouse.measures import wilson
from stillhouse.records import Answer, Asking, Pick
from stillhouse.settings import Desk

BUDGET, BATCH, FIRST_SEED = 300, 60, 400  # answers of people in all, items a round; no seed that a published run had
FIRST, SECOND, CHIEF = "rehearsed-1", "rehearsed-2", "rehearsed-3"


@dataclass(frozen=True, slots=True)
class Arm:
    """How items are asked: each of `everybody` people first, then as the desk's settings say."""

    name: str
    everybody: int = 1
    second_opinions: float = 0.0
    second_below: float = 0.1

    def desk(self) -> Desk:
        return Desk(
            kind="files",
            min_submitted=self.everybody,
            adjudicators=(CHIEF,),
            second_opinions=self.second_opinions,
            second_below=self.second_below,
        )


ARMS = (
    Arm("once"),
    Arm("twice", everybody=2),
    Arm("second, up to 0.1, below 0.02", second_opinions=0.1, second_below=0.02),
    Arm("second, up to 0.2, below 0.1", second_opinions=0.2, second_below=0.1),
    Arm("second, all below 0.1", second_opinions=1.0, second_below=0.1),
)


@dataclass(frozen=True, slots=True)
class Point:
    """After a round: answers people gave, share of the pool's labels that are right, what the certificate said."""

    arm: str
    error: float
    seed: int
    answers: int
    delivered: float
    value: float
    lo: float
    hi: float

    @property
    def covers(self) -> bool:
        return self.lo <= self.delivered <= self.hi


def rounds_of(world: RehearsedPool, arm: Arm, error: float, seed: int, folder: Path) -> list[Point]:
    """A point after each round, until people have given about BUDGET answers."""
    task = world.project.task.model_copy(update={"seed": seed, "desk": arm.desk()})
    project = dataclasses.replace(world.project, task=task, folder=folder)
    experts = RehearsedExperts(world.known, project.kind, error_rate=error, annotators=3, seed=seed)
    picks, askings, answers = list[Pick](), list[Asking](), list[Answer]()
    view, points = view_of(project, world.corpus, []), list[Point]()
    for number in itertools.count(1):
        left = (BUDGET - len(answers)) // arm.everybody
        if left <= 0:
            return points
        keep(project, f"belief-{number - 1:02d}", view.belief.probs)
        batch = next_picks(project, view, {pick.item_id for pick in picks}, number, min(BATCH // arm.everybody, left))
        picks += batch
        names = (FIRST, SECOND)[: arm.everybody]
        answers += [_answer(world, experts, pick.item_id, name, pick.blind) for pick in batch for name in names]
        while True:
            asked = Asked(tuple(picks), tuple(askings), tuple(answers), arm.everybody)
            again = follow_ups(project, world.corpus, asked, ())
            if not again:
                break
            askings += again
            for asking in again:
                said = _answer(world, experts, asking.item_id, SECOND if asking.way == "second" else CHIEF, True)
                answers.append(dataclasses.replace(said, way=asking.way))
        view = view_of(project, world.corpus, answers)
        scores = [
            world.corpus.kind.score(world.known[item.id], value)
            for item, value in zip(view.items, view.delivered, strict=True)
        ]
        said_of = certified(project, view, asked.for_figures(), unchecked(project, world.corpus, asked))
        points.append(
            Point(arm.name, error, seed, len(answers), float(np.mean(scores)), said_of.value, said_of.lo, said_of.hi)
        )
    return points


def _answer(world: RehearsedPool, experts: RehearsedExperts, item_id: str, name: str, blind: bool) -> Answer:
    item = world.corpus.items[world.corpus.number[item_id]]
    return Answer(item_id, name, experts.answer(item, name), blind, True, "")


def _job(given: tuple[Path, Sequence[tuple[Arm, float, int]]]) -> list[Point]:
    run, work = given
    world, found = rehearsed_pool(run), list[Point]()
    for arm, error, seed in work:
        with tempfile.TemporaryDirectory() as folder:
            points = rounds_of(world, arm, error, seed, Path(folder))
        print(f"{arm.name}, error {error}, seed {seed}: {points[-1]}", flush=True)
        found += points
    return found


def at_budget(points: Sequence[Point], budget: int = BUDGET) -> float:
    """Delivered accuracy after exactly `budget` answers, on the line between the rounds before and after."""
    return float(np.interp(budget, [point.answers for point in points], [point.delivered for point in points]))


def figures_of(points: Sequence[Point]) -> list[Figure]:
    found = []
    by_run: dict[tuple[float, str, int], list[Point]] = {}
    for point in points:
        by_run.setdefault((point.error, point.arm, point.seed), []).append(point)
    once: Mapping[tuple[float, int], float] = {
        (error, seed): at_budget(run) for (error, arm, seed), run in by_run.items() if arm == "once"
    }
    for error, arm in sorted({(error, arm) for error, arm, _ in by_run}, key=lambda pair: (pair[0], _order(pair[1]))):
        runs = {seed: run for (e, a, seed), run in by_run.items() if (e, a) == (error, arm)}
        reached = {seed: at_budget(run) for seed, run in runs.items()}
        gain = np.array([reached[seed] - once.get((error, seed), float("nan")) for seed in runs])
        width = 1.96 * float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else float("nan")
        last = [point for run in runs.values() for point in run[1:]]
        hits = sum(point.covers for point in last)
        low, high = wilson(hits, len(last), 0.95)[:2]
        name = f"error {error:g}, {arm}"
        print(
            f"{name}: {100 * np.mean(list(reached.values())):.2f} % after {BUDGET} answers, "
            f"{100 * gain.mean():+.2f} ± {100 * width:.2f} against once; covered {hits} of {len(last)} "
            f"[{low:.2f}, {high:.2f}], too low {sum(p.hi < p.delivered for p in last)}, too high "
            f"{sum(p.lo > p.delivered for p in last)}, said {100 * np.mean([p.value - p.delivered for p in last]):+.2f} of the truth, "
            f"width {100 * np.mean([p.hi - p.lo for p in last]):.1f}",
            flush=True,
        )
        found += [
            Figure(f"{name}: delivered, %", round(100 * float(np.mean(list(reached.values()))), 2), "%", None),
            Figure(f"{name}: gain, points", round(100 * float(gain.mean()), 2), "points", None),
            Figure(f"{name}: gain, ± points", round(100 * width, 2), "points", None),
            Figure(f"{name}: certificates that hold the truth, of {len(last)}", hits, "-", None),
        ]
    return found


def _order(arm: str) -> int:
    return [each.name for each in ARMS].index(arm)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the folder of a rehearsed run of whole texts")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--errors", default="0.05,0.15")
    parser.add_argument("--arms", default=",".join(str(number) for number in range(len(ARMS))), help="by number")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    arms = [ARMS[int(number)] for number in given.arms.split(",")]
    errors = [float(error) for error in given.errors.split(",")]
    work = list(itertools.product(arms, errors, range(FIRST_SEED, FIRST_SEED + given.seeds)))
    parts = [(given.run, work[job :: given.jobs]) for job in range(given.jobs)]
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        points = [point for found in pool.map(_job, parts) for point in found]
    report(figures_of(points), given.json)


if __name__ == "__main__":
    main()
