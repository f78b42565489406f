"""What is known at one moment: agreement of people, random draws, and no item judged by its own answer."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loop.learn import cross_fitted_student, lesson, quick_student
from loop.project import Project
from loop.view import View, agreed, opinion_of_votes, random_draws, view_of, votes_of
from stillhouse.records import Answer, Item, Pick, Vote
from stillhouse.task import Student, Task

LABELS = ("a", "b", "c")
N, ANSWERED = 120, 60
TASK = Task.model_validate(
    {
        "name": "t",
        "labels": [{"name": name} for name in LABELS],
        "data": {"pool": "pool.jsonl"},
        "teachers": [{"name": "A", "model": "m"}],
    }
)
PROJECT = Project(TASK, Path("task.toml"), Path("run"))
ITEMS = [Item(f"i{number:03d}", f"text {number}") for number in range(N)]


WEIGHED = Student(answer_weight=3.0)


def answer(item_id: str, label: str | None, annotator: str = "pat") -> Answer:
    return Answer(item_id, annotator, label, blind=False, rehearsed=False, answered_at="2026-01-01T00:00:00+00:00")


def pick(item_id: str, number: int, probability: float | None = None) -> Pick:
    return Pick(item_id, number, "random" if probability else "margin", 0.5, probability, blind=probability is not None)


def world(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64], list[Vote]]:
    """Features around one centre a label, the true labels, and votes of which a quarter are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, N)
    features = rng.normal(size=(3, 8))[truth] + rng.normal(scale=0.5, size=(N, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    said = np.where(rng.random(N) < 0.25, (truth + 1) % 3, truth)
    votes = [
        Vote(item.id, "A", tuple(np.where(np.arange(3) == label, 0.8, 0.1)), 0.0, "verbalised", "ok", "p", item.id, 0.0)
        for item, label in zip(ITEMS, said, strict=True)
    ]
    return features.astype(np.float32), truth, votes


def view(answers: list[Answer]) -> View:
    features, _, votes = world()
    table = votes_of(PROJECT, ITEMS, votes)
    return view_of(PROJECT, ITEMS, features, table, opinion_of_votes(PROJECT, features, table), answers)


def answers_with(flipped: int | None = None) -> list[Answer]:
    labels = world()[1][:ANSWERED].copy()
    if flipped is not None:
        labels[flipped] = (labels[flipped] + 1) % 3
    return [answer(ITEMS[row].id, LABELS[label]) for row, label in enumerate(labels)]


def test_the_majority_is_what_people_agreed_on() -> None:
    """Two of three say a."""
    said = [answer("i", "a", "pat"), answer("i", "a", "kim"), answer("i", "b", "lou")]
    assert agreed(said) == ({"i": "a"}, ())


def test_a_tie_is_a_conflict_and_counts_as_no_answer() -> None:
    """Neither label wins by order or by alphabet; conflicts come sorted."""
    said = [answer(item, label, who) for item in ("z", "k") for label, who in (("b", "pat"), ("a", "kim"))]
    assert agreed(said) == ({}, ("k", "z"))


def test_a_pass_is_no_answer() -> None:
    """Who passed says nothing, and does not break what others agreed on."""
    assert agreed([answer("i", None), answer("k", None, "pat"), answer("k", "a", "kim")]) == ({"k": "a"}, ())


def test_answers_teach_only_where_people_agree() -> None:
    """A conflict stays out of the belief's answers and is counted."""
    seen = view([*answers_with(), answer(ITEMS[0].id, "a", "kim"), answer(ITEMS[0].id, "b", "lou")])
    one = {a.label for a in answers_with()[:1]}
    assert seen.conflicts == (() if one <= {"a", "b"} else (ITEMS[0].id,))
    assert len(seen.belief.answers.rows) == ANSWERED - len(seen.conflicts)


def test_a_rounds_random_draw_was_from_all_that_earlier_rounds_left() -> None:
    """The population of round 2 lacks what round 1 picked, targeted or not, and keeps its own picks."""
    items = ITEMS[:6]
    picks = [pick("i000", 1, 0.2), pick("i001", 1), pick("i002", 2, 0.25), pick("i003", 2)]
    first, second = random_draws(items, picks, {"i000": "a", "i001": "b", "i002": "a", "i003": "a"})
    assert (first.rows.tolist(), first.population.tolist()) == ([0], [0, 1, 2, 3, 4, 5])
    assert (second.rows.tolist(), second.population.tolist()) == ([2], [2, 3, 4, 5])


def test_only_answered_random_picks_are_drawn() -> None:
    """A random pick that nobody answered says nothing yet."""
    (draw,) = random_draws(ITEMS[:4], [pick("i000", 1, 0.5), pick("i001", 1, 0.5)], {"i001": "a"})
    assert draw.rows.tolist() == [1]


def test_an_item_is_not_judged_by_a_student_that_saw_its_answer() -> None:
    """Its row of the cross-fitted student is the same when its answer flips; other rows may change."""
    before = cross_fitted_student(view(answers_with()), WEIGHED)
    for row in (0, 7, 31, 59):
        after = cross_fitted_student(view(answers_with(row)), WEIGHED)
        np.testing.assert_array_equal(before[row], after[row])
        assert not np.array_equal(before[:ANSWERED], after[:ANSWERED])


def test_only_answered_items_are_cross_fitted() -> None:
    """Every other row is nan, and no answered row is."""
    rows = cross_fitted_student(view(answers_with()), WEIGHED)
    assert np.isfinite(rows[:ANSWERED]).all()
    assert np.isnan(rows[ANSWERED:]).all()


def test_a_fold_left_out_is_taught_as_unanswered() -> None:
    """Its items weigh as little as any, and their targets are not the answers."""
    seen = view(answers_with())
    fold = int(seen.belief.folds[0])
    taught = lesson(seen, WEIGHED, fold)
    inside = seen.belief.folds == fold
    assert set(taught.weights[inside].tolist()) == {1.0}
    assert set(taught.weights[~inside & (seen.belief.folds >= 0)].tolist()) == {3.0}
    assert taught.targets[inside].max() < 1.0


def test_what_the_quick_student_says_of_an_item_was_not_taught_by_that_item() -> None:
    """An item's own target may flip without a change of its own row."""
    seen = view(answers_with())
    probs = seen.belief.probs.copy()
    probs[100] = probs[100][::-1]
    other = dataclasses.replace(seen, belief=dataclasses.replace(seen.belief, probs=probs))
    np.testing.assert_array_equal(quick_student(seen, WEIGHED)[100], quick_student(other, WEIGHED)[100])


def test_the_votes_opinion_has_seen_no_answer() -> None:
    """It is made of features and votes alone, each item from the votes on others."""
    features, _, votes = world()
    opinion = opinion_of_votes(PROJECT, features, votes_of(PROJECT, ITEMS, votes))
    flipped = [dataclasses.replace(votes[5], probs=votes[5].probs[::-1]) if n == 5 else v for n, v in enumerate(votes)]
    other = opinion_of_votes(PROJECT, features, votes_of(PROJECT, ITEMS, flipped))
    np.testing.assert_allclose(opinion.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(opinion[5], other[5])
