"""What `stillhouse plan` says before anything costs anything."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loop.cli import app
from loop.plan import plan_round
from stillhouse.records import Answer, Pick, Vote
from stillhouse.store import Store

HELPDESK = Path(__file__).parents[2] / "examples" / "helpdesk"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A copy of the example; a test may change it."""
    shutil.copytree(HELPDESK, tmp_path / "helpdesk")
    return tmp_path / "helpdesk" / "team.toml"


def change(task: Path, old: str, new: str) -> None:
    text = task.read_text(encoding="utf-8")
    assert old in text
    task.write_text(text.replace(old, new), encoding="utf-8")


def priced(task: Path, cap_usd: float) -> None:
    change(task, 'model = "team/A"\nrecording = "replies.jsonl"', 'model = "gpt-4.1-mini"')
    change(task, "human_labels = 380", f"human_labels = 380\nteacher_usd = {cap_usd}")


def first_ids(task: Path, count: int) -> list[str]:
    lines = (task.parent / "pool.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line)["id"] for line in lines]


def vote(item_id: str) -> Vote:
    return Vote(item_id, "recorded-A", (1.0, *[0.0] * 9), 0.0, "verbalised", "ok", "p", f"k-{item_id}", 0.0)


def test_before_a_run_every_item_is_to_be_asked(task: Path, tmp_path: Path) -> None:
    """Pool and gold go to each teacher; the batch costs people's time at the task's pace and wage."""
    plan = plan_round(task, tmp_path / "run")
    assert {name: found.calls for name, found in plan.teachers.items()} == {"recorded-A": 3050, "recorded-B": 3050}
    assert (plan.answers, plan.people_minutes, plan.people_usd) == (76, 19.0, 9.5)


def test_planning_leaves_no_trace(task: Path, tmp_path: Path) -> None:
    """No run folder is made, so a plan can be asked anywhere."""
    plan_round(task, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_plan_twice_has_the_same_figures(task: Path, tmp_path: Path) -> None:
    """The sample of prompts is drawn by the task's seed."""
    priced(task, 5)
    assert plan_round(task, tmp_path / "run") == plan_round(task, tmp_path / "run")


def test_what_a_run_holds_is_not_planned_again(task: Path, tmp_path: Path) -> None:
    """Votes, picks and answers in the store lessen calls, budget and what is free to ask; open picks are named."""
    ids = first_ids(task, 10)
    with Store(tmp_path / "run") as store:
        store.record_votes(map(vote, ids))
        store.add_picks([Pick(item_id, 1, "random", 0.5, 0.1, blind=True) for item_id in ids[:4]])
        at = "2026-01-01T00:00:00Z"
        store.add_answers([Answer(item_id, "pat", "apps", True, False, at) for item_id in ids[:3]])
    plan = plan_round(task, tmp_path / "run")
    assert (plan.teachers["recorded-A"].calls, plan.teachers["recorded-B"].calls) == (3040, 3050)
    assert (plan.answers_so_far, plan.waiting) == (3, 1)
    assert "answers so far: 3 (377 left of 380)\nstill at the desk: 1 items" in plan.text(with_prompt=False)


def test_a_batch_is_no_larger_than_the_budget_left(task: Path, tmp_path: Path) -> None:
    """With 5 answers allowed the next batch asks for 5."""
    change(task, "human_labels = 380", "human_labels = 5")
    assert plan_round(task, tmp_path / "run").answers == 5


def test_several_people_an_item_take_several_times_as_long(task: Path, tmp_path: Path) -> None:
    """min_submitted counts in minutes and money."""
    change(task, "[desk]", "[desk]\nmin_submitted = 2")
    assert plan_round(task, tmp_path / "run").people_minutes == 38.0


def test_a_priced_teacher_has_an_interval(task: Path, tmp_path: Path) -> None:
    """Money is told with its bounds, and what is left of the cap."""
    priced(task, 500)
    plan = plan_round(task, tmp_path / "run")
    found = plan.teachers["recorded-A"]
    assert found.cost_lo_usd is not None
    assert found.cost_usd is not None
    assert found.cost_hi_usd is not None
    assert 0 < found.cost_lo_usd < found.cost_usd < found.cost_hi_usd
    assert "($500.00 left of $500.00)" in plan.text(with_prompt=False)


def test_a_cap_that_may_not_do_is_told(task: Path, tmp_path: Path) -> None:
    """Where the upper bound is above what is left, the plan says so."""
    priced(task, 0.01)
    assert "NOT ENOUGH if it costs the most" in plan_round(task, tmp_path / "run").text(with_prompt=False)


def test_the_prompt_shown_is_one_a_teacher_gets(task: Path, tmp_path: Path) -> None:
    """The first item stands in it under the task's question, without what only people are told."""
    text = plan_round(task, tmp_path / "run").text(with_prompt=True)
    assert "Which team should handle this message?" in text
    assert "need 7-zip" in text
    assert (task.parent / "policy.md").read_text(encoding="utf-8").strip() not in text


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('kind = "files"', "desk: files in "),
        (
            'kind = "argilla"\nurl = "https://desk.example"',
            "desk: Argilla at https://desk.example, workspace stillhouse",
        ),
        ('kind = "embedded"', "desk: an Argilla of the run's own, on this machine, in "),
    ],
)
def test_the_plan_says_where_people_will_answer(task: Path, tmp_path: Path, lines: str, said: str) -> None:
    """Each kind of desk is named with its place."""
    change(task, "[desk]", f"[desk]\n{lines}")
    assert said in plan_round(task, tmp_path / "run").text(with_prompt=False)


def test_json_holds_the_same_figures(task: Path, tmp_path: Path) -> None:
    """`stillhouse plan --json` prints one object."""
    result = CliRunner().invoke(app, ["plan", str(task), "--run", str(tmp_path / "run"), "--json"])
    found = json.loads(result.stdout)
    assert (found["items"], found["teachers"]["recorded-A"]["calls"], found["rehearsed"]) == (2550, 3050, True)


@pytest.mark.parametrize(
    ("name", "words"), [("entities", "[label|words of the span]"), ("topics", '{"labels": {'), ("fields", '"person"')]
)
def test_the_prompt_of_every_kind_asks_in_its_own_way(task: Path, tmp_path: Path, name: str, words: str) -> None:
    """Tags in the text, chances of labels, an object of fields."""
    plan = plan_round(task.with_name(f"{name}.toml"), tmp_path / "run")
    assert words in plan.prompt


def test_a_text_longer_than_a_teachers_context_is_planned_in_windows(task: Path, tmp_path: Path) -> None:
    """More calls than items, and the prompt shown holds the first window alone."""
    change(task, 'model = "team/A"\nrecording = "replies.jsonl"', 'model = "gpt-4.1-mini"\ncontext_tokens = 40')
    plan = plan_round(task, tmp_path / "run")
    assert plan.teachers["recorded-A"].calls > 1.3 * plan.teachers["recorded-B"].calls


def test_what_is_asked_twice_is_planned(task: Path, tmp_path: Path) -> None:
    """A share of all items in the other order, less those that have been asked so."""
    change(task, 'name = "recorded-A"', 'name = "recorded-A"\nsecond_order_share = 0.1')
    assert plan_round(task, tmp_path / "run").teachers["recorded-A"].calls == 3050 + 305
    with Store(tmp_path / "run") as store:
        store.record_votes(replace(vote(item_id), prompt_id="p+q") for item_id in first_ids(task, 10))
    assert plan_round(task, tmp_path / "run").teachers["recorded-A"].calls == 3040 + 295


def test_examples_are_paid_for_and_waited_for(task: Path, tmp_path: Path) -> None:
    """Eight of them make a prompt several times as long, and the plan says when that will be."""
    few = '[[teachers]]\nname = "few"\nmodel = "gpt-4.1-mini"\ndemonstrations = 8\n\n[student]'
    change(task, "[student]", few)
    priced(task, 500)
    plan = plan_round(task, tmp_path / "run")
    assert plan.teachers["few"].input_tokens > 2 * plan.teachers["recorded-A"].input_tokens
    assert "asked once 32 answers can be shown as examples" in plan.text(with_prompt=False)
    with Store(tmp_path / "run") as store:
        votes = [replace(vote(item_id), source="few", demonstrations=("x",)) for item_id in first_ids(task, 1000)]
        store.record_votes(votes)
    assert plan_round(task, tmp_path / "run").teachers["few"].calls == 2050 + 100
