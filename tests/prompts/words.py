"""The tasks and teachers of these tests: the helpdesk's ten teams, and small ones with traps."""

from pathlib import Path

from stillhouse.records import Item
from stillhouse.settings import Data, Teacher
from stillhouse.task import FieldSpec, KindName, Label, Task
from stillhouse.task_file import load_task

TASK = load_task(Path(__file__).parents[2] / "examples" / "helpdesk" / "team.toml")
TEACHER = Teacher(name="A", model="m")
REVERSED = Teacher(name="B", model="m", label_order="reversed")


def task_with(*labels: Label, guidelines: str = "", question: str = "Which?") -> Task:
    return TASK.model_copy(update={"labels": labels, "guidelines": guidelines, "question": question})


TRAPS = task_with(
    Label(name="card", aliases=("bank card",)),
    Label(name="card_arrival", description="When a card comes"),
    Label(name="no", aliases=("none of these",)),
    Label(name="+1"),
)
MANY = task_with(*(Label(name=f"label {number:02d}") for number in range(77)))

TEXT = "Ana Silva rents the new Canon from Acme Ltd on 3 May 2024."
WORDS = ("Ana", "Silva", "rents", "the", "new", "Canon", "from", "Acme", "Ltd", "on", "3", "May", "2024", ".")


def spans_of(words: tuple[str, ...], text: str) -> tuple[tuple[int, int], ...]:
    spans, at = [], 0
    for word in words:
        at = text.index(word, at)
        spans.append((at, at + len(word)))
    return tuple(spans)


TOKENS = spans_of(WORDS, TEXT)
KIND_ITEM = Item("k", TEXT, tokens=TOKENS)
ROLE_ITEM = Item("k", TEXT, tokens=TOKENS, focus=TOKENS[2])


def task_of(kind: KindName, *names: str, overlapping: bool = False) -> Task:
    """A small task of each kind, with one label described."""
    labels = tuple(Label(name=name, description="" if at else f"What {name} means") for at, name in enumerate(names))
    fields = (
        FieldSpec(name="tenants", many=True, description="Who rents"),
        FieldSpec(name="start date", type="date"),
        FieldSpec(name="rent", type="number"),
        FieldSpec(name="law", type="choice", choices=("New York", "Texas")),
    )
    return Task(
        name="small",
        kind=kind,
        question="What does it say?",
        guidelines="A note about a lease.",
        overlapping=overlapping,
        fields=fields if kind == "fields" else (),
        labels=labels,
        data=Data(pool="pool.jsonl", tokens="tokens", focus="predicate" if kind == "roles" else None),
        teachers=(TEACHER,),
    )


PAIRED = TASK.model_copy(update={"data": Data(pool="pool.jsonl", pair="target_topic")})
KINDS: dict[str, Task] = {
    "multi_label": task_of("multi_label", "rent", "repair"),
    "spans": task_of("spans", "PERSON", "DEVICE", "TIME"),
    "quotes": task_of("spans", "PERSON", "DEVICE", "TIME", overlapping=True),
    "tokens": task_of("tokens", "NOUN", "VERB", "PUNCT"),
    "roles": task_of("roles", "ARG0", "ARG1", "ARGM-TMP"),
    "fields": task_of("fields"),
}
