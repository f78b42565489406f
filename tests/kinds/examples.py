"""One small task of each kind, with an item and the value that belongs to it."""

from typing import Any

from stillhouse.records import Item, Value
from stillhouse.task import Task

DATA: dict[str, Any] = {"pool": "pool.jsonl"}
TEACHER = [{"name": "a", "model": "m"}]
TEXT = "José García 👩🏽‍💻 asked for AutoCAD 2024 in Łódź, again"


def task(kind: str, labels: tuple[str, ...] = (), **more: Any) -> Task:
    return Task.model_validate(
        {
            "name": "t",
            "kind": kind,
            "labels": [{"name": name} for name in labels],
            "data": {**DATA, **more.pop("data", {})},
            "teachers": TEACHER,
            **more,
        }
    )


def span(text: str, part: str, label: str) -> dict[str, object]:
    start = text.index(part)
    return {"start": start, "end": start + len(part), "label": label}


def tokens(text: str) -> tuple[tuple[int, int], ...]:
    spans, at = [], 0
    for word in text.split(" "):
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return tuple(spans)


GIVEN = {"tokens": "tokens"}
SENTENCE = "She gave him the book"
EXAMPLES: dict[str, tuple[Task, Item, Value]] = {
    "single_label": (task("single_label", ("red", "green", "blue")), Item("1", TEXT), "green"),
    "ordinal": (task("single_label", ("1", "2", "3"), ordinal=True), Item("1", TEXT), "2"),
    "multi_label": (task("multi_label", ("red", "green", "blue")), Item("1", TEXT), ["red", "blue"]),
    "spans": (
        task("spans", ("person", "app", "place")),
        Item("1", TEXT),
        [span(TEXT, "José García", "person"), span(TEXT, "AutoCAD 2024", "app"), span(TEXT, "Łódź", "place")],
    ),
    "overlapping": (
        task("spans", ("person", "phrase"), overlapping=True),
        Item("1", TEXT),
        [span(TEXT, "José García", "person"), span(TEXT, "García 👩🏽‍💻 asked", "phrase")],
    ),
    "tokens": (
        task("tokens", ("PRON", "VERB", "DET", "NOUN"), data=GIVEN),
        Item("1", SENTENCE, tokens=tokens(SENTENCE)),
        ["PRON", "VERB", "PRON", "DET", "NOUN"],
    ),
    "roles": (
        task("roles", ("ARG0", "ARG1", "ARG2"), data={**GIVEN, "focus": "predicate"}),
        Item("1", SENTENCE, tokens=tokens(SENTENCE), focus=(4, 8)),
        [span(SENTENCE, "She", "ARG0"), span(SENTENCE, "him", "ARG2"), span(SENTENCE, "the book", "ARG1")],
    ),
    "fields": (
        task(
            "fields",
            fields=[
                {"name": "who"},
                {"name": "apps", "many": True},
                {"name": "year", "type": "number"},
                {"name": "day", "type": "date"},
                {"name": "city", "type": "choice", "choices": ["Łódź", "Paris"]},
            ],
        ),
        Item("1", "José García asked for AutoCAD and Revit in Łódź on 3 May 2024, room 1,200"),
        {"who": "José García", "apps": ["AutoCAD", "Revit"], "year": "1200", "day": "2024-05-03", "city": "Łódź"},
    ),
}
