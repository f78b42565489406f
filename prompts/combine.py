"""Several readings of one item as one: the samples of a teacher, whose agreement is a probability."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prompts.parse import Reading
from stillhouse.records import Value, VoteStatus
from stillhouse.task import KindName

MAJORITY = 0.5  # of the samples must say a field's value; with less, the teacher has not said which


def combine_samples(readings: Sequence[Reading], kind: KindName = "single_label") -> Reading:
    """What n samples say together; one sample stays as it is. Samples that cannot be read:

    - single_label: the mean of all n, so that such a sample leaves its share in the residual;
    - multi_label: the mean chance of each label over those that can be read;
    - spans, roles, tokens: each part gets as "p" the share of readable samples that say it (times the confidence they
      gave it, where they did); a token has the tag that most say;
    - fields: the value that more than half of them say; any other field is left out and counted as "ambiguous".

    If none can be read, the first says why.
    """
    if len(readings) == 1:
        return readings[0]
    usable = [reading for reading in readings if reading.usable]
    if not usable:
        return replace(readings[0], origin="sample")
    clean = len(usable) == len(readings) and all(reading.status == "ok" for reading in usable)
    status: VoteStatus = "ok" if clean else "repaired"
    findings = sum((Counter(reading.findings) for reading in usable), Counter[str]())
    if kind in {"single_label", "multi_label"}:
        n = len(readings) if kind == "single_label" else len(usable)
        probs = tuple(math.fsum(column) / n for column in zip(*(reading.probs for reading in usable), strict=True))
        residual = max(0.0, 1.0 - math.fsum(probs)) if kind == "single_label" else 0.0
        return Reading(probs, residual, "sample", status, None, dict(findings))
    value = _value([reading.value for reading in usable if reading.value is not None], kind, findings)
    return Reading((), 0.0, "sample", status, value, dict(findings))


def mean_of_orders(readings: Sequence[Reading]) -> Reading:
    """What a teacher says of one text with the labels in either order, for kinds of labels: the mean, which the place of a
    label does not sway (Zheng et al. 2023, Large Language Models Are Not Robust Multiple Choice Selectors). A reading that
    cannot be used leaves the other as it is.
    """
    usable = [reading for reading in readings if reading.usable]
    if len(usable) < 2:
        return usable[0] if usable else readings[0]
    probs = tuple(
        math.fsum(column) / len(usable) for column in zip(*(reading.probs for reading in usable), strict=True)
    )
    residual = math.fsum(reading.residual for reading in usable) / len(usable)
    status: VoteStatus = "ok" if all(reading.status == "ok" for reading in usable) else "repaired"
    findings = sum((Counter(reading.findings) for reading in usable), Counter[str]())
    return Reading(probs, residual, usable[0].origin, status, None, dict(findings))


def _value(values: Sequence[Value], kind: KindName, findings: Counter[str]) -> Value:
    if kind == "tokens":
        return _tags([value for value in values if isinstance(value, list)])
    if kind == "fields":
        return _fields([value for value in values if isinstance(value, dict)], findings)
    return _spans([value for value in values if isinstance(value, list)])


def _spans(values: Sequence[list[dict[str, Any]]]) -> list[dict[str, object]]:
    """Every span that any sample has; which of two that overlap is right is for the consensus to say."""
    said: dict[tuple[int, int, str], float] = {}
    for spans in values:
        for span in spans:
            key = (span["start"], span["end"], span["label"])
            said[key] = said.get(key, 0.0) + float(span.get("p", 1.0))
    return [
        {"start": start, "end": end, "label": label, "p": said[start, end, label] / len(values)}
        for start, end, label in sorted(said)
    ]


def _tags(values: Sequence[list[str | None]]) -> list[dict[str, object] | None]:
    """Ties go to the tag that was said first."""
    tags: list[dict[str, object] | None] = []
    for column in zip(*values, strict=True):
        said = Counter(tag for tag in column if tag is not None)
        tags.append(None)
        if said:
            tag, count = said.most_common(1)[0]
            tags[-1] = {"label": tag, "p": count / said.total()}
    return tags


def _fields(values: Sequence[Mapping[str, Any]], findings: Counter[str]) -> dict[str, Any]:
    agreed: dict[str, Any] = {}
    for name in dict.fromkeys(name for value in values for name in value):
        said = Counter(json.dumps(value[name]) for value in values if name in value)
        written, count = said.most_common(1)[0]
        if count > MAJORITY * len(values):
            agreed[name] = json.loads(written)
        else:
            findings["ambiguous"] += 1
    return agreed
