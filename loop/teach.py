"""The teacher's turn: whoever has no vote yet is asked, within the budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from loop.progress import Display
from loop.project import Project
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.store import Store
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from teacher.recorded import recorded_teacher

CAPABILITIES = "capabilities"


def ask_teachers(project: Project, store: Store, items: Sequence[Item], display: Display) -> None:
    """After this every item has a vote of every teacher, except where a recording does not know it.

    Raises TeacherError or BudgetError; what arrived until then is in the store, and a repeat goes on from there.
    """
    voted = {(vote.item_id, vote.source) for vote in store.votes()}
    capabilities = store.note(CAPABILITIES, {})
    guard = BudgetGuard(project.task.budget.teacher_usd, store.spent_usd(), store.in_doubt_usd())
    for teacher in project.task.teachers:
        missing = [item for item in items if (item.id, teacher.name) not in voted]
        if not missing:
            continue
        if teacher.local is not None:
            from loop.local_teacher import ask_local  # torch is loaded only where a model of this machine is asked

            with display.bar(f"teacher {teacher.name}", len(missing)) as bar:
                ask_local(missing, project.task, teacher, store, home=project.home, progress=bar)
            continue
        with reachable(project, teacher, items) as address, display.bar(f"teacher {teacher.name}", len(missing)) as bar:
            ask_sync(
                missing,
                project.task,
                address,
                store,
                budget=guard,
                progress=_told(bar),
                capabilities=capabilities,
                rng=project.rng(f"teacher {teacher.name}"),
            )
        store.write_note(CAPABILITIES, capabilities)


@contextmanager
def reachable(project: Project, teacher: Teacher, items: Sequence[Item]) -> Iterator[Teacher]:
    """The teacher as it can be called: a recording is started on this machine first."""
    if teacher.recording is None:
        yield teacher
        return
    with recorded_teacher(project.home / teacher.recording, items=items) as url:
        yield teacher.model_copy(update={"base_url": url})


def _told(bar: Callable[[int, str], None]) -> Callable[[int, int, float, Mapping[str, int]], None]:
    def progress(done: int, _total: int, cost_usd: float, counts: Mapping[str, int]) -> None:
        odd = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != "ok" and count)
        bar(done, f"${cost_usd:.2f}" + (f", {odd}" if odd else ""))

    return progress
