"""From the words of a reply to a distribution over the labels: tolerant of form, never guessing at meaning.

Conventions:
- Verbalised: the label gets its confidence c; `second` gets half of what is left, but no more than c; the rest is
  residual: the reply has not said where it belongs.
- A label without a confidence is one sample: all mass on the label, origin "sample", status "repaired".
- A confidence of 85 or "85 %" is 0.85 (repaired). From 1 to 10 it could be a share of ten or of a hundred: unreadable.
- Logprobs: the mass seen on codes, over all spellings of a token; what the API did not show is residual.
- Two labels, two different objects, a key written twice: unreadable.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prompts.labels import Resolved, Spellings, loosened, mentioned, resolve
from prompts.reply import CHARS_READ, DECODER, NOTHING, OBJECTS_TRIED, REFUSAL, confidence_of, without_thinking
from stillhouse.records import Origin, Value, VoteStatus

_CODE = re.compile(r"[\W_]{0,8}([A-Z]{1,2})(?:[\W_]{0,8}|\s{0,3}[=:.)\-–]\s{0,3}(.{1,400}?)[\W_]{0,8})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply was understood to say, as a `stillhouse.records.Vote` holds it: `probs` for kinds of labels,
    `value` for the others; `findings` counts what did not fit the text or the task, by name.
    """

    probs: tuple[float, ...]
    residual: float
    origin: Origin
    status: VoteStatus
    value: Value | None = None
    findings: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        return self.status in {"ok", "repaired"}


def abstain(count: int, status: VoteStatus, origin: Origin) -> Reading:
    return Reading((0.0,) * count, 1.0, origin, status)


def unread(reply: str, count: int = 0) -> Reading:
    """A reply nothing could be read from: a refusal, if it begins like one. `count` is 0 for kinds without probs."""
    return abstain(count, "refused" if REFUSAL.match(reply) else "unreadable", "verbalised" if count else "sample")


def parse_verbalised(text: str, labels: Spellings) -> Reading:
    """A reply that was asked for {"label", "confidence", "second"}; also reads a bare label."""
    text, changed = without_thinking(text)
    found = _label_objects(text)
    if found is None or len(found.objects) > 1:
        return abstain(len(labels.names), "unreadable", "verbalised")
    if not found.objects:
        reading = parse_label(text, labels)
        return replace(reading, status="repaired") if reading.status == "ok" else reading
    return _read_object(found.objects[0], labels, clean=found.whole and not changed)


def parse_label(text: str, labels: Spellings) -> Reading:
    """A reply that is a label in plain words, perhaps with prose after it: one sample."""
    count = len(labels.names)
    text, changed = without_thinking(text)
    whole = resolve(text.strip(), labels)
    if whole is not None:
        return _one_sample(whole.index, count, clean=whole.exactly and not changed)
    lead = labels.lead.match(text.casefold())
    if lead is not None:
        index = labels.loose.get(loosened(lead.group("label")))
        if index is not None and mentioned(text, labels) == {index}:
            return _one_sample(index, count, clean=False)
    return abstain(count, "refused" if REFUSAL.match(text) else "unreadable", "sample")


def parse_code(text: str, codes: Sequence[str], labels: Spellings, other: str = "") -> Reading:
    """A reply that is a label's code, without logprobs: one sample. A label that was not shown has the code "";
    `other` is that of "none of these", which leaves all in the residual.
    """
    text, changed = without_thinking(text)
    found = _CODE.fullmatch(text)
    if found is not None and other and found.group(1) == other and found.group(2) is None:
        return Reading(
            (0.0,) * len(codes), 1.0, "sample", "ok" if text.strip() == other and not changed else "repaired"
        )
    if found is not None and found.group(1) in codes:
        index = codes.index(found.group(1))
        if found.group(2) is None:
            return _one_sample(index, len(codes), clean=found.group(1) == text.strip() and not changed)
        named = mentioned(found.group(2), labels)
        return _one_sample(index, len(codes), clean=False) if named == {index} else _unread(codes)
    reading = parse_label(text, labels)
    return replace(reading, status="repaired") if reading.usable else reading


def parse_logprobs(
    text: str,
    tokens: Sequence[tuple[str, Mapping[str, float]]],
    codes: Sequence[str],
    labels: Spellings,
    other: str = "",
) -> Reading:
    """A reply to a prompt with codes: `tokens` are the tokens said, each with the logprobs of its alternatives.

    Only the first token that is not blank or a quote counts; it must itself be a code, or the teacher was not
    following the protocol and its alternatives mean nothing. What is said for `other` ("none of these") is residual.
    """
    said = next(((token, top) for token, top in tokens if token.strip(" \t\r\n\"'`*(")), None)
    at = {code: index for index, code in enumerate(codes) if code}
    if said is None or said[0].strip() not in {*at, *filter(None, [other])}:
        return _without_logprobs(text, codes, labels, other)
    probs = [0.0] * len(codes)
    for token, logprob in said[1].items():
        index = at.get(token.strip())
        if index is not None and isinstance(logprob, int | float) and not math.isnan(logprob):
            probs[index] += math.exp(max(min(logprob, 0.0), -1000.0))
    code = said[0].strip()
    shown = probs[at[code]] > 0.0 if code in at else any(token.strip() == other for token in said[1])
    if not shown:
        return _without_logprobs(text, codes, labels, other)
    total = math.fsum(probs)
    scale = 1.0 / total if total > 1.0 else 1.0
    probs = [p * scale for p in probs]
    return Reading(tuple(probs), max(0.0, 1.0 - math.fsum(probs)), "logprob", "ok")


def _without_logprobs(text: str, codes: Sequence[str], labels: Spellings, other: str) -> Reading:
    reading = parse_code(text, codes, labels, other)
    return replace(reading, status="repaired") if reading.usable else reading


@dataclass(frozen=True, slots=True)
class _Objects:
    objects: list[dict[str, object]]
    whole: bool


def _label_objects(text: str) -> _Objects | None:
    """The distinct JSON objects with a label in a text; None where one is broken: its inside could be anything."""
    stripped = text.strip()[:CHARS_READ]
    objects: list[dict[str, object]] = []
    at, tried, whole = 0, 0, False
    while (at := stripped.find("{", at)) >= 0 and tried < OBJECTS_TRIED:
        tried += 1
        try:
            value, end = DECODER.raw_decode(stripped, at)
            new = value not in objects
        except (ValueError, RecursionError):
            if stripped[at + 1 :].lstrip()[:1] == '"':
                return None
            at += 1
            continue
        whole = at == 0 and end == len(stripped)
        if "label" in {key.casefold() for key in value} and new:
            objects.append(value)
        at = end
    return _Objects(objects, whole)


def _read_object(found: Mapping[str, object], labels: Spellings, *, clean: bool) -> Reading:
    count = len(labels.names)
    folded = {key.casefold(): value for key, value in found.items()}
    clean = clean and "label" in found
    value = folded["label"]
    if isinstance(value, list) and len(value) == 1:
        value, clean = value[0], False
    label = resolve(value, labels)
    if label is None:
        return abstain(count, "unreadable", "verbalised")
    if folded.get("confidence") is None:
        return _one_sample(label.index, count, clean=False)
    confidence = confidence_of(folded["confidence"])
    if confidence is None:
        return abstain(count, "unreadable", "verbalised")
    second, second_clean = _second(folded.get("second"), label, labels)
    clean = clean and label.exactly and confidence == folded["confidence"] and second_clean
    probs = [0.0] * count
    probs[label.index] = confidence
    if second is not None:
        probs[second] = min((1.0 - confidence) / 2.0, confidence)
    return Reading(tuple(probs), max(0.0, 1.0 - math.fsum(probs)), "verbalised", "ok" if clean else "repaired")


def _second(value: object, label: Resolved, labels: Spellings) -> tuple[int | None, bool]:
    """The runner-up, and whether it was written as asked. One that means nothing leaves its mass in the residual."""
    if value is None or (isinstance(value, str) and value.casefold().strip() in NOTHING and value not in labels.exact):
        return None, True
    second = resolve(value, labels)
    if second is None or second.index == label.index:
        return None, False
    return second.index, second.exactly


def _one_sample(index: int, count: int, *, clean: bool) -> Reading:
    probs = tuple(1.0 if position == index else 0.0 for position in range(count))
    return Reading(probs, 0.0, "sample", "ok" if clean else "repaired")


def _unread(codes: Sequence[str]) -> Reading:
    return abstain(len(codes), "unreadable", "sample")
