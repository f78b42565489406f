"""From a task and an item to the messages a teacher is sent: what is common first, the item last."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2

from prompts.delimit import enclose, sendable
from prompts.labels import Spellings, label_codes, spellings
from stillhouse.records import Item
from stillhouse.task import Task, Teacher

Style = Literal["codes", "verbalised"]
TEMPLATES = Path(__file__).parent / "templates"
CODE_TOKENS = 4  # a code, and room for the blank or quote some models put before it
REPLY_CHARS_SHOWN = 1000  # of an unreadable reply, when asking for a repair


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What is the same for every item of a task, teacher and style; `codes` follow the order of the task's labels."""

    style: Style
    system: str
    prompt_id: str
    codes: tuple[str, ...]
    labels: Spellings
    reply_tokens: int
    schema: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent for one item, and the id of its frame."""

    messages: tuple[Message, ...]
    prompt_id: str
    style: Style

    def text(self) -> str:
        """For people: every message under its role."""
        return "\n".join(f"--- {message.role} ---\n{message.content}" for message in self.messages) + "\n"


def render(task: Task, teacher: Teacher, item: Item, style: Style) -> Prompt:
    """One prompt, for showing; whoever renders many makes the frame once and calls `fill`."""
    return fill(frame(task, teacher, style), item)


def frame(task: Task, teacher: Teacher, style: Style) -> Frame:
    codes_as_shown = label_codes(len(task.labels)) if style == "codes" else ("",) * len(task.labels)
    order = list(range(len(task.labels)))
    if teacher.label_order == "reversed":
        order.reverse()
    shown = [
        {"name": task.labels[index].name, "description": task.labels[index].description, "code": code}
        for code, index in zip(codes_as_shown, order, strict=True)
    ]
    system = sendable(
        _template(f"system_{style}.jinja").render(guidelines=task.guidelines, question=task.question, labels=shown)
    )
    codes = tuple(code for _, code in sorted(zip(order, codes_as_shown, strict=True)))
    longest = max(len(name.encode("utf-8", "replace")) for name in task.label_names)
    return Frame(
        style=style,
        system=system,
        prompt_id=_prompt_id(style, system),
        codes=codes,
        labels=spellings(task.labels),
        # {"label": ..., "confidence": 0.85, "second": ...} is 20 to 30 tokens around two names of some 2 bytes a token.
        reply_tokens=CODE_TOKENS if style == "codes" else 48 + longest,
        schema=None if style == "codes" else _schema([str(label["name"]) for label in shown]),
    )


def fill(common: Frame, item: Item) -> Prompt:
    """The prompt of one item."""
    user = _template("item.jinja").render(enclosed=enclose(item.text), style=common.style).rstrip("\n")
    return Prompt((Message("system", common.system), Message("user", user)), common.prompt_id, common.style)


def repair(common: Frame, prompt: Prompt, reply: str) -> Prompt:
    """The prompt again, with the reply that could not be read and what was wrong with it.

    Without any text in the reply the same prompt is asked once more: there is nothing to show.
    """
    if not reply.strip():
        return prompt
    ask = _template("repair.jinja").render(style=common.style, codes=sorted(common.codes), names=common.labels.names)
    ask = ask.rstrip("\n")
    shown = sendable(reply[:REPLY_CHARS_SHOWN])
    return Prompt((*prompt.messages, Message("assistant", shown), Message("user", ask)), prompt.prompt_id, prompt.style)


def _schema(names: list[str]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {
            "label": {"type": "string", "enum": names},
            "confidence": {"type": "number"},
            "second": {"anyOf": [{"type": "string", "enum": names}, {"type": "null"}]},
        },
        "required": ["label", "confidence", "second"],
        "additionalProperties": False,
    }


def _prompt_id(style: Style, system: str) -> str:
    """Changes with the templates, the task's words, the labels and their order; not with the item."""
    parts = [system, *((TEMPLATES / name).read_text("utf-8") for name in (f"system_{style}.jinja", "item.jinja"))]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


@cache
def _template(name: str) -> jinja2.Template:
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - the reader is a model, not a browser: &lt; would be another text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
