"""A tested draft put into force: task.toml, its version in the store, and who is asked again because of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kinds.kind import Kind
from loop.ask_again import ask_again
from loop.costs import ToAsk, check_cost
from loop.drafts import Draft, changed_task, difference, names_in
from loop.guidelines import judged_now, noted
from loop.library import Library
from loop.progress import Display
from loop.project import Project, open_project, read_gold
from stillhouse.amendment_measures import Judged
from stillhouse.errors import InputError
from stillhouse.guidelines import amended
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Vote
from stillhouse.store import Store
from stillhouse.task import LABEL_KINDS
from stillhouse.task_edit import guidelines_file, write_guidelines

Reask = Literal["affected", "all", "none"]
LIKELY = 0.1  # a label that a vote gives so much is in play
CHANGED_UNDERWAY = "the guidelines in task.toml became others while they were written"


@dataclass(frozen=True, slots=True)
class Adopted:
    """`difference` is what changes in `file`, which was `written` or not; `asked` how many votes were asked for anew and
    `older` how many stay that were given under other guidelines, by teacher.
    """

    draft: int
    version: str
    parent: str
    file: Path
    difference: str
    written: bool
    judged: Judged | None
    asked: Mapping[str, int]
    older: Mapping[str, int]
    cost_usd: float

    def to_json(self) -> dict[str, Any]:
        return {
            "draft": self.draft,
            "version": self.version,
            "parent": self.parent,
            "file": str(self.file),
            "difference": self.difference,
            "written": self.written,
            "verdict": self.judged.verdict if self.judged else None,
            "asked_anew": dict(self.asked),
            "votes_under_others": dict(self.older),
            "cost_usd": round(self.cost_usd, 6),
        }

    def text(self) -> str:
        lines = [self.difference, ""] if self.difference else []
        if self.judged is not None:
            lines.append(f"tested: {self.judged.verdict}: {self.judged.because}")
        if not self.written:
            lines.append(f"Nothing was written. With --write this goes into {self.file}.")
            return "\n".join(lines)
        lines.append(f"In force: version {self.version}, after {self.parent}, in {self.file}.")
        lines.append("People read it once the next batch is published.")
        for name, count in self.asked.items():
            lines.append(f"  {name}: {count:,} votes asked anew, {self.older[name]:,} stay under other guidelines")
        lines.append(f"Spent: ${self.cost_usd:.4f}.")
        return "\n".join(lines)


def adopt(
    project: Project,
    store: Store,
    display: Display,
    draft: Draft,
    library: Library,
    *,
    write: bool,
    anyway: bool,
    reask: Reask,
) -> Adopted:
    """Without `write` only what would change. Repeated after a kill it goes on with those who are to be asked again.

    Raises InputError where the draft's test does not show that it helps, unless `anyway`; where task.toml cannot be edited,
    before anything is; BudgetError before anything is written or sent where asking again cannot be paid.
    """
    wanted, old = amended(project.task, draft.text), project.task
    version, parent = wanted.guidelines_id(), draft.base
    judged = judged_now(project, store.versions(), version)
    target = guidelines_file(project.task_path) or project.task_path
    there = version == project.task.guidelines_id() and version != draft.base
    if not there:
        changed_task(project, draft)
        if not anyway:
            _check_verdict(draft, judged)
        noted(project, store)
    changes = "" if there else difference(old.guidelines, draft.text, f"draft {draft.number}")
    if not write and not there:
        return Adopted(draft.number, version, parent, target, changes, False, judged, {}, {}, 0.0)
    again = _to_ask(project, store, draft, library, version, reask)
    after = Project(wanted, project.task_path, project.folder)
    _check_cost(after, store, again, display)
    if not there:
        write_guidelines(project.task_path, draft.text)
        after = open_project(project.task_path, project.folder)
        if after.task.guidelines_id() != version:
            raise InputError(
                CHANGED_UNDERWAY, expected=version, found=after.task.guidelines_id(), fix="look at task.toml"
            )
    noted(after, store, _how(draft, judged))
    spent = store.spent_usd()
    for one in after.task.teachers:
        ask_again(after, store, one, again.get(one.name, []), display, ", asked anew")
    older = {name: sum(vote.guidelines != version for vote in _votes(store, name)) for name in again}
    asked = {name: len(items) for name, items in again.items()}
    return Adopted(
        draft.number, version, parent, target, changes, True, judged, asked, older, store.spent_usd() - spent
    )


def affected(kind: Kind, items: Sequence[Item], votes: Mapping[str, Vote], draft: Draft, embed: Any) -> list[Item]:
    """Items that the draft may change: whose vote has a name in play, or gives it LIKELY, or whose texts are as near to the
    middle of the conflicts it is for as half of those are.
    """
    about = [item for item in items if item.id in set(draft.items)]
    near = np.zeros(len(items), dtype=bool)
    if about:
        middle = embed(about).mean(axis=0)
        near = np.asarray(embed(items) @ middle >= np.median(embed(about) @ middle))
    return [
        item
        for item, close in zip(items, near, strict=True)
        if close or (item.id in votes and not draft.names.isdisjoint(_in_play(kind, item, votes[item.id])))
    ]


def _in_play(kind: Kind, item: Item, vote: Vote) -> frozenset[str]:
    spans = kind.units(item)
    probs: Floats = kind.said(item, spans, vote).probs
    named = names_in(kind.decode(item, spans, probs)) if vote.usable else frozenset[str]()
    if kind.task.kind not in LABEL_KINDS or not vote.usable:
        return named
    return named | {name for name, p in zip(kind.task.label_names, vote.probs, strict=True) if p >= LIKELY}


def _to_ask(
    project: Project, store: Store, draft: Draft, library: Library, version: str, reask: Reask
) -> dict[str, list[Item]]:
    """By teacher; a recording says the same whatever the guidelines are. Gold is asked too, so that it measures the same."""
    teachers = [one for one in project.task.teachers if one.recording is None]
    if reask == "none":
        return {one.name: [] for one in teachers}
    gold = read_gold(project, library.pool)
    everything = [*library.pool, *(gold.items if gold else ())]
    found = {}
    for one in teachers:
        votes = {vote.item_id: vote for vote in _votes(store, one.name)}
        stale = [item for item in everything if item.id in votes and votes[item.id].guidelines != version]
        if reask == "affected":
            chosen = {item.id for item in affected(project.kind, everything, votes, draft, library.texts)}
            stale = [item for item in stale if item.id in chosen]
        found[one.name] = stale
    return found


def _votes(store: Store, source: str) -> list[Vote]:
    return [vote for vote in store.votes() if vote.source == source]


def _check_cost(after: Project, store: Store, again: Mapping[str, Sequence[Item]], display: Display) -> None:
    teachers = {one.name: one for one in after.task.teachers}
    wanted = [ToAsk(f"asked anew, teacher {name}", after.task, teachers[name], items) for name, items in again.items()]
    check_cost(after, store, wanted, display, "asking again", "ask fewer: --reask none")


def _check_verdict(draft: Draft, judged: Judged | None) -> None:
    if judged is not None and judged.verdict == "helps":
        return
    raise InputError(
        f"draft {draft.number} is not shown to help",
        expected="a test on held-out answers that shows a gain and no harm",
        found="no test" if judged is None else f"{judged.verdict}: {judged.because}",
        fix=f"stillhouse guidelines test RUN {draft.number}, or adopt it all the same: --anyway",
    )


def _how(draft: Draft, judged: Judged | None) -> str:
    verdict = "untested" if judged is None else judged.verdict
    return f"adopted from draft {draft.number}" + ("" if verdict == "helps" else f" all the same ({verdict})")
