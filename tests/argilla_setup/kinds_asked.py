"""One task of each kind with an item that is hard to carry, two values of it, and a value that says nothing."""

from dataclasses import dataclass
from typing import Any

from kinds.kind import Kind
from kinds.registry import kind_of
from stillhouse.records import CharSpan, Item, Value
from stillhouse.settings import Data, Desk, Teacher
from stillhouse.task import FieldSpec, KindName, Label, Task
from tests.argilla_setup.people import unique

TEXT = "😀👩‍👩‍👧‍👦 I use <b>GitLab</b> & Jira\r\non שלום العربية since 2024-05-01, cafe\u0301 🚀"


@dataclass(frozen=True)
class Asked:
    """What the tests of every kind need. `empty` is None where a value that says nothing does not exist."""

    task: Task
    item: Item
    value: Value
    other: Value
    empty: Value | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.task)


def span(words: str, label: str) -> dict[str, Any]:
    start = TEXT.index(words)
    return {"start": start, "end": start + len(words), "label": label}


def words(text: str) -> tuple[CharSpan, ...]:
    found, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        found.append((at, at + len(word)))
        at += len(word)
    return tuple(found)


def a_task_of(kind: KindName, labels: tuple[str, ...] = (), **changes: Any) -> Task:
    columns = {name: changes.pop(name) for name in ("pair", "tokens", "focus", "image") if name in changes}
    return Task(
        name=unique(kind.replace("_", "-")),
        kind=kind,
        labels=tuple(Label(name=label, description=f"about {label}") for label in labels),
        data=Data(pool="pool.jsonl", **columns),
        teachers=(Teacher(name="t", model="m"),),
        desk=changes.pop("desk", Desk()),
        **changes,
    )


def asked(name: str) -> Asked:
    """The case of that name, its task with a name of its own."""
    return _CASES[name]()


def _ordinal() -> Asked:
    task = a_task_of("single_label", ("1", "2", "3"), ordinal=True)
    return Asked(task, Item("i", TEXT), "3", "1")


def _pair() -> Asked:
    task = a_task_of("single_label", ("favor", "against"), pair="target")
    return Asked(task, Item("i", TEXT, pair="<i>Jira</i> 😀"), "against", "favor")


def _multi_label() -> Asked:
    task = a_task_of("multi_label", ("billing", "delivery", "returns"))
    return Asked(task, Item("i", TEXT), ["billing", "returns"], ["delivery"], [])


def _spans() -> Asked:
    task = a_task_of("spans", ("app", "place"))
    value: Value = [span("GitLab", "app"), span("שלום العربية", "place"), span("🚀", "app")]
    return Asked(task, Item("i", TEXT), value, [span("Jira", "app")], [])


def _overlapping() -> Asked:
    task = a_task_of("spans", ("app", "whole"), overlapping=True)
    value: Value = [span("use <b>GitLab</b> & Jira", "whole"), span("GitLab", "app")]
    return Asked(task, Item("i", TEXT), value, [span("Jira", "app")], [])


def _tokens() -> Asked:
    task = a_task_of("tokens", ("NOUN", "VERB", "X"), tokens="tokens")
    tokens = words(TEXT)
    value: Value = [("NOUN", "VERB", "X")[number % 3] for number in range(len(tokens))]
    return Asked(task, Item("i", TEXT, tokens=tokens), value, ["X"] * len(tokens))


def _roles() -> Asked:
    task = a_task_of("roles", ("A0", "A1"), tokens="tokens", focus="predicate")
    tokens = words(TEXT)
    used = (TEXT.index("use"), TEXT.index("use") + 3)
    value: Value = [span("I", "A0"), span("<b>GitLab</b> & Jira", "A1")]
    return Asked(task, Item("i", TEXT, tokens=tokens, focus=used), value, [span("I", "A1")], [])


def _fields() -> Asked:
    fields = (
        FieldSpec(name="text"),  # a name the desk uses itself
        FieldSpec(name="apps used", many=True),
        FieldSpec(name="since", type="date"),
        FieldSpec(name="mood", type="choice", choices=("good", "bad")),
        FieldSpec(name="price", type="number"),
    )
    nothing: dict[str, Any] = {"text": None, "apps used": [], "since": None, "mood": None, "price": None}
    value: Value = {
        **nothing,
        "text": "👩‍👩‍👧‍👦",
        "apps used": ["GitLab", "Jira"],
        "since": "2024-05-01",
        "mood": "good",
    }
    return Asked(a_task_of("fields", fields=fields), Item("i", TEXT), value, {**nothing, "mood": "bad"}, nothing)


_CASES = {
    "ordinal": _ordinal,
    "pair": _pair,
    "multi_label": _multi_label,
    "spans": _spans,
    "overlapping": _overlapping,
    "tokens": _tokens,
    "roles": _roles,
    "fields": _fields,
}
NAMES = tuple(_CASES)
EMPTY_NAMES = ("multi_label", "spans", "overlapping", "roles", "fields")
