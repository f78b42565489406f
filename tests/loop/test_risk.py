"""What a promise about the student's errors rests on, in runs with gold and without."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from loop.labeller import student_folder
from loop.project import Project, open_project
from loop.risk import answers_from, judges_of, promised, risk_scores, silent_rows, taught_view
from loop.view import View, view_of
from stillhouse.errors import InputError
from stillhouse.records import Answer, Pick
from stillhouse.store import Store
from tests.loop.test_evaluate import PROJECT, answer, corpus_of
from tests.loop.world import GOLD, LABELS, World, rows_of, write_rows, write_world
from trainer.artifact import risk_in
from trainer.inputs import Inputs

ASKED = 30
EASY = 0.3
WISHING = replace(
    PROJECT,
    task=PROJECT.task.model_copy(update={"student": PROJECT.task.student.model_copy(update={"max_error": 0.3})}),
)


@pytest.fixture(scope="module")
def with_gold(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = write_world(tmp_path_factory.mktemp("gold"), items=60, budget={"human_labels": 0})
    result = world.go()
    assert result.exit_code == 0, result.stderr
    return world


@pytest.fixture(scope="module")
def without_gold(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An error is to be promised, and there is nothing but people's answers to promise it on. To them it is all one
    team, which even random weights can learn.
    """
    home = tmp_path_factory.mktemp("blind")
    student = {"max_error": EASY}
    world = write_world(
        home, items=90, gold=False, student=student, selection={"batch": ASKED}, budget={"human_labels": 2 * ASKED}
    )
    write_rows(world.experts, [{**row, "team": LABELS[0]} for row in rows_of(world.experts)])
    result = world.go()
    assert result.exit_code == 0, result.stderr
    return world


def first_batch(*, turned: bool = False) -> tuple[View, list[Pick], list[Answer]]:
    """Sixty items with labels red and blue: twenty of a random first batch are answered, ten of a second. `turned` gives
    the first batch other answers.
    """
    corpus, truths = corpus_of(60, 0, "p")
    said = [[name for name in ("red", "blue") if name not in str(value)] if turned else value for value in truths[:20]]
    labels = [*said, *truths[20:30]]
    answers = [answer(item, label) for item, label in zip(corpus.items, labels, strict=False)]
    picks = [
        Pick(item.id, 1 if at < 20 else 2, "random", 0.5, 0.3 if at < 25 else None, blind=at < 25)
        for at, item in enumerate(corpus.items[:30])
    ]
    return view_of(WISHING, corpus, answers), picks, answers


@dataclass(frozen=True)
class AlwaysBoth:
    """A student that says red and blue of everything."""

    thresholds: None = None

    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        return np.tile([0.1, 0.9, 0.1, 0.9], (len(inputs), 1))


ALWAYS_BOTH: Any = AlwaysBoth()


def project_of(world: World) -> Project:
    return open_project(world.task, world.run)


def picks_of(world: World) -> list[Pick]:
    with Store(world.run, read_only=True) as store:
        return store.picks()


def test_gold_is_what_is_certified_on(with_gold: World) -> None:
    """Each gold item with the student's own probability, and whether its label is the gold one."""
    project = project_of(with_gold)
    folder = student_folder(project)
    found = risk_in(folder)
    assert found is not None
    assert (len(found.sure), found.on, found.whole) == (GOLD, f"{GOLD} gold items", True)
    result = with_gold.stillhouse(
        "label", with_gold.run, with_gold.gold, with_gold.home / "out.jsonl", "--threshold", "0", "--quiet"
    )
    assert result.exit_code == 0, result.stderr
    rows = rows_of(with_gold.home / "out.jsonl")
    truth = [row["team"] for row in rows_of(with_gold.gold)]
    np.testing.assert_allclose(found.sure, [row["probability"] for row in rows], atol=1e-5)
    np.testing.assert_array_equal(found.error, [row["label"] != team for row, team in zip(rows, truth, strict=True)])


def test_the_card_says_from_where_on_it_may_be_trusted(with_gold: World) -> None:
    """A row for each usual error; here none can be promised, and it says why."""
    card = (student_folder(project_of(with_gold)) / "README.md").read_text(encoding="utf-8")
    assert "## From where on it may be trusted" in card
    assert "| 1 % | none: 40 answers are too few" in card


def test_without_gold_the_first_batch_is_all_random_and_blind(without_gold: World) -> None:
    """The second is targeted again."""
    first, second = ([pick for pick in picks_of(without_gold) if pick.round == number] for number in (1, 2))
    assert all(pick.blind and pick.inclusion_probability is not None for pick in first)
    assert not all(pick.blind for pick in second)


def test_without_gold_the_first_batch_is_what_is_certified_on(without_gold: World) -> None:
    """Also after the second round, whose random picks come from what the second batch had left."""
    found = risk_in(student_folder(project_of(without_gold)))
    assert found is not None
    assert len(found.sure) == ASKED
    assert "which taught it nothing" in found.on


def test_answers_that_are_certified_on_teach_nothing() -> None:
    """Students learn from the same belief whatever those answers are, and not from their texts."""
    taught, silent = [], []
    for turned in (False, True):
        view, picks, answers = first_batch(turned=turned)
        judges = judges_of(WISHING, view, picks, None)
        assert judges is not None
        taught.append(taught_view(WISHING, view, answers, judges).belief.probs)
        silent.append(silent_rows(view, judges))
    np.testing.assert_array_equal(taught[0], taught[1])
    np.testing.assert_array_equal(np.flatnonzero(silent[0]), np.arange(20))


def test_an_error_becomes_a_threshold(without_gold: World) -> None:
    """The task's, where none is given; what it answers from is what was certified."""
    project = project_of(without_gold)
    folder = student_folder(project)
    threshold, said = answers_from(project, folder, None, None)
    bound = promised(folder, EASY, 0.95)
    assert threshold == bound.threshold
    assert f"at most {100 * EASY:g} % wrong where it answers" in said
    assert answers_from(project, folder, 0.4, None) == (0.4, "")


def test_labels_are_given_from_the_promised_probability_on(without_gold: World) -> None:
    """The task's wish counts where nothing is said, and the command says what it promised."""
    out = without_gold.home / "labels.jsonl"
    how = ("label", without_gold.run, without_gold.pool, out, "--json", "--quiet")
    result = without_gold.stillhouse(*how)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    bound = promised(student_folder(project_of(without_gold)), EASY, 0.95)
    assert found["threshold"] == bound.threshold
    assert bound.promise in found["promise"]
    assert found["abstained"] == sum(row["abstained"] for row in rows_of(out))
    refused = without_gold.stillhouse(*how, "--max-error", "0.03")
    assert refused.exit_code == 2
    assert "takes at least 99" in refused.stderr


def test_an_error_that_cannot_be_promised_is_refused(without_gold: World) -> None:
    """With how many answers it would take; nothing is labelled as if it had been promised."""
    project = project_of(without_gold)
    with pytest.raises(InputError, match="cannot promise") as caught:
        answers_from(project, student_folder(project), None, 0.03)
    assert "takes at least 99" in str(caught.value.found)


def test_a_student_without_anything_to_certify_on_says_what_it_takes(tmp_path: Path) -> None:
    """No gold, no wish in the task: there is nothing that has not taught it."""
    world = write_world(tmp_path, items=60, gold=False, budget={"human_labels": 0})
    assert world.go().exit_code == 0
    project = project_of(world)
    with pytest.raises(InputError, match="nothing was kept") as caught:
        answers_from(project, student_folder(project), None, 0.1)
    assert "student.max_error" in str(caught.value.fix)


def test_a_threshold_and_an_error_together_are_refused(with_gold: World) -> None:
    """Which of them would count?"""
    project = project_of(with_gold)
    with pytest.raises(InputError, match="threshold and an error"):
        answers_from(project, student_folder(project), 0.5, 0.1)


def test_many_labels_count_shares_of_an_error() -> None:
    """Where a score lies between right and wrong the errors do, and the test for shares is taken."""
    view, picks, _ = first_batch()
    judges = judges_of(WISHING, view, picks, None)
    assert judges is not None
    found = risk_scores(view.kind, ALWAYS_BOTH, judges)
    assert not found.whole
    assert set(np.round(found.error, 3)) == {0.0, 0.5, 1.0}
    assert len(found.sure) == 20
