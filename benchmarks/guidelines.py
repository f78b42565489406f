"""What clusters of conflicts find: the share of all the teacher's errors that the first ten stand for, from 300 answers.

Banking77 with a recorded teacher (one LLM under two prompts); people are simulated by the data's labels. The loop's own picks, a
fifth of them random. An error of the pool is covered where it is of the same kind (said, right) as one of the ten.
python -m benchmarks.guidelines [--quick] [--seeds N] [--json OUT]
"""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.arms import Setting, World, world_of
from benchmarks.figures import Figure, arguments, data_or_skip, report
from loop.choose import next_picks
from loop.conflicts import Cluster, Compared, clusters_with_teacher
from loop.view import random_draws, view_of
from stillhouse.guidelines import Half
from stillhouse.records import Answer, Pick

ANSWERS, ROUNDS, TOP = 300, 4, 10
SETTING = Setting(n=2400, gold=500)
QUICK = Setting(n=800, gold=100)
Pairs = Counter[tuple[str, str]]


def compared_of(world: World, seed: int, answers: int) -> Compared:
    """What a run would know after so many answers."""
    project, items = world.seeded(seed), world.corpus.items
    known = {item.id: truth for item, truth in zip(items, world.truths, strict=True)}
    picks: list[Pick] = []
    view = view_of(project, world.corpus, [])
    for number in range(1, ROUNDS + 1):
        size = answers * number // ROUNDS - len(picks)
        picks += next_picks(project, view, {pick.item_id for pick in picks}, number, size)
        said = [Answer(pick.item_id, "simulated expert", known[pick.item_id], pick.blind, True, "") for pick in picks]
        view = view_of(project, world.corpus, said)
    row = {item.id: number for number, item in enumerate(items)}
    return Compared(
        kind=world.corpus.kind,
        items=items,
        said=world.corpus.decoded(world.corpus.votes.pooled()),
        labels=view.labels,
        draws=random_draws(items, picks, view.labels),
        embed=lambda some: world.corpus.texts[[row[item.id] for item in some]],
        believed=view.delivered,
    )


def errors_of(world: World, compared: Compared) -> Pairs:
    """All of the teacher's errors in the pool, by kind."""
    found: Pairs = Counter()
    for number, truth in enumerate(world.truths):
        found.update(compared.with_teacher(number, truth).keys())
    return found


def covered(clusters: Sequence[Cluster], errors: Pairs) -> float:
    """By the first clusters, until ten kinds of error are there."""
    pairs = list(dict.fromkeys((each.said, each.right) for each in clusters))[:TOP]
    return sum(errors[pair] for pair in pairs) / errors.total()


def measured(world: World, seed: int, answers: int) -> dict[str, float]:
    compared = compared_of(world, seed, answers)
    errors = errors_of(world, compared)
    out = {"errors": float(errors.total()), "kinds": float(len(errors))}
    out["best ten"] = sum(count for _, count in errors.most_common(TOP)) / errors.total()
    halves: dict[str, Half | None] = {"all answers": None, "drafting half": "drafting"}
    for name, half in halves.items():
        found = clusters_with_teacher(compared, half, np.random.default_rng(seed))
        out[f"{name}: clusters"] = float(len(found))
        out[f"{name}: conflicts"] = float(sum(len(each.members) for each in found))
        out[f"{name}: ours"] = covered(found, errors)
        out[f"{name}: by answers alone"] = covered(sorted(found, key=lambda c: -len(c.members)), errors)
        out[f"{name}: by belief alone"] = covered(sorted(found, key=lambda c: -(c.believed or 0)), errors)
        out[f"{name}: by blind answers alone"] = covered(
            sorted(found, key=lambda c: -(c.pool.value if c.pool else 0)), errors
        )
        single = [each for each in found if each.pool is not None]
        inside = [each.pool.lo <= errors[each.said, each.right] <= each.pool.hi for each in single if each.pool]
        out[f"{name}: intervals that hold the truth"] = float(np.mean(inside))
        near = [abs((each.believed or 0) - errors[each.said, each.right]) for each in found]
        out[f"{name}: believed, mean miss"] = float(np.mean(near))
    return out


def main() -> None:
    wanted = arguments(__doc__ or "")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    data_or_skip("banking77_votes")
    import torch

    torch.set_num_threads(1)
    cache = Path(tempfile.gettempdir()) / "stillhouse-benchmarks"
    world = world_of("banking77", QUICK if wanted.quick else SETTING, cache)
    seeds = range(wanted.seeds or (1 if wanted.quick else 3))
    rows = [measured(world, seed, 120 if wanted.quick else ANSWERS) for seed in seeds]
    report(
        [Figure(name, round(float(np.mean([row[name] for row in rows])), 4), "", None) for name in rows[0]], wanted.json
    )


if __name__ == "__main__":
    main()
