"""Answered items as examples in a prompt: in the exact form of a reply, or not at all."""

from kinds.kind import Kind
from prompts.parse import Reading, parse_code
from prompts.render import Example, Frame, shown
from stillhouse.records import Demonstration, Value

MOST_BYTES = 2_000  # of an example's text: about 500 tokens, which each item that shows it pays for


def example_of(kind: Kind, common: Frame, demonstration: Demonstration) -> Example | None:
    """The example, or None where its reply would not be read as the value it is written from.

    A text may hold what looks like the form of a reply ("[PERSON|"), a person may have left a token untagged, and a field may
    say what stands nowhere in the text: to show such a thing would teach a form that is not read. Items with a picture and
    long texts are left out too. A label that the frame does not show is answered with "none of these".
    """
    item, value = demonstration.item, demonstration.value
    if item.image or len(item.text.encode("utf-8", "replace")) > MOST_BYTES:
        return None
    reply = kind.write(common, item, value)
    if common.style == "codes":
        reading = parse_code(reply, common.codes, common.labels, common.other)
    else:
        reading = kind.read(common, item, reply)
    if reading.status != "ok":
        return None
    said = _value(kind, reading)
    same = said is None or kind.normal(item, said) == kind.normal(item, value)
    return shown(common, item, reply) if same else None


def _value(kind: Kind, reading: Reading) -> Value | None:
    names = kind.task.label_names
    if kind.task.kind == "single_label":
        return None if reading.residual == 1.0 else names[max(range(len(names)), key=reading.probs.__getitem__)]
    if kind.task.kind == "multi_label":
        return [name for name, p in zip(names, reading.probs, strict=True) if p > 0.5]
    return reading.value
