"""Asking a teacher for an amendment to the guidelines: what is shown, and how the reply is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prompts.delimit import enclose, sendable
from prompts.render import Message, Prompt, digest_of, named_template
from prompts.reply import only_object, without_thinking
from stillhouse.records import Item
from stillhouse.task import Task

Between = Literal["teacher", "people"]  # who is at odds with people: the teacher, or other people
KEY = "amendment"
MOST_WORDS = 80
REPLY_TOKENS = 400
CHARS_SHOWN = 1_500  # of one text
SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {KEY: {"type": "string"}},
    "required": [KEY],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An item with two answers, in the words of `Kind.show`; the same twice where all agree."""

    item: Item
    said: str
    right: str


def amend_prompt(
    task: Task, between: Between, said: str, right: str, disagreements: Sequence[Shown], agreements: Sequence[Shown]
) -> Prompt:
    """`said` and `right` are names of labels or fields, or "" for nothing: what these disagreements have in common."""
    first, second = ("some experts say", "others say") if between == "people" else ("it says", "experts say")
    words = {
        "guidelines": task.guidelines,
        "question": task.question,
        "labels": task.labels,
        "fields": task.fields,
        "between": between,
        "first": f"{first} {_named(said)}",
        "second": f"{second} {_named(right, other=said == right)}",
        "words": MOST_WORDS,
        "disagreements": [_enclosed(each) for each in disagreements],
        "agreements": [_enclosed(each) for each in agreements],
    }
    system = sendable(named_template("amend_system.jinja").render(**words)).strip()
    user = named_template("amend.jinja").render(**words).strip()
    return Prompt((Message("system", system), Message("user", user)), digest_of(system, user)[:16], "verbalised")


def read_amendment(content: str) -> str | None:
    """The amendment on one line; None where the reply has none, or two that differ."""
    answer, _ = without_thinking(content)
    found = only_object(answer, {KEY})
    said = found.value.get(KEY) if found else None
    return " ".join(said.split()) or None if isinstance(said, str) else None


def _named(name: str, *, other: bool = False) -> str:
    return f'"{name}" of other words' if other and name else f'"{name}"' if name else "nothing"


def _enclosed(shown: Shown) -> dict[str, str]:
    text, item = shown.item.text, shown.item
    text = text if len(text) <= CHARS_SHOWN else f"{text[:CHARS_SHOWN]} […]"
    predicate = item.text[slice(*item.focus)] if item.focus else ""
    every = (text, item.pair, predicate, shown.said, shown.right)
    parts = [enclose(text, *every)]
    parts += [enclose(item.pair, *every, part="pair")] if item.pair else []
    parts += [enclose(predicate, *every, part="predicate")] if predicate else []
    return {
        "parts": "\n\n".join(parts),
        "said": enclose(shown.said, *every, part="answer"),
        "right": enclose(shown.right, *every, part="answer"),
    }
