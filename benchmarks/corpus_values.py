"""Values as data sets write them, made the values of the product: tags to spans, spans to fields, dates, names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stillhouse.field_values import normal_fields
from stillhouse.records import CharSpan
from stillhouse.task import Task

Row = dict[str, Any]
_DATE = re.compile(r"(\d{1,2}|\[\])/(\d{1,2}|\[\])/(\d{4}|\[\])")


def joined_tokens(tokens: Sequence[str]) -> list[CharSpan]:
    """The tokens' places in the text that they make when joined by one space."""
    spans, at = [], 0
    for token in tokens:
        spans.append((at, at + len(token)))
        at += len(token) + 1
    return spans


def placed_tokens(text: str, tokens: Sequence[str]) -> list[CharSpan] | None:
    """The tokens' places in a text that has them in order with only white space between; None where it does not."""
    spans, at = [], 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0 or text[at:start].strip():
            return None
        at = start + len(token)
        spans.append((start, at))
    return None if text[at:].strip() else spans


def spans_of_tags(tokens: Sequence[CharSpan], tags: Sequence[str]) -> list[Row]:
    """BIO tags as spans; an I- that continues nothing opens a span."""
    spans: list[Row] = []
    last = "O"
    for (start, end), tag in zip(tokens, tags, strict=True):
        if tag.startswith("I-") and last[2:] == tag[2:]:
            spans[-1]["end"] = end
        elif tag != "O":
            spans.append({"start": start, "end": end, "label": tag[2:]})
        last = tag
    return spans


def fields_of_spans(task: Task, text: str, spans: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Every field of the task with the distinct texts that were marked for it, in their order in the text."""
    found: dict[str, object] = {}
    for spec in task.fields:
        places = sorted((span["start"], span["end"]) for span in spans if span["label"] == spec.name)
        found[spec.name] = [text[start:end] for start, end in places]
    return normal_fields(task.fields, found)


def party_names(text: str) -> list[str]:
    """The names of `Name ("Alias"); Name ("Alias")`, without the aliases."""
    names = [re.split(r'\s*[(“"]', part)[0].strip() for part in text.split(";")]
    return [name for name in names if name]


def normal_date(text: str) -> str | None:
    """month/day/year as YYYY-MM-DD, with [] for a part that is blank; None where it is no such date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    month, day, year = (part if part == "[]" else part.zfill(2) for part in found.groups())
    return f"{year}-{month}-{day}"
