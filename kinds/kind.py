"""What every kind of task must say of itself: how to ask, read, encode, decode, doubt, compare, measure and show.

A task's output is a row of *decisions*. Each unit of an item (the whole text, or one token of it) is one row of
`columns`, and each block of `width` columns in it is one distribution: a single label is one block, each of many
labels a block of two (absent, present), a token's tag one block. Teacher, belief, student and selection see only
these arrays; what they mean is known here alone. So a new kind is one module of this folder and one line in
`kinds.registry`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from prompts.parse import Reading
from prompts.render import Frame, Style
from stillhouse.probabilities import Floats
from stillhouse.records import CharSpan, Interval, Item, Value, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Task

Spans = NDArray[np.int64]  # (u, 2): start and end in characters of each unit
QuestionType = Literal["label", "multi_label", "span", "rating", "text"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """How much an item needs a person, 0 to 1, and which part of it: characters of the text, and in words."""

    score: float
    where: CharSpan | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One question at the desk. `labels` are (value, description) pairs; of a rating they are numbers as text."""

    name: str
    title: str
    type: QuestionType
    labels: tuple[tuple[str, str], ...] = ()
    required: bool = True
    overlapping: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A vote as an array: (u, k), and which units it speaks of at all (u,); the rest is uniform."""

    probs: NDArray[np.float64]
    usable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a value is not the truth: `said` in the place of `right`, both names of the task's labels or
    fields, "" for nothing. The same name twice: it is the right one, but stands for other words (`words` tells which).
    """

    said: str
    right: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Measures:
    """Intervals by name; `main` is the name of the figure the kind is judged by. `counts` (3, l) are hits, true and
    said of each of `labels`.
    """

    main: str
    by_name: Mapping[str, Interval]
    labels: tuple[str, ...] = ()
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, 0)))

    @property
    def interval(self) -> Interval:
        return self.by_name[self.main]


class Kind(Protocol):
    """One task as its kind sees it. Arrays are per item: `units` rows, `columns` columns."""

    @property
    def task(self) -> Task: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """A name for each column; their number is a multiple of `width`."""
        ...

    @property
    def width(self) -> int:
        """How many columns one distribution has."""
        ...

    @property
    def classes(self) -> Mapping[str, tuple[int, ...]]:
        """What a unit can be said to be (a label, a tag, part of a field's value), and the columns that say so."""
        ...

    @property
    def per_text(self) -> bool:
        """Whether the one unit of an item is its whole text (with its pair), whatever its length."""
        ...

    @property
    def score_name(self) -> str:
        """What `score` is called on a page: "accuracy", "F1 of an item", "share of fields right"."""
        ...

    # -- asking a teacher

    def styles(self) -> frozenset[Style]:
        """The ways a teacher can be asked; "codes" only where one token can answer."""
        ...

    def frame(self, teacher: Teacher, style: Style) -> Frame: ...

    def read(self, common: Frame, item: Item, content: str) -> Reading:
        """A reply in words. What it says of the item is in `probs` (label kinds) or `value`."""
        ...

    def write(self, common: Frame, item: Item, value: Value) -> str:
        """The reply that says the value, in the form the frame asks for; `kinds.demonstrate` reads it back."""
        ...

    # -- arrays

    def units(self, item: Item) -> Spans: ...

    def said(self, item: Item, spans: Spans, vote: Vote) -> Said: ...

    def encode(self, item: Item, spans: Spans, value: Value) -> NDArray[np.float64]:
        """(u, k) of zeros and ones; nan in the rows of which the value does not say anything."""
        ...

    def decode(self, item: Item, spans: Spans, probs: Floats, thresholds: Floats | None = None) -> Value:
        """The value that `probs` (u, k) amount to, consistent in itself. `thresholds` (k / width,) are for pairs of
        columns (absent, present), 0.5 unless given.
        """
        ...

    def thresholds(self, probs: Floats) -> NDArray[np.float64] | None:
        """What `decode` should take as thresholds, from the calibrated probabilities (n, k) of many items; None where
        the likeliest value is taken.
        """
        ...

    # -- judging

    def score(self, truth: Value, value: Value) -> float:
        """How right an item's value is, 0 to 1; what the certificate and the stop rule are about."""
        ...

    def expected_score(self, spans: Spans, probs: Floats) -> float:
        """What `score` would be on average if `probs` were right."""
        ...

    def doubt(self, item: Item, spans: Spans, probs: Floats) -> Doubt: ...

    def disagreement(self, spans: Spans, p: Floats, q: Floats) -> float:
        """How far two opinions (u, k) of one item are apart, 0 to 1."""
        ...

    def differences(self, item: Item, truth: Value, value: Value) -> tuple[Difference, ...]:
        """What is wrong with a value, part by part, in the order of the truth; nothing where it is right."""
        ...

    def measures(
        self,
        truths: Sequence[Value],
        values: Sequence[Value],
        *,
        confidence: float,
        on: str,
        rng: np.random.Generator,
    ) -> Measures: ...

    # -- people

    def questions(self) -> tuple[Question, ...]: ...

    def suggest(self, item: Item, value: Value) -> dict[str, object]:
        """The value as Argilla's suggestions, by the name of the question; questions without one are left out."""
        ...

    def answer(self, item: Item, responses: Mapping[str, object]) -> Value:
        """The other way round: what a person's responses, by the name of the question, amount to."""
        ...

    def show(self, item: Item, value: Value) -> str:
        """The value in one line for a page."""
        ...

    def problems(self, item: Item, value: object) -> list[str]:
        """What is wrong with a value that comes from a file (expected, found); nothing if it can be used."""
        ...

    def normal(self, item: Item, value: object) -> Value:
        """The one way to write a value that has no `problems`: order, case and types as the task has them."""
        ...

    def mistake(self, item: Item, truth: Value, rng: np.random.Generator) -> Value:
        """A wrong value, as a careless expert might give it (rehearsals only)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The units of many items laid end to end: item i has the rows starts[i] to starts[i + 1]."""

    starts: NDArray[np.int64]
    spans: Spans
    item_of: NDArray[np.int64] = field(repr=False)

    @staticmethod
    def of(kind: Kind, items: Sequence[Item]) -> "Layout":
        each = [kind.units(item) for item in items]
        counts = np.array([len(spans) for spans in each], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        spans = np.concatenate(each) if each else np.zeros((0, 2), dtype=np.int64)
        return Layout(starts, spans, np.repeat(np.arange(len(items), dtype=np.int64), counts))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def rows(self, number: int) -> slice:
        return slice(int(self.starts[number]), int(self.starts[number + 1]))
