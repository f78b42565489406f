"""Labels of a run become others: what was said is carried over, and only what is no longer certain is asked again."""

import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from kinds.relabelled import columns_carried
from loop.asked import to_keep
from loop.kept import keep, kept
from loop.project import Project, project_of
from loop.relabelling import Relabelling, relabelling
from serving.student import task_in
from stillhouse.errors import InputError, StillhouseError
from stillhouse.label_changes import Changes, LabelSet, migration
from stillhouse.label_mapping import ASK_FROM
from stillhouse.records import Answer
from stillhouse.schemas import Schema
from stillhouse.store import SCHEMA_HASH, Store
from stillhouse.task import Task
from stillhouse.task_file import load_task

BACKUPS, CARRIED_FILES = "backups", "relabelled"


def relabel(
    folder: Path,
    changes: Changes,
    *,
    before: Path | None = None,
    ask_from: float = ASK_FROM,
    dry_run: bool = False,
    agreed: Callable[[Relabelling], bool] = lambda _: True,
    collect: Callable[[Project], Iterable[Answer]] | None = None,
    opened: type[Store] = Store,
) -> Relabelling | None:
    """Give the run in `folder` the labels of its edited task.toml; None where `agreed`, which sees what will happen, says no.

    The store is copied to `backups/` first; then all changes or none are written. `before` is the task.toml as it was, for
    runs of before stores kept their labels. `collect` fetches what people have answered in the old labels by now, given the
    project as it was: nobody looks there again. A dry run writes nothing and fetches nothing. A vote is asked for again
    where labels that are not certain now had `ask_from` of its probability.

    Raises InputError where the changes do not explain the difference, or nothing has changed; StoreLockedError while
    another command works on the run; DeskError where answers cannot be fetched.
    """
    project = project_of(folder)
    with opened(project.folder, read_only=dry_run) as store:
        old = _before(project, store, before)
        moved = migration(old, LabelSet.of(project.task), changes)
        _check_new(project, store)
        if not dry_run and collect is not None and store.picks():
            store.add_answers(to_keep(collect(replace(project, task=old.in_task(project.task))), store.answers()))
        found = relabelling(project, store, moved, changes, ask_from)
        if dry_run:
            return found
        if not agreed(found):
            return None
        number = len(store.schemas()) or 1
        store.copy_to(project.folder / BACKUPS / f"store-before-labels-{number + 1:02d}.sqlite")
        _write_beside(found)
        if not store.schemas():
            store.add_first_schema(Schema(store.note(SCHEMA_HASH), old))
        store.change_labels(
            found.schema, votes=found.votes, answers=found.answers, aside=found.aside, rounds=found.rounds
        )
    return found


def _write_beside(found: Relabelling) -> None:
    """What stands beside the store, before the store changes: nothing looks for it but a task with the new labels, and
    that is refused until then.

    Beliefs go on in the new columns. Where something is asked again the last one is made anew, once that is known.
    """
    project, moved = found.project, found.migration
    before = replace(project, task=moved.before.in_task(project.task))
    for each in found.files:
        each.write(project.folder / CARRIED_FILES)
    project.in_folder_of_labels("desk").mkdir(exist_ok=True)
    beliefs = project.in_folder_of_labels("beliefs")
    shutil.rmtree(beliefs, ignore_errors=True)
    beliefs.mkdir()
    for path in sorted(before.beliefs.glob("*.npy")):
        what, _, number = path.stem.partition("-")
        last = number == f"{found.schema.rounds - 1:02d}"
        array = kept(before, path.stem)
        if array is not None and (found.exact or (what == "belief" and not last)):
            keep(project, path.stem, columns_carried(before.kind, project.kind, moved.moves, array))


def _before(project: Project, store: Store, given: Path | None) -> LabelSet:
    """The labels that the store is written in."""
    if schemas := store.schemas():
        return schemas[-1].labels
    wanted = store.note(SCHEMA_HASH)
    for task in _earlier_tasks(project, given):
        if wanted is None or task.schema_hash() == wanted:
            return LabelSet.of(task)
    raise InputError(
        f"what labels the run in {project.folder} had is not known",
        expected="the task.toml as it was before the labels changed, because this run is older than stores that keep them",
        found="no such task" if given is None else f"other labels in {given}",
        fix="stillhouse relabel RUN --before OLD_TASK.toml ...",
    )


def _earlier_tasks(project: Project, given: Path | None) -> Iterable[Task]:
    """The one that is given, else those that students were taught for, the newest first; the task itself last."""
    if given is not None:
        yield load_task(given)
        return
    for folder in sorted((project.folder / "students").glob("round-*"), reverse=True):
        with suppress(StillhouseError):
            yield task_in(folder)
    yield project.task


def _check_new(project: Project, store: Store) -> None:
    wanted = project.task.schema_hash()
    earlier = {schema.hash: number for number, schema in enumerate(store.schemas(), start=1)}
    if store.note(SCHEMA_HASH) in (None, wanted):
        raise InputError(
            f"the labels of {project.task_path} are those of the run",
            expected="a task.toml in which labels have changed",
            found=", ".join(LabelSet.of(project.task).names),
            fix="edit task.toml first, then say here what became of the labels",
        )
    if wanted in earlier:
        raise InputError(
            "the run has had exactly these labels before",
            expected="labels that are new to the run: what people answered in the old ones still stands at the desk",
            found=f"its labels number {earlier[wanted]}",
            fix=f"to undo a change, put the copy of the store back that was made before it ({BACKUPS}/); "
            "or call one label otherwise",
        )
