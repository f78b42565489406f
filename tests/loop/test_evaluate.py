"""What a round is worth: on gold where there is some, else on blind answers that the judged have not seen."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinds.kind import Layout
from loop.evaluate import GoldView, certified, evaluate
from loop.project import Gold, Project
from loop.view import Corpus, View, opinion_of_votes, view_of, votes_of
from stillhouse.records import Answer, Item, Pick, Value, Vote
from stillhouse.task import Task

N, ANSWERED, GOLD = 60, 30, 20
TASK = Task.model_validate(
    {
        "name": "t",
        "kind": "multi_label",
        "labels": [{"name": "red"}, {"name": "blue"}],
        "data": {"pool": "pool.jsonl"},
        "teachers": [{"name": "A", "model": "m"}],
    }
)
PROJECT = Project(TASK, Path("task.toml"), Path("run"))
KIND = PROJECT.kind
CENTRES = np.random.default_rng(9).normal(size=(2, 8))


def made(count: int, seed: int, prefix: str) -> tuple[list[Item], NDArray[np.bool_], NDArray[np.float32]]:
    """Items, which of the two labels apply (n, 2), and features that show it."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, 2)) < 0.5
    features = truth @ CENTRES + rng.normal(scale=0.2, size=(count, 8)) + 0.1
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return [Item(f"{prefix}{n:02d}", f"text {n}") for n in range(count)], truth, features.astype(np.float32)


def value_of(row: NDArray[np.bool_]) -> Value:
    return [name for name, applies in zip(TASK.label_names, row, strict=True) if applies]


def corpus_of(count: int, seed: int, prefix: str) -> tuple[Corpus, list[Value]]:
    """A teacher that never sees blue."""
    items, truth, features = made(count, seed, prefix)
    layout = Layout.of(KIND, items)
    votes = [
        Vote(item.id, "A", (0.9 if row[0] else 0.1, 0.1), 0.0, "verbalised", "ok", "p", item.id, 0.0)
        for item, row in zip(items, truth, strict=True)
    ]
    table = votes_of(PROJECT, KIND, layout, items, votes)
    opinion = opinion_of_votes(PROJECT, layout, features, table)
    return Corpus(KIND, tuple(items), layout, features, features, table, opinion), [value_of(row) for row in truth]


def answer(item: Item, label: Value) -> Answer:
    return Answer(item.id, "pat", label, blind=True, rehearsed=False, answered_at="2026-01-01T00:00:00+00:00")


def seen(answered: int = ANSWERED, flipped: int | None = None) -> tuple[View, list[Pick], list[Value]]:
    """The pool with its first answers, every other one of them a blind random pick."""
    corpus, truths = corpus_of(N, 0, "p")
    said = [
        ["red"] if n == flipped and value != ["red"] else [] if n == flipped else value
        for n, value in enumerate(truths)
    ]
    answers = [answer(item, label) for item, label in zip(corpus.items[:answered], said[:answered], strict=True)]
    picks = [
        Pick(item.id, 1, "random" if n % 2 == 0 else "uncertain", 0.5, 0.25 if n % 2 == 0 else None, blind=n % 2 == 0)
        for n, item in enumerate(corpus.items[:answered])
    ]
    return view_of(PROJECT, corpus, answers), picks, truths


def gold_view() -> tuple[GoldView, list[Value]]:
    corpus, truths = corpus_of(GOLD, 1, "g")
    return GoldView(Gold(corpus.items, tuple(truths)), corpus), truths


def exact(gold: GoldView, truths: list[Value]) -> NDArray[np.float64]:
    return np.concatenate([KIND.encode(i, KIND.units(i), t) for i, t in zip(gold.corpus.items, truths, strict=True)])


def test_on_gold_teacher_and_student_are_judged_alike() -> None:
    """A student that is right everywhere has no error; the teacher, who never sees blue, misses half."""
    view, picks, _ = seen()
    gold, truths = gold_view()
    found = evaluate(PROJECT, view, picks, gold, exact(gold, truths), known=None, before=None)
    assert found.student is not None
    assert found.teacher is not None
    assert found.judged is not None
    assert found.student.interval.value == 1.0
    assert found.student.interval.on == f"{GOLD} gold items"
    assert found.judged.student_values == truths
    blue = found.teacher.labels.index("blue")
    hits, true, said = found.teacher.counts[:, blue]
    assert (hits, said) == (0, 0)
    assert true == sum("blue" in str(value) for value in truths)
    assert found.teacher.interval.value < 0.9


def test_without_gold_the_blind_answers_measure() -> None:
    """Those of the random share alone, and the page can say so."""
    view, picks, truths = seen()
    found = evaluate(PROJECT, view, picks, None, None, known=None, before=None)
    assert found.judged is not None
    assert found.judged.on == f"{ANSWERED // 2} blind answers, cross-fitted"
    assert list(found.judged.truths) == truths[:ANSWERED:2]
    assert found.judged.encoded.shape == found.judged.student.shape == (ANSWERED // 2, 4)


def test_no_blind_answer_is_judged_by_what_has_seen_it() -> None:
    """What the student says of an item is the same when the item's own answer is another."""
    view, picks, _ = seen()
    before = evaluate(PROJECT, view, picks, None, None, known=None, before=None)
    other, _, _ = seen(flipped=4)
    after = evaluate(PROJECT, other, picks, None, None, known=None, before=None)
    assert before.judged is not None
    assert after.judged is not None
    np.testing.assert_array_equal(before.judged.student[2], after.judged.student[2])
    assert before.judged.truths[2] != after.judged.truths[2]


def test_before_there_are_answers_nothing_is_measured_without_gold() -> None:
    """Nobody is judged, and the certificate says that it knows nothing."""
    view, _, _ = seen(answered=0)
    found = evaluate(PROJECT, view, [], None, None, known=None, before=None)
    assert (found.teacher, found.student, found.judged, found.gain) == (None, None, None, None)
    assert (found.delivered.lo, found.delivered.hi) == (0.0, 1.0)


def test_the_certificate_holds_what_is_known_of_the_whole_pool() -> None:
    """The mean score of all delivered labels lies in its interval, and answered items count as delivered."""
    view, picks, truths = seen()
    interval = certified(PROJECT, view, picks)
    scores = [KIND.score(truth, value) for truth, value in zip(truths, view.delivered, strict=True)]
    assert interval.lo <= float(np.mean(scores)) <= interval.hi


def test_known_labels_of_the_whole_pool_measure_the_delivered() -> None:
    """Only where none is missing: a part would be no figure of the pool."""
    view, picks, truths = seen()
    known = {item.id: truth for item, truth in zip(view.items, truths, strict=True)}
    found = evaluate(PROJECT, view, picks, None, None, known=known, before=None)
    scores = [KIND.score(truth, value) for truth, value in zip(truths, view.delivered, strict=True)]
    assert found.delivered_known is not None
    assert found.delivered_measures is not None
    assert found.delivered_known.value == pytest.approx(float(np.mean(scores)))
    known.pop(view.items[0].id)
    part = evaluate(PROJECT, view, picks, None, None, known=known, before=None)
    assert (part.delivered_known, part.delivered_measures) == (None, None)


def test_a_gain_is_paired_with_the_student_before() -> None:
    """From a student that says nothing to one that is right: the whole of what could be gained."""
    view, picks, _ = seen()
    gold, truths = gold_view()
    nothing = np.tile([1.0, 0.0], (GOLD, 2))
    found = evaluate(PROJECT, view, picks, gold, exact(gold, truths), known=None, before=nothing)
    missed = float(np.mean([KIND.score(truth, []) for truth in truths]))
    assert found.gain is not None
    assert found.gain.value == pytest.approx(1.0 - missed)
    assert found.gain.lo > 0
    other = evaluate(PROJECT, view, picks, gold, exact(gold, truths), known=None, before=nothing[1:])
    assert other.gain is None


def test_what_is_stored_of_a_round_has_every_measure_with_its_interval() -> None:
    """Numbers alone, as JSON takes them; what was not measured is null."""
    view, picks, _ = seen()
    gold, truths = gold_view()
    found = evaluate(PROJECT, view, picks, gold, exact(gold, truths), known=None, before=None).to_json()
    assert found["student"] == found["student_measures"]["micro_f1"]  # type: ignore[index]
    assert found["student_macro_f1"] == found["student_measures"]["macro_f1"]  # type: ignore[index]
    assert (found["delivered_known"], found["delivered_measures"], found["student_gain"]) == (None, None, None)
    assert dataclasses.asdict(certified(PROJECT, view, picks)) == found["delivered"]


def many() -> tuple[View, list[Pick]]:
    """Enough blind answers to calibrate by."""
    corpus, truths = corpus_of(200, 0, "p")
    answers = [answer(item, label) for item, label in zip(corpus.items[:150], truths[:150], strict=True)]
    picks = [Pick(item.id, 1, "random", 0.5, 0.75, blind=True) for item in corpus.items[:150]]
    return view_of(PROJECT, corpus, answers), picks


@pytest.mark.parametrize("with_gold", [True, False])
def test_a_teacher_is_shown_before_and_after_its_calibration(with_gold: bool) -> None:
    """It never sees blue: with what people say of other items its probabilities come nearer to what is right."""
    view, picks = many()
    gold, truths = gold_view()
    probs = exact(gold, truths) if with_gold else None
    found = evaluate(PROJECT, view, picks, gold if with_gold else None, probs, known=None, before=None).calibration
    assert list(found) == ["teacher", "teacher, calibrated", "student"]
    assert found["teacher, calibrated"]["brier"].value < found["teacher"]["brier"].value


def test_answers_to_items_picked_for_being_hard_calibrate_nobody() -> None:
    """A teacher is wrong there more often than elsewhere; only the random share says how sure it should be."""
    view, picks = many()
    targeted = [dataclasses.replace(pick, inclusion_probability=None, blind=False) for pick in picks[40:]]
    gold, truths = gold_view()
    drawn = [*picks[:40], *targeted]
    found = evaluate(PROJECT, view, drawn, gold, exact(gold, truths), known=None, before=None).calibration
    assert list(found) == ["teacher", "student"]


def test_few_answers_calibrate_nobody() -> None:
    """There is nothing to show then but the teacher as it speaks."""
    view, picks, _ = seen()
    found = evaluate(PROJECT, view, picks, None, None, known=None, before=None)
    assert list(found.calibration) == ["teacher", "student"]
    assert found.judged is not None
    assert [voice.how.method for voice in found.judged.voices] == ["identity"]
