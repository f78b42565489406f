"""Do teachers' probabilities mean what they say once people's answers have calibrated them, and is the belief better for it?

python -m benchmarks.calibration [--quick] [--seeds 5] --json OUT
Recorded votes (helpdesk, Banking77) and simulated ones: overconfident teachers, and one that prefers short labels, as
models by likelihood do. Answers are drawn at random and rehearsed from known labels; all is judged on the items that
nobody answered, before and after, paired by seed.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora import banking77
from benchmarks.corpus import BASE, HELPDESK, lines_of, reply_words
from benchmarks.figures import Figure, arguments, report
from consensus.answers import Answers
from consensus.calibration import METHODS, Method, calibrated, calibrations, cross_calibrated
from consensus.posterior import believe
from consensus.votes import VoteTable
from prompts.labels import spellings
from prompts.parse import parse_verbalised
from stillhouse.measures import brier, expected_calibration_error, negative_log_likelihood
from stillhouse.probabilities import Floats, Ints, one_hot, softmax
from stillhouse.task_file import load_task
from trainer.base import Base, load_base
from trainer.features import embed_cached
from trainer.inputs import Inputs
from trainer.linear import out_of_fold

COUNTS = (100, 200, 400)
FIGURES = ("accuracy", "log loss", "calibration error", "Brier score")


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Texts with votes and truths; `opinion` (n, k) is the student's that was taught by votes alone."""

    name: str
    votes: VoteTable
    features: Floats
    opinion: Floats
    truth: Ints


def helpdesk_team(base: Base, cache: Path, n: int) -> World:
    """Ten teams, a policy that the teacher has never seen; the demo's recording."""
    task = load_task(HELPDESK / "team.toml")
    rows = lines_of(HELPDESK / "pool.jsonl")[:n]
    known = {row["id"]: row["team"] for row in lines_of(HELPDESK / "experts.jsonl")}
    replies = {(r["variant"], r["id"]): r for r in lines_of(HELPDESK / "replies.jsonl") if r["task"] == "team"}
    index = {name: at for at, name in enumerate(task.label_names)}
    probs = np.full((2, len(rows), len(index)), 1 / len(index))
    usable = np.zeros((2, len(rows)), dtype=bool)
    for source, variant in enumerate("AB"):
        for at, row in enumerate(rows):
            reading = parse_verbalised(reply_words(replies[variant, row["id"]]), spellings(task.labels))
            if reading.probs:
                probs[source, at] = np.array(reading.probs) + reading.residual / len(index)
                usable[source, at] = True
    truth = np.array([index[known[row["id"]]] for row in rows])
    votes = VoteTable(("A", "B"), probs, usable, len(index))
    return _world("helpdesk, recorded", votes, [row["text"] for row in rows], truth, base, cache)


def banking(base: Base, cache: Path, n: int) -> World:
    """77 intents, recorded votes under two prompts."""
    corpus = banking77(n, 0)
    names = corpus.task.label_names
    at, index = {item.id: i for i, item in enumerate(corpus.pool)}, {name: i for i, name in enumerate(names)}
    probs = np.full((2, len(at), len(names)), 1 / len(names))
    usable = np.zeros((2, len(at)), dtype=bool)
    for vote in corpus.votes:
        if vote.usable:
            source = "AB".index(vote.source)
            probs[source, at[vote.item_id]] = np.array(vote.probs) + vote.residual / len(names)
            usable[source, at[vote.item_id]] = True
    truth = np.array([index[str(value)] for value in corpus.truths])
    votes = VoteTable(("A", "B"), probs, usable, len(names))
    return _world("Banking77, recorded", votes, [item.text for item in corpus.pool], truth, base, cache)


def overconfident(real: World, seed: int) -> World:
    """Three simulated teachers over the same texts: an honest one (80 % right), and two that are right less often (70 and
    60 %) and say .9 and more whatever they mean.
    """
    rng = np.random.default_rng([seed, 7])
    k = real.votes.block
    parts = [_simulated(real.truth, k, right, sharpness, rng) for right, sharpness in ((0.8, 1), (0.7, 3), (0.6, 4))]
    votes = VoteTable(("honest", "loud", "louder"), np.stack(parts), np.ones((3, len(real.truth)), dtype=bool), k)
    return World("overconfident, simulated", votes, real.features, _opinion(real.features, votes), real.truth)


def length_biased(real: World, lengths: Floats, seed: int) -> World:
    """A simulated model by likelihood: each token of a label takes 1.2 nats from it, whatever the text."""
    rng = np.random.default_rng([seed, 8])
    honest = _simulated(real.truth, real.votes.block, 0.8, 1, rng)
    probs = softmax(np.log(honest) - 1.2 * (lengths - lengths.mean()))
    votes = VoteTable(("likelihood",), probs[None], np.ones((1, len(probs)), dtype=bool), real.votes.block)
    return World("prefers short labels, simulated", votes, real.features, _opinion(real.features, votes), real.truth)


def _simulated(truth: Ints, k: int, right: float, sharpness: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, k): logits with noise so strong that the truth leads in the share `right`; their softmax at the temperature that
    is likeliest is honest, and `sharpness` times sharper it is not.
    """
    logits = rng.normal(size=(len(truth), k))
    is_true = one_hot(truth, k) == 1
    ahead = np.where(is_true, -np.inf, logits).max(axis=1) - logits[is_true]
    push = float(np.quantile(ahead, right))
    logits[is_true] += push
    return softmax(sharpness * push * logits)  # with the same normal noise on all, push times the logits are log-odds


def _world(name: str, votes: VoteTable, texts: list[str], truth: Ints, base: Base, cache: Path) -> World:
    features = embed_cached(base, Inputs(texts), cache, threads=1).vectors
    return World(name, votes, features, _opinion(features, votes), truth)


def _opinion(features: Floats, votes: VoteTable) -> NDArray[np.float32]:
    folds = np.random.default_rng(3).integers(0, 5, len(features))
    return out_of_fold(features, votes.pooled(), None, folds)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """FIGURES of one voice before and after, (seeds, 4) each, and what was done to it, by seed."""

    before: Floats
    after: Floats
    methods: tuple[Method, ...] = ()


def measured(world: World, count: int, seeds: int, *, belief: bool) -> dict[str, Change]:
    """By voice: each teacher, the teachers pooled, and (if wanted) the belief with and without calibrated votes."""
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    methods: dict[str, list[Method]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 1])
        rows = np.sort(rng.choice(len(world.truth), count, replace=False))
        rest = np.setdiff1d(np.arange(len(world.truth)), rows)
        answers = Answers(rows, one_hot(world.truth[rows], world.votes.block))
        how = calibrations(world.votes, answers)
        after = calibrated(world.votes, how)
        pairs = {name: (world.votes.probs[at], after.probs[at]) for at, name in enumerate(world.votes.sources)}
        for name, one in zip(world.votes.sources, how, strict=True):
            methods.setdefault(name, []).append(one.method)
        if belief:
            folds = np.full(len(world.truth), -1)
            folds[rows] = rng.permutation(count) % 5
            crossed = cross_calibrated(world.votes, answers, folds)
            with_raw, with_calibrated = (
                believe(votes, world.features, world.opinion, answers, rng=np.random.default_rng(seed)).probs
                for votes in (world.votes, crossed)
            )
            pairs["belief, votes calibrated first"] = (with_raw, with_calibrated)
        for name, (a, b) in pairs.items():
            found.setdefault(name, []).append(
                (figures_of(a[rest], world.truth[rest]), figures_of(b[rest], world.truth[rest]))
            )
    return {
        name: Change(np.array([a for a, _ in both]), np.array([b for _, b in both]), tuple(methods.get(name, ())))
        for name, both in found.items()
    }


def figures_of(probs: Floats, truth: Ints) -> NDArray[np.float64]:
    """FIGURES of probabilities (n, k)."""
    right = probs.argmax(axis=1) == truth
    return np.array(
        [
            right.mean(),
            negative_log_likelihood(probs, truth),
            expected_calibration_error(probs.max(axis=1), right),
            brier(probs, truth),
        ]
    )


def _rows(world: str, count: int, changes: Mapping[str, Change]) -> list[Figure]:
    """Differences are after less before, paired by seed, with two standard errors; a teacher must not lose likelihood."""
    figures = []
    for name, change in changes.items():
        gain = change.after - change.before
        noise = 2 * gain.std(axis=0, ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.full(4, np.nan)
        chosen = ", ".join(f"{m} {change.methods.count(m)}" for m in METHODS if m in change.methods)
        cells = [
            f"{b:.3f} -> {a:.3f} ({d:+.4f} ± {n:.4f})"
            for b, a, d, n in zip(
                change.before.mean(axis=0), change.after.mean(axis=0), gain.mean(axis=0), noise, strict=True
            )
        ]
        print(f"| {world} | {count} | {name} | {chosen} | " + " | ".join(cells) + " |", flush=True)
        loss = float(gain[:, 1].mean())
        holds = None if change.methods == () else bool(loss <= noise[1] or len(gain) == 1)
        figures.append(
            Figure(f"{world}, {count} answers: {name}: change of log loss", round(loss, 4), "<= noise", holds)
        )
    return figures


def main() -> None:
    given = arguments(__doc__ or "")
    seeds, counts = given.seeds or (2 if given.quick else 5), COUNTS[1:2] if given.quick else COUNTS
    base = load_base(BASE)
    figures: list[Figure] = []
    print("| votes | answers | of | repair, by seed | " + " | ".join(FIGURES) + " |")
    with tempfile.TemporaryDirectory() as cache:
        team = helpdesk_team(base, Path(cache), 600 if given.quick else 2550)
        worlds = [team, overconfident(team, 0)]
        if not given.quick:
            intents = banking(base, Path(cache), 2000)
            names = banking77(1, 0).task.label_names
            lengths = np.array(
                [len(base.tokenizer(name.replace("_", " "))["input_ids"]) - 2 for name in names], dtype=float
            )
            worlds += [intents, length_biased(intents, lengths, 0)]
        for world in worlds:
            for count in counts:
                figures += _rows(world.name, count, measured(world, count, seeds, belief=not given.quick))
    report(figures, given.json)


if __name__ == "__main__":
    main()
