"""The steps after a run's student: its teachers, whose replies are kept in a store of their own, and its desk."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from argilla_setup.desk import Desk, DeskRecord
from argilla_setup.file_desk import FileDesk
from kinds.kind import Layout
from loop.desks import connection_of, to_stderr
from loop.privacy import forms_of_run
from loop.project import Project, prices_of, read_gold
from loop.teach import CAPABILITIES, reachable
from loop.view import agreed, votes_of
from serving.cascade import Cascade, Heard
from stillhouse.errors import InputError
from stillhouse.ledger import StoredReply
from stillhouse.probabilities import Floats, softmax
from stillhouse.records import Item, Vote
from stillhouse.settings import Teacher
from stillhouse.store import Store
from teacher.engine import ask
from teacher.prices import BudgetGuard
from teacher.privacy import FormsOf
from trainer.calibrate import MIN_ANSWERS, fit_temperature

HOME = "cascade"  # in the run's folder: a store, and a desk of files
VOTE_FLOOR = 1e-4
TRIES = 2  # where somebody waits for the answer


@dataclass(frozen=True, slots=True)
class Steps:
    """An open cascade. `key` says what its verdicts depend on; `guard` what it has spent."""

    cascade: Cascade
    guard: BudgetGuard
    key: str
    before_usd: float

    @property
    def spent_usd(self) -> float:
        return self.guard.spent_usd - self.before_usd


class CascadeStore(Store):
    """Also knows the replies that the run itself has paid for."""

    def __init__(self, folder: Path, run: Store) -> None:
        super().__init__(folder)
        self._run = run

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        found = super().known(request_keys)
        return found | self._run.known([key for key in request_keys if key not in found])


@contextmanager
def open_cascade(
    project: Project, *, threshold: float, budget_usd: float | None = None, waited_for: bool = False
) -> Iterator[Steps]:
    """All teachers of the task that need neither examples nor this machine's own model; `threshold` is theirs.

    `budget_usd` caps what the cascade spends in all, over all commands; without it the task's budget does, together with
    what the run has spent. `waited_for`: somebody waits for each answer, so an API that fails is soon given up.
    Raises InputError where no teacher can be asked, StoreLockedError while another command has the cascade open.
    """
    teachers = _askable(project)
    with ExitStack() as stack:
        run = stack.enter_context(Store(project.folder, read_only=True))
        store = stack.enter_context(CascadeStore(project.folder / HOME, run))
        known = _recorded_items(project, run, teachers)
        opened = []
        for teacher in teachers:
            address = stack.enter_context(reachable(project, teacher, known))
            changes = {"batch": False, **({"max_tries": min(TRIES, teacher.max_tries)} if waited_for else {})}
            opened.append(address.model_copy(update=changes))
        spent, doubt = store.spent_usd(), store.in_doubt_usd()
        cap = budget_usd
        if cap is None and project.task.budget.teacher_usd is not None:
            cap = project.task.budget.teacher_usd
            spent, doubt = spent + run.spent_usd(), doubt + run.in_doubt_usd()
        guard = BudgetGuard(cap, spent, doubt)
        temperature = teachers_temperature(project, run, teachers)
        forms_of = stack.enter_context(forms_of_run(project))
        panel = _Panel(project, store, tuple(opened), guard, temperature, forms_of, store.note(CAPABILITIES) or {})
        desk = cache(lambda: live_desk(project))

        def publish(records: Sequence[DeskRecord]) -> int:
            return desk().publish(records)

        key = json.dumps([[t.name, t.model, t.api, t.label_order] for t in teachers] + [threshold, temperature])
        yield Steps(Cascade(project.kind, panel.hear, publish, threshold), guard, key, spent)


@dataclass(frozen=True, slots=True)
class _Panel:
    """The teachers, asked together."""

    project: Project
    store: CascadeStore
    teachers: tuple[Teacher, ...]
    guard: BudgetGuard
    temperature: float
    forms_of: FormsOf | None
    capabilities: dict[str, Any]

    async def hear(self, items: Sequence[Item]) -> list[Heard]:
        """What is known by the store is read again, and costs nothing. Raises TeacherError or BudgetError."""
        before = len(self.capabilities)
        heard = await asyncio.gather(*(self._ask(teacher, items) for teacher in self.teachers), return_exceptions=True)
        if len(self.capabilities) != before:
            self.store.write_note(CAPABILITIES, self.capabilities)
        votes: dict[str, list[Vote]] = defaultdict(list)
        for found in heard:
            if isinstance(found, BaseException):
                raise found
            for vote in found:
                votes[vote.item_id].append(vote)
        return [self._together(item, votes[item.id]) for item in items]

    async def _ask(self, teacher: Teacher, items: Sequence[Item]) -> list[Vote]:
        return await ask(
            items,
            self.project.task,
            teacher,
            self.store,
            budget=self.guard,
            capabilities=self.capabilities,
            forms_of=self.forms_of,
            prices=prices_of(self.project),
        )

    def _together(self, item: Item, votes: Sequence[Vote]) -> Heard:
        cost_usd = sum(vote.cost_usd for vote in votes)
        if not any(vote.usable for vote in votes):
            return Heard(None, cost_usd)
        pooled = _pooled(self.project, [item], votes)
        return Heard(calibrated(pooled, self.temperature, self.project.kind.width), cost_usd)


def calibrated(pooled: Floats, temperature: float, width: int) -> Floats:
    """(u, k) -> (u, k): pooled votes at a temperature."""
    return softmax(_logits(pooled) / temperature, width)


def teachers_temperature(project: Project, run: Store, teachers: Sequence[Teacher]) -> float:
    """The temperature of the pooled votes, fitted on the run's random share; 1 with fewer than 50 answers to it.

    That share alone, because the other items were picked for being hard.
    """
    kind, names = project.kind, {teacher.name for teacher in teachers}
    drawn = {pick.item_id for pick in run.picks() if pick.inclusion_probability is not None}
    labels, _ = agreed(answer for answer in run.answers() if answer.item_id in drawn)
    items = [item for item in run.items() if item.id in labels]
    if len(items) < MIN_ANSWERS:
        return 1.0
    layout = Layout.of(kind, items)
    rows = [layout.rows(number) for number in range(len(items))]
    encoded = [
        kind.encode(item, layout.spans[of_item], labels[item.id]) for item, of_item in zip(items, rows, strict=True)
    ]
    targets = np.concatenate(encoded)
    pooled = _pooled(project, items, [vote for vote in run.votes() if vote.source in names])
    known = ~np.isnan(targets).any(axis=1)
    return fit_temperature(_logits(pooled[known]), targets[known], width=kind.width)


def live_desk(project: Project) -> Desk:
    """Where people answer what comes up in use: beside the loop's own desk, which knows the pool alone."""
    task = project.task
    if task.desk.kind == "files":
        return FileDesk(project.folder / HOME / "desk", task)
    from argilla_setup.argilla_desk import ArgillaDesk

    connection = connection_of(project, to_stderr)
    return ArgillaDesk(connection.url, connection.api_key, task.model_copy(update={"name": f"{task.name}-live"}))


def _askable(project: Project) -> list[Teacher]:
    found = [teacher for teacher in project.task.teachers if not teacher.by_likelihood and not teacher.demonstrations]
    if not found:
        raise InputError(
            "no teacher of this task can be asked in a cascade",
            expected="a teacher behind an API, without demonstrations",
            found=", ".join(teacher.name for teacher in project.task.teachers),
            fix="add one to task.toml, or leave --cascade out",
        )
    return found


def _recorded_items(project: Project, run: Store, teachers: Sequence[Teacher]) -> list[Item]:
    """A recording knows the texts it was made of, and no others."""
    if not any(teacher.recording for teacher in teachers):
        return []
    pool = run.items()
    gold = read_gold(project, pool)
    return [*pool, *(gold.items if gold else ())]


def _pooled(project: Project, items: Sequence[Item], votes: Sequence[Vote]) -> Floats:
    kind = project.kind
    return votes_of(project, kind, Layout.of(kind, items), items, votes).pooled()


def _logits(pooled: Floats) -> Floats:
    return np.log(np.clip(pooled, VOTE_FLOOR, None))
