"""From the words of a reply to a distribution over the labels: tolerant of form, never guessing at meaning.

Conventions:
- Verbalised: the label gets its confidence c; `second` gets half of what is left, but no more than c; the rest is
  residual: the reply has not said where it belongs.
- A label without a confidence is one sample: all mass on the label, origin "sample", status "repaired".
- A confidence of 85 or "85 %" is 0.85 (repaired). From 1 to 10 it could be a share of ten or of a hundred: unreadable.
- Logprobs: the mass seen on codes, over all spellings of a token; what the API did not show is residual.
- Two labels, two different objects, a key written twice: unreadable.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prompts.labels import Resolved, Spellings, loosened, mentioned, resolve
from stillhouse.records import Origin, Value, VoteStatus

CHARS_READ = 20_000
OBJECTS_TRIED = 64
_THINKING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_REFUSAL = re.compile(
    r"^\W{0,4}(?:i['’]?m sorry|i am sorry|sorry,|i can(?:no|['’])t |i can not |i['’]?m unable|i am unable|i won['’]t )",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\s*(\d{1,3}(?:\.\d{1,12})?|\.\d{1,12})\s*(%?)\s*")
_CODE = re.compile(r"[\W_]{0,8}([A-Z]{1,2})(?:[\W_]{0,8}|\s{0,3}[=:.)\-–]\s{0,3}(.{1,400}?)[\W_]{0,8})", re.DOTALL)
_NOTHING = frozenset({"", "none", "null", "n/a", "na"})


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


def parse_verbalised(text: str, labels: Spellings) -> Reading:
    """A reply that was asked for {"label", "confidence", "second"}; also reads a bare label."""
    text, changed = _without_thinking(text)
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
    text, changed = _without_thinking(text)
    whole = resolve(text.strip(), labels)
    if whole is not None:
        return _one_sample(whole.index, count, clean=whole.exactly and not changed)
    lead = labels.lead.match(text.casefold())
    if lead is not None:
        index = labels.loose.get(loosened(lead.group("label")))
        if index is not None and mentioned(text, labels) == {index}:
            return _one_sample(index, count, clean=False)
    return abstain(count, "refused" if _REFUSAL.match(text) else "unreadable", "sample")


def parse_code(text: str, codes: Sequence[str], labels: Spellings) -> Reading:
    """A reply that is a label's code, without logprobs: one sample."""
    text, changed = _without_thinking(text)
    found = _CODE.fullmatch(text)
    if found is not None and found.group(1) in codes:
        index = codes.index(found.group(1))
        if found.group(2) is None:
            return _one_sample(index, len(codes), clean=found.group(1) == text.strip() and not changed)
        named = mentioned(found.group(2), labels)
        return _one_sample(index, len(codes), clean=False) if named == {index} else _unread(codes)
    reading = parse_label(text, labels)
    return replace(reading, status="repaired") if reading.usable else reading


def parse_logprobs(
    text: str, tokens: Sequence[tuple[str, Mapping[str, float]]], codes: Sequence[str], labels: Spellings
) -> Reading:
    """A reply to a prompt with codes: `tokens` are the tokens said, each with the logprobs of its alternatives.

    Only the first token that is not blank or a quote counts; it must itself be a code, or the teacher was not
    following the protocol and its alternatives mean nothing.
    """
    said = next(((token, top) for token, top in tokens if token.strip(" \t\r\n\"'`*(")), None)
    if said is None or said[0].strip() not in codes:
        reading = parse_code(text, codes, labels)
        return replace(reading, status="repaired") if reading.usable else reading
    at = {code: index for index, code in enumerate(codes)}
    probs = [0.0] * len(codes)
    for token, logprob in said[1].items():
        index = at.get(token.strip())
        if index is not None and isinstance(logprob, int | float) and not math.isnan(logprob):
            probs[index] += math.exp(max(min(logprob, 0.0), -1000.0))
    if probs[at[said[0].strip()]] == 0.0:
        reading = parse_code(text, codes, labels)
        return replace(reading, status="repaired") if reading.usable else reading
    total = math.fsum(probs)
    scale = 1.0 / total if total > 1.0 else 1.0
    probs = [p * scale for p in probs]
    return Reading(tuple(probs), max(0.0, 1.0 - math.fsum(probs)), "logprob", "ok")


def combine_samples(readings: Sequence[Reading]) -> Reading:
    """The mean of n verbalised samples: a label's share, weighted by the confidence it was given each time.

    A sample that cannot be read leaves its share in the residual; if none can be read, the first says why.
    """
    if len(readings) == 1:
        return readings[0]
    usable = [reading for reading in readings if reading.usable]
    if not usable:
        return replace(readings[0], origin="sample")
    n = len(readings)
    probs = tuple(math.fsum(column) / n for column in zip(*(reading.probs for reading in usable), strict=True))
    clean = len(usable) == n and all(reading.status == "ok" for reading in usable)
    return Reading(probs, max(0.0, 1.0 - math.fsum(probs)), "sample", "ok" if clean else "repaired")


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
            value, end = _DECODER.raw_decode(stripped, at)
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


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_no_constant)


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
    confidence = _confidence(folded["confidence"])
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
    if value is None or (isinstance(value, str) and value.casefold().strip() in _NOTHING and value not in labels.exact):
        return None, True
    second = resolve(value, labels)
    if second is None or second.index == label.index:
        return None, False
    return second.index, second.exactly


def _confidence(value: object) -> float | None:
    percent = False
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value)
        if found is None:
            return None
        value, percent = float(found.group(1)), bool(found.group(2))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if percent and 0 <= value <= 100:
        return float(value) / 100
    if 0 <= value <= 1:
        return float(value)
    return float(value) / 100 if 10 < value <= 100 else None


def _one_sample(index: int, count: int, *, clean: bool) -> Reading:
    probs = tuple(1.0 if position == index else 0.0 for position in range(count))
    return Reading(probs, 0.0, "sample", "ok" if clean else "repaired")


def _unread(codes: Sequence[str]) -> Reading:
    return abstain(len(codes), "unreadable", "sample")


def _without_thinking(text: str) -> tuple[str, bool]:
    """Reasoning models may think aloud before they answer; an unclosed thought has no answer after it."""
    text = text[:CHARS_READ]
    answer = _THINKING.sub("", text, count=1)
    if answer.lstrip().startswith("<think>"):
        return "", True
    return answer, answer != text
