"""What is known at one moment: agreement of people, random draws, and no item judged by its own answer."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kinds.kind import Layout
from loop.learn import cross_fitted_student, lesson, quick_student
from loop.project import Project
from loop.view import Corpus, View, agreed, opinion_of_votes, random_draws, view_of, votes_of
from loop.weighed import SETTLED
from serving.student import inputs_of
from stillhouse.records import Answer, Item, Pick, Value, Vote, VoteStatus
from stillhouse.settings import Student
from stillhouse.task import Task

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


def answer(item_id: str, label: Value | None, annotator: str = "pat") -> Answer:
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


def corpus(votes: list[Vote] | None = None) -> Corpus:
    features, _, cast = world()
    layout = Layout.of(PROJECT.kind, ITEMS)
    table = votes_of(PROJECT, PROJECT.kind, layout, ITEMS, cast if votes is None else votes)
    opinion = opinion_of_votes(PROJECT, layout, features, table)
    return Corpus(PROJECT.kind, tuple(ITEMS), layout, features, features, table, opinion)


def view(answers: list[Answer]) -> View:
    return view_of(PROJECT, corpus(), answers)


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
    """A conflict that the belief does not decide either stays out of its answers, and is delivered as odds."""
    votes = [vote for vote in world()[2] if vote.item_id != ITEMS[0].id]
    unlike = [answer(ITEMS[0].id, "a", "kim"), answer(ITEMS[0].id, "b", "lou")]
    seen = view_of(PROJECT, corpus(votes), [*answers_with()[1:], *unlike])
    assert seen.conflicts == (ITEMS[0].id,)
    assert len(seen.belief.answers.rows) == ANSWERED - 1
    np.testing.assert_allclose(seen.belief.probs[0], seen.people.probs[0])


def test_a_tie_goes_to_the_value_that_is_believed() -> None:
    """What votes and texts make near certain of two answers is taken, and says how sure it is."""
    truth = answers_with()[0].label
    other = next(label for label in LABELS if label != truth)
    seen = view([*answers_with(), answer(ITEMS[0].id, other, "kim")])
    assert seen.labels[ITEMS[0].id] == truth
    assert seen.people.probability[ITEMS[0].id] > SETTLED


def test_one_answer_an_item_is_taken_as_it_is() -> None:
    """Nobody is doubted for differing from the belief: items are asked because that may be wrong."""
    seen = view(answers_with(3))
    assert seen.labels == {a.item_id: a.label for a in answers_with(3)}
    assert seen.people.people == ()


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
    _, _, votes = world()
    opinion = corpus().opinion
    flipped = [dataclasses.replace(votes[5], probs=votes[5].probs[::-1]) if n == 5 else v for n, v in enumerate(votes)]
    other = corpus(flipped).opinion
    np.testing.assert_allclose(opinion.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(opinion[5], other[5])


# -- structured values


def task_of(kind: str, *labels: str, **more: Any) -> Project:
    table = {"name": "t", "kind": kind, "labels": [{"name": name} for name in labels], **more}
    task = Task.model_validate({"data": {"pool": "p"}, "teachers": [{"name": "A", "model": "m"}], **table})
    return Project(task, Path("task.toml"), Path("run"))


SPANS = task_of("spans", "NAME", "APP")
TEXTS = [Item("one", "Ada opened Word"), Item("two", "nobody here"), Item("void", "")]
WORD = {"start": 11, "end": 15, "label": "APP"}
ADA = {"start": 0, "end": 3, "label": "NAME"}


def span_corpus(votes: list[Vote]) -> Corpus:
    """Six words of three texts, the last of which has none."""
    layout = Layout.of(SPANS.kind, TEXTS)
    features = np.eye(len(layout.item_of), 8, dtype=np.float32)
    table = votes_of(SPANS, SPANS.kind, layout, TEXTS, votes)
    return Corpus(SPANS.kind, tuple(TEXTS), layout, features, features, table, table.pooled())


def span_vote(item_id: str, value: Value, source: str = "A", status: VoteStatus = "ok") -> Vote:
    return Vote(item_id, source, (), 0.0, "verbalised", status, "p", f"{item_id}{source}", 0.0, value)


def test_values_agree_by_what_they_say_not_by_the_order_of_their_keys() -> None:
    """Two people who mark the same spans agree; a third who marks one more does not."""
    same = [{"label": "APP", "end": 15, "start": 11}]
    said = [answer("one", [WORD], "pat"), answer("one", same, "kim"), answer("one", [ADA, WORD], "lou")]
    assert agreed(said) == ({"one": [WORD]}, ())
    assert agreed([answer("two", [], "pat"), answer("two", [WORD], "kim")]) == ({}, ("two",))


def test_nothing_marked_is_an_answer_and_a_pass_is_none() -> None:
    """An empty list says that there is no span."""
    assert agreed([answer("one", []), answer("two", None)]) == ({"one": []}, ())


def test_votes_lie_at_the_rows_of_their_items() -> None:
    """Each word of an item that was voted on is usable, no other is, and nobody's vote is uniform."""
    table = span_corpus([span_vote("one", [WORD])]).votes
    assert table.probs.shape == (1, 5, 5)
    assert table.usable.tolist() == [[True, True, True, False, False]]
    tags = SPANS.kind.columns
    assert [tags[column] for column in table.probs[0, :3].argmax(axis=1)] == ["O", "O", "B-APP"]
    np.testing.assert_allclose(table.probs[0, 3:], 1 / 5)


def test_votes_of_strangers_and_votes_that_abstain_are_passed_over() -> None:
    """An unknown item, a source the task does not name, a reply that could not be read."""
    votes = [span_vote("zed", [WORD]), span_vote("one", [WORD], "B"), span_vote("two", [], status="unreadable")]
    assert not span_corpus(votes).votes.usable.any()


def test_an_answer_teaches_the_words_it_speaks_of() -> None:
    """Its rows are those of the item's words; the text without words has none, and is answered all the same."""
    seen = view_of(SPANS, span_corpus([span_vote("one", [])]), [answer("one", [WORD]), answer("void", [])])
    assert seen.belief.answers.rows.tolist() == [0, 1, 2]
    assert seen.answered.tolist() == [True, False, True]
    assert seen.delivered[0] == [WORD]
    assert seen.delivered[2] == []


def test_a_field_that_stands_nowhere_in_the_text_teaches_nothing_of_other_words() -> None:
    """Its words are unknown: the value may be said in another way."""
    project = task_of("fields", fields=[{"name": "who"}])
    layout = Layout.of(project.kind, TEXTS)
    features = np.eye(len(layout.item_of), 8, dtype=np.float32)
    table = votes_of(project, project.kind, layout, TEXTS, [])
    fields = Corpus(project.kind, tuple(TEXTS), layout, features, features, table, table.pooled())
    seen = view_of(project, fields, [answer("one", {"who": "Grace"}), answer("two", {"who": None})])
    assert seen.belief.answers.rows.tolist() == [3, 4]


def test_how_wrong_an_item_would_be_is_measured_without_its_answer() -> None:
    """The teacher marked one of two spans: the item is a third wrong (F1), though what is delivered is right."""
    seen = view_of(SPANS, span_corpus([span_vote("one", [WORD])]), [answer("one", [ADA, WORD])])
    assert seen.unseen[0] == [{**WORD, "p": seen.unseen[0][0]["p"]}]  # type: ignore[index]
    assert seen.unseen_error == pytest.approx([1 / 3, 0.0, 0.0])
    assert seen.delivered[0] == [ADA, WORD]


def test_the_error_expected_of_a_label_is_its_doubt() -> None:
    """Of a single label it is what is left of the likeliest label's probability."""
    seen = view(answers_with())
    np.testing.assert_allclose(seen.expected_error, 1.0 - seen.belief.out_of_fold.max(axis=1), atol=1e-6)


def test_thresholds_are_for_kinds_of_many_labels_alone() -> None:
    """One a label, and where a label begins to apply is what is delivered."""
    project = task_of("multi_label", "red", "blue")
    layout = Layout.of(project.kind, ITEMS)
    rng = np.random.default_rng(0)
    votes = [
        Vote(item.id, "A", tuple(rng.uniform(0.05, 0.6, 2)), 0.0, "verbalised", "ok", "p", item.id, 0.0)
        for item in ITEMS
    ]
    features = world()[0]
    table = votes_of(project, project.kind, layout, ITEMS, votes)
    many = Corpus(project.kind, tuple(ITEMS), layout, features, features, table, table.pooled())
    seen = view_of(project, many, [])
    assert seen.thresholds is not None
    assert seen.thresholds.shape == (2,)
    present = seen.belief.probs[:, 1::2] >= seen.thresholds
    assert [["red" in value, "blue" in value] for value in seen.delivered] == present.tolist()
    assert view([]).thresholds is None


def test_a_student_reads_units_pairs_and_focus_where_the_task_has_them() -> None:
    """Whole texts have no spans; words have theirs, one array an item."""
    plain = inputs_of(PROJECT.kind, ITEMS[:2])
    assert (plain.spans, plain.pairs, plain.focus) == (None, None, None)
    paired = inputs_of(PROJECT.kind, [Item("a", "text", pair="target"), Item("b", "other")])
    assert paired.pairs == ["target", ""]
    words = inputs_of(SPANS.kind, TEXTS)
    assert words.spans is not None
    assert [len(spans) for spans in words.spans] == [3, 2, 0]
