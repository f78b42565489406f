"""What people's answers amount to where several answered an item."""

from pathlib import Path

import numpy as np

from kinds.kind import Layout
from loop.project import Project
from loop.weighed import SETTLED, Weighed, agreed, several, weighed
from stillhouse.records import Answer, Item, Value, Way
from stillhouse.task import Task
from tests.loop.test_view import LABELS, PROJECT

ITEMS = [Item(f"i{number:03d}", f"text {number}") for number in range(120)]
TOPICS = Project(
    Task.model_validate(
        {
            "name": "t",
            "kind": "multi_label",
            "labels": [{"name": name} for name in LABELS],
            "data": {"pool": "pool.jsonl"},
            "teachers": [{"name": "A", "model": "m"}],
        }
    ),
    Path("task.toml"),
    Path("run"),
)


def said(item: Item, label: Value | None, who: str, way: Way = "label", at: int = 1) -> Answer:
    when = f"2026-01-{at:02d}T00:00:00+00:00"
    return Answer(item.id, who, label, blind=True, rehearsed=False, answered_at=when, way=way)


def amount_to(answers: list[Answer], project: Project = PROJECT) -> Weighed:
    """By people alone: the opinion says nothing."""
    kind, layout = project.kind, Layout.of(project.kind, ITEMS)
    opinion = np.full((len(ITEMS), len(kind.columns)), 1.0 / kind.width)
    return weighed(kind, ITEMS, layout, answers, opinion, 0.95)


def crowd(rights: dict[str, float], seed: int = 0) -> list[Answer]:
    """Everybody on every item but the first; the truth of item n is the label n % 3."""
    rng = np.random.default_rng(seed)
    return [
        said(item, LABELS[number % 3 if rng.random() < right else (number + 1) % 3], who)
        for number, item in enumerate(ITEMS[1:], start=1)
        for who, right in rights.items()
    ]


def test_the_last_word_wins_and_a_later_one_over_an_earlier() -> None:
    """Whatever the majority says, and in whatever order they come."""
    item = ITEMS[0]
    answers = [
        said(item, "c", "ada", "adjudicate", at=3),
        said(item, "a", "pat"),
        said(item, "a", "kim"),
        said(item, "b", "ada", "adjudicate", at=2),
    ]
    assert agreed(answers) == ({item.id: "c"}, ())
    found = amount_to([*crowd({"pat": 0.9, "kim": 0.9}), *answers])
    assert found.labels[item.id] == "c"
    assert item.id not in found.probability


def test_one_careful_person_outweighs_two_careless_ones() -> None:
    """Who is careless is known from what they share with others."""
    others = crowd({"ada": 0.97, "ben": 0.97, "pat": 0.4, "kim": 0.4})
    item = ITEMS[0]
    found = amount_to([*others, said(item, "a", "ada"), said(item, "b", "pat"), said(item, "b", "kim")])
    assert found.labels[item.id] == "a"
    assert found.probability[item.id] >= SETTLED
    assert found.accuracies()["ada"].lo > found.accuracies()["pat"].hi


def test_equals_who_differ_leave_a_conflict_with_its_odds() -> None:
    """People who always agreed: neither wins by name, and the odds of both labels are even."""
    item = ITEMS[0]
    found = amount_to([*crowd({"ada": 1.0, "ben": 1.0, "eve": 1.0}), said(item, "a", "ada"), said(item, "b", "ben")])
    assert item.id in found.conflicts
    assert item.id not in found.labels
    odds = found.probs[found.rows.tolist().index(0)]
    assert abs(odds[0] - odds[1]) < 0.2
    assert odds[2] < 0.1


def test_who_is_known_to_be_careless_is_not_taken_at_their_word_alone() -> None:
    """A single answer counts as it is, unless it is by somebody who is seldom right."""
    others = crowd({"ada": 0.97, "ben": 0.97, "pat": 0.3})
    careful, careless = ([*others, said(ITEMS[0], "a", who)] for who in ("ada", "pat"))
    assert amount_to(careful).labels[ITEMS[0].id] == "a"
    assert ITEMS[0].id in amount_to(careless).conflicts


def test_of_many_labels_a_value_that_somebody_gave_is_taken() -> None:
    """The decisions on which nobody differs play no part in how sure it is."""
    answers = [
        said(item, ["a"] if number % 2 else ["a", "b"], who)
        for number, item in enumerate(ITEMS[1:], start=1)
        for who in ("ada", "ben", "eve")
    ]
    first = [said(ITEMS[0], ["a", "c"], "ada"), said(ITEMS[0], ["a", "c"], "ben"), said(ITEMS[0], ["a"], "eve")]
    found = amount_to([*answers, *first], TOPICS)
    assert found.probability[ITEMS[0].id] < 1.0
    assert found.labels.get(ITEMS[0].id, ["a", "c"]) in (["a", "c"], ["a"])
    assert found.labels[ITEMS[1].id] == ["a"]


def test_only_shared_items_call_for_weighing() -> None:
    """One answer an item, passes aside, is nothing to weigh, and nobody has figures."""
    answers = [said(item, "a", "pat") for item in ITEMS[:3]] + [said(ITEMS[0], None, "kim")]
    assert not several(answers)
    assert amount_to(answers).people == ()
    assert several([*answers, said(ITEMS[0], "a", "eve")])
