"""What is known at one moment, as arrays: items, votes, answers, and the belief they add up to."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consensus.certificate import RandomDraw
from consensus.posterior import Answers, Belief, believe
from consensus.votes import VoteTable
from kinds.kind import Kind, Layout
from loop.project import Project
from loop.weighed import Weighed, agreed, several, weighed
from stillhouse.probabilities import Floats
from stillhouse.records import Answer, Item, Pick, Value, Vote
from trainer.linear import DEFAULT_C, TOKEN_C, out_of_fold

__all__ = ["Corpus", "View", "agreed", "opinion_of_votes", "penalty_of", "random_draws", "view_of", "votes_of"]

VOTE_FOLDS = 5
TOKEN_FOLDS = 3  # where rows are many: each fit costs seconds, and two thirds of many are many


@dataclass(frozen=True, eq=False)
class Corpus:
    """Items with all that does not change from round to round.

    `features` (u, d) are the units' frozen features, `texts` (n, d) unit embeddings of the items (the same array where
    the unit is the whole text). `opinion` (u, k) is what a student says that was taught by votes alone, cross-fitted:
    it has seen no answer.
    """

    kind: Kind
    items: tuple[Item, ...]
    layout: Layout
    features: NDArray[np.float32]
    texts: NDArray[np.float32]
    votes: VoteTable
    opinion: Floats

    @cached_property
    def number(self) -> dict[str, int]:
        """Where each item stands, by id."""
        return {item.id: number for number, item in enumerate(self.items)}

    def decoded(self, probs: Floats, thresholds: Floats | None = None) -> list[Value]:
        """The value of each item that `probs` (u, k) amount to."""
        return [
            self.kind.decode(item, self.layout.spans[rows], probs[rows], thresholds)
            for item, rows in ((item, self.layout.rows(number)) for number, item in enumerate(self.items))
        ]

    def scores(self, figure: Callable[..., float], *opinions: Floats) -> NDArray[np.float64]:
        """(n,): a figure of each item, called with the item, its spans, and its rows of each opinion (u, k)."""
        rows = [self.layout.rows(number) for number in range(len(self.items))]
        return np.array(
            [
                figure(item, self.layout.spans[r], *(opinion[r] for opinion in opinions))
                for item, r in zip(self.items, rows, strict=True)
            ],
            dtype=np.float64,
        )

    def doubts(self, probs: Floats) -> NDArray[np.float64]:
        """(n,): how much each item needs a person, going by `probs` (u, k)."""
        return self.scores(lambda item, spans, p: self.kind.doubt(item, spans, p).score, probs)

    def disagreements(self, p: Floats, q: Floats) -> NDArray[np.float64]:
        """(n,): how far two opinions (u, k) are apart on each item."""
        return self.scores(lambda _item, spans, a, b: self.kind.disagreement(spans, a, b), p, q)


@dataclass(frozen=True, eq=False)
class View:
    """The corpus as people's answers let us see it. `labels` maps item id to what people's answers amount to; `conflicts` are
    items that they do not settle; `people` is what is known of the people, and how sure what they differ in is.
    """

    corpus: Corpus
    labels: dict[str, Value]
    conflicts: tuple[str, ...]
    belief: Belief
    people: Weighed = field(default_factory=lambda: Weighed({}, ()))

    @property
    def items(self) -> tuple[Item, ...]:
        return self.corpus.items

    @property
    def kind(self) -> Kind:
        return self.corpus.kind

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """(n,): which items people have answered."""
        return np.array([item.id in self.labels for item in self.items], dtype=bool)

    @cached_property
    def thresholds(self) -> NDArray[np.float64] | None:
        return self.kind.thresholds(self.belief.out_of_fold)

    @cached_property
    def delivered(self) -> list[Value]:
        """What the pool is labelled with: a person's answer, else what is believed."""
        believed = self.corpus.decoded(self.belief.probs, self.thresholds)
        return [self.labels.get(item.id, value) for item, value in zip(self.items, believed, strict=True)]

    @cached_property
    def unseen(self) -> list[Value]:
        """What each item would be labelled with if it had not been answered."""
        return self.corpus.decoded(self.belief.out_of_fold, self.thresholds)

    @cached_property
    def unseen_error(self) -> NDArray[np.float64]:
        """(n,): how wrong `unseen` is, 0 to 1, where people have answered; 0 elsewhere."""
        return np.array(
            [
                1.0 - self.kind.score(self.labels[item.id], value) if item.id in self.labels else 0.0
                for item, value in zip(self.items, self.unseen, strict=True)
            ]
        )

    @cached_property
    def expected_error(self) -> NDArray[np.float64]:
        """(n,): how wrong `unseen` is expected to be."""
        expected = self.corpus.scores(
            lambda _item, spans, probs: self.kind.expected_score(spans, probs), self.belief.out_of_fold
        )
        return 1.0 - expected


def votes_of(project: Project, kind: Kind, layout: Layout, items: Sequence[Item], votes: Iterable[Vote]) -> VoteTable:
    """The votes as arrays; votes of other items or sources are passed over, a missing vote is unusable and uniform."""
    votes = list(votes)
    heard = {vote.source for vote in votes}
    # A teacher that shows examples has nothing to say before there are some.
    sources = [each.name for each in project.task.teachers if not each.demonstrations or each.name in heard]
    at = {item.id: number for number, item in enumerate(items)}
    column = {source: number for number, source in enumerate(sources)}
    shape = (len(sources), len(layout.item_of))
    probs = np.full((*shape, len(kind.columns)), 1.0 / kind.width)
    usable = np.zeros(shape, dtype=bool)
    for vote in votes:
        if vote.item_id not in at or vote.source not in column or not vote.usable:
            continue
        number = at[vote.item_id]
        rows = layout.rows(number)
        said = kind.said(items[number], layout.spans[rows], vote)
        probs[column[vote.source], rows], usable[column[vote.source], rows] = said.probs, said.usable
    return VoteTable(tuple(sources), probs, usable, kind.width)


def opinion_of_votes(
    project: Project, layout: Layout, features: NDArray[np.float32], votes: VoteTable
) -> NDArray[np.float32]:
    """(u, k): each unit predicted by a head on frozen features that was taught by the votes on other items."""
    kind = project.kind
    folds = project.rng("vote folds").integers(0, VOTE_FOLDS if kind.per_text else TOKEN_FOLDS, len(layout))
    weights = votes.usable.any(axis=0).astype(float) + 1e-6
    return out_of_fold(features, votes.pooled(), weights, folds[layout.item_of], C=penalty_of(kind), width=kind.width)


def penalty_of(kind: Kind) -> float:
    """The C of heads that nobody chooses a penalty for."""
    return DEFAULT_C if kind.per_text else TOKEN_C


def view_of(project: Project, corpus: Corpus, answers: Iterable[Answer]) -> View:
    """What the answers make of the corpus.

    Where several people answered an item, each is weighed by how good they are, beside what is believed of the item without
    its answers; what then counts teaches the belief, and what is left open is delivered as the odds that it has.
    """
    answers = list(answers)
    labels, conflicts = agreed(answers)
    people, belief = Weighed(labels, conflicts), _belief(project, corpus, labels)
    if several(answers):
        confidence = project.task.stop.confidence
        people = weighed(corpus.kind, corpus.items, corpus.layout, answers, belief.out_of_fold, confidence)
        belief = belief if people.labels == labels else _belief(project, corpus, people.labels)
        probs = belief.probs.copy()
        probs[people.rows] = people.probs
        belief = replace(belief, probs=probs)
    return View(corpus, people.labels, people.conflicts, belief, people)


def _belief(project: Project, corpus: Corpus, labels: dict[str, Value]) -> Belief:
    """What is believed of the pool, given what counts.

    A correction is chosen by the likelihood of single decisions. Where an item has many, what counts is the item: there
    the correction is taken only if the values of answered items, each predicted without its answer, score at least as
    well with it as without.
    """
    corrected = _believed(project, corpus, labels, correct=True)
    if corpus.kind.per_text or not labels or corrected.penalty is None:
        return corrected
    plain = _believed(project, corpus, labels, correct=False)
    errors = [View(corpus, labels, (), belief).unseen_error.sum() for belief in (corrected, plain)]
    return corrected if errors[0] <= errors[1] else plain


def _believed(project: Project, corpus: Corpus, labels: Mapping[str, Value], *, correct: bool) -> Belief:
    kind, layout = corpus.kind, corpus.layout
    rows, targets = [np.empty(0, dtype=np.intp)], [np.empty((0, len(kind.columns)))]
    for number, item in enumerate(corpus.items):
        if item.id in labels:
            of_item = layout.rows(number)
            encoded = kind.encode(item, layout.spans[of_item], labels[item.id])
            known = ~np.isnan(encoded).any(axis=1)
            rows.append(np.arange(of_item.start, of_item.stop, dtype=np.intp)[known])
            targets.append(encoded[known])
    return believe(
        corpus.votes,
        corpus.features,
        corpus.opinion,
        Answers(np.concatenate(rows), np.concatenate(targets)),
        width=kind.width,
        groups=None if kind.per_text else layout.item_of,
        folds=project.task.student.folds,
        correct=correct,
        rng=project.rng("belief", len(labels)),
    )


def random_draws(items: Sequence[Item], picks: Sequence[Pick], labels: dict[str, Value]) -> list[RandomDraw]:
    """Each round's uniform draw with what it was drawn from: all that no earlier round had picked."""
    row = {item.id: number for number, item in enumerate(items)}
    round_of = np.full(len(items), np.iinfo(np.int64).max)
    for pick in picks:
        round_of[row[pick.item_id]] = pick.round
    draws = []
    for number in sorted({pick.round for pick in picks}):
        drawn = [
            row[pick.item_id]
            for pick in picks
            if pick.round == number and pick.inclusion_probability is not None and pick.item_id in labels
        ]
        draws.append(RandomDraw(np.array(drawn, dtype=np.intp), np.flatnonzero(round_of >= number)))
    return draws
