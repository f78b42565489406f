"""The sets of labels that a run has had, one after the other."""

from dataclasses import dataclass
from typing import Any

from stillhouse.label_changes import Changes, LabelSet


@dataclass(frozen=True, slots=True)
class Schema:
    """One set of labels: from when on (ISO 8601 in UTC), after how many finished rounds, and by which changes.

    `hash` is Task.schema_hash. The first has no changes and no rounds before it.
    """

    hash: str
    labels: LabelSet
    rounds: int = 0
    changes: Changes | None = None
    since: str = ""

    def to_json(self) -> dict[str, Any]:
        changes = None if self.changes is None else self.changes.to_json()
        return {
            "hash": self.hash,
            "labels": self.labels.to_json(),
            "rounds": self.rounds,
            "changes": changes,
            "since": self.since,
        }

    @staticmethod
    def of_json(said: dict[str, Any]) -> "Schema":
        changes = None if said["changes"] is None else Changes.of_json(said["changes"])
        return Schema(said["hash"], LabelSet.of_json(said["labels"]), said["rounds"], changes, said["since"])
