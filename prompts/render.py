"""From a task and an item to the messages a teacher is sent: what is common first, the item last."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

import jinja2

from prompts.delimit import Part, enclose, question_key, sendable
from prompts.labels import Spellings, label_codes, spellings
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.task import Task

Style = Literal["codes", "verbalised"]
TEMPLATES = Path(__file__).parent / "templates"
GIVEN_TOKENS = frozenset({"tokens", "roles"})  # templates that show the tokens of the item
CODE_TOKENS = 4  # a code, and room for the blank or quote some models put before it
REPLY_CHARS_SHOWN = 1000  # of an unreadable reply, when asking for a repair


@dataclass(frozen=True, slots=True)
class Message:
    """`image` is the address of a picture that goes with the words."""

    role: Literal["system", "user", "assistant"]
    content: str
    image: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is the same for every item of a task, teacher and style; `codes` follow the order of the task's labels.

    `template` is the stem of the templates of the item's question and of a repair. The reply to an item takes up to
    `reply_tokens`, and `echo` times the tokens of its text. `other` is the code of "none of these" (see
    `prompts.candidates`); a label that has no code then is not shown.
    """

    style: Style
    system: str
    prompt_id: str
    codes: tuple[str, ...]
    labels: Spellings
    reply_tokens: int
    schema: Mapping[str, object] | None
    template: str = ""
    echo: float = 0.0
    pair_heading: str = ""
    words: Mapping[str, object] = field(default_factory=dict)
    other: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A demonstration in a frame's words: the item as it is asked about, and the reply it should get."""

    asked: Message
    reply: Message


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent for one item. `prompt_id` is that of its frame, and after a dot that of its examples if it has any."""

    messages: tuple[Message, ...]
    prompt_id: str
    style: Style

    def text(self) -> str:
        """For people: every message under its role."""
        shown = (
            f"[image {message.image}]\n{message.content}" if message.image else message.content
            for message in self.messages
        )
        return "\n".join(f"--- {m.role} ---\n{text}" for m, text in zip(self.messages, shown, strict=True)) + "\n"


def render(task: Task, teacher: Teacher, item: Item, style: Style) -> Prompt:
    """One prompt, for showing; whoever renders many makes the frame once and calls `fill`."""
    return fill(frame(task, teacher, style), item)


def frame(task: Task, teacher: Teacher, style: Style) -> Frame:
    """The frame of a task with one label a text."""
    codes_as_shown = label_codes(len(task.labels)) if style == "codes" else ("",) * len(task.labels)
    order = _order(task, teacher)
    shown = _labels_shown(task, order, codes_as_shown)
    longest = max(len(name.encode("utf-8", "replace")) for name in task.label_names)
    return _framed(
        task,
        style,
        template="",
        examples=teacher.demonstrations > 0,
        words={"labels": shown},
        codes=tuple(code for _, code in sorted(zip(order, codes_as_shown, strict=True))),
        # {"label": ..., "confidence": 0.85, "second": ...} is 20 to 30 tokens around two names of some 2 bytes a token.
        reply_tokens=CODE_TOKENS if style == "codes" else 48 + longest,
        schema=None if style == "codes" else _schema([label["name"] for label in shown]),
    )


def frame_of(
    task: Task,
    teacher: Teacher,
    *,
    template: str,
    schema: Mapping[str, object] | None = None,
    reply_tokens: int,
    echo: float = 0.0,
    style: Style = "verbalised",
    **words: object,
) -> Frame:
    """The frame of a task whose reply is more than a label: system text, last line and repair are the templates
    system_, item_ and repair_`template`; they see the task's labels, its fields, and `words`.
    """
    order = _order(task, teacher)
    fields = task.fields[::-1] if teacher.label_order == "reversed" else task.fields
    shown = _labels_shown(task, order, ("",) * len(order))
    return _framed(
        task,
        style,
        template=template,
        examples=teacher.demonstrations > 0,
        words={"labels": shown, "fields": fields, **words},
        reply_tokens=reply_tokens,
        schema=schema,
        echo=echo,
    )


def fill(common: Frame, item: Item, examples: Sequence[Example] = ()) -> Prompt:
    """The prompt of one item: its text, and what else it has. Given tokens are shown only where the kind asks for them.

    Examples stand before it as turns of their own, in the same form and enclosed the same way.
    """
    turns = [turn for example in examples for turn in (example.asked, example.reply)]
    prompt_id = f"{common.prompt_id}.{digest_of(*(turn.content for turn in turns))[:8]}" if turns else common.prompt_id
    return Prompt((Message("system", common.system), *turns, _asked(common, item)), prompt_id, common.style)


def shown(common: Frame, item: Item, reply: str) -> Example:
    """An item with its reply, rendered once for all the prompts that show it."""
    return Example(_asked(common, item), Message("assistant", sendable(reply)))


def _asked(common: Frame, item: Item) -> Message:
    parts = _parts(common, item)
    there = {
        part: enclose(text, *(other for name, other in parts.items() if name != part), part=part)
        for part, text in parts.items()
    }
    user = (
        named_template(_named("item", common.template))
        .render(
            **{"pair": "", "tokens": "", "predicate": "", **there},
            pair_heading=common.pair_heading,
            style=common.style,
            **common.words,
        )
        .rstrip("\n")
    )
    return Message("user", user, item.image)


def repair(common: Frame, prompt: Prompt, reply: str) -> Prompt:
    """The prompt again, with the reply that could not be read and what was wrong with it.

    Without any text in the reply the same prompt is asked once more: there is nothing to show.
    """
    if not reply.strip():
        return prompt
    ask = _repair(common)
    shown = sendable(reply[:REPLY_CHARS_SHOWN])
    return Prompt((*prompt.messages, Message("assistant", shown), Message("user", ask)), prompt.prompt_id, prompt.style)


def question_of(item: Item) -> str:
    """What tells the item's question from others of its task in a prompt: see `prompts.delimit.asked_about`."""
    return question_key(sendable(item.text), sendable(item.pair), sendable(_predicate(item)))


def _parts(common: Frame, item: Item) -> dict[Part, str]:
    parts: dict[Part, str] = {"text": item.text}
    if item.pair:
        parts["pair"] = item.pair
    if predicate := _predicate(item):
        parts["predicate"] = predicate
    if common.template in GIVEN_TOKENS and item.tokens is not None:
        words = (" ".join(item.text[start:end].split()) for start, end in item.tokens)
        parts["tokens"] = "\n".join(f"{number}:{word}" for number, word in enumerate(words, 1))
    return parts


def _predicate(item: Item) -> str:
    """number:word of the token a question is about, or the word alone where no token is there."""
    if item.focus is None:
        return ""
    start, end = item.focus
    word = " ".join(item.text[start:end].split())
    number = next((n for n, token in enumerate(item.tokens or (), 1) if token == item.focus), None)
    return word if number is None else f"{number}:{word}"


def _framed(
    task: Task,
    style: Style,
    *,
    template: str,
    examples: bool,
    words: Mapping[str, object],
    reply_tokens: int,
    schema: Mapping[str, object] | None,
    codes: tuple[str, ...] | None = None,
    echo: float = 0.0,
) -> Frame:
    heading = (task.data.pair or "").replace("_", " ").strip()
    parts = ["the text", *([f"the {heading}"] if heading else [])]
    parts += ["the predicate"] if task.data.focus else []
    parts += ["the tokens"] if template in GIVEN_TOKENS else []
    common = Frame(
        style=style,
        system=sendable(
            named_template(_named("system", template or style)).render(
                guidelines=task.guidelines, question=task.question, parts=parts, examples=examples, **words
            )
        ).rstrip("\n"),
        prompt_id="",
        codes=("",) * len(task.labels) if codes is None else codes,
        labels=spellings(task.labels),
        reply_tokens=reply_tokens,
        schema=schema,
        template=template,
        echo=echo,
        pair_heading=heading[:1].upper() + heading[1:],
        words=words,
    )
    return replace(common, prompt_id=_prompt_id(common))


def _order(task: Task, teacher: Teacher) -> list[int]:
    order = list(range(len(task.labels)))
    return order[::-1] if teacher.label_order == "reversed" else order


def _labels_shown(task: Task, order: Sequence[int], codes: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"name": task.labels[index].name, "description": task.labels[index].description, "code": code}
        for code, index in zip(codes, order, strict=True)
    ]


def _repair(common: Frame) -> str:
    codes = sorted(code for code in (*common.codes, common.other) if code)
    words = {"codes": codes, "names": common.labels.names, **common.words}
    return named_template(_named("repair", common.template)).render(style=common.style, **words).rstrip("\n")


def _named(what: str, stem: str) -> str:
    return f"{what}_{stem}.jinja" if stem else f"{what}.jinja"


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


def _prompt_id(common: Frame) -> str:
    """Changes with the templates, the task's words, the labels and their order; not with the item."""
    every_part = Item("", "text", pair="pair", tokens=((0, 4),), focus=(0, 4))
    parts = [common.style, common.system, _asked(common, every_part).content, _repair(common)]
    return digest_of(*parts)[:16]


def digest_of(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


@cache
def named_template(name: str) -> jinja2.Template:
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
