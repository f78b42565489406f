"""From the words of a reply to the chances of each of many labels."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from prompts.labels import Spellings, resolve
from prompts.parse import Reading, abstain, unread
from prompts.reply import LONGEST_READ, NOTHING, confidence_of, only_object, without_thinking
from stillhouse.records import VoteStatus

# A label that a list leaves out was not weighed and found absent: teachers forget. So a list is worth 1 - ABSENT for
# what it names and ABSENT for what it does not, which the consensus then corrects from people's answers.
ABSENT = 0.05


def read_multi_label(content: str, labels: Spellings) -> Reading:
    """{"labels": {"name": confidence, ...}}; also a list of names, one name, or a single label with its `second`.

    `probs` are each label's chance to apply, in the task's order; residual 0.
    """
    count = len(labels.names)
    text, changed = without_thinking(content, LONGEST_READ)
    found = only_object(text, {"labels", "label"})
    if found is None:
        return unread(text, count)
    folded = {key.casefold(): value for key, value in found.value.items()}
    named = folded.get("labels", folded.get("label"))
    if "label" in folded and "labels" not in folded and isinstance(named, str):
        return _single_form(folded, labels)
    asked = isinstance(named, dict)
    if isinstance(named, str):
        named = [part for part in re.split(r"[,;\n]", named) if part.casefold().strip() not in NOTHING]
    if isinstance(named, list):
        named = dict.fromkeys(name if isinstance(name, str) else "" for name in named)
    if named is None or not isinstance(named, dict):
        return abstain(count, "unreadable", "verbalised")
    reading = _presences(named, labels)
    if not reading.usable:
        return reading
    clean = asked and found.whole and not changed and "labels" in found.value
    return replace(reading, status="ok" if reading.status == "ok" and clean else "repaired")


def _single_form(folded: Mapping[str, object], labels: Spellings) -> Reading:
    label, confidence = resolve(folded["label"], labels), confidence_of(folded.get("confidence", 1.0))
    if label is None or confidence is None:
        return abstain(len(labels.names), "unreadable", "verbalised")
    probs = [ABSENT] * len(labels.names)
    second = resolve(folded.get("second"), labels)
    if second is not None:
        probs[second.index] = (1.0 - confidence) / 2.0
    probs[label.index] = confidence if "confidence" in folded else 1.0 - ABSENT
    return Reading(tuple(probs), 0.0, "verbalised" if "confidence" in folded else "sample", "repaired")


def _presences(named: Mapping[str, object], labels: Spellings) -> Reading:
    """`named` maps names to confidences, or to None where a list named them."""
    probs = [ABSENT] * len(labels.names)
    findings: Counter[str] = Counter()
    clean, verbalised, seen = True, not named, set()
    for name, stated in named.items():
        label = resolve(name, labels)
        if label is None or label.index in seen:
            findings["unknown_label" if label is None else "ambiguous"] += 1
            continue
        said = {True: 1.0 - ABSENT, False: ABSENT}.get(stated) if isinstance(stated, bool) else None
        confidence = said if said is not None else 1.0 - ABSENT if stated is None else confidence_of(stated)
        if confidence is None:
            findings["unreadable"] += 1
            continue
        seen.add(label.index)
        verbalised = verbalised or (stated is not None and said is None)
        clean = clean and label.exactly and confidence == stated
        probs[label.index] = confidence
    if named and not seen:
        return replace(abstain(len(probs), "unreadable", "verbalised"), findings=dict(findings))
    status: VoteStatus = "ok" if clean and not findings else "repaired"
    return Reading(tuple(probs), 0.0, "verbalised" if verbalised else "sample", status, None, dict(findings))
