"""The whole loop without a network: a recorded teacher over HTTP, rehearsed experts at the desk of files, a tiny student."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillhouse.errors import WAITING_EXIT_CODE
from tests.loop.world import (
    BATCH,
    GOLD,
    HUMAN_LABELS,
    LABELS,
    POOL,
    World,
    answer_by_hand,
    batches,
    rows_of,
    stored,
    write_rows,
    write_world,
)

ACCURACIES = ("teacher_accuracy", "student_accuracy", "delivered_accuracy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One run to its end, which the tests below only look at."""
    world = write_world(tmp_path_factory.mktemp("finished"))
    result = world.go()
    assert result.exit_code == 0, result.stderr
    return world


def test_the_whole_loop_offline(finished: World) -> None:
    """Teacher, belief, student, batches, answers, rounds, stop; then summary, report and a student that labels."""
    summary = finished.summary
    for name in ACCURACIES:
        assert 0.0 <= summary[name]["lo"] <= summary[name]["value"] <= summary[name]["hi"] <= 1.0
        assert isinstance(summary[name]["on"], str)
    assert (summary["rounds"], summary["human_labels"]) == (HUMAN_LABELS // BATCH + 1, HUMAN_LABELS)
    assert "budget of people's answers is used up" in summary["stop_reason"]
    assert isinstance(summary["cost_usd"], float)
    assert summary["seconds"] > 0
    assert summary["delivered_accuracy"]["value"] > summary["teacher_accuracy"]["value"]
    report = (finished.run / "report.html").read_text(encoding="utf-8")
    assert "The experts are rehearsed" in report
    assert "The teacher is a recording" in report
    with finished.store() as store:
        assert len({vote.item_id for vote in store.votes() if vote.usable}) == POOL + GOLD
        assert {a.item_id for a in store.answers()} == {p.item_id for p in store.picks()}
        assert all(answer.rehearsed for answer in store.answers())
        assert [r.decision for r in store.rounds()] == ["continue", "continue", "stop"]


def test_a_share_of_every_batch_is_random_and_blind(finished: World) -> None:
    """20 % are drawn uniformly from all unanswered items: blind, with their inclusion probability; no others have one."""
    with finished.store() as store:
        for number in (1, 2):
            picks = store.picks(number)
            drawn = [pick for pick in picks if pick.inclusion_probability is not None]
            assert len(drawn) == round(0.2 * BATCH)
            assert all(pick.blind is (pick.inclusion_probability is not None) for pick in picks)
            left = POOL - BATCH * (number - 1)
            assert [pick.inclusion_probability for pick in drawn] == pytest.approx([len(drawn) / left] * len(drawn))


def test_blind_items_are_published_without_a_suggestion(finished: World) -> None:
    """Whoever answers the random share sees only the text; the others see what is believed."""
    rows = batches(finished)
    assert len(rows) == HUMAN_LABELS
    assert {row["suggestion"] for row in rows if row["blind"]} == {None}
    assert {row["suggestion"] for row in rows if not row["blind"]} <= set(LABELS)
    assert {row["blind"] for row in rows} == {True, False}


def test_gold_is_never_asked_or_delivered(finished: World, tmp_path: Path) -> None:
    """It has votes to measure the teacher by, and is nowhere else."""
    finished.stillhouse("export", "labels", finished.run, tmp_path / "labels.jsonl")
    gold = {row["id"] for row in rows_of(finished.gold)}
    assert not gold & {row["id"] for row in batches(finished)}
    assert not gold & {row["id"] for row in rows_of(tmp_path / "labels.jsonl")}


def test_every_item_of_the_pool_is_exported_with_its_source(finished: World, tmp_path: Path) -> None:
    """People's answers are marked as theirs and are taken as they are; every label is one of the task's."""
    target = tmp_path / "labels.jsonl"
    assert finished.stillhouse("export", "labels", finished.run, target).exit_code == 0
    rows = rows_of(target)
    assert [row["id"] for row in rows] == [row["id"] for row in rows_of(finished.pool)]
    right = {row["id"]: row["team"] for row in rows_of(finished.experts)}
    people = [row for row in rows if row["source"] == "person"]
    assert {row["id"] for row in people} == {row["id"] for row in batches(finished)}
    assert all(row["label"] == right[row["id"]] for row in people)
    assert {row["source"] for row in rows} <= {"person", "corrected", "teacher"}
    assert {row["label"] for row in rows} <= set(LABELS)
    assert all(0.0 <= row["probability"] <= 1.0 for row in rows)


def test_the_card_says_how_good_the_student_is_and_where_it_is_weak(finished: World) -> None:
    """Certificate, the student's own figures with intervals, its calibration, and its weakest labels with counts."""
    card = (Path(finished.summary["student"]) / "README.md").read_text(encoding="utf-8")
    assert "Not measured." not in card
    assert "| certificate of the pool's delivered labels | " in card
    assert f"on {GOLD} gold items |" in card
    assert "| student, expected calibration error | " in card
    weak = card.partition("## Where it is weak")[2].partition("## ")[0]
    assert any(f"| {label} | 0." in weak for label in LABELS)


def test_an_exported_student_labels_like_the_student(finished: World, tmp_path: Path) -> None:
    """It is compared on gold, says so in its card and on the command line, and labels a file without its base."""
    out = tmp_path / "out"
    said = finished.stillhouse("export", "student", finished.run, out, "--to", "openvino", "--quiet", "--json")
    assert said.exit_code == 0, said.stderr
    found = json.loads(said.stdout)
    assert found["same"]["value"] == 1.0
    assert found["change"]["lo"] < 0.0 == found["change"]["value"] < found["change"]["hi"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"| same decision | 100.00% [91.24%, 100.00%] on {GOLD} gold items |" in card
    assert "## Where it is weak" in card
    labels = []
    for number, more in enumerate(([], ["--student", out])):
        target = tmp_path / f"{number}.jsonl"
        assert finished.stillhouse("label", finished.run, finished.gold, target, "--quiet", *more).exit_code == 0
        labels.append(rows_of(target))
    assert [row["label"] for row in labels[0]] == [row["label"] for row in labels[1]]
    assert {row["model"] for row in labels[1]} == {found["model"]} != {row["model"] for row in labels[0]}


def test_what_is_no_run_has_no_student_to_export(tmp_path: Path) -> None:
    """The error says what was looked for."""
    world = World(tmp_path)
    said = world.stillhouse("export", "student", tmp_path, tmp_path / "out")
    assert said.exit_code == 2
    assert "neither a run nor a student of one" in said.stderr


def _read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return rows_of(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return list(pq.read_table(path).to_pylist())


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        write_rows(path, rows)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_student_labels_a_file(finished: World, tmp_path: Path, suffix: str) -> None:
    """JSONL, CSV and Parquet: each row gets a label of the task, a probability and the student's name."""
    source, target = tmp_path / f"new{suffix}", tmp_path / f"out{suffix}"
    _write(source, [{"id": row["id"], "text": row["text"]} for row in rows_of(finished.gold, 5)])
    result = finished.stillhouse("label", finished.run, source, target, "--quiet", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["rows"] == 5
    rows = _read(target)
    assert [row["id"] for row in rows] == [row["id"] for row in rows_of(finished.gold, 5)]
    assert {row["label"] for row in rows} <= set(LABELS)
    assert all(0.0 < float(row["probability"]) <= 1.0 for row in rows)
    assert len({row["model"] for row in rows}) == 1


def test_status_tells_that_a_run_has_stopped(finished: World) -> None:
    """As text and as one JSON object."""
    found = json.loads(finished.stillhouse("status", finished.run, "--json").stdout)
    assert (found["items"], found["picks"], found["answered"]) == (POOL, HUMAN_LABELS, HUMAN_LABELS)
    assert found["waits_for"] == "nothing: the loop has stopped"
    assert "waits_for: nothing" in finished.stillhouse("status", finished.run).stdout


def test_a_finished_run_is_not_run_again(finished: World) -> None:
    """No request, no round, no pick: the same summary but for the time; `report` writes the page again."""
    before = finished.summary
    requests = stored(finished.run, "SELECT * FROM requests")
    result = finished.go("--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == finished.summary
    assert {**finished.summary, "seconds": 0} == {**before, "seconds": 0}
    assert stored(finished.run, "SELECT * FROM requests") == requests
    (finished.run / "report.html").unlink()
    assert finished.stillhouse("report", finished.run, "--quiet").exit_code == 0
    assert (finished.run / "report.html").exists()


def test_without_rehearsal_the_run_waits_for_people_and_then_goes_on(tmp_path: Path) -> None:
    """Exit code 10 and the place of the batch; a repeat asks nobody anew; after answers the next round is learned."""
    world = write_world(tmp_path, rehearse=False, gold=False)
    assert world.go().exit_code == WAITING_EXIT_CODE
    assert world.summary["waiting"] == BATCH
    assert len(batches(world)) == BATCH
    again = world.go()
    assert again.exit_code == WAITING_EXIT_CODE
    assert str(world.run / "desk") in again.stdout
    assert (world.summary["rounds"], len(batches(world))) == (1, BATCH)
    assert f"people: {BATCH} items at the desk" in world.stillhouse("status", world.run).stdout
    answer_by_hand(world)
    assert world.go().exit_code == WAITING_EXIT_CODE
    assert (world.summary["rounds"], world.summary["human_labels"]) == (2, BATCH)
    assert len(batches(world)) == 2 * BATCH
    with world.store() as store:
        assert not any(answer.rehearsed for answer in store.answers())


def test_round_does_one_round(tmp_path: Path) -> None:
    """Each call learns one round and chooses the next batch."""
    world = write_world(tmp_path)
    for rounds in (1, 2):
        result = world.stillhouse("round", world.task, "--run", world.run, "--quiet", "--json")
        assert result.exit_code in {0, WAITING_EXIT_CODE}, result.stderr
        assert json.loads(result.stdout)["rounds"] == rounds


def test_gold_in_the_pool_is_refused(tmp_path: Path) -> None:
    """Gold must never be trained on: it is said before anything is asked."""
    world = write_world(tmp_path)
    write_rows(world.gold, [*rows_of(world.gold), rows_of(world.experts, 1)[0] | rows_of(world.pool, 1)[0]])
    result = world.go()
    assert result.exit_code == 2
    assert "gold: 1 ids are in the pool too" in result.stderr
    assert not stored(world.run, "SELECT * FROM requests")


def test_other_labels_on_an_old_run_are_refused(tmp_path: Path) -> None:
    """Labels are the order of every number in the store: a new order needs a new run, and the old one stays."""
    world = write_world(tmp_path)
    world.stillhouse("round", world.task, "--run", world.run, "--quiet")
    votes = stored(world.run, "SELECT * FROM votes")
    assert len(votes) == 2 * (POOL + GOLD)
    write_world(tmp_path, labels=LABELS[::-1])
    result = world.go()
    assert result.exit_code == 6
    assert "has other labels than its task" in result.stderr
    assert "start a new run" in result.stderr
    assert stored(world.run, "SELECT * FROM votes") == votes
