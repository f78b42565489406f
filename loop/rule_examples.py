"""Items on which a rule fires, first those where people or the belief contradict it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consensus.rules import RuleVotes
from kinds.kind import Layout, Spans
from loop.project import Project
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Value

MOST_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Example:
    """An item on which a rule fires, and what others say of it; `against` says who contradicts the rule, if anybody."""

    item_id: str
    text: str
    rule: str
    other: str
    against: str


def examples_of(
    project: Project,
    layout: Layout,
    items: Sequence[Item],
    votes: RuleVotes,
    belief: Floats | None,
    labels: Mapping[str, Value],
) -> tuple[Example, ...]:
    """Where people contradict the rule, then where what is believed does, the surest first; then where it fires."""
    kind = project.kind
    by_item: dict[int, list[int]] = {}
    for place, row in enumerate(votes.rows):
        by_item.setdefault(int(layout.item_of[row]), []).append(place)
    if belief is not None and len(belief) != len(layout.item_of):
        belief = None  # of a pool that has changed since
    ranked = []
    for number, places in by_item.items():
        item, rows = items[number], layout.rows(number)
        part = RuleVotes(votes.name, votes.rows[places] - rows.start, votes.said[places])
        other, doubt, against = "", 0.0, ""
        if belief is not None:
            doubt = 1.0 - float(part.belief(belief[rows], kind.width).min())
            other, against = kind.show(item, kind.decode(item, layout.spans[rows], belief[rows])), "belief"
        if item.id in labels:
            truth = np.nan_to_num(kind.encode(item, layout.spans[rows], labels[item.id]), nan=1.0)
            doubt = 2.0 if part.belief(truth, kind.width).min() == 0 else 0.0
            other, against = kind.show(item, labels[item.id]), "people"
        said = _shown(part, item, layout.spans[rows], kind.columns)
        ranked.append((-doubt, item.id, Example(item.id, item.text, said, other, against if doubt > 0.5 else "")))
    return tuple(example for _, _, example in sorted(ranked, key=lambda each: each[:2])[:MOST_EXAMPLES])


def _shown(part: RuleVotes, item: Item, spans: Spans, columns: Sequence[str]) -> str:
    """What the rule says of an item: labels, or each marked word with what it is said to be."""
    found = []
    for row, said in zip(part.rows, part.said, strict=True):
        names = " or ".join(columns[at] for at in np.flatnonzero(said).tolist())
        whole = len(spans) == 1 and spans[0, 1] - spans[0, 0] == len(item.text)
        found.append(names if whole else f"{item.text[spans[row][0] : spans[row][1]]}/{names}")
    return ", ".join(found)
