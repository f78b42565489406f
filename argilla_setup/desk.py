"""What every desk offers: records go out to people, answers come back; Argilla and plain files both do it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stillhouse.records import Answer, Item, Suggestion, Value, Way

REHEARSED_PREFIX = "rehearsed-"  # annotators of this name are simulated, on every desk
# Why an item is asked, as people read it; a reason that is not here is shown as it stands.
WHY: Mapping[str, str] = {
    "random": "drawn at random, to measure how good the labels are",
    "uncertain": "the model is unsure",
    "teacher_student": "two models disagree",
    "variants": "one model, asked in two ways, gave two answers",
}
TO_DO: Mapping[Way, str] = {
    "label": "labels",
    "verify": "yes or no",
    "second": "second opinions",
    "adjudicate": "decisions between opinions",
}


@dataclass(frozen=True, slots=True)
class DeskRecord:
    """One item as people get it: why it is asked, and a suggestion unless it is asked blind.

    `way` is how it is asked: an item may be out in several ways, one after the other. A second opinion shows neither
    suggestion nor reason, whatever the record holds, and whoever decides between opinions reads them in the context.
    `context` is Markdown that is shown beside the text: what the guidelines say of it, items like it that people have
    answered, opinions to decide between; texts in it are escaped by who writes it (`argilla_setup.markdown.as_markdown`).
    `assigned` names who is to answer (nobody: whoever comes first), `not_by` who must not, having answered before.
    `vector` is the item's embedding, by which people find items like it.
    """

    item: Item
    round: int
    reason: str
    uncertainty: float
    blind: bool
    suggestion: Suggestion | None = None
    way: Way = "label"
    context: str = ""
    assigned: tuple[str, ...] = ()
    not_by: tuple[str, ...] = ()
    vector: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.blind and self.suggestion is not None:
            raise ValueError(f"item {self.item_id!r} is asked blind and must not carry a suggestion")
        if self.way == "verify" and self.suggestion is None:
            raise ValueError(f"item {self.item_id!r} is to be verified and needs a suggestion")
        if both := set(self.assigned) & set(self.not_by):
            raise ValueError(f"item {self.item_id!r} is assigned to {min(both)!r}, who must not answer it")

    @property
    def item_id(self) -> str:
        return self.item.id

    @property
    def shown(self) -> Suggestion | None:
        """The suggestion that the person sees: none for a second opinion, nor beside opinions to decide between."""
        return self.suggestion if self.way in {"label", "verify"} else None

    @property
    def why(self) -> str:
        """Why it is asked, in words; of what must not be biased, only that."""
        if self.way == "second":
            return "a second opinion, without seeing the first"
        return WHY.get(self.reason, self.reason)


@dataclass(frozen=True, slots=True)
class Denial:
    """A "no" to a suggestion, where no says only what the value is not: the item is to be asked for a label.

    Where one other value is possible (two labels), a no is an Answer with it instead. Times as in Answer.
    """

    item_id: str
    annotator: str
    value: Value
    rehearsed: bool
    denied_at: str
    seconds: float | None = None
    guidelines: str = ""


@dataclass(frozen=True, slots=True)
class OpenRecord:
    """A published record that lacks `missing` answers; `key` is what the desk itself knows it by."""

    key: str
    item: Item
    way: Way
    missing: int
    answered_by: tuple[str, ...] = ()
    assigned: tuple[str, ...] = ()
    not_by: tuple[str, ...] = ()
    suggested: Value | None = None


class Desk(Protocol):
    """Where people answer. Every method may be repeated at any time."""

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Put records before people and return how many were new; an item that is out in its way stays as it was.

        Only who is to answer follows `assigned`, as long as nobody has: what a slow person leaves open can be dealt
        again. The guidelines that people read become those of the task.
        """
        ...

    def collect(self, *, changed: bool = False) -> list[Answer]:
        """Every answer given so far, as it stands now; a pass (a discarded record) has the label None.

        With `changed`, only those that are new or edited since the last `collect` of this desk, in whatever way they were
        edited; where nothing has happened it costs next to nothing. An answer whose record or annotator is gone is not
        returned, which does not say that it was not given.
        """
        ...

    def denied(self) -> list[Denial]:
        """Every suggestion that a person has said no to, as the last `collect` found it (of all, also with `changed`)."""
        ...

    def sent_back(self) -> list[str]:
        """What the last `collect` could not use, a line each: which item, whose answer, what is wrong, where to mend it.

        Such an answer is no answer: the item waits, and the person still has what they did.
        """
        ...

    def waiting(self) -> int:
        """How many published records still lack answers; a pass counts, or a record nobody can label waits forever."""
        ...

    def open(self) -> list[OpenRecord]:
        """What `waiting` counts: each record, who has answered it, and who is to."""
        ...

    def link(self, annotator: str = "", way: Way = "label") -> str:
        """Where a person goes to answer, the least certain record first; `annotator`: what is assigned to them."""
        ...


def links(desk: Desk) -> list[str]:
    """Where each person finds what is open and theirs, a line for each and way; and where what is anybody's is."""
    open_to = {(name, record.way) for record in desk.open() for name in record.assigned or ("",)}
    return [f"{name or 'anybody'}, {TO_DO[way]}: {desk.link(name, way)}" for name, way in sorted(open_to)]


def is_rehearsed(annotator: str) -> bool:
    return annotator.startswith(REHEARSED_PREFIX)


def value_denied(labels: Sequence[str], kind: str, value: Value) -> Value | None:
    """What a no to `value` says: the other of two labels; None where it says only what the value is not."""
    if kind == "single_label" and len(labels) == 2:
        return labels[1 - list(labels).index(str(value))]
    return None
