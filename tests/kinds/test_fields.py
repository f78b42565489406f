"""Fields: what can be found in a text can be taught, and what cannot is unknown, not absent."""

import numpy as np

from kinds.registry import kind_of
from stillhouse.records import Item, Vote
from tests.kinds.examples import EXAMPLES

TASK, ITEM, VALUE = EXAMPLES["fields"]
EMPTY: dict[str, list[str] | None] = {"who": None, "apps": [], "year": None, "day": None, "city": None}


def test_a_value_that_stands_nowhere_leaves_the_rest_of_the_text_unknown() -> None:
    """The words of found values are taught; the others might be the lost one."""
    kind = kind_of(TASK)
    spans = kind.units(ITEM)
    assert isinstance(VALUE, dict)
    probs = kind.encode(ITEM, spans, {**VALUE, "who": "somebody else"})
    known = ~np.isnan(probs[:, 0])
    assert known.sum() > 3
    assert not known.all()
    decoded = kind.decode(ITEM, spans, np.where(known[:, None], probs, kind.encode(ITEM, spans, EMPTY)))
    assert decoded == {**VALUE, "who": None}


def test_missing_is_a_value() -> None:
    """A text that fills no field is fully known."""
    kind = kind_of(TASK)
    item = Item("2", "nothing of the kind")
    spans = kind.units(item)
    assert not np.isnan(kind.encode(item, spans, EMPTY)).any()
    assert kind.decode(item, spans, kind.encode(item, spans, EMPTY)) == EMPTY
    assert kind.score(EMPTY, EMPTY) == 1


def test_a_field_that_the_teacher_left_out_is_not_missing() -> None:
    """Only what was said is used: the other words stay open."""
    kind = kind_of(TASK)
    spans = kind.units(ITEM)
    vote = Vote("1", "a", (), 0.0, "verbalised", "ok", "p", "k", 0.0, value={"who": "José García"})
    said = kind.said(ITEM, spans, vote)
    assert said.usable.sum() == 2
    assert said.probs[said.usable].argmax(axis=1).tolist() == [1, 2]


def test_the_likelier_of_two_candidates_fills_a_single_field() -> None:
    """A field that takes one value takes the surer span."""
    kind = kind_of(TASK)
    item = Item("3", "Ann and Bob")
    spans = kind.units(item)
    probs = np.full((3, len(kind.columns)), 1e-3)
    probs[0, 1], probs[1, 0], probs[2, 1] = 0.6, 0.9, 0.9
    value = kind.decode(item, spans, probs)
    assert isinstance(value, dict)
    assert value["who"] == "Bob"
