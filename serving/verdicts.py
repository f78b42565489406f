"""What is said of an item in the end: a label, how likely it is right, who says so, what that cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from kinds.kind import Kind, Spans
from stillhouse.errors import ModelError
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Value

# people: nobody has answered yet, the item waits at their desk, and label and probability are the best guess so far
Source = Literal["student", "teacher", "people"]


class Predicts(Protocol):
    """What labelling needs of a student."""

    @property
    def thresholds(self) -> Floats | None:
        """Where a label begins to apply (columns / width,), for kinds that have such; None means 0.5."""
        ...

    def prepare(self, items: Sequence[Item]) -> Any:
        """What `predict` reads; may run in another thread, ahead of the model."""
        ...

    def predict(self, prepared: Any) -> Floats:
        """Calibrated probabilities (units of all items end to end, columns of the kind)."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """`probability` is the expected score of the item (`Kind.expected_score`), None where it has no label at all.

    `cost_usd` is what the replies behind it cost when they were paid for; a text asked again costs nothing more.
    `note` says in words why a next step was not taken.
    """

    label: Value | None
    probability: float | None
    abstained: bool
    source: Source = "student"
    cost_usd: float = 0.0
    note: str = ""


def verdicts(
    kind: Kind,
    items: Sequence[Item],
    units: Sequence[Spans],
    probs: Floats,
    *,
    thresholds: Floats | None,
    threshold: float,
) -> Iterator[Verdict]:
    """One verdict an item, from probabilities (units of all items end to end, columns).

    Below the threshold the label stays and the verdict abstains. Raises ModelError for probabilities that are none.
    """
    _check(probs, (sum(len(spans) for spans in units), len(kind.columns)))
    at = 0
    for item, spans in zip(items, units, strict=True):
        own = probs[at : at + len(spans)]
        at += len(spans)
        sure = kind.expected_score(spans, own)
        label = kind.decode(item, spans, own, thresholds)
        yield Verdict(label, round(float(sure), 6), bool(sure < threshold))


def _check(probs: Floats, wanted: tuple[int, int]) -> None:
    if probs.shape != wanted or not np.isfinite(probs).all():
        found = "values that are not finite" if probs.shape == wanted else f"the shape {probs.shape}"
        raise ModelError(
            "the student's probabilities cannot be used",
            expected=f"{wanted[0]} rows of {wanted[1]} finite numbers",
            found=found,
            fix="train it again; if this comes back, report it",
        )
