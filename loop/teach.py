"""The teacher's turn: whoever has no vote yet is asked, within the budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kinds.kind import Kind
from loop.privacy import forms_of_run
from loop.progress import Display
from loop.project import Project, prices_of
from prompts.likelihood import local_name
from stillhouse.records import Demonstration, Item, Vote
from stillhouse.settings import Teacher
from stillhouse.store import Store
from teacher.engine import ask_sync
from teacher.offline import offline_teacher, vllm_engine, vllm_sampling
from teacher.prices import BudgetGuard
from teacher.recorded import recorded_teacher
from teacher.ways import NOTHING_MORE, Shown

if TYPE_CHECKING:  # what it imports is slow to load, and a trial of gold needs none of it
    from loop.library import Library

CAPABILITIES = "capabilities"
ASKED_AGAIN = "asked again: "  # a note of each teacher with examples: what the last round asked again
BOTH_ORDERS = "+"  # in the prompt id of a vote that is the mean of both orders


@dataclass(slots=True)
class Turn:
    """One teacher after the other, from one budget."""

    project: Project
    store: Store
    display: Display
    everything: Sequence[Item]
    guard: BudgetGuard
    capabilities: dict[str, Any]

    def ask(self, teacher: Teacher, items: Sequence[Item], more: Shown = NOTHING_MORE, why: str = "") -> None:
        """Votes on the items, in the store. Raises TeacherError or BudgetError; what arrived until then is kept."""
        if not items:
            return
        with (
            reachable(self.project, teacher, self.everything) as address,
            forms_of_run(self.project) as forms_of,
            self.display.bar(f"teacher {teacher.name}{why}", len(items)) as bar,
        ):
            ask_sync(
                items,
                self.project.task,
                address,
                self.store,
                budget=self.guard,
                progress=_told(bar),
                capabilities=self.capabilities,
                rng=self.project.rng(f"teacher {teacher.name}"),
                more=more,
                forms_of=forms_of,
                prices=prices_of(self.project),
            )
        self.store.write_note(CAPABILITIES, self.capabilities)

    def votes(self, teacher: Teacher) -> dict[str, Vote]:
        """The teacher's votes on the items, by their ids."""
        wanted = {item.id for item in self.everything}
        return {
            each.vote.item_id: each.vote for each in self.store.read_votes(teacher.name) if each.vote.item_id in wanted
        }


def turn_of(project: Project, store: Store, items: Sequence[Item], display: Display) -> Turn:
    guard = BudgetGuard(project.task.budget.teacher_usd, store.spent_usd(), store.in_doubt_usd())
    return Turn(project, store, display, items, guard, store.note(CAPABILITIES, {}))


def ask_teachers(
    project: Project, store: Store, items: Sequence[Item], display: Display, library: "Library | None" = None
) -> None:
    """After this every item has a vote of every teacher that shows no examples, except where a recording does not know it.

    Without a library all labels are shown, however many. Raises TeacherError or BudgetError; what arrived until then is in
    the store, and a repeat goes on from there.
    """
    voted = {(vote.item_id, vote.source) for vote in store.votes()}
    turn = turn_of(project, store, items, display)
    for teacher in project.task.teachers:
        missing = [item for item in items if (item.id, teacher.name) not in voted]
        if teacher.demonstrations:
            continue
        if not teacher.by_likelihood:
            turn.ask(teacher, missing, Shown(candidates=library.candidates(teacher, missing) if library else {}))
            in_other_order(turn, teacher)
        elif missing:
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
