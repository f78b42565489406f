"""Data with several judgements of each item, and what they are held against: people's, LLMs' and simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import World
from benchmarks.corpus import rows_of
from benchmarks.corpus_values import Row
from consensus.annotators import BLIND, Judgements
from stillhouse.probabilities import Floats, Ints, one_hot
from trainer.base import Base
from trainer.features import embed_cached
from trainer.inputs import Inputs
from trainer.linear import out_of_fold

UNKNOWN = -1
C = 3.0  # of the classifier: crowds' labels are noisy
FOLDS = 5
# The half of the rows that nothing was tuned on; the other half chose the priors.
REPORTED_HALF = 1
SEVERITIES_OF_ABUSE = {"mildly abusive", "strongly abusive", "very strongly abusive"}


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """`truth` (n,) is what is held back, UNKNOWN where that is a tie or too little; `ids` name items across seeds.
    `opinion` (n, k) is a classifier's, none of whose rows was predicted by a model that was taught by it.
    """

    name: str
    judgements: Judgements
    truth: Ints
    opinion: Floats
    ids: Sequence[str]
    real: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Judgements of one item: those given to the methods as (source, label), and those held back."""

    given: list[tuple[int, int]]
    held: list[int]


def drawn(said: Sequence[tuple[int, int]], given: int, rng: np.random.Generator) -> Asked:
    """Some of an item's judgements are given, the others held back."""
    order = rng.permutation(len(said))
    return Asked([said[at] for at in order[:given]], [said[at][1] for at in order[given:]])


def majority(held: Sequence[int], least: int) -> int:
    """Of 0 and 1; UNKNOWN where there are fewer than `least` or a tie."""
    ones = sum(held)
    return UNKNOWN if len(held) < least or 2 * ones == len(held) else int(2 * ones > len(held))


def convabuse(base: Base, cache: Path, seed: int, *, least: int) -> Crowd:
    """Two raters of each utterance are given; the majority of at least `least` others is held back."""
    rows = [row for split in ("train", "dev", "test") for row in rows_of("convabuse", split)][REPORTED_HALF::2]
    names = sorted({name for row in rows for name in row["annotators"]})
    rng = np.random.default_rng([seed, 11])
    asked = [drawn(_rated(row, names), 2, rng) for row in rows]
    truth = np.array([majority(one.held, least) for one in asked])
    texts = [f"{row['context']['agent']}\n{row['text']}" for row in rows]
    name = f"ConvAbuse, 2 raters, {least} or more held back"
    return _crowd(name, names, asked, truth, texts, [row["id"] for row in rows], base, cache)


def _rated(row: Row, names: Sequence[str]) -> list[tuple[int, int]]:
    return [
        (names.index(name), int(said in SEVERITIES_OF_ABUSE))
        for name, said in row["annotators"].items()
        if said is not None
    ]


def babe_experts(base: Base, cache: Path, seed: int) -> Crowd:
    """Three of five experts of the second round are given, the other two, where they agree, held back."""
    rows = [row for row in _babe() if len(_experts(row, "sg2")) >= 5]
    names, rng = _names(rows, "sg2"), np.random.default_rng([seed, 13])
    asked = [drawn([(names.index(n), b) for n, b in _experts(row, "sg2")], 3, rng) for row in rows]
    truth = np.array([majority(one.held, 2) for one in asked])
    texts, ids = [row["text"] for row in rows], [row["id"] for row in rows]
    return _crowd("BABE, 3 experts, 2 held back", names, asked, truth, texts, ids, base, cache)


def babe_students(base: Base, cache: Path, seed: int) -> Crowd:
    """Three of eight raters of the first round are given; held back is the majority of the second round's five."""
    rows = [row for row in _babe() if len(_experts(row, "sg1")) >= 6]
    names, rng = _names(rows, "sg1"), np.random.default_rng([seed, 12])
    asked = [drawn([(names.index(n), b) for n, b in _experts(row, "sg1")], 3, rng) for row in rows]
    truth = np.array([majority([biased for _, biased in _experts(row, "sg2")], 3) for row in rows])
    texts, ids = [row["text"] for row in rows], [row["id"] for row in rows]
    return _crowd("BABE, 3 raters, other 5 held back", names, asked, truth, texts, ids, base, cache)


def babe_models(base: Base, cache: Path, seed: int, *, experts: int) -> Crowd:
    """13 LLMs under two prompts, each model a group, with so many experts; gold or the other experts are held back."""
    rows, rng = _babe(), np.random.default_rng([seed, 15])
    votes = [[v for v in row["llm"] if v["prompt"] in {"zero-shot", "4-shot"} and v["label"]] for row in rows]
    sources = sorted({(vote["model"], vote["prompt"]) for said in votes for vote in said})
    names, models = [f"{model} {prompt}" for model, prompt in sources], [model for model, _ in sources]
    people = _names(rows, "sg2") if experts else []
    asked = []
    for row, said in zip(rows, votes, strict=True):
        mine = [(len(names) + people.index(n), b) for n, b in _experts(row, "sg2")] if experts else []
        one = drawn(mine, experts, rng)
        llm = [(sources.index((v["model"], v["prompt"])), int(v["label"] == "Biased")) for v in said]
        asked.append(Asked([*llm, *one.given], one.held if experts else [int(row["label"] == "Biased")]))
    truth = np.array([majority(one.held, 3 if experts else 1) for one in asked])
    texts, ids = [row["text"] for row in rows], [row["id"] for row in rows]
    name = (
        f"BABE, 13 LLMs twice, {experts} expert, others held back" if experts else "BABE, 13 LLMs twice, gold held back"
    )
    return _crowd(name, [*names, *people], asked, truth, texts, ids, base, cache, [*models, *people])


def _babe() -> list[Row]:
    return rows_of("babe_llm", "train")[REPORTED_HALF::2]


def _names(rows: Sequence[Row], group: str) -> list[str]:
    return sorted(name for name in rows[0]["annotators"] if name.startswith(group))


def _experts(row: Row, group: str) -> list[tuple[str, int]]:
    return [
        (name, int(said == "Biased"))
        for name, said in row["annotators"].items()
        if said is not None and name.startswith(group)
    ]


def _crowd(
    name: str,
    names: Sequence[str],
    asked: Sequence[Asked],
    truth: Ints,
    texts: Sequence[str],
    ids: Sequence[str],
    base: Base,
    cache: Path,
    groups: Sequence[str] | None = None,
) -> Crowd:
    rows = [(row, source, label) for row, one in enumerate(asked) for source, label in one.given]
    at, sources, labels = np.array(rows, dtype=np.intp).reshape(-1, 3).T
    group = np.unique(groups or names, return_inverse=True)[1]
    judgements = Judgements(tuple(names), at, sources, labels, np.full(len(at), BLIND), group)
    features = embed_cached(base, Inputs(list(texts)), cache, threads=1).vectors
    return Crowd(name, judgements, truth, _classifier(features, judgements, 2), ids)


def _classifier(features: Floats, judgements: Judgements, k: int) -> NDArray[np.float64]:
    """A head taught by the shares of what was said, cross-fitted."""
    shares = shares_of(judgements, len(features), k)
    said = shares.sum(axis=1) > 0
    targets = np.where(said[:, None], shares, 1.0 / k)
    folds = np.random.default_rng(0).integers(0, FOLDS, len(features))
    probs = out_of_fold(features, targets, said + 1e-9, folds, C=C).astype(np.float64)
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def shares_of(judgements: Judgements, n: int, k: int) -> NDArray[np.float64]:
    """(n, k): how often each label was said, by decision; zeros where nothing was."""
    counts = np.zeros((n, k))
    np.add.at(counts, (judgements.rows, judgements.labels), 1.0)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated annotator: how often a look of its own is right, how often it takes over what it is shown."""

    right: float
    copies: float


CROWDS = {
    "careless": [Simulated(right, 0.0) for right in (0.95, 0.9, 0.9, 0.6, 0.5, 0.2)],
    "anchored": [Simulated(0.95, 0.1), Simulated(0.9, 0.3), Simulated(0.9, 0.6), Simulated(0.85, 0.9)],
    "anchored and careless": [
        Simulated(0.95, 0.1),
        Simulated(0.9, 0.3),
        Simulated(0.9, 0.8),
        Simulated(0.6, 0.2),
        Simulated(0.5, 0.0),
        Simulated(0.85, 0.5),
    ],
}


def simulated(world: World, kind: str, seed: int, *, n: int = 1000, each: int = 2, blind: float = 0.2) -> Crowd:
    """Helpdesk messages with known labels: `each` of the simulated annotators judge every one, shown what the teacher says
    but on a blind share; the careless ones are all blind. The opinion is a student's taught by votes alone.
    """
    crowd, k = CROWDS[kind], world.votes.block
    rng = np.random.default_rng([seed, 14, len(kind)])
    chosen = rng.choice(len(world.truth), n, replace=False)
    truth, shown = world.truth[chosen], world.votes.pooled()[chosen].argmax(axis=1)
    shown = np.where((rng.random(n) < blind) | (kind == "careless"), BLIND, shown)
    said = []
    for row in range(n):
        for source in rng.choice(len(crowd), each, replace=False):
            one = crowd[source]
            wrong = int(rng.choice(np.delete(np.arange(k), truth[row])))
            look = int(truth[row]) if rng.random() < one.right else wrong
            copied = shown[row] != BLIND and rng.random() < one.copies
            said.append((row, source, int(shown[row]) if copied else look, shown[row]))
    rows, sources, labels, suggested = np.array(said, dtype=np.intp).T
    names = tuple(f"right {one.right}, copies {one.copies}" for one in crowd)
    judgements = Judgements(names, rows, sources, labels, suggested, np.arange(len(crowd)))
    opinion = np.asarray(world.opinion[chosen], dtype=np.float64)
    ids = [f"{seed}-{row}" for row in range(n)]
    opinion = opinion / opinion.sum(axis=1, keepdims=True)
    return Crowd(f"helpdesk, simulated {kind}", judgements, truth, opinion, ids, real=False)


def likelihoods(probs: Floats, truth: Ints) -> NDArray[np.float64]:
    """(n,): log loss in nats, of probabilities kept above one in a thousand."""
    kept = np.clip(probs, 1e-3, None)
    return np.asarray(-np.log((kept / kept.sum(axis=1, keepdims=True))[np.arange(len(truth)), truth]))


def hits(probs: Floats, truth: Ints) -> NDArray[np.float64]:
    """(n,): 1 where the truth leads, its share where labels tie."""
    leads = probs >= probs.max(axis=1, keepdims=True) - 1e-12
    right = leads * one_hot(truth, probs.shape[1])
    return np.asarray(right.sum(axis=1) / leads.sum(axis=1))
