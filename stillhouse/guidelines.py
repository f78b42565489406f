"""Versions of the guidelines: their words, where they come from, what speaks for them, and which answers may draft or test one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stillhouse.task import Task

Half = Literal["drafting", "test"]


@dataclass(frozen=True, slots=True)
class Version:
    """One version, named by `Task.guidelines_id`; `words` are what that hashes (see `words_of`).

    `since` is when it came into force (ISO 8601 in UTC), "" if it was only tested; `parent` what was in force before, or
    what it was drafted from. `how` says in words who put it into force. `evidence` is what testing it measured: "at",
    "teachers", and "items" (`stillhouse.amendment_measures.Tried`, as JSON); empty if nobody did.
    """

    id: str
    parent: str
    since: str
    how: str
    words: Mapping[str, Any]
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return str(self.words["guidelines"])


def words_of(task: Task) -> dict[str, Any]:
    """All that `Task.guidelines_id` names."""
    return {
        "question": task.question,
        "guidelines": task.guidelines,
        "people_guidelines": task.people_guidelines,
        "labels": {label.name: label.description for label in task.labels},
    }


def amended(task: Task, text: str) -> Task:
    """The task with other guidelines, and all else as it is."""
    return task.model_copy(update={"guidelines": text})


def half_of(item_id: str) -> Half:
    """Whether an item's answers may help to draft an amendment or are kept to test it: for good, and about half of each.

    Nothing but the id decides, so that neither the order of answers nor their content can move an item across.
    """
    digest = hashlib.sha256(b"guidelines\x1f" + item_id.encode("utf-8", "surrogatepass")).digest()
    return "test" if digest[0] & 1 else "drafting"
