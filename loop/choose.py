"""Which items people are asked next, from what is believed and what a student makes of it."""

import itertools
from collections.abc import Collection

import numpy as np

from loop.learn import quick_student
from loop.project import Project
from loop.risk import needs_audit
from loop.view import View
from selector.batch import choose_batch, with_hidden
from selector.uncertainty import Signals, signals
from stillhouse.probabilities import Floats
from stillhouse.records import Pick

MOST_PAIRS = 21  # of teachers, to see where they differ: seven of them, all with all


def next_picks(project: Project, view: View, picked: Collection[str], number: int, size: int) -> list[Pick]:
    """The batch of round `number`, of `size` items that no round before has picked."""
    settings = project.task.selection
    picks = choose_batch(
        [item.id for item in view.items],
        np.array([item.id not in picked for item in view.items]),
        signals_of(view, quick_student(view, project.task.student)),
        view.corpus.texts,
        size=size,
        random_share=1.0 if is_audit(project, view, number) else settings.random_share,
        near_duplicate_cosine=settings.near_duplicate_cosine,
        round_number=number,
        rng=project.rng("batch", number),
    )
    return with_hidden(picks, settings.hidden_share, project.rng("hidden suggestions", number))


def is_audit(project: Project, view: View, number: int) -> bool:
    """Whether the batch is all random: the first, where the teacher's variants agree at the target accuracy, or where an
    error is to be promised and there is no gold to certify it on.
    """
    return number == 1 and (needs_audit(project) or agree(project, view))


def agree(project: Project, view: View) -> bool:
    """Whether the teacher's variants agree at the target accuracy."""
    return view.corpus.votes.of_teachers().agreement() >= project.task.stop.target_accuracy


def signals_of(view: View, student: Floats) -> Signals:
    """Why each item may need a person: doubt of belief and student, and where they or the teachers are apart."""
    corpus, probs = view.corpus, view.belief.out_of_fold
    pairs = list(itertools.combinations(corpus.votes.of_teachers().probs, 2))[:MOST_PAIRS]
    apart = [corpus.disagreements(a, b) for a, b in pairs]
    return signals(
        corpus.doubts(probs),
        corpus.doubts(student),
        corpus.disagreements(probs, student),
        np.mean(apart, axis=0) if apart else None,
    )
