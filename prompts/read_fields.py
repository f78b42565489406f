"""From the words of a reply to the fields of a schema."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from prompts.field_replies import field_value, is_missing
from prompts.fold import fold
from prompts.labels import loosened
from prompts.parse import Reading, abstain, unread
from prompts.reply import LONGEST_READ, only_object, without_thinking
from stillhouse.records import Value
from stillhouse.task import FieldSpec


def read_fields(content: str, text: str, fields: Sequence[FieldSpec]) -> Reading:
    """A JSON object of the fields: the value has each in its form (`prompts.field_replies`); what the teacher said
    is missing is null, or an empty list; one that is unreadable or was left out is not in the value.

    A field of type text whose words are not in `text` counts as "unaligned", and stays.
    """
    reply, changed = without_thinking(content, LONGEST_READ)
    names = {loosened(field.name) for field in fields}
    found = only_object(reply, names | {"fields"}, spell=loosened)
    if found is None:
        return unread(reply)
    said = {loosened(key): value for key, value in found.value.items()}
    clean = found.whole and not changed
    if "fields" in said and "fields" not in names and isinstance(said["fields"], dict):
        said, clean = {loosened(str(key)): value for key, value in said["fields"].items()}, False
    there = fold(text).text
    value: dict[str, object] = {}
    findings: Counter[str] = Counter()
    for spec in fields:
        key = loosened(spec.name)
        if key not in said:
            findings["missing"] += 1
            continue
        read = _field(said[key], spec)
        if read is _UNREADABLE:
            findings["unreadable"] += 1
            continue
        value[spec.name] = read
        clean = clean and (read == said[key] or is_missing(said[key], spec))
        if spec.type == "text":
            findings["unaligned"] += sum(fold(part).text not in there for part in _each(read))
    findings["unknown_field"] = len(set(said) - names)
    counted = {name: number for name, number in findings.items() if number}
    if not value:
        return replace(abstain(0, "unreadable", "sample"), findings=counted)
    return Reading((), 0.0, "sample", "ok" if clean and not counted else "repaired", value, counted)


class _Unreadable:
    """The one value of a field that nobody could read."""


_UNREADABLE = _Unreadable()


def _field(said: object, spec: FieldSpec) -> Value | _Unreadable | None:
    if is_missing(said, spec):
        return [] if spec.many else None
    parts = [part for part in (said if isinstance(said, list) else [said]) if not is_missing(part, spec)]
    read = [field_value(part, spec) for part in parts]
    values = [value for value in dict.fromkeys(read) if value is not None]
    if not values or len(values) < len(set(read)) or (len(values) > 1 and not spec.many):
        return _UNREADABLE
    return list(values) if spec.many else values[0]


def _each(value: object) -> list[str]:
    return [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, str)]
