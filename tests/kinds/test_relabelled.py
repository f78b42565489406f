"""Beliefs in old labels, carried over to the columns of new ones."""

import numpy as np
import pytest

from kinds.kind import Kind
from kinds.registry import kind_of
from kinds.relabelled import columns_carried
from loop.typed_changes import changes_of
from stillhouse.label_changes import LabelSet, Migration, migration
from stillhouse.probabilities import blocks
from stillhouse.task import Label, Task
from tests.kinds.examples import EXAMPLES, task

OF_LABELS = [name for name, (of, _, _) in EXAMPLES.items() if not of.fields]


def names_of(of: Task) -> tuple[str, ...]:
    return LabelSet.of(of).names


def with_labels(of: Task, *names: str) -> Task:
    return of.model_copy(update={"labels": tuple(Label(name=name) for name in names)})


def moved(before: Task, after: Task, **typed: list[str]) -> Migration:
    return migration(LabelSet.of(before), LabelSet.of(after), changes_of(**typed))


def believed(kind: Kind, units: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    width = kind.width
    rows = np.random.default_rng(0).dirichlet(np.ones(width), size=units * len(kind.columns) // width)
    return rows.reshape(units, len(kind.columns))


@pytest.mark.parametrize("name", EXAMPLES)
def test_renamed_and_reordered_a_value_is_decoded_as_before(name: str) -> None:
    """A permutation of classes: what the belief amounted to it amounts to still, under the new names."""
    before, item, value = EXAMPLES[name]
    old = kind_of(before)
    first, *others = names_of(before)
    if before.fields:
        specs = [spec.model_copy(update={"name": "renamed"} if spec.name == first else {}) for spec in before.fields]
        after = before.model_copy(update={"fields": tuple(reversed(specs))})
    else:
        after = with_labels(before, *reversed(others), "renamed")
    change, new = moved(before, after, rename=[f"{first}=renamed"]), kind_of(after)
    spans = old.units(item)
    encoded = old.encode(item, spans, value)
    back = columns_carried(
        new,
        old,
        moved(after, before, rename=[f"renamed={first}"]).moves,
        columns_carried(old, new, change.moves, encoded),
    )
    assert np.allclose(back, encoded)
    called = str(new.show(item, new.decode(item, spans, columns_carried(old, new, change.moves, encoded))))
    assert "renamed" in called or first not in old.show(item, value)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("typed", ["merge", "split", "add", "add_from", "remove"])
def test_every_distribution_sums_to_one_after_any_change(name: str, typed: str) -> None:
    """Merged, split, added, removed: of every kind."""
    before, item, _ = EXAMPLES[name]
    first, second, *others = names_of(before)
    after, changes = {
        "merge": (("both", *others, "x"), {"merge": [f"{first},{second}=both"], "add": [f"x:from={second}"]}),
        "split": (("p", "q", second, *others), {"split": [f"{first}=p,q"]}),
        "add": ((first, second, *others, "d"), {"add": ["d"]}),
        "add_from": ((first, second, *others, "d"), {"add": [f"d:from={first}"]}),
        "remove": ((second, *others, "e"), {"remove": [first], "add": [f"e:from={second}"]}),
    }[typed]
    now = with_labels(before, *after)
    old, new = kind_of(before), kind_of(now)
    probs = columns_carried(old, new, moved(before, now, **changes).moves, believed(old, len(old.units(item))))
    assert probs.min() >= 0
    assert np.allclose(blocks(probs, new.width).sum(axis=1), 1.0)


def test_a_split_label_leaves_its_parts_alike_and_a_new_one_as_likely_as_any() -> None:
    """Nothing is known of which it is."""
    before, now = task("single_label", ("a", "b")), task("single_label", ("c", "d", "b"))
    probs = np.array([[0.8, 0.2]])
    found = columns_carried(kind_of(before), kind_of(now), moved(before, now, split=["a=c,d"]).moves, probs)
    assert np.allclose(found, [[0.4, 0.4, 0.2]])
    wider = task("single_label", ("a", "b", "c", "d"))
    found = columns_carried(kind_of(before), kind_of(wider), moved(before, wider, add=["c", "d:from=b"]).moves, probs)
    assert found[0, 2] == pytest.approx(0.25)
    assert found[0, 1] == pytest.approx(found[0, 3])
