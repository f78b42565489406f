"""What commands about guidelines say: conflicts with their sizes and examples, a draft with what it changes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinds.kind import Kind
from loop.amendments import REHEARSED
from loop.conflicts import Cluster, Conflict
from loop.drafts import Draft
from stillhouse.records import Interval

EXAMPLES = 4  # of a cluster, on a page
CHARS_SHOWN = 160  # of a text


@dataclass(frozen=True, slots=True)
class Found:
    """All clusters of the drafting half in the order of their numbers, which begin at 1: with the teacher, then of people."""

    task: str
    kind: Kind
    answers: int
    drafting: int
    clusters: tuple[Cluster, ...]
    rehearsed: bool

    def to_json(self, most: int) -> dict[str, Any]:
        rows = [
            {
                "cluster": number,
                "between": each.between,
                "said": each.said,
                "right": each.right,
                "answers": len(each.members),
                "blind": each.blind,
                "in_pool": each.pool.to_json() if each.pool else None,
                "believed_in_pool": each.believed,
                "examples": [
                    {
                        "id": one.item.id,
                        "text": one.item.text,
                        "said": one.said,
                        "right": one.right,
                        "words": one.words,
                    }
                    for one in each.members[:EXAMPLES]
                ],
            }
            for number, each in enumerate(self.clusters[:most], 1)
        ]
        counts = {"answers": self.answers, "drafting_half": self.drafting, "rehearsed_experts": self.rehearsed}
        return {"task": self.task, **counts, "clusters": rows}

    def text(self, most: int) -> str:
        sides = [[each for each in self.clusters if each.between == side] for side in ("teacher", "people")]
        found = f"clusters of conflicts: {len(sides[0])} with the teacher, {len(sides[1])} between people"
        half = f"{self.drafting} of {self.answers} answered items (the drafting half; the others are for tests)"
        lines = [f"{self.task}: {found}, in {half}", *([REHEARSED] if self.rehearsed else [])]
        for number, each in enumerate(self.clusters[:most], 1):
            lines += ["", f"{number}. {title(each)}", f"   {_sizes(each)}"]
            lines += [f"   - {self._example(each, one)}" for one in each.members[:EXAMPLES]]
        if len(self.clusters) > most:
            lines += ["", f"and {len(self.clusters) - most} more: --most {len(self.clusters)}"]
        return "\n".join(lines)

    def _example(self, cluster: Cluster, one: Conflict) -> str:
        text = " ".join(one.item.text.split())
        shown = text if len(text) <= CHARS_SHOWN else f"{text[: CHARS_SHOWN - 1]}…"
        same = (
            self.kind.show(one.item, one.said) == cluster.said and self.kind.show(one.item, one.right) == cluster.right
        )
        return shown if same else f"{shown}  [{one.words or self._both(one)}]"

    def _both(self, one: Conflict) -> str:
        return f"{self.kind.show(one.item, one.said)} for {self.kind.show(one.item, one.right)}"


@dataclass(frozen=True, slots=True)
class Drafted:
    """A draft and how it differs from what is in force."""

    draft: Draft
    difference: str
    cost_usd: float

    def to_json(self) -> dict[str, Any]:
        one = self.draft
        named = {"draft": one.number, "file": str(one.path), "base": one.base, "by": one.by or None}
        return {**named, "text": one.text, "difference": self.difference, "cost_usd": round(self.cost_usd, 6)}

    def text(self, run: Path) -> str:
        lines = [self.difference, ""] if self.difference else []
        lines.append(f"draft {self.draft.number}: {self.draft.path}")
        if self.draft.by:
            lines.append(
                f"written by teacher {self.draft.by} for ${self.cost_usd:.4f}; read it, and edit it as you like"
            )
        else:
            lines.append("it holds the guidelines in force: write into it what should be added or changed")
        lines.append(f"next: stillhouse guidelines test {run} {self.draft.number}")
        return "\n".join(lines)


def title(cluster: Cluster) -> str:
    """What a cluster is about, in one line."""
    said, right = (repr(name) if name else "nothing" for name in (cluster.said, cluster.right))
    if cluster.said == cluster.right:
        said = f"{said} for other words"
    if cluster.between == "people":
        return f"some people say {said}, others {right}"
    return f"the teacher says {said}, people {right}"


def _sizes(cluster: Cluster) -> str:
    parts = [f"{len(cluster.members)} answered {'item' if len(cluster.members) == 1 else 'items'}"]
    if cluster.between == "teacher":
        parts[0] += f", {cluster.blind} of them drawn at random"
        parts += [f"in the pool {_counted(cluster.pool)} (unbiased)"] if cluster.pool else []
        parts += [f"about {cluster.believed:,.0f} as is believed"] if cluster.believed is not None else []
    return "; ".join(parts)


def _counted(interval: Interval) -> str:
    return f"{interval.value:,.0f} [{interval.lo:,.0f}, {interval.hi:,.0f}]"
