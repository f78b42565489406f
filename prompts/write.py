"""From a value to the words of the reply a teacher should give: the other way round of what reads each form."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prompts.align import occurrence_of

SURE = 0.95  # the confidence of an example: a teacher that is only ever shown certainty says nothing else


def write_label(name: str) -> str:
    """As `prompts.parse.parse_verbalised` reads it."""
    return _line({"label": name, "confidence": SURE, "second": None})


def write_multi_label(names: Sequence[str]) -> str:
    """As `prompts.read_labels.read_multi_label` reads it: labels that do not apply are not named."""
    return _line({"labels": dict.fromkeys(names, SURE)})


def write_tagged(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """The text with its spans in brackets, as `prompts.read_spans.read_tagged` reads it; they must not overlap."""
    out, at = [], 0
    for span in sorted(spans, key=lambda span: (span["start"], span["end"])):
        out += [text[at : span["start"]], f"[{span['label']}|{text[span['start'] : span['end']]}]"]
        at = span["end"]
    return " / ".join("".join([*out, text[at:]]).splitlines())


def write_quotes(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """Quotes with their occurrence, as `prompts.read_spans.read_quotes` reads them."""
    quotes = [
        {
            "quote": text[span["start"] : span["end"]],
            "occurrence": occurrence_of(text, (span["start"], span["end"])),
            "label": span["label"],
            "confidence": SURE,
        }
        for span in spans
    ]
    return _line({"spans": quotes})


def write_numbered_tags(words: Sequence[str], tags: Sequence[object]) -> str:
    """A line for each token, as `prompts.read_tags.read_numbered_tags` reads it."""
    rows = enumerate(zip(words, tags, strict=True), 1)
    return "\n".join(f"{number}:{' '.join(word.split())}:{tag}" for number, (word, tag) in rows)


def write_fields(value: Mapping[str, Any], names: Sequence[str]) -> str:
    """Every field by its name, as `prompts.read_fields.read_fields` reads it."""
    return _line({name: value.get(name) for name in names})


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
