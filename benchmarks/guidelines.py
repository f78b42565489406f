"""What clusters of conflicts find: the share of all the teacher's errors that the first ten kinds stand for.

Recorded teachers (one LLM under two prompts); people are simulated by the data's labels. The loop's own picks, a fifth of them
random. An error of the pool is covered where it is of the same kind (said, right) as one of the ten.
python -m benchmarks.guidelines [--quick] [--seeds N] [--json OUT]
"""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.arms import Setting, World, world_of
from benchmarks.figures import Figure, arguments, data_or_skip, report
from loop.choose import next_picks
from loop.conflicts import Cluster, Compared, clusters_with_teacher
from loop.view import random_draws, view_of
from stillhouse.guidelines import Half
from stillhouse.records import Answer, Pick

ROUNDS, TOP, HARD = 4, 10, 200
ROWS = {  # how large the pool is, and how many answers
    "banking77": (Setting(n=2400, gold=500), 300),
    "helpdesk_topics": (Setting(n=1038, gold=100), 150),
}
QUICK = {"banking77": (Setting(n=800, gold=100), 120)}
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
    out = {"errors of the teacher in the pool": float(errors.total()), "kinds of them": float(len(errors))}
    best = sum(count for _, count in errors.most_common(TOP)) / errors.total()
    out["covered by the ten most frequent kinds, if all were known"] = best
    halves: dict[str, Half | None] = {"all answers": None, "the drafting half": "drafting"}
    for name, half in halves.items():
        found = clusters_with_teacher(compared, half, np.random.default_rng(seed))
        out[f"{name}: conflicts seen"] = float(sum(len(each.members) for each in found))
        out[f"{name}: covered by the first ten"] = covered(found, errors)
        out[f"{name}: by the ten seen most often"] = covered(sorted(found, key=_seen), errors)
        out[f"{name}: by the ten most frequent in the random share"] = covered(sorted(found, key=_drawn), errors)
        whole = [each for each in found if each.pool and _is_whole(each, found)]
        holds = [each.pool.lo <= errors[each.said, each.right] <= each.pool.hi for each in whole if each.pool]
        out[f"{name}: intervals of the count that hold the truth"] = float(np.mean(holds))
    return out


def selection_effect(world: World, hard: int, draws: int = 1_000) -> tuple[float, float, float]:
    """How much worse a teacher seems on the items that it is least sure of because they were picked by its own votes, with a
    95 % bootstrap interval over items: of two variants, each picking for itself, half of what both seem to gain on the other.
    """
    votes, truth = world.corpus.votes, np.array([world.corpus.kind.columns.index(str(t)) for t in world.truths])
    right = votes.probs.argmax(axis=2) == truth
    sure = votes.probs.max(axis=2)

    def effect(rows: NDArray[np.intp]) -> float:
        own = [rows[np.argsort(sure[one, rows], kind="stable")[:hard]] for one in (0, 1)]
        gains = [right[1 - one, picked].mean() - right[one, picked].mean() for one, picked in enumerate(own)]
        return float(sum(gains) / 2)

    every, rng = np.arange(len(truth)), np.random.default_rng(0)
    drawn = [effect(rng.integers(len(truth), size=len(truth))) for _ in range(draws)]
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    return effect(every), float(lo), float(hi)


def _seen(cluster: Cluster) -> int:
    return -len(cluster.members)


def _drawn(cluster: Cluster) -> float:
    return -cluster.pool.value if cluster.pool else 0.0


def _is_whole(cluster: Cluster, found: Sequence[Cluster]) -> bool:
    """Whether all conflicts of its kind are in it: only then their number in the pool is known here."""
    return sum((each.said, each.right) == (cluster.said, cluster.right) for each in found) == 1


def main() -> None:
    wanted = arguments(__doc__ or "")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    data_or_skip("banking77_votes")
    import torch

    torch.set_num_threads(1)
    cache = Path(tempfile.gettempdir()) / "stillhouse-benchmarks"
    figures = []
    for name, (setting, answers) in (QUICK if wanted.quick else ROWS).items():
        world = world_of(name, setting, cache)
        if name == "banking77":
            value, lo, hi = selection_effect(world, HARD)
            what = f"banking77: how much worse a variant seems on its {HARD} least sure items [{lo:.3f}, {hi:.3f}]"
            figures.append(Figure(what, round(value, 4), "", None))
        rows = [measured(world, seed, answers) for seed in range(wanted.seeds or (1 if wanted.quick else 3))]
        for figure in rows[0]:
            values = [row[figure] for row in rows]
            seeds = "" if len(rows) == 1 else f" (seeds {min(values):.4g} to {max(values):.4g})"
            figures.append(
                Figure(f"{name}, {answers} answers: {figure}{seeds}", round(float(np.mean(values)), 4), "", None)
            )
    report(figures, wanted.json)


if __name__ == "__main__":
    main()
