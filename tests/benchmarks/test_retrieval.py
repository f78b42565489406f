"""The figures of what a prompt is given are those that counting by hand gives."""

import numpy as np
import pytest

from benchmarks.retrieval import EXAMPLES, World, near_examples, recall, second_order
from prompts.candidates import SHOWN

LABELS, ITEMS = 40, 200


def world(*, described: bool) -> World:
    """Items lie on the axis of their label; descriptions do too, or all on one axis of their own."""
    axes = np.eye(LABELS + 1, dtype=np.float32)
    truth = np.arange(ITEMS) % LABELS
    votes = np.full((2, 2 * ITEMS, LABELS), 1.0 / LABELS)
    votes[0, np.arange(2 * ITEMS), np.tile(truth, 2)] = 0.9
    votes[1, :ITEMS, 0] = 0.95
    return World(
        name="planted",
        pool=axes[truth] * 0.9,
        measured=axes[truth],
        described=axes[:LABELS] if described else np.repeat(axes[-1:], LABELS, axis=0),
        truth=truth,
        measured_truth=truth,
        votes=votes,
    )


@pytest.mark.parametrize(
    ("described", "answered", "found"), [(True, 0, 1.0), (False, 0, SHOWN / LABELS), (False, ITEMS, 1.0)]
)
def test_recall_is_the_share_with_the_right_label(described: bool, answered: int, found: float) -> None:
    """By words alone, by nothing (the first labels stand), by answers alone."""
    assert recall(world(described=described), np.arange(answered)).mean() == pytest.approx(found, abs=0.01)


def test_examples_have_the_label_as_far_as_two_can() -> None:
    """All answered: each item has two of its label among its eight."""
    some, share = near_examples(world(described=True), ITEMS, 1)
    assert (some.value, share.value) == (1.0, 2 / EXAMPLES)


def test_what_a_second_order_changes_is_a_paired_difference() -> None:
    """A second prompt that is surely wrong on half of the items costs all of that half but where its one label is right."""
    (_, whole) = second_order(world(described=True))
    assert whole.value == pytest.approx(-0.5 * (1 - 1 / LABELS), abs=0.01)
