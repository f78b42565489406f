"""From stored replies to a vote: pure, so that replies can be read again for free after a change to the parser."""

import math
from collections.abc import Sequence
from dataclasses import replace

from prompts.parse import Reading, abstain, combine_samples, parse_logprobs, parse_verbalised
from prompts.render import Frame
from stillhouse.ledger import StoredReply
from stillhouse.records import Origin, Vote
from teacher.verdicts import is_filtered, is_too_long
from teacher.wire import Choice, read_choices, read_problem


def read_replies(common: Frame, replies: Sequence[StoredReply]) -> Reading:
    """What all answers of all replies to one item say together."""
    return combine_samples([reading for reply in replies for reading in _readings(common, reply)])


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


def vote_of(item_id: str, source: str, common: Frame, reading: Reading, replies: Sequence[StoredReply]) -> Vote:
    return Vote(
        item_id=item_id,
        source=source,
        probs=reading.probs,
        residual=reading.residual,
        origin=reading.origin,
        status=reading.status,
        prompt_id=common.prompt_id,
        request_key=replies[-1].request_key,
        # A reply shared with another item of the same text is paid for once, by that item.
        cost_usd=math.fsum(reply.cost_usd for reply in replies if reply.item_id == item_id),
    )


def _readings(common: Frame, reply: StoredReply) -> list[Reading]:
    count = len(common.labels.names)
    origin: Origin = "logprob" if common.style == "codes" else "verbalised"
    if reply.status >= 400:
        problem = read_problem(reply.body)
        if is_too_long(reply.status, problem):
            return [abstain(count, "truncated", origin)]
        return [abstain(count, "refused" if is_filtered(reply.status, problem) else "unreadable", origin)]
    choices = read_choices(reply.body)
    return [_read(common, choice, origin) for choice in choices] or [abstain(count, "unreadable", origin)]


def _read(common: Frame, choice: Choice, origin: Origin) -> Reading:
    count = len(common.labels.names)
    if choice.refused:
        return abstain(count, "refused", origin)
    if common.style == "codes":
        reading = parse_logprobs(choice.content, choice.tokens, common.codes, common.labels)
    else:
        reading = parse_verbalised(choice.content, common.labels)
    # Cut off: a bare label may be the beginning of a longer one; a number that is there is complete.
    if choice.finish_reason == "length" and not (reading.usable and reading.origin in {"verbalised", "logprob"}):
        return abstain(count, "truncated", origin)
    return reading
