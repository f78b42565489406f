"""What somebody is shown who is asked again because labels changed."""

import pytest

from kinds.registry import kind_of
from loop.asked_again import settled
from stillhouse.records import Value
from tests.kinds.examples import EXAMPLES, task

SENTENCE = EXAMPLES["tokens"][1]


@pytest.mark.parametrize(
    ("kind", "value", "likely", "expected"),
    [
        ("single_label", ["b", "c"], "c", "c"),
        ("single_label", "a", "c", "a"),
        ("multi_label", ["a", {"any_of": ["b", "c"]}], ["c"], ["a", "c"]),
        ("spans", [{"start": 0, "end": 3, "label": ["b", "c"]}], [{"start": 0, "end": 3, "label": "c"}], None),
        ("fields", {"who": "She"}, {"who": None, "what": "the book"}, {"who": "She", "what": "the book"}),
        ("tokens", [["b", "c"], "a", None, ["b", "a"], "a"], ["c", "c", "c", "b", "c"], ["c", "a", None, "b", "a"]),
    ],
)
def test_what_an_old_answer_leaves_open_is_taken_from_the_belief(
    kind: str, value: object, likely: Value, expected: object
) -> None:
    """And nothing else: what it said stays, however sure the belief is of something else."""
    more = {"fields": [{"name": "who"}, {"name": "what"}]} if kind == "fields" else {}
    given = {"tokens": "tokens"} if kind == "tokens" else {}
    of = kind_of(task(kind, () if more else ("a", "b", "c"), data=given, **more))
    spans = of.units(SENTENCE)
    probs = 0.9 * of.encode(SENTENCE, spans, likely) + 0.1 / of.width
    assert settled(of, SENTENCE, spans, probs, value) == (likely if expected is None else expected)
