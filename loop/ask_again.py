"""Items that have votes are asked about again: with what each was shown before, for votes in the store or beside it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kinds.kind import Layout
from loop.progress import Display
from loop.project import Project
from loop.teach import BOTH_ORDERS, CAPABILITIES, Turn, shown_again
from loop.view import agreed, votes_of
from stillhouse.ledger import BatchNote, Ledger, StoredReply
from stillhouse.records import Demonstration, Item, Value, Vote
from stillhouse.settings import Teacher
from stillhouse.store import Store
from teacher.prices import BudgetGuard


class VotesApart:
    """The store's ledger for replies, which are paid for and kept as any; votes stay here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.votes: dict[str, Vote] = {}

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        return self._store.known(request_keys)

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        self._store.sending(request_key, item_id, source, worst_usd)

    def arrived(self, reply: StoredReply) -> None:
        self._store.arrived(reply)

    def failed(self, request_key: str) -> None:
        self._store.failed(request_key)

    def record_votes(self, votes: Iterable[Vote]) -> None:
        self.votes.update({vote.item_id: vote for vote in votes})

    def note_batch(self, note: BatchNote) -> None:
        self._store.note_batch(note)

    def batches(self, source: str) -> list[BatchNote]:
        return self._store.batches(source)


def ask_again(
    project: Project,
    store: Store,
    teacher: Teacher,
    items: Sequence[Item],
    display: Display,
    why: str,
    ledger: Ledger | None = None,
) -> None:
    """A teacher's votes under the project's guidelines, each item shown the examples, labels and orders that its present vote
    was shown; they go to the store, or to `ledger`. Raises as `loop.teach.Turn.ask`.
    """
    if not items:
        return
    if teacher.by_likelihood:
        from loop.local_teacher import ask_local  # torch is loaded only where a model of this machine is asked

        with display.bar(f"teacher {teacher.name}{why}", len(items)) as bar:
            ask_local(items, project.task, teacher, ledger or store, home=project.home, progress=bar)
        return
    guard = BudgetGuard(project.task.budget.teacher_usd, store.spent_usd(), store.in_doubt_usd())
    turn = Turn(project, store, display, items, guard, store.note(CAPABILITIES, {}), ledger=ledger)
    votes = turn.votes(teacher)
    answered = _answered(store)
    twice = {item_id for item_id, vote in votes.items() if BOTH_ORDERS in vote.prompt_id}
    for both in (False, True):
        some = [item for item in items if (item.id in twice) == both]
        shown = shown_again([votes[item.id] for item in some if item.id in votes], answered, both_orders=both)
        turn.ask(teacher, some, shown, why)


def votes_apart(
    project: Project, store: Store, teacher: Teacher, items: Sequence[Item], display: Display, why: str
) -> list[Vote]:
    """The votes of `ask_again`; the store gets their replies alone."""
    apart = VotesApart(store)
    ask_again(project, store, teacher, items, display, why, apart)
    return list(apart.votes.values())


def pooled_values(project: Project, items: Sequence[Item], votes: Iterable[Vote]) -> list[Value | None]:
    """What the pooled votes of the task's teachers amount to, by item; None where none can be used."""
    kind, layout = project.kind, Layout.of(project.kind, items)
    table = votes_of(project, kind, layout, items, votes)
    pooled, usable = table.pooled(), np.asarray(table.usable.any(axis=0))
    rows = [layout.rows(number) for number in range(len(items))]
    return [
        kind.decode(item, layout.spans[some], pooled[some]) if usable[some].any() else None
        for item, some in zip(items, rows, strict=True)
    ]


def _answered(store: Store) -> Mapping[str, Demonstration]:
    labels, _ = agreed(store.answers())
    return {item.id: Demonstration(item, labels[item.id]) for item in store.items() if item.id in labels}
