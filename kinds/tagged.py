"""What the kinds share that mark spans: named entities, roles."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinds.bio import Bio
from kinds.kind import Difference, Doubt, Measures, Said, Spans
from kinds.span_values import (
    in_characters,
    item_f1,
    parts_of,
    slip,
    span_differences,
    span_measures,
    span_problems,
    written,
)
from prompts.render import Style
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Value, Vote
from stillhouse.task import Task

OUTSIDE_SAID = 0.97  # a unit that a teacher left unmarked: nothing was said of it, which is not certainty


class Pointing(ABC):
    """Mixed into a kind whose arrays are BIO tags of words or tokens: what holds whatever the tags mean."""

    @property
    @abstractmethod
    def bio(self) -> Bio: ...

    @property
    def columns(self) -> tuple[str, ...]:
        return self.bio.columns

    @property
    def width(self) -> int:
        return self.bio.width

    @property
    def classes(self) -> Mapping[str, tuple[int, ...]]:
        return self.bio.classes

    @property
    def per_text(self) -> bool:
        return False

    def styles(self) -> frozenset[Style]:
        return frozenset({"verbalised"})

    def thresholds(self, probs: Floats) -> NDArray[np.float64] | None:  # noqa: ARG002
        return None

    def expected_score(self, spans: Spans, probs: Floats) -> float:  # noqa: ARG002
        return self.bio.expected_f1(probs)

    def doubt(self, item: Item, spans: Spans, probs: Floats) -> Doubt:
        return self.bio.doubt(probs, spans, item.text)

    def disagreement(self, spans: Spans, p: Floats, q: Floats) -> float:  # noqa: ARG002
        return self.bio.disagreement(p, q)


class Tagged(Pointing):
    """Mixed into a kind with a `task`: its values are lists of spans."""

    task: Task

    @abstractmethod
    def units(self, item: Item) -> Spans: ...

    @property
    def bio(self) -> Bio:
        return Bio(self.task.label_names, layered=self.task.overlapping)

    @property
    def score_name(self) -> str:
        return "F1 of an item's spans"

    def said(self, item: Item, spans: Spans, vote: Vote) -> Said:  # noqa: ARG002
        usable = np.full(len(spans), vote.usable and vote.value is not None)
        if not usable.any():
            return Said(np.full((len(spans), len(self.columns)), 1.0 / self.width), usable)
        return Said(hedged(self.bio, self.bio.encode(len(spans), parts_of(vote.value, spans, self.bio.labels))), usable)

    def encode(self, item: Item, spans: Spans, value: Value) -> NDArray[np.float64]:  # noqa: ARG002
        return self.bio.encode(len(spans), parts_of(value, spans, self.bio.labels, p=1.0))

    def decode(self, item: Item, spans: Spans, probs: Floats, thresholds: Floats | None = None) -> Value:  # noqa: ARG002
        return list(in_characters(self.bio.decode(probs), spans, self.bio.labels))

    def score(self, truth: Value, value: Value) -> float:
        return item_f1(truth, value)

    def differences(self, item: Item, truth: Value, value: Value) -> tuple[Difference, ...]:
        assert isinstance(truth, list)
        assert isinstance(value, list)
        return span_differences(item.text, truth, value)

    def measures(
        self,
        truths: Sequence[Value],
        values: Sequence[Value],
        *,
        confidence: float,
        on: str,
        rng: np.random.Generator,
    ) -> Measures:
        return span_measures(truths, values, self.task.label_names, confidence=confidence, on=on, rng=rng)

    def show(self, item: Item, value: Value) -> str:
        assert isinstance(value, list)
        return "; ".join(f"{s['label']} {item.text[s['start'] : s['end']]!r}" for s in value) or "none"

    def problems(self, item: Item, value: object) -> list[str]:
        return span_problems(item, value, self.task.label_names, overlapping=self.task.overlapping)

    def normal(self, item: Item, value: object) -> Value:  # noqa: ARG002
        assert isinstance(value, list | tuple)
        return list(written(value))

    def mistake(self, item: Item, truth: Value, rng: np.random.Generator) -> Value:
        start, end = self.units(item)[0]
        label = self.task.label_names[int(rng.integers(len(self.task.labels)))]
        assert isinstance(truth, list)
        return slip(truth, self.task.label_names, rng, {"start": int(start), "end": int(end), "label": label})


def hedged(bio: Bio, tags: Floats) -> NDArray[np.float64]:
    """One-hot tags as an opinion: O is said with OUTSIDE_SAID, and what is left is spread over the block."""
    out = np.asarray(tags, dtype=np.float64).copy()
    for start in range(0, out.shape[1], bio.width):
        block = out[:, start : start + bio.width]
        sure = block[:, 0] == 1.0
        block[sure] = (1.0 - OUTSIDE_SAID) / (bio.width - 1)
        block[sure, 0] = OUTSIDE_SAID
    return out


def spans_answered(responses: Mapping[str, object], question: str) -> list[Any]:
    found = responses.get(question) or []
    assert isinstance(found, list)
    return found
