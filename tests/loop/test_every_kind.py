"""One whole loop of every kind without a network: recorded teacher over HTTP, rehearsed experts, a tiny student that labels."""

import json
from pathlib import Path
from typing import Any

import pytest

from loop.labeller import Asking, label_with
from loop.project import Project, open_project, read_gold, read_pool
from stillhouse.records import Item, Value
from tests.loop.kind_worlds import BATCH, GOLD, HUMAN_LABELS, KINDS, POOL, write_kind_world
from tests.loop.test_loop_offline import _read as read_any
from tests.loop.world import Row, World, batches, rows_of, write_rows
from tests.trainer.tiny_decoders import write_tiny_decoder

MAIN = {
    "multi_label": "micro_f1",
    "ordinal": "accuracy",
    "spans": "f1",
    "fields": "f1",
    "pair": "accuracy",
    "tokens": "accuracy",
    "roles": "f1",
    "overlapping": "f1",
}
ALSO = {
    "multi_label": {"macro_f1"},
    "ordinal": {"quadratic_kappa"},
    "spans": {"partial_f1", "macro_f1"},
    "fields": {"exact_match", "normalised_match"},
}


every_kind = pytest.mark.parametrize("finished", KINDS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, World]:
    """One run of a kind to its end, which the tests below only look at."""
    world = write_kind_world(tmp_path_factory.mktemp(request.param), request.param)
    result = world.go()
    assert result.exit_code == 0, result.output
    return request.param, world


def project_of(world: World) -> Project:
    return open_project(world.task, world.run)


def pool_of(world: World) -> dict[str, Item]:
    return {item.id: item for item in read_pool(project_of(world))}


def wrong_with(project: Project, item: Item, value: Any) -> list[str]:
    """What keeps a value from being one of the kind's: problems, or another way to write it."""
    return project.kind.problems(item, value) or (
        [] if _bare(project.kind.normal(item, value)) == _bare(value) else [f"not as it is written: {value}"]
    )


def _bare(value: Value) -> Value:
    """Spans without what is there for readers: their probability, their words."""
    if not isinstance(value, list):
        return value
    return [{k: part[k] for k in ("start", "end", "label")} if isinstance(part, dict) else part for part in value]


@every_kind
def test_the_loop_ends_with_every_figure_and_its_interval(finished: tuple[str, World]) -> None:
    """Three rounds until the budget is used up; teacher, student and delivered labels by the kind's own measures."""
    name, world = finished
    summary = world.summary
    assert (summary["rounds"], summary["human_labels"], summary["stopped"]) == (3, HUMAN_LABELS, True)
    assert "budget of people's answers is used up" in summary["stop_reason"]
    for who in ("teacher", "student"):
        measures = summary[f"{who}_measures"]
        assert summary[f"{who}_accuracy"] == measures[MAIN[name]]
        assert measures[MAIN[name]]["on"] == f"{GOLD} gold items"
        assert measures.keys() >= ALSO.get(name, set())
    found = [summary["delivered_accuracy"], summary["delivered_certificate"]]
    found += [value for who in ("teacher", "student", "delivered") for value in summary[f"{who}_measures"].values()]
    for value in found:
        assert value["n"] > 0
        assert value["lo"] <= value["value"] <= value["hi"]
    assert summary["score"] == project_of(world).kind.score_name


@every_kind
def test_people_make_the_delivered_labels_better(finished: tuple[str, World]) -> None:
    """What is delivered of the pool is righter than what the teacher alone said of it."""
    _, world = finished
    with world.store() as store:
        first = store.rounds()[0].metrics["delivered_known"]
    assert isinstance(first, dict)
    assert world.summary["delivered_accuracy"]["value"] > first["value"]


@every_kind
def test_suggestions_are_values_and_the_blind_have_none(finished: tuple[str, World]) -> None:
    """A person can take a suggestion over as it is."""
    _, world = finished
    project, items = project_of(world), pool_of(world)
    rows = batches(world)
    assert len(rows) == HUMAN_LABELS
    assert sum(row["blind"] for row in rows) == HUMAN_LABELS // BATCH * round(0.2 * BATCH)
    assert all(row["suggestion"] is None for row in rows if row["blind"])
    shown = [row for row in rows if not row["blind"]]
    assert [w for row in shown for w in wrong_with(project, items[row["id"]], row["suggestion"])] == []


@every_kind
def test_conflicts_with_people_have_names_of_the_kind(finished: tuple[str, World]) -> None:
    """Where the teacher was wrong it is said in labels or fields, with examples that can be shown."""
    _, world = finished
    said = world.stillhouse("guidelines", "conflicts", world.run, "--quiet", "--json")
    assert said.exit_code == 0, said.stderr
    task = project_of(world).task
    names = {*task.label_names, *(field.name for field in task.fields), ""}
    for cluster in json.loads(said.stdout)["clusters"]:
        assert {cluster["said"], cluster["right"]} <= names
        assert all(one["said"] != one["right"] for one in cluster["examples"])
    assert world.stillhouse("guidelines", "conflicts", world.run, "--quiet").exit_code == 0


@every_kind
def test_every_item_is_exported_with_a_value_of_its_kind(finished: tuple[str, World], tmp_path: Path) -> None:
    """People's answers are taken as they are; what is believed is one of the kind's values too."""
    _, world = finished
    target = tmp_path / "labels.jsonl"
    assert world.stillhouse("export", "labels", world.run, target).exit_code == 0
    project, items, rows = project_of(world), pool_of(world), rows_of(target)
    assert [row["id"] for row in rows] == list(items)
    assert [w for row in rows for w in wrong_with(project, items[row["id"]], row["label"])] == []
    right = {row["id"]: project.kind.normal(items[row["id"]], row["label"]) for row in rows_of(world.pool)}
    people = {row["id"]: row["label"] for row in rows if row["source"] == "person"}
    assert len(people) == HUMAN_LABELS
    assert people == {item_id: right[item_id] for item_id in people}
    assert all(0.0 <= row["probability"] <= 1.0 for row in rows)


@every_kind
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_the_student_labels_a_file(finished: tuple[str, World], tmp_path: Path, suffix: str) -> None:
    """Each row gets a value of the kind, in CSV as JSON where it is no name; nothing is unreadable."""
    name, world = finished
    target = tmp_path / f"out{suffix}"
    counts = label_with(world.run, world.gold, target, Asking(), quiet=True)
    assert (counts["rows"], counts["abstained"], counts["unreadable"], counts["problem"]) == (GOLD, 0, 0, "")
    project = project_of(world)
    gold = read_gold(project, [])
    assert gold is not None
    plain = suffix == ".jsonl" or name in {"ordinal", "pair"}
    rows = read_any(target)
    values = [row["label"] if plain else json.loads(row["label"]) for row in rows]
    assert [row["id"] for row in rows] == [item.id for item in gold.items]
    wrong = [wrong_with(project, item, value) for item, value in zip(gold.items, values, strict=True)]
    assert [problem for problems in wrong for problem in problems] == []
    assert all(0.0 <= float(row["probability"]) <= 1.0 for row in rows)


@every_kind
def test_the_report_shows_the_kinds_figures_and_values(finished: tuple[str, World]) -> None:
    """Score, measures and a table by label; where a text has many labels nothing is taken for one other."""
    name, world = finished
    page = (world.run / "report.html").read_text(encoding="utf-8")
    kind = project_of(world).kind
    assert "Every figure" in page
    assert ("What is taken for what" in page) == (name in {"ordinal", "pair"})
    assert name in {"ordinal", "pair"} or f"By {'field' if name == 'fields' else 'label'}, the worst first" in page
    assert kind.score_name.replace("'", "&#39;") in page or kind.score_name == "accuracy"


@every_kind
def test_a_row_that_cannot_be_read_is_told_and_has_no_label(finished: tuple[str, World], tmp_path: Path) -> None:
    """The others are labelled; the command says how many and what is wrong with the first."""
    _, world = finished
    rows: list[Row] = rows_of(world.gold, 3)
    rows[1] = {**rows[1], "text": " "}
    write_rows(tmp_path / "new.jsonl", rows)
    result = world.stillhouse("label", world.run, tmp_path / "new.jsonl", tmp_path / "out.jsonl", "--quiet")
    assert result.exit_code == 0, result.output
    assert "1 rows cannot be read and have no label; the first: line 2: the text is empty" in result.stdout
    labels = [row["label"] for row in rows_of(tmp_path / "out.jsonl")]
    assert [label is None for label in labels] == [False, True, False]


@pytest.mark.parametrize("finished", ["multi_label", "roles"], indirect=True, scope="module")
def test_a_finished_run_is_reported_again(finished: tuple[str, World]) -> None:
    """The last round is loaded, not learned anew: the same summary but for the time."""
    _, world = finished
    before = world.summary
    (world.run / "report.html").unlink()
    assert world.stillhouse("report", world.run, "--quiet").exit_code == 0
    assert (world.run / "report.html").exists()
    assert {**world.summary, "seconds": 0} == {**before, "seconds": 0}


@every_kind
def test_pools_are_as_large_as_they_should_be(finished: tuple[str, World]) -> None:
    """Every item of pool and gold has a vote that can be used."""
    _, world = finished
    with world.store() as store:
        assert len({vote.item_id for vote in store.votes() if vote.usable}) == POOL + GOLD


def test_a_student_that_writes_ends_a_run_and_labels_a_file(tmp_path: Path) -> None:
    """Rounds look through the decoder; the last one teaches it to write, and what it labels is valid for the schema."""
    world = write_kind_world(tmp_path, "fields")
    write_tiny_decoder(tmp_path / "decoder", "llama")
    text = world.task.read_text(encoding="utf-8")
    text = text.replace('recipe = "head"', 'recipe = "generate"').replace('base = "base"', 'base = "decoder"')
    world.task.write_text(text, encoding="utf-8")
    result = world.go()
    assert result.exit_code == 0, result.output
    target = tmp_path / "labelled.jsonl"
    label_with(world.run, tmp_path / "gold.jsonl", target, Asking(), quiet=True)
    gold = read_gold(project_of(world), [])
    assert gold is not None
    items = {item.id: item for item in gold.items}
    labelled = [row for row in rows_of(target) if row["id"] in items]
    assert len(labelled) == len(items)
    for row in labelled:
        assert not wrong_with(project_of(world), items[row["id"]], row["label"])
    assert "generate" in (world.run / "students" / "round-02" / "config.json").read_text(encoding="utf-8")
