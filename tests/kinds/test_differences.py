"""What is wrong with a value, part by part, in every kind."""

import numpy as np
import pytest

from kinds.kind import Difference, Kind
from kinds.registry import kind_of
from stillhouse.records import Item, Value
from tests.kinds.examples import EXAMPLES, TEXT, span


def differences(name: str, value: Value) -> list[tuple[str, str, str]]:
    task, item, truth = EXAMPLES[name]
    return [(one.said, one.right, one.words) for one in kind_of(task).differences(item, truth, value)]


@pytest.fixture(params=sorted(EXAMPLES))
def example(request: pytest.FixtureRequest) -> tuple[Kind, Item, Value]:
    task, item, value = EXAMPLES[request.param]
    return kind_of(task), item, value


def test_a_right_value_differs_in_nothing_and_a_mistake_in_something(example: tuple[Kind, Item, Value]) -> None:
    """Whatever the kind; and what is named is one of the task's names, or nothing."""
    kind, item, value = example
    names = {*kind.task.label_names, *(field.name for field in kind.task.fields), ""}
    assert kind.differences(item, value, value) == ()
    for seed in range(10):
        found = kind.differences(item, value, kind.mistake(item, value, np.random.default_rng(seed)))
        assert found
        assert {name for one in found for name in (one.said, one.right)} <= names


def test_a_label_is_another() -> None:
    """One text, one label."""
    assert kind_of(EXAMPLES["single_label"][0]).differences(Item("1", ""), "green", "red") == (
        Difference("red", "green"),
    )


def test_labels_are_missing_or_too_many() -> None:
    """Each by itself: with many labels a text none stands for another."""
    assert differences("multi_label", ["red", "green"]) == [("green", "", ""), ("", "blue", "")]


def test_spans_have_other_labels_other_bounds_or_are_not_there() -> None:
    """What overlaps is compared; what does not is missed, or made up."""
    said = [span(TEXT, "José", "person"), span(TEXT, "AutoCAD 2024", "place"), span(TEXT, "again", "app")]
    assert differences("spans", said) == [
        ("person", "person", "'José' for 'José García'"),
        ("place", "app", "'AutoCAD 2024' for 'AutoCAD 2024'"),
        ("", "place", "'Łódź'"),
        ("app", "", "'again'"),
    ]


def test_tokens_are_compared_one_by_one() -> None:
    """And one that a person left untagged says nothing."""
    assert differences("tokens", ["PRON", "VERB", "NOUN", "DET", "NOUN"]) == [("NOUN", "PRON", "'him'")]
    task, item, _ = EXAMPLES["tokens"]
    assert kind_of(task).differences(item, [None] * 5, ["PRON"] * 5) == ()


def test_fields_are_compared_field_by_field() -> None:
    """Another value, a value that is missing, one that should not be there."""
    said = {"who": "José", "apps": ["AutoCAD", "Revit"], "year": None, "day": "2024-05-03", "city": "Łódź"}
    assert differences("fields", said) == [("who", "who", "'José' for 'José García'"), ("", "year", "'1200'")]
