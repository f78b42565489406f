"""What the kinds share whose one unit is the whole text."""

import difflib
from collections.abc import Sequence

import numpy as np

from kinds.kind import Spans
from stillhouse.records import Item
from stillhouse.task import Task


class WholeText:
    """Mixed into a kind with a `task`: its unit is the text."""

    task: Task

    @property
    def per_text(self) -> bool:
        return True

    def units(self, item: Item) -> Spans:
        return np.array([[0, len(item.text)]], dtype=np.int64)

    def label_problems(self, names: Sequence[object]) -> list[str]:
        return unknown_labels(self.task.label_names, names)


def unknown_labels(known: Sequence[str], names: Sequence[object]) -> list[str]:
    """A problem for each name that is no label, with a guess at the slip."""
    problems = []
    for name in names:
        if name in known:
            continue
        if name is None or name == "":
            problems.append("no label")
            continue
        folded = {other.strip().casefold(): other for other in known}
        close = difflib.get_close_matches(str(name).strip().casefold(), list(folded), n=1)
        shown = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
        guess = f"did you mean {folded[close[0]]!r}?" if close else f"it has {shown}"
        problems.append(f"{name!r} is not a label of the task ({guess})")
    return problems


def described(task: Task) -> tuple[tuple[str, str], ...]:
    """Each label with its description, for a question."""
    return tuple((label.name, label.description) for label in task.labels)
