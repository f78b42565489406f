"""`label --cascade` and `serve --cascade` on a run: real recorded teachers over HTTP, a real store, the desk of files."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from loop.cascade import HOME, calibrated, open_cascade
from loop.project import project_of
from serving.tables import read_rows
from teacher.faults import RequestLog
from teacher.recorded import recorded_teacher
from tests.loop.world import World, rows_of, stored, write_rows, write_world

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, RequestLog]]:
    """A run of one round whose teacher lives on; what it is asked is counted."""
    home, log = tmp_path_factory.mktemp("cascade"), RequestLog()
    write_world(home, items=60)
    with recorded_teacher(home / "replies.jsonl", [home / "pool.jsonl", home / "gold.jsonl"], log=log) as url:
        teacher = {"base_url": url}
        (home / "prices.toml").write_text('[models]\n"team/A" = { input_usd = 1.0, output_usd = 1.0 }\n')
        budget = {"human_labels": 0, "prices": "prices.toml"}
        made = write_world(home, items=60, teacher=teacher, budget=budget, gold=False)
        assert made.go().exit_code == 0
        yield made, log


def labelled(world: World, source: Path, target: Path, *options: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    how = ("--threshold", 1.0, "--cascade", "--teacher-threshold", 0.9, "--json", "--quiet", *options)
    result = world.stillhouse("label", world.run, source, target, *how)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), [row for _, row in read_rows(target)]


def test_what_the_student_abstains_on_is_asked_once(world: tuple[World, RequestLog], tmp_path: Path) -> None:
    """New texts go to the teacher; what it is unsure of lies at the desk; a second command asks nobody again."""
    made, log = world
    new, before = made.gold, log.requests
    counts, rows = labelled(made, new, tmp_path / "out.jsonl")
    assert log.requests == before + len(rows)
    assert counts["sources"]["teacher"] + counts["sources"]["people"] == len(rows)
    assert counts["sources"]["teacher"] > 0
    assert counts["sources"]["people"] > 0
    assert counts["spent_usd"] == pytest.approx(sum(row["cost_usd"] for row in rows), abs=1e-6)
    assert counts["spent_usd"] > 0
    assert all(row["abstained"] == (row["source"] == "people") for row in rows)
    desk = rows_of(made.run / HOME / "desk" / "batch-00.jsonl")
    asked = {row["text"] for row in desk}
    texts = {row["id"]: row["text"] for row in rows_of(new)}
    assert asked == {texts[row["id"]] for row in rows if row["source"] == "people"}
    free, again = labelled(made, new, tmp_path / "again.jsonl")
    assert (again, free["spent_usd"]) == (rows, 0)
    assert log.requests == before + len(rows)
    assert rows_of(made.run / HOME / "desk" / "batch-00.jsonl") == desk


def test_what_the_run_has_paid_for_is_not_asked_again(world: tuple[World, RequestLog], tmp_path: Path) -> None:
    """The pool's own texts: the run's store knows the replies, and nothing is written to it."""
    made, log = world
    before, replies = log.requests, stored(made.run, "SELECT count(*) FROM replies")
    _, rows = labelled(made, made.pool, tmp_path / "out.jsonl")
    assert {row["source"] for row in rows} <= {"teacher", "people"}
    assert log.requests == before
    assert stored(made.run, "SELECT count(*) FROM replies") == replies


def test_a_budget_that_is_used_up_ends_the_command_and_keeps_its_work(
    world: tuple[World, RequestLog], tmp_path: Path
) -> None:
    """Exit code of a budget, no target, no request: what one call could cost is more than is left."""
    made, log = world
    write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": "a text that nobody has asked about"}])
    before = log.requests
    how = ("--threshold", 1.0, "--cascade", "--budget", 1e-9, "--quiet")
    result = made.stillhouse("label", made.run, tmp_path / "in.jsonl", tmp_path / "out.jsonl", *how)
    assert result.exit_code == 4
    assert not (tmp_path / "out.jsonl").exists()
    assert log.requests == before


def test_a_server_asks_the_same_teachers(world: tuple[World, RequestLog]) -> None:
    """Over HTTP, with what earlier commands have heard; SIGTERM ends it with code 0."""
    made, log = world
    text = rows_of(made.pool)[0]["text"]
    before = log.requests
    command = [sys.executable, "-m", "loop.cli", "serve", str(made.run), "--port", "0", "--threshold", "1", "--cascade"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            found = requests.post(f"{address}/v1/label", json={"text": text}, timeout=60).json()["answers"][0]
            metrics = requests.get(f"{address}/metrics", timeout=60).text
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert found["source"] in {"teacher", "people"}
    assert f'stillhouse_texts_total{{source="{found["source"]}"}} 1.0' in metrics
    assert log.requests == before


def test_other_machines_need_a_token(world: tuple[World, RequestLog]) -> None:
    """Bad input, before anything is loaded."""
    result = world[0].stillhouse("serve", world[0].run, "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "STILLHOUSE_SERVE_TOKEN" in result.stderr


def test_two_commands_do_not_open_one_cascade(world: tuple[World, RequestLog], tmp_path: Path) -> None:
    """Its store has one writer, as every store."""
    made, _ = world
    with open_cascade(project_of(made.run), threshold=0.5):
        result = made.stillhouse("label", made.run, made.gold, tmp_path / "o.jsonl", "--cascade", "--threshold", 1.0)
    assert result.exit_code == 6


def test_a_temperature_makes_votes_milder_and_leaves_their_order() -> None:
    """At 1 they are as they were."""
    pooled = np.array([[0.7, 0.2, 0.1]])
    assert np.allclose(calibrated(pooled, 1.0, 3), pooled)
    milder = calibrated(pooled, 2.0, 3)
    assert milder[0, 0] < 0.7
    assert (np.argsort(milder[0]) == np.argsort(pooled[0])).all()
