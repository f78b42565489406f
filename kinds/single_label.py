"""One label for each text; also steps of a scale, and questions about a text and its pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Difference, Doubt, Measures, Question, Said, Spans
from kinds.whole_text import WholeText, described
from prompts.parse import Reading, parse_verbalised
from prompts.render import Frame, Style, frame
from prompts.write import write_label
from stillhouse.measures import accuracy_interval, bootstrap_interval, macro_f1_interval, quadratic_kappa
from stillhouse.probabilities import Floats, jensen_shannon, one_hot
from stillhouse.records import Interval, Item, Value, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Task

QUESTION = "label"
RATINGS = frozenset(str(number) for number in range(11))  # the whole numbers a rating question can have


@dataclass(frozen=True)
class SingleLabel(WholeText):
    """The value is the name of a label."""

    task: Task

    @property
    def columns(self) -> tuple[str, ...]:
        return self.task.label_names

    @property
    def width(self) -> int:
        return len(self.task.labels)

    @property
    def classes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: (number,) for number, name in enumerate(self.columns)}

    @property
    def score_name(self) -> str:
        return "accuracy"

    def styles(self) -> frozenset[Style]:
        return frozenset({"codes", "verbalised"})

    def frame(self, teacher: Teacher, style: Style) -> Frame:
        return frame(self.task, teacher, style)

    def read(self, common: Frame, item: Item, content: str) -> Reading:  # noqa: ARG002
        return parse_verbalised(content, common.labels)

    def write(self, common: Frame, item: Item, value: Value) -> str:  # noqa: ARG002
        if common.style == "codes":
            return common.codes[self.columns.index(str(value))] or common.other
        return write_label(str(value))

    def said(self, item: Item, spans: Spans, vote: Vote) -> Said:  # noqa: ARG002
        probs = np.asarray(vote.probs, dtype=np.float64) + vote.residual / self.width
        return Said(probs[None], np.array([vote.usable]))

    def encode(self, item: Item, spans: Spans, value: Value) -> NDArray[np.float64]:  # noqa: ARG002
        return one_hot(np.array([self.columns.index(str(value))]), self.width)

    def decode(self, item: Item, spans: Spans, probs: Floats, thresholds: Floats | None = None) -> Value:  # noqa: ARG002
        return self.columns[int(probs[0].argmax())]

    def thresholds(self, probs: Floats) -> NDArray[np.float64] | None:  # noqa: ARG002
        return None

    def score(self, truth: Value, value: Value) -> float:
        return float(truth == value)

    def expected_score(self, spans: Spans, probs: Floats) -> float:  # noqa: ARG002
        return float(probs[0].max())

    def doubt(self, item: Item, spans: Spans, probs: Floats) -> Doubt:  # noqa: ARG002
        """One less the margin (Scheffer et al. 2001)."""
        second, first = np.argsort(probs[0], kind="stable")[-2:]
        return Doubt(
            1.0 - float(probs[0, first] - probs[0, second]), None, f"{self.columns[first]} or {self.columns[second]}"
        )

    def disagreement(self, spans: Spans, p: Floats, q: Floats) -> float:  # noqa: ARG002
        return float(jensen_shannon(p, q)[0] / np.log(2))

    def differences(self, item: Item, truth: Value, value: Value) -> tuple[Difference, ...]:  # noqa: ARG002
        return () if truth == value else (Difference(str(value), str(truth)),)

    def measures(
        self,
        truths: Sequence[Value],
        values: Sequence[Value],
        *,
        confidence: float,
        on: str,
        rng: np.random.Generator,
    ) -> Measures:
        index = {name: number for number, name in enumerate(self.columns)}
        truth, said = (np.array([index[str(value)] for value in side], dtype=np.int64) for side in (truths, values))
        named: dict[str, Interval] = {
            "accuracy": accuracy_interval(truth == said, confidence, on),
            "macro_f1": macro_f1_interval(truth, said, self.width, confidence=confidence, on=on, rng=rng),
        }
        if self.task.ordinal:
            named["quadratic_kappa"] = bootstrap_interval(
                one_hot(truth * self.width + said, self.width**2),
                quadratic_kappa,
                confidence=confidence,
                on=on,
                rng=rng,
            )
        confusion = np.zeros((self.width, self.width))
        np.add.at(confusion, (truth, said), 1)
        counts = np.stack([np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])
        return Measures("accuracy", named, self.columns, counts)

    def questions(self) -> tuple[Question, ...]:
        rating = self.task.ordinal and set(self.columns) <= RATINGS
        return (Question(QUESTION, self.task.question, "rating" if rating else "label", described(self.task)),)

    def suggest(self, item: Item, value: Value) -> dict[str, object]:  # noqa: ARG002
        return {QUESTION: value}

    def answer(self, item: Item, responses: Mapping[str, object]) -> Value:  # noqa: ARG002
        return str(responses[QUESTION])  # a rating comes back as a number

    def show(self, item: Item, value: Value) -> str:  # noqa: ARG002
        return str(value)

    def problems(self, item: Item, value: object) -> list[str]:  # noqa: ARG002
        return self.label_problems([value])

    def normal(self, item: Item, value: object) -> Value:  # noqa: ARG002
        return str(value)

    def mistake(self, item: Item, truth: Value, rng: np.random.Generator) -> Value:  # noqa: ARG002
        others = [name for name in self.columns if name != truth]
        return others[int(rng.integers(len(others)))]
