"""The table of rules, against figures computed by hand; and as commands and check show it."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from loop.check import check_all
from loop.cli import app
from loop.project import Project
from loop.rule_table import START_STRENGTH, Known, table_with
from loop.rule_text import table_text
from stillhouse.errors import TaskError
from stillhouse.measures import wilson
from stillhouse.records import Answer, Item, Pick, Vote
from stillhouse.task import Task
from tests.loop.world import World, write_world

TEXTS = ("printer", "printer password", "password", "printer", "hello")
RULES = (
    {"name": "print", "label": "onsite", "keywords": ["printer"]},
    {"name": "login", "label": "first_line", "keywords": ["password"]},
)
TRUTH = {"0": "onsite", "1": "first_line", "2": "first_line", "3": "first_line"}
RULES_TOML = (
    '\n[[rules]]\nname = "printer"\nlabel = "onsite"\nkeywords = ["printer", "scanner"]\n'
    '[[rules]]\nname = "people"\nlabel = "people"\nkeywords = ["new"]\n'
)


def project(home: Path, *, teachers: bool = True) -> Project:
    given = {
        "name": "t",
        "data": {"pool": "p"},
        "labels": [{"name": "onsite"}, {"name": "first_line"}],
        "teachers": [{"name": "m", "model": "m"}] if teachers else [],
        "rules": RULES,
    }
    return Project(Task.model_validate(given), home / "task.toml", home)


def items() -> list[Item]:
    return [Item(str(number), text) for number, text in enumerate(TEXTS)]


def known() -> Known:
    """Four answers, two of them blind; the teacher has voted on the first two."""
    votes = tuple(
        Vote(str(n), "m", (p, 1 - p), 0.0, "verbalised", "ok", "p", "r", 0.0) for n, p in enumerate((0.9, 0.7))
    )
    answers = tuple(
        Answer(name, "ann", label, blind=False, rehearsed=True, answered_at="") for name, label in TRUTH.items()
    )
    drawn = {"0": 0.4, "1": 0.4}
    picks = tuple(Pick(name, 1, "random", 0.0, drawn.get(name), name in drawn) for name in TRUTH)
    return Known(votes, answers, picks, np.full((5, 2), 0.5))


def test_the_figures_of_a_rule_are_those_computed_by_hand(tmp_path: Path) -> None:
    """Two rules on five items, that meet on one and differ there."""
    printer, login = table_with(project(tmp_path), items(), known()).rows
    assert (printer.says, printer.fires, printer.coverage) == (("onsite",), 3, 0.6)
    assert (printer.overlaps, printer.conflicts) == (0.2, 0.2)
    assert (printer.right, printer.wrong, login.right, login.wrong) == (1, 2, 2, 0)
    assert printer.answered is not None
    assert printer.answered.value == pytest.approx(1 / 3)
    assert printer.answered.n == 3
    assert printer.blind is not None
    assert (printer.blind.value, printer.blind.n) == (0.5, 2)
    assert (printer.blind.lo, printer.blind.hi) == pytest.approx(wilson(1, 2, 0.95))


def test_the_worth_of_a_rule_counts_blind_answers_alone(tmp_path: Path) -> None:
    """The start is the teacher's opinion, (.9 + .7) / 2 drawn to .8; then one of two blind answers is right."""
    (printer, _) = table_with(project(tmp_path), items(), known()).rows
    assert printer.estimated == pytest.approx((START_STRENGTH * 0.8 + 1) / (START_STRENGTH + 2))


def test_before_the_teachers_have_voted_no_worth_is_claimed(tmp_path: Path) -> None:
    """Coverage, overlaps and conflicts need no run."""
    table = table_with(project(tmp_path), items(), Known())
    assert [row.estimated for row in table.rows] == [None, None]
    assert (table.items, table.covered, table.answers) == (5, 0.8, 0)


def test_without_teachers_the_worth_comes_from_the_rules(tmp_path: Path) -> None:
    """And the page says so."""
    table = table_with(project(tmp_path, teachers=False), items(), Known())
    assert all(row.estimated is not None for row in table.rows)
    assert "how the rules agree" in table_text(table)


def test_examples_begin_where_people_contradict_the_rule(tmp_path: Path) -> None:
    """The items that a team should look at first."""
    table = table_with(project(tmp_path), items(), known(), "print")
    assert [(one.item_id, one.against) for one in table.examples] == [("1", "people"), ("3", "people"), ("0", "")]


def test_examples_are_then_where_the_belief_does(tmp_path: Path) -> None:
    """Also before anybody has answered."""
    sure = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9], [0.5, 0.5]])
    table = table_with(project(tmp_path), items(), Known(belief=sure), "print")
    assert [(one.item_id, one.against) for one in table.examples] == [("3", "belief"), ("1", "belief"), ("0", "")]


def test_the_table_reads_well(tmp_path: Path) -> None:
    """A line a rule, and what the words mean."""
    text = table_text(table_with(project(tmp_path), items(), known(), "login"))
    assert text.splitlines()[1].split() == (
        ["print", "onsite", "60.0%", "20.0%", "20.0%", "1", "2", "50.0", "%", "[9.5,", "90.5]", "of", "2", "0.75"]
    )
    assert "only blind answers say how good a rule is" in text
    assert "  1  rule: first_line; others: first_line" in text


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = write_world(tmp_path, items=60)
    with world.task.open("a", encoding="utf-8") as file:
        file.write(RULES_TOML)
    return world


def test_the_command_reads_a_task_before_there_is_a_run(world: World) -> None:
    """JSON holds what the text does."""
    result = CliRunner().invoke(app, ["rules", str(world.task), "--show", "printer", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["items"] == 60
    assert [row["name"] for row in found["rows"]] == ["printer", "people"]
    assert len(found["examples"]) == found["rows"][0]["fires"] > 0


def test_an_unknown_rule_and_a_task_without_rules_are_errors(world: World) -> None:
    """Exit code 2, and the names that there are."""
    unknown = CliRunner().invoke(app, ["rules", str(world.task), "--show", "printers"])
    assert (unknown.exit_code, "one of printer, people" in unknown.output) == (2, True)
    world.task.write_text(world.task.read_text(encoding="utf-8").replace(RULES_TOML, ""), encoding="utf-8")
    assert CliRunner().invoke(app, ["rules", str(world.task)]).exit_code == 2


def test_check_says_on_what_each_rule_fires(world: World) -> None:
    """And that one fires on everything, which may be meant."""
    text = world.task.read_text(encoding="utf-8").replace('keywords = ["new"]', 'regex = "[a-z]"')
    world.task.write_text(text, encoding="utf-8")
    found = check_all(world.task)
    assert found["rules"].endswith("people on 100.0%")
    assert found["rules to look at"].startswith("people: on every item")


def test_check_refuses_a_rule_that_fires_on_nothing(world: World) -> None:
    """Most often it is misspelt."""
    text = world.task.read_text(encoding="utf-8").replace('["new"]', '["nwe"]')
    world.task.write_text(text, encoding="utf-8")
    with pytest.raises(TaskError) as caught:
        check_all(world.task)
    assert caught.value.problems == ("rules: 'people' fires on no item of the pool: mend it or take it out",)
