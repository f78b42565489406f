"""Belief: the teacher until people say otherwise, corrected where it is wrong, and blind to what it is judged on."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.posterior import Answers
from consensus.votes import VoteTable
from stillhouse.probabilities import one_hot
from tests.consensus.worlds import belief_of, drawn, said, world

NONE = Answers(np.empty(0, dtype=np.intp), np.empty((0, 3)))


def is_distribution(probs: NDArray[np.floating]) -> bool:
    return bool(np.isfinite(probs).all() and (probs >= 0).all() and np.allclose(probs.sum(axis=1), 1.0))


def test_without_answers_belief_is_the_teacher() -> None:
    """Nobody has answered: the pooled votes stand."""
    w = world(0, sources=2)
    belief = belief_of(w, NONE)
    np.testing.assert_allclose(belief.probs, w.votes.pooled(), atol=1e-3)
    assert set(belief.sources()) == {"teacher"}


def test_without_answers_a_student_is_heard_less_than_the_teacher() -> None:
    """Where both are equally sure of different labels the teacher wins, and is less sure than it was."""
    votes = VoteTable(("a",), np.array([[[0.9, 0.1]]]), np.ones((1, 1), dtype=bool))
    w = replace(world(0), votes=votes, text=np.ones((1, 1)))
    nobody = Answers(np.empty(0, dtype=np.intp), np.empty((0, 2)))
    belief = belief_of(w, nobody, student=np.array([[0.1, 0.9]]))
    assert 0.5 < belief.probs[0, 0] < 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_systematic_error_is_learned_from_forty_answers(seed: int) -> None:
    """The teacher says 1 for all of one region: forty answers anywhere correct those that nobody answered."""
    w = world(seed)
    belief = belief_of(w, w.answers(drawn(seed, 400, 40)))
    region = (w.cluster == 0) & (belief.folds < 0)
    assert (w.votes.pooled()[region].argmax(axis=1) == 1).all()
    assert (belief.probs[region].argmax(axis=1) == 0).mean() > 0.9


@pytest.mark.parametrize("count", [12, 40, 120])
def test_a_right_teacher_is_left_alone(count: int) -> None:
    """Answers that all agree with the teacher change fewer than 1 % of the labels."""
    w = world(3, noise=0.0, biased=False)
    belief = belief_of(w, w.answers(drawn(3, 400, count)))
    assert (belief.out_of_fold.argmax(axis=1) != w.votes.pooled().argmax(axis=1)).mean() < 0.01


def test_an_answered_item_delivers_its_answer() -> None:
    """A person's answer is taken as it is, even against everything else."""
    w = world(0)
    rows = drawn(0, 400, 40)
    answers = Answers(rows, one_hot((w.truth[rows] + 1) % 3, 3))
    belief = belief_of(w, answers)
    np.testing.assert_array_equal(belief.probs[rows], answers.targets)
    assert {belief.sources()[row] for row in rows} == {"person"}
    assert belief.sources().count("corrected") == 360


@pytest.mark.parametrize("count", [6, 40, 150])
@pytest.mark.parametrize("with_student", [False, True])
def test_an_item_is_predicted_without_its_own_answer(count: int, with_student: bool) -> None:
    """Flipping an answer changes neither its out-of-fold row nor belief without its fold, by a single bit."""
    w = world(1)
    student = said(w.truth, 3, np.full(400, 0.6)) if with_student else None
    rows = drawn(1, 400, count)
    before = belief_of(w, w.answers(rows), student=student)
    for position in (0, count - 1):
        labels = w.truth[rows].copy()
        labels[position] = (labels[position] + 1) % 3
        after = belief_of(w, Answers(rows, one_hot(labels, 3)), student=student)
        row, fold = rows[position], int(before.folds[rows[position]])
        np.testing.assert_array_equal(after.out_of_fold[row], before.out_of_fold[row])
        np.testing.assert_array_equal(after.without(fold), before.without(fold))


def test_an_answer_does_change_what_is_believed_of_others() -> None:
    """The honesty above is not for want of learning: others do hear of a flipped answer."""
    w = world(1)
    rows = drawn(1, 400, 40)
    labels = w.truth[rows].copy()
    labels[0] = (labels[0] + 1) % 3
    before, after = belief_of(w, w.answers(rows)), belief_of(w, Answers(rows, one_hot(labels, 3)))
    assert np.abs(before.probs - after.probs)[before.folds < 0].max() > 0.01


def test_without_a_fold_the_other_answers_stand() -> None:
    """Leaving a fold out forgets that fold's answers and no others; its rows are the out-of-fold ones."""
    w = world(2)
    rows = drawn(2, 400, 150)
    belief = belief_of(w, w.answers(rows))
    for fold in range(5):
        there, left_out = belief.without(fold), rows[belief.folds[rows] == fold]
        kept = rows[belief.folds[rows] != fold]
        np.testing.assert_array_equal(there[kept], np.eye(3)[w.truth[kept]])
        np.testing.assert_allclose(there[left_out], belief.out_of_fold[left_out], atol=1e-9)


def test_belief_is_calibrated() -> None:
    """On average the confidence in unanswered items is within five points of their accuracy."""
    gaps = []
    for seed in range(3):
        w = world(seed, n=800, noise=0.3)
        belief = belief_of(w, w.answers(drawn(seed, 800, 110)))
        rest = belief.folds < 0
        right = belief.probs[rest].argmax(axis=1) == w.truth[rest]
        gaps.append(belief.probs[rest].max(axis=1).mean() - right.mean())
    assert abs(np.mean(gaps)) < 0.05


def test_same_seed_same_belief() -> None:
    """Nothing but the generator given decides the folds."""
    w = world(4)
    answers = w.answers(drawn(4, 400, 40))
    first, second = belief_of(w, answers), belief_of(w, answers)
    np.testing.assert_array_equal(first.out_of_fold, second.out_of_fold)
    np.testing.assert_array_equal(first.folds, second.folds)


@pytest.mark.parametrize("count", [1, 2, 4, 9, 10, 11])
def test_few_answers_are_enough_to_be_taken(count: int) -> None:
    """From one answer on, belief is sound and delivers the answers; each has a fold that can be left out."""
    w = world(0)
    rows = drawn(0, 400, count)
    belief = belief_of(w, w.answers(rows))
    assert is_distribution(belief.probs)
    np.testing.assert_array_equal(belief.probs[rows].argmax(axis=1), w.truth[rows])
    assert all(is_distribution(belief.without(int(fold))) for fold in set(belief.folds[rows]))


def test_answers_of_one_class_only() -> None:
    """People who only ever said one label do not make everything that label."""
    w = world(0)
    rows = np.flatnonzero(w.truth == 2)[:30]
    belief = belief_of(w, w.answers(rows))
    assert is_distribution(belief.probs)
    assert (belief.probs.argmax(axis=1) == w.truth).mean() >= w.teacher_accuracy() - 0.05


@pytest.mark.parametrize("sources", [1, 2])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("with_student", [False, True])
def test_any_evidence_will_do_for_two_labels(sources: int, text: bool, with_student: bool) -> None:
    """Two labels, one teacher or two, embeddings or none, a student or none: sound, and no worse than the teacher."""
    w = world(5, k=2, sources=sources)
    student = said(w.truth, 2, np.full(400, 0.7)) if with_student else None
    belief = belief_of(w, w.answers(drawn(5, 400, 40)), text=text, student=student)
    assert is_distribution(belief.probs)
    assert len(belief.exponents) == 1 + with_student
    assert (belief.probs.argmax(axis=1) == w.truth).mean() >= w.teacher_accuracy()


def test_unreadable_votes_are_filled_from_the_texts() -> None:
    """Where no teacher could be read the answers on like texts decide."""
    w = world(6)
    silent = drawn(7, 400, 40)
    probs, usable = w.votes.probs.copy(), w.votes.usable.copy()
    probs[:, silent], usable[:, silent] = 1 / 3, False
    w = replace(w, votes=VoteTable(w.votes.sources, probs, usable))
    belief = belief_of(w, w.answers(drawn(6, 400, 80)))
    assert (belief.probs[silent].argmax(axis=1) == w.truth[silent]).mean() > 0.8


@pytest.mark.parametrize("count", [5, 40, 120])
@pytest.mark.parametrize("text", [False, True])
def test_elsewhere_believes_as_in_the_pool(count: int, text: bool) -> None:
    """Items outside the pool get what the same votes and texts would have got inside, had nobody answered them."""
    w = world(7)
    student = said(w.truth, 3, np.full(400, 0.6))
    belief = belief_of(w, w.answers(drawn(7, 400, count)), text=text, student=student)
    there = belief.elsewhere(w.votes, w.text if text else None, student)
    np.testing.assert_allclose(there[belief.folds < 0], belief.probs[belief.folds < 0], atol=1e-8)


def test_elsewhere_refuses_texts_that_were_not_embedded() -> None:
    """A belief that was learned with embeddings does not guess without them."""
    w = world(7)
    belief = belief_of(w, w.answers(drawn(7, 400, 40)))
    with pytest.raises(ValueError, match="Expected embeddings"):
        belief.elsewhere(w.votes, None, None)
