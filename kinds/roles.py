"""Semantic roles: spans of given tokens, each with the role it plays for the predicate the item asks about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kinds.kind import Question, Spans
from kinds.tagged import Tagged, spans_answered
from kinds.tokens import token_spans
from kinds.whole_text import described
from prompts.parse import Reading
from prompts.render import Frame, Style, frame_of
from prompts.structured import read_quotes
from prompts.write import write_quotes
from stillhouse.records import Item, Value
from stillhouse.settings import Teacher
from stillhouse.task import Task

QUESTION = "roles"
REPLY_TOKENS = 256
ECHO = 1.5


@dataclass(frozen=True)
class Roles(Tagged):
    """The value is a list of {"start", "end", "label"} whose ends are ends of tokens; the predicate is the focus."""

    task: Task

    @property
    def score_name(self) -> str:
        return "F1 of an item's arguments"

    def units(self, item: Item) -> Spans:
        return token_spans(item)

    def frame(self, teacher: Teacher, style: Style) -> Frame:  # noqa: ARG002
        return frame_of(self.task, teacher, template="roles", reply_tokens=REPLY_TOKENS, echo=ECHO)

    def read(self, common: Frame, item: Item, content: str) -> Reading:
        reading = read_quotes(content, item.text, common.labels)
        if not isinstance(reading.value, list):
            return reading
        return replace(reading, value=[self._snapped(item, span) for span in reading.value])

    def write(self, common: Frame, item: Item, value: Value) -> str:  # noqa: ARG002
        assert isinstance(value, list)
        return write_quotes(item.text, value)

    def questions(self) -> tuple[Question, ...]:
        return (Question(QUESTION, self.task.question, "span", described(self.task), required=False),)

    def suggest(self, item: Item, value: Value) -> dict[str, object]:
        return {QUESTION: self.normal(item, value)} if value else {}

    def answer(self, item: Item, responses: Mapping[str, object]) -> Value:
        return self.normal(item, spans_answered(responses, QUESTION))

    def normal(self, item: Item, value: object) -> Value:
        assert isinstance(value, list | tuple)
        return super().normal(item, [self._snapped(item, span) for span in value])

    def _snapped(self, item: Item, span: Mapping[str, object]) -> dict[str, object]:
        """The span widened to whole tokens; one that touches none stays as it is."""
        units = token_spans(item)
        start, end = int(str(span["start"])), int(str(span["end"]))
        touched = np.flatnonzero((units[:, 0] < end) & (units[:, 1] > start))
        if not len(touched):
            return dict(span)
        return {**span, "start": int(units[touched[0], 0]), "end": int(units[touched[-1], 1])}
