"""What an API does with logprobs, n, response_format and temperature, and how a teacher is asked because of it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from prompts.render import Frame, Style
from prompts.windows import WINDOW_TOKENS, windows_of
from stillhouse.errors import TeacherError
from stillhouse.records import Item
from stillhouse.settings import DECISION_APIS, Teacher
from stillhouse.task import Task
from teacher.wire import Asking, MaxTokensField, tokens_about
from teacher.wire_decisions import decide_of
from teacher.wire_shapes import Decide

Finding = Literal["honoured", "ignored", "refused"]
How = Literal["decision", "logprobs", "samples", "verbalised"]
SAMPLE_TEMPERATURE = 0.7
MOST_TOP_LOGPROBS = 20
REPAIR_ROOM = 8  # a reply that was cut off is asked for again with that many times the room
MOST_REPAIR_TOKENS = 16_384  # but with no more than models commonly write in one reply
ALL_STYLES: frozenset[Style] = frozenset({"codes", "verbalised"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a probe found out about one model at one address. Ignored: HTTP 200, but nothing came of it."""

    logprobs: Finding
    n: Finding
    response_format: Finding
    temperature: Finding
    top_logprobs: int = MOST_TOP_LOGPROBS
    max_tokens_field: MaxTokensField = "max_tokens"
    recorded: bool = False

    def to_json(self) -> dict[str, object]:
        return asdict(self)


# A recording says what it once said, whatever else is asked of it.
RECORDED = Capabilities("ignored", "ignored", "ignored", "ignored", top_logprobs=0, recorded=True)
# A decision endpoint is asked one thing, which it has: there is nothing to find out.
DECIDES = Capabilities("ignored", "ignored", "ignored", "ignored", top_logprobs=0)
# Before the probe an estimate assumes the dearest way.
UNPROBED = Capabilities("ignored", "honoured", "ignored", "honoured", top_logprobs=0)


# Anthropic's API has neither, whatever the model.
MESSAGES_UNPROBED = Capabilities("ignored", "ignored", "ignored", "honoured", top_logprobs=0)


def _unprobed(teacher: Teacher) -> Capabilities:
    return MESSAGES_UNPROBED if teacher.api == "anthropic_messages" else UNPROBED


def capabilities_from_json(stored: Mapping[str, Any]) -> Capabilities | None:
    """None for a record of another version, which is as good as none: probing again costs one tiny call."""
    try:
        return Capabilities(**stored)
    except TypeError:
        return None


def memory_key(teacher: Teacher) -> str:
    """Capabilities belong to a model at an address, not to a teacher of a task."""
    api = "" if teacher.api == "openai_chat" else f" {teacher.api}"
    return f"{endpoint_of(teacher)} {teacher.model}{api}"


def endpoint_of(teacher: Teacher) -> str:
    """Where replies come from. The port of a teacher of this process changes with every start; its file does not."""
    if teacher.vllm is not None:
        return f"vllm:{teacher.local}"
    return f"recording:{teacher.recording}" if teacher.recording is not None else teacher.base_url.rstrip("/")


@dataclass(frozen=True, slots=True)
class Plan:
    """How one item is asked: `calls_an_item` calls with `n` answers each."""

    how: How
    calls_an_item: int
    n: int
    known: Capabilities
    decide: Decide | None = None
    temperature: float | None = None

    @property
    def style(self) -> Style:
        return "codes" if self.how == "logprobs" else "verbalised"

    def windows(self, item: Item, max_tokens: int = WINDOW_TOKENS) -> list[tuple[int, Item]]:
        """The parts an item is asked in, each with its offset; a recording knows whole texts only."""
        return [(0, item)] if self.known.recorded else windows_of(item, max_tokens)

    def asking(self, common: Frame, item: Item) -> Asking:
        wanted = SAMPLE_TEMPERATURE if self.how == "samples" else 0.0
        wanted = wanted if self.temperature is None else self.temperature
        return Asking(
            max_tokens=reply_room(common, item),
            max_tokens_field=self.known.max_tokens_field,
            temperature=None if self.known.temperature == "refused" else wanted,
            n=self.n,
            top_logprobs=self.known.top_logprobs if self.how == "logprobs" else 0,
            schema=common.schema if self.known.response_format == "honoured" else None,
            decide=self.decide,
        )

    def asking_again(self, common: Frame, item: Item, *, cut_off: bool) -> Asking:
        """For a repair: one answer, with more room if the first was cut off."""
        room = reply_room(common, item)
        return Asking(
            max_tokens=max(room, min(room * REPAIR_ROOM, MOST_REPAIR_TOKENS)) if cut_off else room,
            max_tokens_field=self.known.max_tokens_field,
            temperature=None if self.known.temperature == "refused" else 0.0,
            top_logprobs=self.known.top_logprobs if self.how == "logprobs" else 0,
            schema=common.schema if self.known.response_format == "honoured" else None,
        )


def reply_room(common: Frame, item: Item) -> int:
    """The tokens a reply to this item may take: a kind that repeats the text needs more for a longer one."""
    echoed = math.ceil(common.echo * tokens_about(len(item.text.encode("utf-8", "replace"))))
    return common.reply_tokens + echoed


def plan_for(task: Task, teacher: Teacher, known: Capabilities | None, styles: frozenset[Style]) -> Plan:
    """The plan for a task: a decision where the API gives one, else as `plan_of` says."""
    if teacher.api not in DECISION_APIS:
        return plan_of(teacher, known, styles)
    if teacher.ask != "auto":
        raise TeacherError(
            f"teacher {teacher.name}: a decision is all this API gives",
            expected=f'ask = "auto", because api = "{teacher.api}"',
            found=f'ask = "{teacher.ask}"',
            fix="leave ask out for this teacher",
        )
    return Plan("decision", 1, 1, known or DECIDES, decide_of(task, teacher))


def plan_of(teacher: Teacher, known: Capabilities | None, styles: frozenset[Style] = ALL_STYLES) -> Plan:
    """Logprobs where they are given, else samples with verbalised confidence, else verbalised confidence alone.

    `styles` are those of the task's kind: without codes no token is a whole answer, and logprobs say nothing. Raises
    TeacherError where the teacher insists on logprobs that the API or the kind does not have.
    """
    if teacher.temperature is not None and known is not None and known.temperature == "refused":
        raise TeacherError(
            f"teacher {teacher.name}: no choice of temperature",
            expected=f"a model that takes a temperature, because temperature = {teacher.temperature:g}",
            found=f"{teacher.model} at {endpoint_of(teacher)} refuses it",
            fix="leave temperature out for this teacher",
        )
    known = known or (RECORDED if teacher.recording is not None else _unprobed(teacher))
    coded = "codes" in styles
    if teacher.ask == "logprobs" and not coded:
        raise TeacherError(
            f"teacher {teacher.name}: no logprobs for this kind of task",
            expected='a task of the kind "single_label", because ask = "logprobs"',
            found="a kind whose answers are more than one token",
            fix='set ask = "auto" or "samples" for this teacher',
        )
    if teacher.ask == "logprobs" and known.logprobs != "honoured" and known is not UNPROBED:
        raise TeacherError(
            f"teacher {teacher.name}: no logprobs",
            expected='logprobs from the API, because ask = "logprobs"',
            found=f"{teacher.model} at {endpoint_of(teacher)}: {known.logprobs}",
            fix='set ask = "auto" for this teacher',
        )
    if teacher.ask == "logprobs" or (teacher.ask == "auto" and coded and known.logprobs == "honoured"):
        return Plan("logprobs", 1, 1, known, temperature=teacher.temperature)
    samples_in_one_call = known.n == "honoured"
    if teacher.samples > 1 and (teacher.ask == "samples" or (teacher.ask == "auto" and samples_in_one_call)):
        return Plan(
            "samples",
            1 if samples_in_one_call else teacher.samples,
            teacher.samples if samples_in_one_call else 1,
            known,
            temperature=teacher.temperature,
        )
    return Plan("verbalised", 1, 1, known, temperature=teacher.temperature)
