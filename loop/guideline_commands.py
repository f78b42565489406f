"""What `stillhouse guidelines ...` does, without flags or printing."""

from collections.abc import Sequence
from pathlib import Path

from kinds.kind import Layout
from loop.adopt import Adopted, Reask, adopt
from loop.amendments import Tested, try_draft
from loop.ask_again import pooled_values
from loop.conflicts import Cluster, Compared, Conflict, clusters_of_people, clusters_with_teacher
from loop.drafts import (
    agreements_near,
    amendment_for,
    difference,
    read_draft,
    with_amendment,
    write_draft,
    writer_of,
)
from loop.guideline_pages import Drafted, Found
from loop.guidelines import History, history
from loop.kept import kept
from loop.learn import base_of
from loop.library import Library, library_of
from loop.progress import Display
from loop.project import Project, check_labels, project_of, read_pool, same_task
from loop.view import agreed, random_draws
from stillhouse.errors import InputError
from stillhouse.guidelines import half_of
from stillhouse.records import Item, Value
from stillhouse.store import Store


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
