"""What is known at one moment, as arrays: texts, votes, answers, and the belief they add up to."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.certificate import RandomDraw
from consensus.posterior import Answers, Belief, believe
from consensus.votes import VoteTable, vote_table
from loop.project import Project
from stillhouse.probabilities import Floats
from stillhouse.records import Answer, Item, Pick, Vote
from trainer.linear import out_of_fold

VOTE_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """`features` (n, d) unit embeddings, `opinion` (n, k) a student's predictions, cross-fitted, taught by votes alone
    (so it has seen no answer). `labels` maps item id to what people agreed on; `conflicts` are items they did not.
    """

    items: tuple[Item, ...]
    features: NDArray[np.float32]
    votes: VoteTable
    opinion: Floats
    labels: dict[str, str]
    conflicts: tuple[str, ...]
    belief: Belief


def opinion_of_votes(project: Project, features: NDArray[np.float32], votes: VoteTable) -> NDArray[np.float32]:
    """(n, k): each item predicted by a head on frozen features that was taught by the votes on other items."""
    folds = project.rng("vote folds").integers(0, VOTE_FOLDS, len(features))
    return out_of_fold(features, votes.pooled(), votes.usable.any(axis=0).astype(float) + 1e-6, folds)


def view_of(
    project: Project,
    items: Sequence[Item],
    features: NDArray[np.float32],
    votes: VoteTable,
    opinion: Floats,
    answers: Iterable[Answer],
) -> View:
    labels, conflicts = agreed(answers)
    index = {name: number for number, name in enumerate(project.task.label_names)}
    rows = [row for row, item in enumerate(items) if item.id in labels]
    known = Answers(
        np.array(rows, dtype=np.intp), np.array([index[labels[items[row].id]] for row in rows], dtype=np.int64)
    )
    belief = believe(
        votes, features, opinion, known, folds=project.task.student.folds, rng=project.rng("belief", len(rows))
    )
    return View(tuple(items), features, votes, opinion, labels, conflicts, belief)


def votes_of(project: Project, items: Sequence[Item], votes: Iterable[Vote]) -> VoteTable:
    sources = [teacher.name for teacher in project.task.teachers]
    return vote_table(votes, [item.id for item in items], sources, len(project.task.labels))


def agreed(answers: Iterable[Answer]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The most frequent label of each item; a tie is a conflict and counts as no answer."""
    said: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        if answer.label is not None:
            said[answer.item_id][answer.label] += 1
    labels, conflicts = {}, []
    for item_id, counts in said.items():
        (first, most), *others = counts.most_common(2)
        if others and others[0][1] == most:
            conflicts.append(item_id)
        else:
            labels[item_id] = first
    return labels, tuple(sorted(conflicts))


def random_draws(items: Sequence[Item], picks: Sequence[Pick], labels: dict[str, str]) -> list[RandomDraw]:
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
