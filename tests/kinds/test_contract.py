"""What holds for every kind."""

import numpy as np
import pytest

from kinds.kind import Kind, Layout
from kinds.registry import KINDS, kind_of
from stillhouse.probabilities import blocks
from stillhouse.records import Item, Value, Vote
from tests.kinds.examples import EXAMPLES

SOFT = 0.94


@pytest.fixture(params=sorted(EXAMPLES))
def example(request: pytest.FixtureRequest) -> tuple[Kind, Item, Value]:
    task, item, value = EXAMPLES[request.param]
    return kind_of(task), item, value


def test_every_kind_has_an_example() -> None:
    """A kind without one is not tested here at all."""
    assert {task.kind for task, _, _ in EXAMPLES.values()} == set(KINDS)


def test_a_value_is_encoded_as_distributions_and_decoded_to_itself(example: tuple[Kind, Item, Value]) -> None:
    """Each block of a row sums to one, and nothing is lost on the way there and back."""
    kind, item, value = example
    spans = kind.units(item)
    probs = kind.encode(item, spans, value)
    assert probs.shape == (len(spans), len(kind.columns))
    assert np.allclose(blocks(probs, kind.width).sum(axis=1), 1)
    assert kind.normal(item, kind.decode(item, spans, probs)) == value


def test_a_soft_opinion_decodes_to_the_same_value(example: tuple[Kind, Item, Value]) -> None:
    """Certainty is not needed: what is likeliest is decoded."""
    kind, item, value = example
    spans = kind.units(item)
    probs = SOFT * kind.encode(item, spans, value) + (1 - SOFT) / kind.width
    assert kind.normal(item, kind.decode(item, spans, probs)) == value


def test_an_expert_who_accepts_the_suggestion_gives_the_value(example: tuple[Kind, Item, Value]) -> None:
    """What is suggested, answered as it stands, is the value again."""
    kind, item, value = example
    shown = kind.suggest(item, value)
    assert set(shown) <= {question.name for question in kind.questions()}
    assert kind.answer(item, shown) == value


def test_a_value_has_no_problems_and_one_normal_form(example: tuple[Kind, Item, Value]) -> None:
    """To write a normal value normally changes nothing."""
    kind, item, value = example
    assert kind.problems(item, value) == []
    assert kind.normal(item, value) == value


@pytest.mark.parametrize("nonsense", [None, 7, {"colour": 1}, ["no such label"], [{"start": 3}], "no such label"])
def test_nonsense_is_a_problem_in_words(example: tuple[Kind, Item, Value], nonsense: object) -> None:
    """Whatever a file holds in the place of a value is refused with expected and found, and raises nothing."""
    kind, item, _ = example
    assert kind.problems(item, nonsense)


def test_a_value_equals_itself_and_not_a_mistake(example: tuple[Kind, Item, Value]) -> None:
    """The score is 1 for the truth and less for a rehearsed mistake, which is itself a valid value."""
    kind, item, value = example
    for seed in range(20):
        wrong = kind.mistake(item, value, np.random.default_rng(seed))
        assert kind.problems(item, wrong) == []
        assert kind.score(value, wrong) < 1
    assert kind.score(value, value) == 1


def test_certainty_has_no_doubt_and_a_coin_has_much(example: tuple[Kind, Item, Value]) -> None:
    """Doubt is 0 where one value is certain and grows with uncertainty; so does the expected loss."""
    kind, item, value = example
    spans = kind.units(item)
    sure = kind.encode(item, spans, value)
    uniform = np.full_like(sure, 1 / kind.width)
    assert kind.doubt(item, spans, sure).score == pytest.approx(0, abs=1e-6)
    assert kind.expected_score(spans, sure) == pytest.approx(1)
    assert 0.3 < kind.doubt(item, spans, uniform).score <= 1
    assert kind.expected_score(spans, uniform) < 0.8


def test_the_doubtful_part_is_named(example: tuple[Kind, Item, Value]) -> None:
    """Of kinds that point into the text, the part in doubt is a stretch of it; all name it in words."""
    kind, item, value = example
    spans = kind.units(item)
    probs = kind.encode(item, spans, value)
    unit = len(spans) - 1 if kind.task.kind in {"single_label", "multi_label"} else 0
    probs[unit] = 0.5 * probs[unit] + 0.5 / kind.width
    doubt = kind.doubt(item, spans, probs)
    assert doubt.words
    if not kind.per_text:
        assert doubt.where is not None
        assert doubt.where[0] <= spans[unit, 0] < doubt.where[1]


def test_two_opinions_disagree_as_far_as_they_differ(example: tuple[Kind, Item, Value]) -> None:
    """Nothing between equals, something between a value and a mistake."""
    kind, item, value = example
    spans = kind.units(item)
    p = kind.encode(item, spans, value)
    assert kind.disagreement(spans, p, p) == pytest.approx(0, abs=1e-9)
    q = np.full_like(p, 1 / kind.width)
    assert kind.disagreement(spans, p, q) > 0.1


def test_measures_are_perfect_on_the_truth_and_worse_on_mistakes(example: tuple[Kind, Item, Value]) -> None:
    """Every figure has an interval around it."""
    kind, item, value = example
    rng = np.random.default_rng(0)
    wrong = [kind.mistake(item, value, rng) for _ in range(20)]
    right = kind.measures([value] * 20, [value] * 20, confidence=0.95, on="test", rng=rng)
    mixed = kind.measures([value] * 40, [*wrong, *[value] * 20], confidence=0.95, on="test", rng=rng)
    assert right.interval.value == 1
    for interval in mixed.by_name.values():
        assert interval.lo <= interval.value <= interval.hi
    assert mixed.interval.value < 1


def test_an_abstaining_vote_says_nothing(example: tuple[Kind, Item, Value]) -> None:
    """Its units are not usable and every block is uniform."""
    kind, item, _ = example
    count = len(kind.task.labels) if kind.per_text else 0
    vote = Vote("1", "a", (0.0,) * count, 1.0, "verbalised", "unreadable", "p", "k", 0.0)
    said = kind.said(item, kind.units(item), vote)
    assert not said.usable.any()
    assert np.allclose(said.probs, 1 / kind.width)


def test_a_layout_lays_items_end_to_end(example: tuple[Kind, Item, Value]) -> None:
    """Each item's rows are found again; an item without units has none."""
    kind, item, _ = example
    layout = Layout.of(kind, [item, item, item])
    units = len(kind.units(item))
    assert len(layout) == 3
    assert layout.rows(1) == slice(units, 2 * units)
    assert layout.item_of.tolist() == [0] * units + [1] * units + [2] * units


def test_classes_are_what_the_task_names_each_with_columns_of_its_own(example: tuple[Kind, Item, Value]) -> None:
    """A value's encoding says of some unit that it is of a class exactly where the value names that class."""
    kind, item, value = example
    said = kind.encode(item, kind.units(item), value)
    columns = [column for of_class in kind.classes.values() for column in of_class]
    assert len(columns) == len(set(columns))
    assert set(kind.classes) == set(kind.task.label_names) | {field.name for field in kind.task.fields}
    shown = kind.show(item, value)
    for name, of_class in kind.classes.items():
        assert bool(said[:, list(of_class)].any()) == (name in shown), name
