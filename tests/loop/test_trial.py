"""`stillhouse trial`: the teachers of a task on the same labelled items, and which to take."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loop.project import Project, open_project, read_gold, read_pool
from loop.trial import Labelled, Trial, compared
from stillhouse.measures import paired_mean_difference
from stillhouse.records import Vote
from stillhouse.store import Store
from teacher.faults import RequestLog
from teacher.recorded import recorded_teacher
from tests.loop.kind_worlds import write_kind_world
from tests.loop.world import GOLD, LABELS, World, rows_of, write_rows, write_world

ITEMS = 30


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A task whose teachers were tried on gold, before there is any run."""
    world = write_world(tmp_path_factory.mktemp("tried"), items=ITEMS)
    result = world.stillhouse("trial", world.task, "--run", world.run, "--quiet")
    assert result.exit_code == 0, result.stderr
    return world


def gold_of(project: Project) -> Labelled:
    gold = read_gold(project, read_pool(project))
    assert gold is not None
    return Labelled(gold.items, gold.values, f"{len(gold.items)} gold items")


def right_on(labelled: Labelled, source: str, right: int, cost_usd: float) -> list[Vote]:
    """A teacher that is right on the first items, sure of itself, and wrong on the rest."""
    votes = []
    for number, (item, value) in enumerate(zip(labelled.items, labelled.values, strict=True)):
        at = (LABELS.index(str(value)) + (number >= right)) % len(LABELS)
        probs = tuple(0.9 if column == at else 0.0 for column in range(len(LABELS)))
        votes.append(Vote(item.id, source, probs, 0.1, "verbalised", "ok", "p", f"{source} {item.id}", cost_usd))
    return votes


def chosen(world: World, votes: Sequence[Vote]) -> Trial:
    project = open_project(world.task, world.run)
    return compared(project, gold_of(project), {(vote.source, vote.item_id): vote for vote in votes}, {})


def test_figures_are_those_of_the_replies(tried: World) -> None:
    """Accuracy, and the paired interval beside the best, are what counting by hand gives."""
    found = json.loads(tried.stillhouse("trial", tried.task, "--run", tried.run, "--json", "--quiet").stdout)
    truth = {row["id"]: row["team"] for row in rows_of(tried.gold)}
    right = {}
    for variant in "AB":
        said = {r["id"]: r["label"] for r in rows_of(tried.home / "replies.jsonl") if r["variant"] == variant}
        right[f"team-{variant}"] = np.array([said[item] == label for item, label in truth.items()])
    assert found["main"] == "accuracy"
    for row in found["teachers"]:
        assert row["accuracy"]["value"] == pytest.approx(right[row["name"]].mean())
        assert 0 < row["ece"] < 1
        assert 0 < row["brier"] < 2
    best = max(right, key=lambda name: (right[name].mean(), name == "team-A"))
    other = next(row for row in found["teachers"] if row["name"] != best)
    interval = paired_mean_difference(right[best].astype(float), right[other["name"]].astype(float), 0.95)
    assert other["behind_the_best"]["lo"] == pytest.approx(interval.lo)
    assert [row["behind_the_best"] for row in found["teachers"] if row["name"] == best] == [None]


def test_the_text_ends_with_one_sentence_which_to_take(tried: World) -> None:
    """A table with a row a teacher, and a choice that names one of them."""
    lines = tried.stillhouse("trial", tried.task, "--run", tried.run, "--quiet").stdout.splitlines()
    assert lines[0] == f"small: 2 teachers on {GOLD} gold items"
    assert [line.split()[0] for line in lines[2:5]] == ["teacher", "team-A", "team-B"]
    assert lines[-1].startswith("Take team-")


def test_what_a_trial_paid_for_the_run_does_not_pay_again(tmp_path: Path) -> None:
    """A second trial sends nothing, and the run asks about the pool alone."""
    world, log = write_world(tmp_path, items=ITEMS), RequestLog()
    write_rows(tmp_path / "texts.jsonl", [*rows_of(world.pool), *rows_of(world.gold)])
    with recorded_teacher(tmp_path / "replies.jsonl", [tmp_path / "texts.jsonl"], log=log) as url:
        write_world(tmp_path, items=ITEMS, teacher={"base_url": url}, budget={"human_labels": 0})
        counts = []
        for command in ("trial", "trial", "run"):
            result = world.stillhouse(command, world.task, "--run", world.run, "--quiet")
            assert result.exit_code == 0, result.stderr
            counts.append(log.requests)
    assert counts == [GOLD, GOLD, GOLD + ITEMS]


def test_the_cheapest_that_is_not_shown_worse_is_taken(tried: World) -> None:
    """One item of forty is no proof."""
    labelled = gold_of(open_project(tried.task, tried.run))
    found = chosen(tried, [*right_on(labelled, "team-A", 35, 0.02), *right_on(labelled, "team-B", 34, 0.001)])
    assert found.take == "team-B"
    assert "cheapest ($0.0400, not $0.8000)" in found.because
    assert "not shown to be worse than team-A" in found.because


def test_a_cheap_teacher_that_is_shown_worse_is_not_taken(tried: World) -> None:
    """Half of them is proof."""
    labelled = gold_of(open_project(tried.task, tried.run))
    found = chosen(tried, [*right_on(labelled, "team-A", 38, 0.02), *right_on(labelled, "team-B", 15, 0.001)])
    assert found.take == "team-A"
    assert found.because == "Take team-A: it has the best accuracy, and every other is shown to be worse."


def test_an_unknown_price_is_no_low_price(tmp_path: Path) -> None:
    """A model that no table knows is not taken for its cost, and its cost is said to be unknown."""
    world = write_world(tmp_path, items=ITEMS)
    text = world.task.read_text(encoding="utf-8")
    secret = 'model = "nobody-knows"\nbase_url = "https://api.example.com/v1"'
    world.task.write_text(text.replace('model = "team/B"\nrecording = "replies.jsonl"', secret), encoding="utf-8")
    labelled = gold_of(open_project(world.task, world.run))
    found = chosen(world, [*right_on(labelled, "team-A", 34, 0.02), *right_on(labelled, "team-B", 35, 0.0)])
    assert found.tried[1].cost_usd is None
    assert found.take == "team-A"
    assert "unknown" in found.text()


def test_calibration_tells_the_sure_from_the_right(tried: World) -> None:
    """Of two teachers equally sure, the one that is right as often as it says has the smaller error."""
    labelled = gold_of(open_project(tried.task, tried.run))
    found = chosen(tried, [*right_on(labelled, "team-A", 36, 0.0), *right_on(labelled, "team-B", 10, 0.0)])
    good, bad = found.tried
    assert good.ece == pytest.approx(0.01)
    assert bad.ece == pytest.approx(0.66)
    assert good.brier is not None
    assert bad.brier is not None
    assert good.brier < bad.brier


def test_a_hundred_items_say_what_calibration_would_give(tried: World) -> None:
    """A teacher far too sure has a smaller error once the other items have calibrated it; with fewer nothing is said."""
    labelled = gold_of(open_project(tried.task, tried.run))
    few = chosen(tried, right_on(labelled, "team-A", 30, 0.0)).tried[0]
    assert (few.calibrated_ece, few.calibrated_brier) == (None, None)
    more = Labelled(
        tuple(replace(item, id=f"{item.id}-{copy}") for copy in range(4) for item in labelled.items),
        labelled.values * 4,
        "copies",
    )
    project = open_project(tried.task, tried.run)
    votes = [
        replace(vote, item_id=item.id)
        for item, vote in zip(more.items, right_on(more, "team-A", 110, 0.0), strict=True)
    ]
    tried_now = compared(project, more, {(vote.source, vote.item_id): vote for vote in votes}, {}).tried[0]
    assert tried_now.ece is not None
    assert tried_now.calibrated_ece is not None
    assert tried_now.ece > 0.15
    assert tried_now.calibrated_ece < tried_now.ece


def test_items_a_teacher_says_nothing_of_are_counted(tried: World) -> None:
    """They stay in the comparison: all teachers are measured on the same items."""
    labelled = gold_of(open_project(tried.task, tried.run))
    found = chosen(tried, [*right_on(labelled, "team-A", 40, 0.0)[:25], *right_on(labelled, "team-B", 30, 0.0)])
    assert [one.abstained for one in found.tried] == [GOLD - 25, 0]
    assert found.tried[0].main.n == GOLD


def test_kinds_without_label_distributions_have_no_calibration(tmp_path: Path) -> None:
    """Spans are compared by F1, and what cannot be said is not said."""
    world = write_kind_world(tmp_path, "spans")
    found = json.loads(world.stillhouse("trial", world.task, "--run", world.run, "--json", "--quiet").stdout)
    assert (found["main"], found["take"]) == ("f1", "A")
    assert (found["teachers"][0]["ece"], found["teachers"][0]["brier"]) == (None, None)
    assert found["because"] == "Take A: there is no other."


def test_without_gold_it_is_the_blind_answers(tmp_path: Path) -> None:
    """Only items of the random share count; those that were picked for being hard would flatter nobody fairly."""
    world = write_world(tmp_path)
    assert world.go().exit_code == 0
    result = world.stillhouse("trial", world.task, "--run", world.run, "--blind", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    with Store(world.run, read_only=True) as store:
        blind = [pick for pick in store.picks() if pick.inclusion_probability is not None]
        assert len(blind) < len(store.picks())
    found = json.loads(result.stdout)
    assert found["on"] == f"{len(blind)} blind answers"
    assert found["teachers"][0]["accuracy"]["n"] == len(blind)


def test_nothing_labelled_is_said_plainly(tmp_path: Path) -> None:
    """Without gold and without answers there is no trial: exit code 2, and nobody is asked."""
    world = write_world(tmp_path, items=ITEMS, gold=False)
    result = world.stillhouse("trial", world.task, "--run", world.run, "--quiet")
    assert result.exit_code == 2
    assert "nothing to try the teachers on" in result.stderr
    assert "what to do" in result.stderr
