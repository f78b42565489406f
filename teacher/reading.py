"""From stored replies to a vote: pure, so that replies can be read again for free after a change to the parser."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kinds.kind import Kind
from prompts.combine import combine_samples
from prompts.parse import Reading, abstain, parse_logprobs
from prompts.render import Frame
from stillhouse.ledger import StoredReply
from stillhouse.records import Item, Origin, Vote
from teacher.verdicts import is_filtered, is_too_long
from teacher.wire import Choice, read_choices, read_problem


def read_replies(kind: Kind, common: Frame, item: Item, replies: Sequence[StoredReply]) -> Reading:
    """What all answers of all replies to one item say together."""
    readings = [reading for reply in replies for reading in _readings(kind, common, item, reply)]
    return combine_samples(readings, kind.task.kind)


def worth_repair(reading: Reading, replies: Sequence[StoredReply]) -> bool:
    """One more call may help where the teacher answered but could not be understood, or was cut off."""
    answered = all(reply.status < 400 for reply in replies)
    return answered and reading.status in {"unreadable", "truncated"}


def repaired(reading: Reading) -> Reading:
    """A readable answer to a repair call never counts as clean."""
    return replace(reading, status="repaired") if reading.status == "ok" else reading


def said(replies: Sequence[StoredReply]) -> str:
    """The words of the first answer, to show the teacher what could not be read."""
    return next((choice.content for reply in replies for choice in read_choices(reply.body) if choice.content), "")


def vote_of(item_id: str, source: str, prompt_id: str, reading: Reading, replies: Sequence[StoredReply]) -> Vote:
    return Vote(
        item_id=item_id,
        source=source,
        probs=reading.probs,
        residual=reading.residual,
        origin=reading.origin,
        status=reading.status,
        prompt_id=prompt_id,
        request_key=replies[-1].request_key,
        # A reply shared with another item of the same text is paid for once, by that item.
        value=reading.value if reading.usable else None,
        findings=reading.findings,
        cost_usd=math.fsum(reply.cost_usd for reply in replies if reply.item_id == item_id),
    )


def _readings(kind: Kind, common: Frame, item: Item, reply: StoredReply) -> list[Reading]:
    nothing = _abstains(kind, common)
    if reply.status >= 400:
        problem = read_problem(reply.body)
        if is_too_long(reply.status, problem):
            return [replace(nothing, status="truncated")]
        return [replace(nothing, status="refused" if is_filtered(reply.status, problem) else "unreadable")]
    return [_read(kind, common, item, choice) for choice in read_choices(reply.body)] or [nothing]


def _read(kind: Kind, common: Frame, item: Item, choice: Choice) -> Reading:
    if choice.refused:
        return replace(_abstains(kind, common), status="refused")
    if choice.decided is not None:
        return _decided(kind, common, choice.decided)
    if common.style == "codes":
        reading = parse_logprobs(choice.content, choice.tokens, common.codes, common.labels, common.other)
    else:
        reading = kind.read(common, item, choice.content)
    if choice.finish_reason == "length" and not _complete(reading):
        return replace(_abstains(kind, common), status="truncated")
    return reading


def _decided(kind: Kind, common: Frame, decided: Mapping[str, float]) -> Reading:
    """The probabilities of a decision as they are; mass on no label is residual. Many labels need one each."""
    names = common.labels.names
    if not any(name in decided for name in names) or (
        kind.task.kind == "multi_label" and not all(name in decided for name in names)
    ):
        return replace(_abstains(kind, common), origin="decision")
    probs = [decided.get(name, 0.0) for name in names]
    if kind.task.kind == "multi_label":
        return Reading(tuple(probs), 0.0, "decision", "ok")
    total = max(1.0, math.fsum(probs))  # a little over one is rounding
    return Reading(tuple(p / total for p in probs), max(0.0, 1.0 - math.fsum(probs)), "decision", "ok")


def _complete(reading: Reading) -> bool:
    """Whether a reply that was cut off had said everything: a number that is there is complete, but a bare label may be
    the beginning of a longer one, and a value without its end may lack parts.
    """
    return reading.usable and reading.value is None and reading.origin in {"verbalised", "logprob"}


def _abstains(kind: Kind, common: Frame) -> Reading:
    origin: Origin = "logprob" if common.style == "codes" else "verbalised"
    has_probs = kind.task.kind in {"single_label", "multi_label"}
    return abstain(len(common.labels.names) if has_probs else 0, "unreadable", origin)
