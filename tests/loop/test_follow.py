"""What is asked again: by one rule of all the random share, as far as cap and budget go of the rest, and what stays unchecked."""

from pathlib import Path
from typing import Any

import numpy as np

from consensus.votes import VoteTable
from kinds.kind import Layout
from loop.asked import Asked
from loop.follow import follow_ups, unchecked, verifications
from loop.kept import keep
from loop.project import Project
from loop.view import Corpus
from stillhouse.records import Answer, Asking, Item, Pick, Suggestion, Way
from stillhouse.task import Task

ITEMS = tuple(Item(f"{number}", f"text {number}") for number in range(6))
DRAWN = {"0", "1"}
PICKS = tuple(
    Pick(item.id, 1, "uncertain", 0.5, 0.3 if item.id in DRAWN else None, blind=item.id in DRAWN) for item in ITEMS
)
SURE = np.tile([0.99, 0.005, 0.005], (6, 1))  # of label "a", whatever the item


def world(folder: Path, desk: dict[str, Any], **tables: dict[str, Any]) -> tuple[Project, Corpus]:
    task = Task.model_validate(
        {
            "name": "t",
            "question": "Which?",
            "labels": [{"name": name} for name in "abc"],
            "teachers": [{"name": "A", "model": "m"}],
            "data": {"pool": "pool.jsonl"},
            "desk": {"kind": "files", **desk},
            **tables,
        }
    )
    project = Project(task, folder / "task.toml", folder)
    keep(project, "belief-00", SURE)
    votes = VoteTable(("A",), SURE[None], np.ones((1, 6), dtype=bool), 3)
    texts = np.eye(6, dtype=np.float32)
    return project, Corpus(project.kind, ITEMS, Layout.of(project.kind, ITEMS), texts, texts, votes, SURE)


def said(item_id: str, label: str | None, who: str = "pat", way: Way = "label") -> Answer:
    return Answer(item_id, who, label, blind=False, rehearsed=False, answered_at="", way=way)


def again(found: list[Asking]) -> list[tuple[str, str]]:
    return [(asking.item_id, asking.way) for asking in found]


def test_surprising_answers_are_asked_of_somebody_else(tmp_path: Path) -> None:
    """All of the random share, and of the rest as many as the share of the batch allows, once the batch is in."""
    project, corpus = world(tmp_path, {"second_opinions": 0.34, "adjudicators": ["ann"]})
    answers = [said(item.id, "b") for item in ITEMS[:5]]
    early = follow_ups(project, corpus, Asked(PICKS, (), tuple(answers), 1), ())
    assert again(early) == [("0", "second"), ("1", "second")]
    late = follow_ups(project, corpus, Asked(PICKS, tuple(early), (*answers, said("5", "a")), 1), ())
    assert again(late) == [("2", "second"), ("3", "second")]
    assert all(asking.not_by == ("pat",) for asking in [*early, *late])
    everything = Asked(PICKS, (*early, *late), (*answers, said("5", "a")), 1)
    assert not follow_ups(project, corpus, everything, ())
    assert unchecked(project, corpus, everything) == {"0", "1", "2", "3", "4"}  # "4" was to be checked, and is not


def test_the_budget_of_answers_caps_second_opinions(tmp_path: Path) -> None:
    """But not those that figures need."""
    project, corpus = world(tmp_path, {"second_opinions": 1.0, "adjudicators": ["ann"]}, budget={"human_labels": 7})
    answers = tuple(said(item.id, "b") for item in ITEMS)
    found = follow_ups(project, corpus, Asked(PICKS, (), answers, 1), ())
    assert again(found) == [("0", "second"), ("1", "second"), ("2", "second")]


def test_an_answer_that_was_expected_is_left_alone(tmp_path: Path) -> None:
    """So is a pass, which says nothing; and without the setting everything is."""
    project, corpus = world(tmp_path, {"second_opinions": 1.0, "adjudicators": ["ann"]})
    answers = (said("0", "a"), said("1", None), *(said(item.id, "a") for item in ITEMS[2:]))
    assert not follow_ups(project, corpus, Asked(PICKS, (), answers, 1), ())
    off, corpus = world(tmp_path, {})
    surprising = Asked(PICKS, (), tuple(said(item.id, "b") for item in ITEMS), 1)
    assert not follow_ups(off, corpus, surprising, ())
    assert not unchecked(off, corpus, surprising)


def test_people_who_differ_are_decided_between_where_it_is_not_settled(tmp_path: Path) -> None:
    """Of the random share always; a targeted item where one of the two says what is sure already stays as it is, unchecked."""
    project, corpus = world(tmp_path, {"min_submitted": 2, "adjudicators": ["ann"]})
    settled, open_ = (Asked(PICKS, (), differ(pairs), 2) for pairs in ({"0": "ab", "2": "ab", "4": "aa"}, {"3": "bc"}))
    assert again(follow_ups(project, corpus, settled, ())) == [("0", "adjudicate")]
    assert {"2", "4"} & unchecked(project, corpus, settled) == {"2"}
    assert again(follow_ups(project, corpus, open_, ())) == [("3", "adjudicate")]


def differ(pairs: dict[str, str]) -> tuple[Answer, ...]:
    """Two people's answers to each item."""
    return tuple(
        said(i, label, who) for i, two in pairs.items() for label, who in zip(two, ("pat", "sam"), strict=True)
    )


def test_a_majority_that_is_not_believed_is_decided(tmp_path: Path) -> None:
    """Two of three outweigh a sure belief no more than by half; two who err again and again are not taken for right."""
    project, corpus = world(tmp_path, {"min_submitted": 3, "adjudicators": ["ann"]})
    careful = [said(item.id, "a") for item in ITEMS[2:]]

    def decided(against: set[str]) -> list[tuple[str, str]]:
        others = [said(i.id, "b" if i.id in against else "a", who) for i in ITEMS[2:] for who in ("max", "kim")]
        return again(follow_ups(project, corpus, Asked(PICKS, (), (*careful, *others), 3), ()))

    assert decided({"2"}) == [("2", "adjudicate")]
    assert decided({"2", "3", "4"}) == []


def test_a_no_is_followed_by_the_label_once(tmp_path: Path) -> None:
    """Whether it was a no or a pass; and a yes by nothing."""
    project, corpus = world(tmp_path, {"verify_from": 0.9})
    verify = tuple(Asking(item_id, "verify", 1, "", 0.0) for item_id in ("2", "3", "4"))
    asked = Asked(PICKS, verify, (said("3", "a", way="verify"), said("4", None, way="verify")), 1)
    found = follow_ups(project, corpus, asked, ["2"])
    assert again(found) == [("2", "label"), ("4", "label")]
    assert not follow_ups(project, corpus, Asked(PICKS, (*verify, *found), asked.answers, 1), ["2"])


def test_only_sure_suggestions_of_targeted_items_are_verified(tmp_path: Path) -> None:
    """What measures is labelled blind, and what has no suggestion has nothing to verify."""
    project, _ = world(tmp_path, {"verify_from": 0.9})
    sure = {item.id: Suggestion("a", 0.95 if item.id != "3" else 0.8, "belief") for item in ITEMS}
    assert again(verifications(project, PICKS, sure)) == [("2", "verify"), ("4", "verify"), ("5", "verify")]
    off, _ = world(tmp_path, {})
    assert not verifications(off, PICKS, sure)
