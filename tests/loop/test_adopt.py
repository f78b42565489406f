"""Who is asked again when guidelines change: whose votes or texts the change is about, in every kind."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinds.registry import kind_of
from loop.adopt import affected
from loop.drafts import Draft
from stillhouse.records import Item, Value, Vote
from tests.kinds.examples import EXAMPLES, span

FAR = {"far": [1.0, 0.0], "near": [0.0, 1.0]}


def draft(said: str, right: str, *items: str) -> Draft:
    return Draft(1, Path("draft-01.md"), "words", "base", "teacher", said, right, items, "")


def vote(item_id: str, probs: tuple[float, ...] = (), value: Value | None = None) -> Vote:
    return Vote(item_id, "a", probs, 1 - sum(probs) if probs else 0.0, "verbalised", "ok", "p", "k", 0.0, value)


def embed(items: Sequence[Item]) -> NDArray[np.float64]:
    return np.array([FAR[item.text] for item in items])


def test_votes_with_a_label_in_play_are_asked_again() -> None:
    """Said, or given a tenth; what is given less is not, and texts near to the conflicts are."""
    kind = kind_of(EXAMPLES["single_label"][0])
    votes = [vote("a", (0.8, 0.15, 0.0)), vote("b", (0.95, 0.05, 0.0)), vote("c", (0.05, 0.0, 0.95))]
    items = [
        Item("a", "far"),
        Item("b", "far"),
        Item("c", "far"),
        Item("x", "near"),
        Item("y", "near"),
        Item("z", "far"),
    ]
    found = affected(kind, items, {each.item_id: each for each in votes}, draft("green", "blue", "x"), embed)
    assert [item.id for item in found] == ["a", "c", "x", "y"]


def test_spans_and_fields_are_asked_again_where_they_have_the_name() -> None:
    """By the names in their values; nothing is near where the conflicts are not among the items."""
    kind = kind_of(EXAMPLES["spans"][0])
    text = "Ana asked for AutoCAD"
    items = [Item("a", text), Item("b", text)]
    votes = {
        "a": vote("a", value=[span(text, "Ana", "person")]),
        "b": vote("b", value=[span(text, "AutoCAD", "app")]),
    }
    assert [item.id for item in affected(kind, items, votes, draft("", "app", "gone"), embed)] == ["b"]
    task, item, value = EXAMPLES["fields"]
    assert isinstance(value, dict)
    said = {"1": vote("1", value={**value, "city": None})}
    found = [affected(kind_of(task), [item], said, draft("", name, "gone"), embed) for name in ("who", "city")]
    assert found == [[item], []]
