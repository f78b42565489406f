"""A tag for each given token, such as its part of speech."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Difference, Doubt, Measures, Question, Said, Spans
from kinds.span_values import tags_in
from kinds.tagged import spans_answered
from kinds.whole_text import described, unknown_labels
from prompts.parse import Reading
from prompts.render import Frame, Style, frame_of
from prompts.structured import read_numbered_tags
from prompts.write import write_numbered_tags
from stillhouse.measures import bootstrap_interval, macro_f1_of, ratio_of
from stillhouse.probabilities import Floats, jensen_shannon, one_hot
from stillhouse.records import Item, Value, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Task

QUESTION = "tags"
REPLY_TOKENS = 64
ECHO = 4.0  # each token comes back with its number and its tag
UNSAID = 0.9  # how likely a tag is whose teacher gave no probability
DOUBTFUL_SHARE = 0.2


def token_spans(item: Item) -> Spans:
    return np.array(item.tokens or (), dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Tokens:
    """The value is a list of tags, one for each token; null where somebody left a token untagged."""

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
    def per_text(self) -> bool:
        return False

    @property
    def score_name(self) -> str:
        return "share of an item's tokens"

    def styles(self) -> frozenset[Style]:
        return frozenset({"verbalised"})

    def frame(self, teacher: Teacher, style: Style) -> Frame:  # noqa: ARG002
        return frame_of(self.task, teacher, template="tokens", reply_tokens=REPLY_TOKENS, echo=ECHO)

    def read(self, common: Frame, item: Item, content: str) -> Reading:
        return read_numbered_tags(content, [item.text[a:b] for a, b in item.tokens or ()], common.labels)

    def write(self, common: Frame, item: Item, value: Value) -> str:  # noqa: ARG002
        return write_numbered_tags([item.text[a:b] for a, b in item.tokens or ()], list(value))

    def units(self, item: Item) -> Spans:
        return token_spans(item)

    def said(self, item: Item, spans: Spans, vote: Vote) -> Said:  # noqa: ARG002
        """A tag is a name, or {"label", "p"}."""
        probs = np.full((len(spans), self.width), 1.0 / self.width)
        usable = np.zeros(len(spans), dtype=bool)
        tags = vote.value if vote.usable and isinstance(vote.value, list) else []
        for unit, tag in enumerate(tags[: len(spans)]):
            name, p = (tag.get("label"), tag.get("p", UNSAID)) if isinstance(tag, Mapping) else (tag, UNSAID)
            if name in self.columns:
                probs[unit] = (1.0 - p) / (self.width - 1)
                probs[unit, self.columns.index(str(name))] = p
                usable[unit] = True
        return Said(probs, usable)

    def encode(self, item: Item, spans: Spans, value: Value) -> NDArray[np.float64]:  # noqa: ARG002
        index = {name: number for number, name in enumerate(self.columns)}
        out = np.full((len(spans), self.width), np.nan)
        for unit, tag in enumerate(value):
            if tag is not None:
                out[unit] = one_hot(np.array([index[str(tag)]]), self.width)[0]
        return out

    def decode(self, item: Item, spans: Spans, probs: Floats, thresholds: Floats | None = None) -> Value:  # noqa: ARG002
        return [self.columns[tag] for tag in probs.argmax(axis=1)]

    def thresholds(self, probs: Floats) -> NDArray[np.float64] | None:  # noqa: ARG002
        return None

    def score(self, truth: Value, value: Value) -> float:
        known = [(t, v) for t, v in zip(truth, value, strict=True) if t is not None]
        return sum(t == v for t, v in known) / len(known) if known else 1.0

    def expected_score(self, spans: Spans, probs: Floats) -> float:  # noqa: ARG002
        return float(probs.max(axis=1).mean()) if len(probs) else 1.0

    def doubt(self, item: Item, spans: Spans, probs: Floats) -> Doubt:
        """The mean doubt of the least certain fifth of the tokens: length counts neither for nor against an item."""
        if not len(probs):
            return Doubt(0.0)
        sure = probs.max(axis=1)
        least = np.sort(sure)[: max(1, round(DOUBTFUL_SHARE * len(sure)))]
        worst = int(sure.argmin())
        start, end = int(spans[worst, 0]), int(spans[worst, 1])
        second, first = np.argsort(probs[worst], kind="stable")[-2:]
        words = f"{item.text[start:end]!r}: {self.columns[first]} or {self.columns[second]}"
        return Doubt(1.0 - float(least.mean()), (start, end), words)

    def disagreement(self, spans: Spans, p: Floats, q: Floats) -> float:  # noqa: ARG002
        return float(jensen_shannon(p, q).max() / np.log(2)) if len(p) else 0.0

    def differences(self, item: Item, truth: Value, value: Value) -> tuple[Difference, ...]:
        words = [item.text[start:end] for start, end in item.tokens or ()]
        return tuple(
            Difference(str(said or ""), str(right), repr(word))
            for word, right, said in zip(words, truth, value, strict=True)
            if right is not None and right != said
        )

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
        counts = np.zeros((len(truths), 3, self.width))
        for row, (truth, value) in enumerate(zip(truths, values, strict=True)):
            for true, said in zip(truth, value, strict=True):
                if true is not None:
                    counts[row, 0, index[str(true)]] += true == said
                    counts[row, 1, index[str(true)]] += 1
                    counts[row, 2, index[str(said)]] += said is not None
        ratio = counts[:, :2].sum(axis=2)
        return Measures(
            "accuracy",
            {
                "accuracy": bootstrap_interval(ratio, ratio_of, confidence=confidence, on=on, rng=rng),
                "macro_f1": bootstrap_interval(
                    counts.reshape(len(counts), -1), macro_f1_of, confidence=confidence, on=on, rng=rng
                ),
            },
            self.columns,
            counts.sum(axis=0),
        )

    def questions(self) -> tuple[Question, ...]:
        return (Question(QUESTION, self.task.question, "span", described(self.task)),)

    def suggest(self, item: Item, value: Value) -> dict[str, object]:
        spans = [
            {"start": start, "end": end, "label": tag}
            for (start, end), tag in zip(item.tokens or (), value, strict=True)
            if tag is not None
        ]
        return {QUESTION: spans} if spans else {}

    def answer(self, item: Item, responses: Mapping[str, object]) -> Value:
        """The tag of the span over each token; null where there is none: it is not guessed."""
        tags = tags_in(token_spans(item), spans_answered(responses, QUESTION), self.columns)
        return [None if tag < 0 else self.columns[tag] for tag in tags]

    def show(self, item: Item, value: Value) -> str:
        words = [item.text[start:end] for start, end in item.tokens or ()]
        return " ".join(f"{word}/{tag or '?'}" for word, tag in zip(words, value, strict=True))

    def problems(self, item: Item, value: object) -> list[str]:
        count = len(item.tokens or ())
        if not isinstance(value, list | tuple):
            return [f"expected a list of {count} tags, found {value!r}"]
        problems = [] if len(value) == count else [f"expected {count} tags, one a token, found {len(value)}"]
        return problems + unknown_labels(self.columns, [tag for tag in value if tag is not None])

    def normal(self, item: Item, value: object) -> Value:  # noqa: ARG002
        assert isinstance(value, list | tuple)
        return list(value)

    def mistake(self, item: Item, truth: Value, rng: np.random.Generator) -> Value:  # noqa: ARG002
        tags = list(truth)
        if tags:
            at = int(rng.integers(len(tags)))
            others = [name for name in self.columns if name != tags[at]]
            tags[at] = others[int(rng.integers(len(others)))]
        return tags
