"""What `stillhouse guidelines ...` does, without flags or printing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinds.kind import Kind, Layout
from loop.adopt import Adopted, Reask, adopt
from loop.amendments import REHEARSED, Tested, pooled_values, try_draft
from loop.conflicts import Cluster, Compared, Conflict, clusters_of_people, clusters_with_teacher
from loop.drafts import (
    Draft,
    agreements_near,
    amendment_for,
    difference,
    read_draft,
    with_amendment,
    write_draft,
    writer_of,
)
from loop.guidelines import History, history
from loop.kept import kept
from loop.learn import base_of
from loop.library import Library, library_of
from loop.progress import Display
from loop.project import Project, check_labels, project_of, read_pool, same_task
from loop.view import agreed, random_draws
from stillhouse.errors import InputError
from stillhouse.guidelines import half_of
from stillhouse.records import Interval, Item, Value
from stillhouse.store import Store

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


def find_conflicts(folder: Path, *, quiet: bool) -> Found:
    """Read only: may be asked while a run works. Raises InputError where nothing is answered yet."""
    project = project_of(folder)
    with Store(project.folder, read_only=True) as store:
        check_labels(project, store)
        return _found(project, store, _library(project, store, Display(quiet=quiet)))


def draft_amendment(folder: Path, cluster: int, *, teacher: str | None, by_hand: bool, quiet: bool) -> Drafted:
    """A new draft for one of the clusters. Raises InputError where there is none of that number, else as `amendment_for`."""
    project, display = project_of(folder), Display(quiet=quiet)
    writer = None if by_hand else writer_of(project.task, teacher)
    with Store(project.folder) as store:
        same_task(project, store)
        library = _library(project, store, display)
        found = _found(project, store, library)
        if not 1 <= cluster <= len(found.clusters):
            raise InputError(
                f"no cluster {cluster}",
                expected=f"a number from 1 to {len(found.clusters)}",
                found=str(cluster),
                fix=f"stillhouse guidelines conflicts {folder}",
            )
        chosen, spent = found.clusters[cluster - 1], store.spent_usd()
        amendment = ""
        if writer is not None:
            amendment = amendment_for(
                project,
                store,
                display,
                chosen,
                writer,
                drawn=library.drawn,
                agreements=_agreements(project, store, library, chosen),
            )
        old = project.task.guidelines
        draft = write_draft(project, with_amendment(old, amendment), chosen, writer.name if writer else "")
        return Drafted(draft, difference(old, draft.text, f"draft {draft.number}"), store.spent_usd() - spent)


def try_amendment(
    folder: Path, number: int, *, teacher: str | None, most: int, drawn_only: bool, quiet: bool
) -> Tested:
    """Raises as `loop.amendments.try_draft`."""
    project = project_of(folder)
    with Store(project.folder) as store:
        same_task(project, store)
        draft = read_draft(project, number)
        display = Display(quiet=quiet)
        return try_draft(project, store, display, draft, teacher=teacher, most=most, drawn_only=drawn_only)


def adopt_amendment(folder: Path, number: int, *, write: bool, anyway: bool, reask: Reask, quiet: bool) -> Adopted:
    """Raises as `loop.adopt.adopt`."""
    project, display = project_of(folder), Display(quiet=quiet)
    with Store(project.folder) as store:
        same_task(project, store)
        draft, library = read_draft(project, number), _library(project, store, display)
        return adopt(project, store, display, draft, library, write=write, anyway=anyway, reask=reask)


def history_of(folder: Path) -> History:
    """Read only: may be asked while a run works."""
    project = project_of(folder)
    with Store(project.folder, read_only=True) as store:
        return history(project, store)


def _library(project: Project, store: Store, display: Display) -> Library:
    return library_of(project, base_of(project), display, read_pool(project), store.picks(), store.answers())


def _found(project: Project, store: Store, library: Library) -> Found:
    compared, answers = compared_of(project, store, library), store.answers()
    if not compared.labels:
        raise InputError(
            f"{project.task.name}: nothing to compare the teacher with",
            expected="answers of people",
            found="none",
            fix=f"answer a batch first: stillhouse run {project.task_path}",
        )
    rng = project.rng("conflicts", len(compared.labels))
    items = {item.id: item for item in library.pool}
    confidence = project.task.stop.confidence
    clusters = clusters_with_teacher(compared, "drafting", rng, confidence)
    clusters += clusters_of_people(project.kind, items, answers, "drafting", library.texts, rng)
    drafting = sum(half_of(item_id) == "drafting" for item_id in compared.labels)
    rehearsed = project.task.desk.rehearse is not None
    return Found(project.task.name, project.kind, len(compared.labels), drafting, tuple(clusters), rehearsed)


def compared_of(project: Project, store: Store, library: Library) -> Compared:
    """What the run knows: pooled votes, answers, random draws, the belief of its last round."""
    items, (labels, _) = library.pool, agreed(store.answers())
    return Compared(
        kind=project.kind,
        items=items,
        said=pooled_values(project, items, store.votes()),
        labels=labels,
        draws=random_draws(items, store.picks(), labels),
        embed=library.texts,
        believed=_believed(project, store, items),
    )


def _believed(project: Project, store: Store, items: Sequence[Item]) -> list[Value] | None:
    """None before the first round is finished, and where its belief was of other labels or items."""
    rounds = store.rounds()
    probs = kept(project, f"belief-{len(rounds) - 1:02d}") if rounds else None
    kind, layout = project.kind, Layout.of(project.kind, items)
    if probs is None or probs.shape != (len(layout.item_of), len(kind.columns)):
        return None
    thresholds = kind.thresholds(probs)
    return [
        kind.decode(item, layout.spans[layout.rows(number)], probs[layout.rows(number)], thresholds)
        for number, item in enumerate(items)
    ]


def _agreements(project: Project, store: Store, library: Library, cluster: Cluster) -> list[Conflict]:
    """Of the drafting half, and not drawn at random: their answers measure the teacher."""
    compared = compared_of(project, store, library)
    alike = [
        (item, compared.labels[item.id])
        for number, item in enumerate(compared.items)
        if item.id in compared.labels
        and item.id not in library.drawn
        and half_of(item.id) == "drafting"
        and compared.said[number] is not None
        and not compared.with_teacher(number, compared.labels[item.id])
    ]
    if not alike:
        return []
    middle = library.texts([each.item for each in cluster.members]).mean(axis=0)
    return agreements_near(cluster, alike, (library.texts([item for item, _ in alike]) @ middle).tolist())


def _sizes(cluster: Cluster) -> str:
    parts = [f"{len(cluster.members)} answered {'item' if len(cluster.members) == 1 else 'items'}"]
    if cluster.between == "teacher":
        parts[0] += f", {cluster.blind} of them drawn at random"
        parts += [f"in the pool {_counted(cluster.pool)} (unbiased)"] if cluster.pool else []
        parts += [f"about {cluster.believed:,.0f} as is believed"] if cluster.believed is not None else []
    return "; ".join(parts)


def _counted(interval: Interval) -> str:
    return f"{interval.value:,.0f} [{interval.lo:,.0f}, {interval.hi:,.0f}]"
