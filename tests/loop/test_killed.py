"""`run` killed with -9 at ten places, each then repeated to the end: the same records, and nothing asked for twice."""

import dataclasses
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loop.command import run_task
from loop.progress import Display
from loop.project import TASK_PATH, open_project
from loop.run import open_loop, run_rounds
from stillhouse.store import Store
from teacher.faults import Faults, RequestLog
from teacher.recorded import recorded_teacher
from tests.loop.kind_worlds import write_kind_world
from tests.loop.world import BATCH, Table, World, rows_of, stored, write_world

MAX_IN_FLIGHT, LOOK_EVERY_S, PATIENCE_S = 16, 0.002, 120.0
HEAVY = ["torch", "transformers", "peft", "loop.run", "loop.summary", "trainer.student", "tests.loop.world"]
# Processes are forked off one that has imported everything and computed nothing: each is a process of its own to
# kill, and none spends seconds on imports.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(HEAVY)


def rows(folder: Path, table: str) -> int:
    found = stored(folder, f"SELECT count(*) FROM {table}")
    return int(found[0][0]) if found else 0


PLACES: dict[str, Callable[[Path], bool]] = {
    "the teacher has begun": lambda run: rows(run, "replies") >= 20,
    "the teacher is nearly done": lambda run: rows(run, "replies") >= 110,
    "features are there": lambda run: any(run.glob("features/*.npy")),
    "the first belief is there": lambda run: (run / "beliefs" / "belief-00.npy").exists(),
    "the first student is being written": lambda run: (run / "students").exists(),
    "round 0 is recorded": lambda run: rows(run, "rounds") >= 1,
    "the first batch is chosen": lambda run: rows(run, "picks") >= 1,
    "the first batch is at the desk": lambda run: (run / "desk" / "batch-01.jsonl").exists(),
    "the first answers are there": lambda run: rows(run, "answers") >= 1,
    "the second student is there": lambda run: (run / "students" / "round-01" / "manifest.json").exists(),
}

AGAIN: dict[str, Callable[[Path], bool]] = {
    "it is known whom to ask again": lambda run: rows(run, "askings WHERE way = 'second'") >= 1,
    "decisions are at the desk": lambda run: (run / "desk" / "batch-01-adjudicate.jsonl").exists(),
}


Write = Callable[[Path, Table | None], World]


def write_teams(home: Path, teacher: Table | None) -> World:
    return write_world(home, teacher=teacher)


def write_entities(home: Path, teacher: Table | None) -> World:
    return write_kind_world(home, "spans", teacher)


def write_checked(home: Path, teacher: Table | None) -> World:
    desk = {
        "second_opinions": 0.5,
        "second_below": 0.3,
        "adjudicators": ["rehearsed-3"],
        "verify_from": 0.55,
        "rehearse_annotators": 3,
        "rehearse_error_rate": 0.4,
    }
    return write_world(home, teacher=teacher, desk={"rehearse": "experts.jsonl", "rehearse_label": "team", **desk})


@contextmanager
def small_world(home: Path, write: Write) -> Iterator[tuple[World, RequestLog]]:
    """A teacher behind HTTP that outlives the killed process and counts what it was asked."""
    log = RequestLog()
    write(home, None)
    items = [home / "pool.jsonl", home / "gold.jsonl"]
    with recorded_teacher(home / "replies.jsonl", items, faults=Faults(latency_s=0.02), log=log) as url:
        yield write(home, {"base_url": url, "max_in_flight": MAX_IN_FLIGHT}), log


def begin(world: World) -> Any:
    process = FRESH.Process(target=whole_run, args=(world.task, world.run))
    process.start()
    return process


def whole_run(task: Path, folder: Path) -> None:
    run_task(task, folder, most=None, wait=False, keep_argilla=False, quiet=True)


def rounds_only(task: Path, folder: Path) -> None:
    """`run` without the pictures of its report, which take as long as all rounds together."""
    project = open_project(task, folder)
    display = Display(quiet=True)
    with Store(project.folder) as store:
        store.write_note(TASK_PATH, str(project.task_path))
        assert run_rounds(open_loop(project, store, display, display.line)).stopped


def finish(world: World) -> None:
    process = FRESH.Process(target=rounds_only, args=(world.task, world.run))
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def kill_when(world: World, seen: Callable[[Path], bool]) -> None:
    process = begin(world)
    give_up_at_s = time.monotonic() + PATIENCE_S
    while not seen(world.run):
        assert process.is_alive(), "the run ended before it came to the place"
        assert time.monotonic() < give_up_at_s
        time.sleep(LOOK_EVERY_S)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def records(world: World) -> dict[str, Any]:
    """All that a run leaves, but for times and addresses."""
    labels = world.home / "labels.jsonl"
    assert world.stillhouse("export", "labels", world.run, labels).exit_code == 0
    with world.store() as store:
        return {
            "votes": [dataclasses.replace(vote, request_key="") for vote in store.votes()],
            "picks": store.picks(),
            "askings": store.askings(),
            "answers": [dataclasses.replace(answer, answered_at="") for answer in store.answers()],
            "rounds": [(r.round, r.human_labels, r.decision, r.reason, r.student_dir) for r in store.rounds()],
            "labels": rows_of(labels),
        }


Undisturbed = tuple[dict[str, Any], RequestLog]


def left_alone(home: Path, write: Write) -> Undisturbed:
    with small_world(home, write) as (world, log):
        finish(world)
        return records(world), log


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return left_alone(tmp_path_factory.mktemp("teams"), write_teams)


@pytest.fixture(scope="module")
def entities(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return left_alone(tmp_path_factory.mktemp("entities"), write_entities)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(tmp_path: Path, place: str, teams: Undisturbed) -> None:
    """Final records are equal; what had arrived is not asked for again, and at most what was in flight is in doubt."""
    killed_and_repeated(tmp_path, write_teams, place, teams)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["the teacher has begun", "the first belief is there", "the first answers are there"])
def test_a_run_of_spans_killed_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, place: str, entities: Undisturbed
) -> None:
    """Votes, answers and delivered labels that are lists of spans come out of a killed run the same too."""
    killed_and_repeated(tmp_path, write_entities, place, entities)


@pytest.mark.slow
def test_a_run_killed_while_people_are_asked_again_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Second opinions, decisions and verified suggestions are asked for once, by the same people."""
    undisturbed = left_alone(tmp_path / "alone", write_checked)
    assert len(undisturbed[0]["askings"]) > BATCH
    for number, place in enumerate(AGAIN):
        (tmp_path / str(number)).mkdir()
        killed_and_repeated(tmp_path / str(number), write_checked, place, undisturbed)


def killed_and_repeated(home: Path, write: Write, place: str, undisturbed: Undisturbed) -> None:
    expected, undisturbed_log = undisturbed
    with small_world(home, write) as (world, log):
        kill_when(world, (PLACES | AGAIN)[place])
        arrived = {item_id for (item_id,) in stored(world.run, "SELECT item_id FROM replies")}
        in_flight = rows(world.run, "requests WHERE state = 'in_flight'")
        finish(world)
    assert records(world) == expected
    assert in_flight <= MAX_IN_FLIGHT
    assert log.requests <= undisturbed_log.requests + in_flight
    texts = {row["id"]: row["text"] for row in [*rows_of(world.pool), *rows_of(world.gold)]}
    again = {item for item in arrived if log.served[texts[item]] > undisturbed_log.served[texts[item]]}
    assert not again
    assert rows(world.run, "requests") == rows(world.run, "replies")
