"""One record as Argilla holds it: from an item and a suggestion, and back to the item and to what a person said."""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from argilla_setup.argilla_dataset import (
    ANYONE,
    ASSIGNED,
    BLIND,
    CANNOT_SAY,
    CONTEXT,
    DOUBT,
    FOCUS,
    GIVEN,
    IMAGE,
    NO,
    NOT_BY,
    PAIR,
    REASON,
    RESERVED,
    ROUND,
    SHOWN,
    SUGGESTED,
    TEXT,
    UNCERTAINTY,
    YES,
    questions_of,
    queue_of,
)
from argilla_setup.desk import DeskRecord
from argilla_setup.markdown import as_markdown, value_as_markdown
from argilla_setup.page import as_html, from_html, spans_in_text, spans_on_page
from kinds.kind import Kind, Question
from stillhouse.records import CharSpan, Item, Suggestion, Value

_AROUND_CHARS = 120  # of the text on each side of what is asked about
_DIGITS = 6  # of a vector: more than a cosine needs, and half of what would travel
_SHOWABLE = ("https://", "http://", "data:")


def to_argilla(
    record: DeskRecord, kind: Kind, *, fields: Collection[str], question_ids: Mapping[str, str], vectors: str = ""
) -> dict[str, Any]:
    """The record for a dataset that has those fields and questions; `vectors` names what its vector is kept under."""
    shown = record.shown
    texts = _fields(record, kind)
    body = {
        "external_id": queue_of(record.way).external_id(record.way, record.item_id),
        "fields": {name: text for name, text in texts.items() if name in fields},
        "metadata": _metadata(record),
        "suggestions": _suggestions(record.item, shown, kind, question_ids) if shown and record.way == "label" else [],
    }
    return body | (
        {"vectors": {vectors: [round(number, _DIGITS) for number in record.vector]}}
        if record.vector and vectors
        else {}
    )


def assignment(record: DeskRecord) -> dict[str, Any]:
    """The part of a record's metadata that may change while nobody has answered."""
    barred = {NOT_BY: list(record.not_by)} if record.not_by else {}
    return {ASSIGNED: list(record.assigned) or [ANYONE], **barred}


def shown_of(record: Mapping[str, Any]) -> Value | None:
    """What was suggested; None where nothing was, or where an earlier version published the record."""
    shown = (record["metadata"] or {}).get(SHOWN)
    value: Value | None = json.loads(shown) if shown else None
    return value


def item_of(record: Mapping[str, Any], item_id: str) -> Item:
    """The item of a record, as far as an answer can depend on it."""
    fields, given = record["fields"], json.loads((record["metadata"] or {}).get(GIVEN) or "{}")
    return Item(
        item_id,
        from_html(fields[TEXT]),
        pair=from_html(fields.get(PAIR) or ""),
        tokens=tuple(_span(each) for each in given["tokens"]) if "tokens" in given else None,
        focus=_span(given["focus"]) if "focus" in given else None,
    )


def responses_of(kind: Kind, item: Item, value: Value) -> dict[str, Any]:
    """What the page would send for a person who says `value`: empty marks count as an answer, other empties do not."""
    said: dict[str, Any] = {}
    suggested = kind.suggest(item, value)
    known = {question.name for question in kind.questions()}
    for question in questions_of(kind):
        if suggested.get(question.name):
            said[question.name] = _on_page(item, question, suggested[question.name])
        elif question.type == "span":
            said[question.name] = []
        elif question.name not in known:
            said[question.name] = YES
    return said


def value_of(kind: Kind, item: Item, values: Mapping[str, Mapping[str, Any]]) -> tuple[Value | None, list[str]]:
    """What the responses amount to and what is wrong with it; None where the person cannot say."""
    asked = {question.name: question for question in kind.questions()}
    if any(each["value"] == CANNOT_SAY for name, each in values.items() if name not in asked):
        return None, []
    responses = {
        name: spans_in_text(item.text, each["value"]) if asked[name].type == "span" else each["value"]
        for name, each in values.items()
        if name in asked
    }
    value = kind.answer(item, responses)
    if problems := kind.problems(item, value):
        return None, problems
    written = {name: text for name, text in responses.items() if asked[name].type == "text" and text}
    if written and (problems := _lost(written, kind.suggest(item, value))):
        return None, problems
    return kind.normal(item, value), []


def _lost(written: Mapping[str, object], kept: Mapping[str, object]) -> list[str]:
    """Lines a person wrote of which nothing is left in the value: a date that is none is not a missing date."""
    return [
        f"{name}: expected a value as the task has it, found {text!r}"
        for name, text in written.items()
        if len(_lines(kept.get(name))) < len(_lines(text))
    ]


def _lines(text: object) -> set[str]:
    return {line.strip() for line in str(text or "").splitlines() if line.strip()}


def _on_page(item: Item, question: Question, value: Any) -> Any:
    if question.type == "span":
        return spans_on_page(item.text, value)
    if question.type == "rating":
        return int(value)
    return sendable(value) if isinstance(value, str) else value


def _suggestions(
    item: Item, suggestion: Suggestion, kind: Kind, question_ids: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {
            "question_id": question_ids[name],
            "value": value,
            "score": _score(suggestion, value),
            "agent": suggestion.agent,
            "type": "model",
        }
        for name, value in responses_of(kind, item, suggestion.label).items()
        if value != []  # nothing marked is nothing to show
    ]


def _score(suggestion: Suggestion, value: object) -> float | list[float] | None:
    """A list has a score for each part: its own where it is known, else that of the whole."""
    scores = list(suggestion.part_scores) if isinstance(value, list) else [suggestion.score]
    if isinstance(value, list) and len(scores) != len(value):
        scores = [suggestion.score] * len(value)
    if not all(math.isfinite(score) for score in scores):
        return None
    bounded = [min(max(float(score), 0.0), 1.0) for score in scores]
    return bounded if isinstance(value, list) else bounded[0]


def _fields(record: DeskRecord, kind: Kind) -> dict[str, str]:
    item, data = record.item, kind.task.data
    texts = {TEXT: item.text}
    if data.pair:
        texts[PAIR] = item.pair
    if data.focus and item.focus:
        texts[FOCUS] = _marked(item.text, item.focus)
    shown = record.shown
    if shown and shown.doubt:
        texts[DOUBT] = shown.doubt
    fields = {name: as_html(sendable(text)) for name, text in texts.items()}
    if shown and record.way == "verify":
        fields[SUGGESTED] = sendable(value_as_markdown(kind, item, shown.label))
    if helps := _context(record):
        fields[CONTEXT] = sendable(helps)
    return fields | ({IMAGE: item.image} if data.image and item.image.startswith(_SHOWABLE) else {})


def _context(record: DeskRecord) -> str:
    """What stands beside the text, with why it is asked on top; of what is asked blind that could bias the answer."""
    why = "" if record.blind or record.way == "second" else f"*Why it is asked: {as_markdown(record.why)}.*"
    return "\n\n".join(part for part in (why, record.context) if part)


def _marked(text: str, focus: CharSpan) -> str:
    """What is asked about, in brackets, with the text around it."""
    start, end = focus
    before, after = text[max(start - _AROUND_CHARS, 0) : start], text[end : end + _AROUND_CHARS]
    opened = "…" if start > _AROUND_CHARS else ""
    closed = "…" if len(text) - end > _AROUND_CHARS else ""
    return f"{opened}{before}[[{text[start:end]}]]{after}{closed}"


def _metadata(record: DeskRecord) -> dict[str, Any]:
    ours: dict[str, Any] = {
        ROUND: record.round,
        REASON: record.why,
        UNCERTAINTY: record.uncertainty,
        BLIND: YES if record.blind else NO,
        **assignment(record),
    }
    if record.shown:
        ours[SHOWN] = json.dumps(record.shown.label)
    item = record.item
    given = {"tokens": item.tokens, "focus": item.focus}
    if any(part is not None for part in given.values()):
        ours[GIVEN] = json.dumps({name: part for name, part in given.items() if part is not None})
    theirs = {f"item_{name}" if name in RESERVED else name: value for name, value in item.metadata.items()}
    return {
        name: sendable(value) if isinstance(value, str) else value
        for name, value in {**theirs, **ours}.items()
        if not isinstance(value, float) or math.isfinite(value)  # JSON has no NaN, and Argilla refuses it
    }


def sendable(text: str) -> str:
    """Half a surrogate pair cannot be written as UTF-8: it becomes U+FFFD; everything else stays as it is."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _span(pair: Any) -> CharSpan:
    return int(pair[0]), int(pair[1])
