"""How often the certificate's interval holds the truth: the loop's own picks on a rehearsed run's pool, seed after seed.

python -m benchmarks.coverage --run runs/demo [--seeds 60] [--jobs 2] --json OUT
Votes come from the run's store (make demo leaves one), answers from what its rehearsed experts know.
"""

import argparse
import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, at_least, report
from benchmarks.rehearsed_pool import rehearsed_pool
from loop.choose import next_picks
from loop.evaluate import certified
from loop.project import Project
from loop.view import Corpus, view_of
from stillhouse.measures import wilson
from stillhouse.records import Answer, Pick, Value

CONFIDENCE = 0.95
FIRST_SEED = 100  # no seed that a published run had


@dataclass(frozen=True, slots=True)
class Round:
    """What the certificate said after a round, and what is true."""

    number: int
    true: float
    lo: float
    hi: float

    @property
    def covers(self) -> bool:
        return self.lo <= self.true <= self.hi


def rounds_of(run: Path, seeds: range) -> list[Round]:
    """The rounds of each seed, until the budget of people's answers is used up."""
    pool = rehearsed_pool(run)
    return [found for seed in seeds for found in _of_seed(pool.project, pool.corpus, pool.known, seed)]


def _of_seed(project: Project, corpus: Corpus, known: dict[str, Value], seed: int) -> list[Round]:
    task = project.task.model_copy(update={"seed": seed})
    project = dataclasses.replace(project, task=task)
    picks: list[Pick] = []
    view = view_of(project, corpus, [])
    found = []
    assert task.budget.human_labels is not None
    for number in range(1, task.budget.human_labels // task.selection.batch + 1):
        picks += next_picks(project, view, {pick.item_id for pick in picks}, number, task.selection.batch)
        answers = [Answer(p.item_id, "rehearsed", known[p.item_id], p.blind, True, "") for p in picks]
        view = view_of(project, corpus, answers)
        scores = [corpus.kind.score(known[i.id], v) for i, v in zip(view.items, view.delivered, strict=True)]
        interval = certified(project, view, picks)
        found.append(Round(number, float(np.mean(scores)), interval.lo, interval.hi))
    print(f"seed {seed}: {found[-1]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the folder of a rehearsed run of whole texts")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + given.seeds)
    parts = [seeds[job :: given.jobs] for job in range(given.jobs)]
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        rounds = [one for found in pool.map(rounds_of, [given.run] * len(parts), parts) for one in found]
    figures = []
    for number in sorted({one.number for one in rounds}):
        those = [one for one in rounds if one.number == number]
        hits = sum(one.covers for one in those)
        figures += [
            # As far as so many seeds can tell: the promise must not be outside the interval of the share.
            at_least(
                f"round {number}: upper bound of the share covered", wilson(hits, len(those), 0.95)[1], CONFIDENCE
            ),
            Figure(f"round {number}: covered, of {len(those)}", hits, "-", None),
            Figure(f"round {number}: mean truth", round(float(np.mean([one.true for one in those])), 4), "-", None),
            Figure(
                f"round {number}: mean width", round(float(np.mean([one.hi - one.lo for one in those])), 4), "-", None
            ),
        ]
    report(figures, given.json)


if __name__ == "__main__":
    main()
