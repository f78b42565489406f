"""Language models of this machine as teachers: votes, resuming, windows, and a whole loop."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loop.local_teacher import ask_local
from prompts.likelihood import choice_of
from stillhouse.errors import TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Item, Vote
from stillhouse.settings import Data, Teacher
from stillhouse.task import Label, Task
from tests.loop.world import GOLD, POOL, write_world
from tests.trainer.tiny_writers import write_writer
from trainer.likelihood import Options, Scorer
from trainer.likelihood_models import load_local

NAMES = ("printing", "signing in", "signing in again", "other")
ITEMS = [
    Item(f"i{n:02}", text)
    for n, text in enumerate(("the printer jams", "locked out again", "hello\x00 there", "Invoice from ACME") * 20)
]


def task_of(folder: Path, kind: str = "single_label", **changes: object) -> Task:
    return Task.model_validate(
        {
            "name": "small",
            "kind": kind,
            "labels": [Label(name=name) for name in NAMES],
            "data": Data(pool="pool.jsonl"),
            "teachers": [Teacher.model_validate({"name": "own", "model": "tiny", "local": str(folder), **changes})],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_writer(tmp_path_factory.mktemp("models") / "llama", "llama", chat=True)


def asked(task: Task, items: list[Item] = ITEMS[:6]) -> MemoryLedger:
    ledger = MemoryLedger()
    ask_local(items, task, task.teachers[0], ledger, home=Path())
    return ledger


def test_votes_by_code_keep_what_lies_beside_the_codes(folder: Path) -> None:
    """Probabilities of the codes as the model gives them, the rest as residual; origin, prompt and cost are told."""
    task = task_of(folder)
    ledger = asked(task)
    choice = choice_of(task, task.teachers[0])
    options = Options(choice.answers, choice.tails, end=choice.end)
    wanted = np.exp(Scorer(load_local(str(folder)), choice.common.system, options).scores([choice.message(ITEMS[0])]))
    vote = ledger.votes[ITEMS[0].id, "own"]
    assert vote.probs == pytest.approx(wanted[0, 0].tolist(), rel=1e-3)
    assert 0.0 < vote.residual == pytest.approx(1.0 - sum(vote.probs))
    assert (vote.origin, vote.status, vote.cost_usd) == ("likelihood", "ok", 0.0)
    assert vote.prompt_id == choice.common.prompt_id
    assert vote.guidelines == task.guidelines_id()


def test_votes_by_name_are_set_against_each_other(folder: Path) -> None:
    """ask = "verbalised": one distribution over the names, nothing left over."""
    task = task_of(folder, ask="verbalised")
    for vote in asked(task).votes.values():
        assert sum(vote.probs) == pytest.approx(1.0)
        assert vote.residual == 0.0


def test_each_of_many_labels_is_a_question_of_its_own(folder: Path) -> None:
    """A label's chance depends on its own question: it stays when the other labels' questions are not asked."""
    task = task_of(folder, "multi_label")
    vote = asked(task).votes[ITEMS[0].id, "own"]
    assert len(vote.probs) == len(NAMES)
    assert all(0.0 < p < 1.0 for p in vote.probs)
    choice = choice_of(task, task.teachers[0])
    alone = Scorer(load_local(str(folder)), choice.common.system, Options(choice.answers, choice.tails[1:2]))
    no, yes = alone.scores([choice.message(ITEMS[0])])[0, 0]
    assert vote.probs[1] == pytest.approx(1 / (1 + np.exp(no - yes)), abs=1e-4)


def test_the_question_names_its_label_after_the_text(folder: Path) -> None:
    """Also where the text holds the mark that the label's name stands for inside the program."""
    choice = choice_of(task_of(folder, "multi_label"), task_of(folder).teachers[0])
    whole = choice.message(ITEMS[2]) + choice.tails[1]
    assert "hello\x00 there" in whole
    assert whole.endswith('Does the label "signing in" apply to the text between the markers? Answer yes or no:')


def test_equal_texts_have_equal_keys_and_variants_have_not(folder: Path) -> None:
    """A key names model, prompt and teacher; a reversed order of the labels is another prompt, in the task's order."""
    first, second = task_of(folder), task_of(folder, label_order="reversed")
    votes, reversed_votes = asked(first).votes, asked(second).votes
    same = votes["i00", "own"], votes["i04", "own"]
    assert same[0].request_key == same[1].request_key
    assert same[0].probs == pytest.approx(same[1].probs, rel=1e-3)
    assert reversed_votes["i00", "own"].request_key != same[0].request_key
    assert reversed_votes["i00", "own"].prompt_id != same[0].prompt_id


def test_what_was_voted_before_a_kill_stays(folder: Path) -> None:
    """Votes are written a group at a time: whoever dies in the second group keeps the first."""

    class Dying(MemoryLedger):
        """Breaks at the second group of votes."""

        def record_votes(self, votes: Iterable[Vote]) -> None:
            if self.votes:
                raise KeyboardInterrupt
            super().record_votes(votes)

    task, ledger = task_of(folder), Dying()
    with pytest.raises(KeyboardInterrupt):
        ask_local(ITEMS, task, task.teachers[0], ledger, home=Path())
    assert len(ledger.votes) == 64


def test_a_long_text_is_asked_in_windows(tmp_path: Path) -> None:
    """Windows shrink until the model holds each of them; the vote is their mean, and says how many there were."""
    task = task_of(write_writer(tmp_path / "model", "llama", positions=1100))
    long = replace(ITEMS[0], text=" ".join(["the printer jams"] * 60))
    votes = asked(task, [ITEMS[1], long]).votes
    assert {vote.status for vote in votes.values()} == {"ok"}
    assert votes["i00", "own"].findings["windows"] > 1
    assert "windows" not in votes["i01", "own"].findings


def test_a_model_too_small_for_the_question_is_refused(tmp_path: Path) -> None:
    """Guidelines and labels alone are too long for its context: nothing is voted on."""
    task = task_of(write_writer(tmp_path / "model", "llama", positions=256))
    with pytest.raises(TeacherError, match="alone do not fit"):
        asked(task)


@pytest.mark.parametrize("changes", [{"ask": "samples"}, {"kind": "spans"}], ids=str)
def test_what_has_no_likelihood_is_refused(folder: Path, changes: dict[str, str]) -> None:
    """Before the model is loaded; the message says what to do instead."""
    with pytest.raises(TeacherError, match="likelihoods of labels"):
        asked(task_of(folder, **changes))


def test_pictures_are_refused(folder: Path) -> None:
    """A vote on a text whose picture nobody saw would be a guess."""
    with pytest.raises(TeacherError, match="reads texts only"):
        asked(task_of(folder), [replace(ITEMS[0], image="https://example.com/p.png")])


def test_a_whole_loop_with_a_local_teacher(tmp_path: Path) -> None:
    """Votes, student, batches, answers, report; a repeat asks for no vote again. The model stands beside task.toml."""
    world = write_world(tmp_path, teacher={"name": "own", "model": "tiny", "local": "teacher"})
    write_writer(tmp_path / "teacher", "llama", chat=True)
    planned = world.stillhouse("plan", world.task, "--run", world.run)
    assert "free of charge" in planned.stdout
    assert "Code of the label" in world.stillhouse("plan", world.task, "--run", world.run, "--prompt").stdout
    assert "teacher, on this machine" in world.stillhouse("check", world.task).stdout
    result = world.go()
    assert result.exit_code == 0, result.stderr
    assert world.summary["cost_usd"] == 0.0
    with world.store() as store:
        votes = store.votes()
    assert len(votes) == POOL + GOLD
    assert {(vote.origin, vote.status) for vote in votes} == {("likelihood", "ok")}
    (tmp_path / "teacher" / "model.safetensors").unlink()
    assert world.go().exit_code == 0
