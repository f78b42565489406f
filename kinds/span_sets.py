"""Named entities and other spans, also overlapping ones: the units are the words of the text."""

from collections.abc import Mapping
from dataclasses import dataclass

from kinds.kind import Question, Spans
from kinds.tagged import Tagged, spans_answered
from kinds.whole_text import described
from kinds.words import word_spans
from prompts.parse import Reading
from prompts.render import Frame, Style, frame_of
from prompts.structured import read_quotes, read_tagged
from prompts.write import write_quotes, write_tagged
from stillhouse.records import Item, Value
from stillhouse.settings import Teacher
from stillhouse.task import Task

QUESTION = "spans"
REPLY_TOKENS = 64
ECHO = 1.6  # the reply repeats the text with tags in it


@dataclass(frozen=True)
class SpanSets(Tagged):
    """The value is a list of {"start", "end", "label"} in characters of the text."""

    task: Task

    def units(self, item: Item) -> Spans:
        return word_spans(item.text)

    def frame(self, teacher: Teacher, style: Style) -> Frame:  # noqa: ARG002
        template = "quotes" if self.task.overlapping else "spans"
        return frame_of(self.task, teacher, template=template, reply_tokens=REPLY_TOKENS, echo=ECHO)

    def read(self, common: Frame, item: Item, content: str) -> Reading:
        read = read_quotes if self.task.overlapping else read_tagged
        return read(content, item.text, common.labels)

    def write(self, common: Frame, item: Item, value: Value) -> str:  # noqa: ARG002
        assert isinstance(value, list)
        return write_quotes(item.text, value) if self.task.overlapping else write_tagged(item.text, value)

    def questions(self) -> tuple[Question, ...]:
        return (
            Question(
                QUESTION,
                self.task.question,
                "span",
                described(self.task),
                required=False,
                overlapping=self.task.overlapping,
            ),
        )

    def suggest(self, item: Item, value: Value) -> dict[str, object]:
        return {QUESTION: self.normal(item, value)} if value else {}

    def answer(self, item: Item, responses: Mapping[str, object]) -> Value:
        return self.normal(item, spans_answered(responses, QUESTION))
