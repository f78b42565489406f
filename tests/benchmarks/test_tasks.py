"""The benchmark of all tasks: arms that differ only in what they ask, honest differences, results that survive."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arms import Arm, Point, Scored, Setting, World, full_supervision, rounds_of, teacher_alone, world_of
from benchmarks.compare import Row, difference, plot, summary, tables
from benchmarks.figures import data_or_skip
from benchmarks.tasks import Done, Job, read, rows_from, work, write
from tests.trainer.tiny import write_tiny_bert

ROWS = ("helpdesk_urgency", "helpdesk_topics", "helpdesk_entities")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    base = write_tiny_bert(tmp_path_factory.mktemp("base"))
    return Setting(n=40, gold=15, budget=0.3, rounds=2, base=str(base))


@pytest.fixture(scope="module", params=ROWS)
def world(request: pytest.FixtureRequest, setting: Setting, cache: Path) -> World:
    return world_of(request.param, setting, cache)


@pytest.fixture(scope="module")
def urgency(setting: Setting, cache: Path) -> tuple[Done, Done]:
    """The fixed part and one seed, as jobs."""
    fixed = Job("helpdesk_urgency", None, setting, cache)
    return work(fixed), work(replace(fixed, seed=1))


@pytest.fixture(scope="module")
def measured(world: World, setting: Setting) -> dict[Arm, list[Point]]:
    """Both arms under one seed."""
    return {"ours": rounds_of(world, "ours", 3, setting), "random": rounds_of(world, "random", 3, setting)}


def scores(point: Point) -> list[float]:
    return point.delivered.of_items


def test_both_arms_start_alike_and_spend_the_same_budget(measured: dict[Arm, list[Point]]) -> None:
    """Ours and random answer as many items at each round, and agree before anybody answers."""
    ours, random = measured["ours"], measured["random"]
    assert [point.answers for point in ours] == [point.answers for point in random] == [0, 6, 12]
    assert scores(ours[0]) == scores(random[0])
    assert ours[0].student == random[0].student
    assert ours[0].certificate is None
    assert all(point.certificate is not None for point in (ours[-1], random[-1]))


def test_answers_are_delivered_as_given(measured: dict[Arm, list[Point]]) -> None:
    """An answered item's delivered label is right, so at least as many items are right as were answered."""
    for points in measured.values():
        assert sum(score == 1.0 for score in scores(points[-1])) >= points[-1].answers
        assert 0 < points[-1].read < 1


def test_the_same_seed_gives_the_same_points_and_another_seed_others(
    world: World, measured: dict[Arm, list[Point]], setting: Setting
) -> None:
    """Selection depends on the seed and on nothing else."""
    once = replace(setting, budget=0.15, rounds=1)  # the first of the two batches above
    again, other = (rounds_of(world, "random", seed, once)[-1] for seed in (3, 4))
    assert replace(measured["random"][1], seconds=0.0) == replace(again, seconds=0.0)
    assert again.read != other.read


def test_full_supervision_delivers_the_truth_and_the_teacher_does_not(world: World) -> None:
    """All truths deliver a perfect pool; the recorded teacher makes mistakes on it."""
    assert full_supervision(world).delivered.score == 1.0
    assert 0.2 < teacher_alone(world).delivered.score < 1.0


def test_a_clear_gain_beats_and_its_mirror_is_below() -> None:
    """The verdict follows the sign of an interval that leaves out nought."""
    rng = np.random.default_rng(0)
    low, high = rng.uniform(0.2, 0.4, (3, 200)), rng.uniform(0.5, 0.7, (3, 200))
    assert difference(high, low).verdict == "beats"
    assert difference(low, high).verdict == "below"
    assert difference(high, low).value == pytest.approx((high - low).mean())


def test_seeds_that_contradict_each_other_show_nothing() -> None:
    """A gain that changes its sign with the seed widens the interval past nought, however many items there are."""
    flat = np.full((2, 5000), 0.5)
    flat[:, 0] = 0.4
    ours = flat + np.array([[0.3], [-0.2]])
    found = difference(ours, flat)
    assert found.value == pytest.approx(0.05)
    assert found.standard_error_of_seeds > 0.2
    assert found.verdict == "not shown"


def test_the_file_says_what_was_measured(urgency: tuple[Done, Done], setting: Setting, tmp_path: Path) -> None:
    """What is written can be read back, and its table is the same."""
    path = tmp_path / "tasks.json"
    write(urgency, setting, path)
    back, said = read(path)
    assert said == setting
    assert tables(rows_from(back)) == tables(rows_from(urgency))
    assert [one.points for one in back] == [one.points for one in urgency]


def test_a_row_without_a_finished_seed_is_no_row(urgency: tuple[Done, Done]) -> None:
    """A run that was cut off shows the rows it has, and only those."""
    assert rows_from(urgency[:1]) == []
    assert rows_from(urgency[1:]) == []
    assert [row.name for row in rows_from(urgency)] == ["helpdesk_urgency"]


def test_the_table_has_a_line_a_row_and_names_simulated_people(urgency: tuple[Done, Done], tmp_path: Path) -> None:
    """Readers see that people were simulated, where votes come from, and every figure of the kind."""
    (row,) = rows_from(urgency)
    text = tables([row])
    assert "simulated" in text
    assert f"| helpdesk_urgency | {row.votes_are} | 40 | 12 |" in text
    assert all(f"| student | {name} |" in text for name in row.full.student.figures)
    plot([row], tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000


def test_a_certificate_covers_where_its_interval_holds_the_truth() -> None:
    """Coverage compares the interval with the delivered labels' true score."""
    half = Scored(0.5, "accuracy", {"accuracy": 0.5}, [0.0, 1.0])
    inside = Point("ours", 0, 2, 0.1, half, half, (0.6, 0.4, 0.8), 0.0)
    assert inside.covered is True
    assert replace(inside, certificate=(0.6, 0.55, 0.8)).covered is False
    assert replace(inside, certificate=None).covered is None
    row = Row("r", "simulated", 2, 2, inside, inside, [[inside]], [[replace(inside, arm="random")]])
    assert summary(row)["covered"] == {"ours": [True], "random": [True]}


def test_a_row_that_fails_says_why(setting: Setting, tmp_path: Path) -> None:
    """One broken row is reported and does not end the others."""
    done = work(Job("helpdesk_urgency", None, replace(setting, base=str(tmp_path / "nowhere")), tmp_path))
    assert done.points == []
    assert "nowhere" in done.why_not


def test_the_data_folder_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STILLHOUSE_DATA names the folder of the data sets, also after the module was imported."""
    (tmp_path / "somewhere").mkdir()
    monkeypatch.setenv("STILLHOUSE_DATA", str(tmp_path))
    assert data_or_skip("somewhere") == tmp_path / "somewhere"
    with pytest.raises(SystemExit):
        data_or_skip("banking77")


def test_no_desk_and_no_network_client_is_imported() -> None:
    """It runs on a machine that has neither Argilla nor an HTTP client."""
    code = "import sys, benchmarks.tasks; print({'argilla', 'argilla_setup', 'requests', 'aiohttp'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
