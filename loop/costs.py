"""What asking will cost, said before anything is sent, and refused where it cannot be paid."""

from collections.abc import Sequence
from dataclasses import dataclass

from loop.progress import Display
from loop.project import Project, prices_of
from loop.teach import CAPABILITIES
from stillhouse.errors import BudgetError
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.store import Store
from stillhouse.task import Task
from teacher.capabilities import capabilities_from_json, memory_key
from teacher.prices import BudgetGuard, estimate


@dataclass(frozen=True, slots=True)
class ToAsk:
    """Items that a teacher has no reply about yet; `why` names them on a page."""

    why: str
    task: Task
    teacher: Teacher
    items: Sequence[Item]


def check_cost(
    project: Project, store: Store, wanted: Sequence[ToAsk], display: Display, what: str, instead: str
) -> None:
    """A line for each that costs anything; BudgetError where even the least of all is more than is left of the budget.

    `what` is dear then, and `instead` what else the user could do.
    """
    capabilities, prices = store.note(CAPABILITIES, {}), prices_of(project)
    least = 0.0
    for each in wanted:
        teacher = each.teacher
        if not each.items or teacher.by_likelihood or teacher.recording is not None:
            continue
        stored = capabilities.get(memory_key(teacher))
        known = None if stored is None else capabilities_from_json(stored)
        found = estimate(each.items, each.task, teacher, rng=project.rng("plan"), known=known, table=prices)
        display.line(f"  {each.why}: {found.sentence()}")
        least += found.cost_lo_usd or 0.0
    guard = BudgetGuard(project.task.budget.teacher_usd, store.spent_usd(), store.in_doubt_usd())
    if least > max(guard.left_usd, 0.0):
        raise BudgetError(
            f"{what} costs more than is left",
            expected=f"at least ${least:.2f} for {sum(len(each.items) for each in wanted):,} votes",
            found=f"${max(guard.left_usd, 0.0):.2f} left of ${guard.cap_usd:.2f}",
            fix=f"raise budget.teacher_usd, or {instead}; nothing was sent",
        )
