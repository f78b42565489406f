"""What every desk offers: records go out to people, answers come back; Argilla and plain files both do it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stillhouse.records import Answer, Item, Suggestion, Way

REHEARSED_PREFIX = "rehearsed-"  # annotators of this name are simulated, on every desk


@dataclass(frozen=True, slots=True)
class DeskRecord:
    """One item as people get it: why it is asked, and a suggestion unless it is asked blind.

    `way` is how it is asked: an item may be out in several ways, one after the other. `context` is Markdown that is shown
    beside the text: what the guidelines say of it, items like it that people have answered, opinions to decide between.
    `assigned` names who is to answer (nobody: whoever comes first), `not_by` who must not, having answered before.
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

    def __post_init__(self) -> None:
        if self.blind and self.suggestion is not None:
            raise ValueError(f"item {self.item_id!r} is asked blind and must not carry a suggestion")
        if self.way == "verify" and self.suggestion is None:
            raise ValueError(f"item {self.item_id!r} is to be verified and needs a suggestion")

    @property
    def item_id(self) -> str:
        return self.item.id


class Desk(Protocol):
    """Where people answer. Every method may be repeated at any time."""

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Put records before people and return how many were new; an item that is out already stays as it was."""
        ...

    def collect(self) -> list[Answer]:
        """Every answer given so far, as it stands now; a pass (a discarded record) has the label None."""
        ...

    def sent_back(self) -> list[str]:
        """What the last `collect` could not use, a line each: which item, whose answer, what is wrong, where to mend it.

        Such an answer is no answer: the item waits, and the person still has what they did.
        """
        ...

    def waiting(self) -> int:
        """How many published records still lack answers; a pass counts, or a record nobody can label waits forever."""
        ...

    def link(self) -> str:
        """Where a person goes to answer, the least certain record first."""
        ...


def is_rehearsed(annotator: str) -> bool:
    return annotator.startswith(REHEARSED_PREFIX)
