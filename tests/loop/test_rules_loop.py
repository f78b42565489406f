"""The whole loop with rules beside teachers, and with rules alone."""

import json
import re
from pathlib import Path

from tests.loop.test_rule_table import RULES_TOML
from tests.loop.world import World, write_world


def with_rules(home: Path, *, teachers: bool) -> World:
    world = write_world(home, items=60, budget={"human_labels": 20})
    text = world.task.read_text(encoding="utf-8") + RULES_TOML
    if not teachers:
        text = re.sub(r"\[\[teachers\]\]\n(?:\w+ = .*\n)+", "", text)
    world.task.write_text(text, encoding="utf-8")
    return world


def test_a_run_with_rules_alone_needs_no_teacher_and_no_money(tmp_path: Path) -> None:
    """Check, plan, run, report and table; what labelled first is called the rules."""
    world = with_rules(tmp_path, teachers=False)
    assert world.stillhouse("check", world.task).exit_code == 0
    assert world.stillhouse("plan", world.task).exit_code == 0
    result = world.go()
    assert result.exit_code == 0, result.output
    assert world.summary["cost_usd"] == 0
    assert world.summary["human_labels"] == 20
    assert "The rules alone reach" in result.output
    report = (world.run / "report.html").read_text(encoding="utf-8")
    assert "The labelling rules" in report
    assert "Teacher alone" not in report


def test_rules_beside_teachers_leave_the_teachers_figure_theirs(tmp_path: Path) -> None:
    """On gold it is that of a run without rules; and the run's own table has a worth for each rule."""
    world = with_rules(tmp_path / "ruled", teachers=True)
    bare = write_world(tmp_path / "bare", items=60)
    for each in (world, bare):
        assert each.stillhouse("round", each.task, "--run", each.run, "--quiet").exit_code == 0
    assert world.summary["teacher_measures"] == bare.summary["teacher_measures"]
    found = json.loads(world.stillhouse("rules", world.run, "--json").output)
    assert all(row["estimated"] is not None for row in found["rows"])
