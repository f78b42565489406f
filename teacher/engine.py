"""Asking a teacher about many items at once: every reply kept before it is read, none paid for twice."""

import asyncio
from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kinds.registry import kind_of
from prompts.windows import WINDOW_TOKENS
from stillhouse.ledger import Ledger
from stillhouse.records import Item, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Task
from teacher.addresses import check_address
from teacher.batch import answered_in_batches, check_batch
from teacher.calls import Calls
from teacher.flow import Flow, Patience
from teacher.prices import BudgetGuard, PriceTable, check_price, load_prices, price_of
from teacher.privacy import FormsOf, hide, hide_examples
from teacher.probe import capabilities_of
from teacher.run import Progress, Run
from teacher.transport import check_key, connection
from teacher.ways import NOTHING_MORE, Shown, Ways


async def ask(
    items: Sequence[Item],
    task: Task,
    teacher: Teacher,
    ledger: Ledger,
    *,
    budget: BudgetGuard,
    progress: Progress | None = None,
    capabilities: MutableMapping[str, Any] | None = None,
    prices: PriceTable | None = None,
    patience: Patience | None = None,
    rng: np.random.Generator | None = None,
    more: Shown = NOTHING_MORE,
    forms_of: FormsOf | None = None,
) -> list[Vote]:
    """The votes of one teacher, in the order of the items; an item without a recording, or rejected, has none.

    `more` is what single items are shown: examples, the only labels that may fit; and whether all are asked in both orders.
    Replies already in the ledger are read again without a call. `capabilities` is a JSON-able record of what was
    found out about APIs: it is read, and added to. `forms_of` gives the forms in which texts may leave this machine
    (`teacher.privacy.Pseudonyms.forms`); votes are of the texts as they are.

    Raises TeacherError, TeacherAuthError or BudgetError once what was in flight has arrived; then, as after a
    cancellation, all that arrived is in the ledger, with its votes.
    """
    if not items:
        return []
    check_address(teacher)
    check_key(teacher)
    check_batch(teacher)
    hidden = hide(items, task, teacher, forms_of)
    items, ledger = hidden.items, hidden.ledger(ledger)
    more = replace(more, demonstrations=hide_examples(more.demonstrations, task, teacher, forms_of))
    kind = kind_of(task)
    price = check_price(teacher, price_of(teacher, prices or load_prices()), budget)
    async with connection(teacher) as session:
        calls = Calls(
            session=session,
            teacher=teacher,
            ledger=ledger,
            guard=budget,
            price=price,
            flow=Flow(teacher.max_in_flight),
            patience=patience or Patience(),
            rng=rng if rng is not None else np.random.default_rng(task.seed),
        )
        known = await capabilities_of(calls, capabilities if capabilities is not None else {})
        ways = Ways(kind, teacher, known, more)
        run = Run(calls, kind, ways, len(items), progress, teacher.context_tokens or WINDOW_TOKENS)
        if teacher.batch:
            await answered_in_batches(run, items)
        await run.all(items)
    return [hidden.vote(run.votes[item.id]) for item in items if item.id in run.votes]


def ask_sync(
    items: Sequence[Item],
    task: Task,
    teacher: Teacher,
    ledger: Ledger,
    *,
    budget: BudgetGuard,
    progress: Progress | None = None,
    capabilities: MutableMapping[str, Any] | None = None,
    prices: PriceTable | None = None,
    patience: Patience | None = None,
    rng: np.random.Generator | None = None,
    more: Shown = NOTHING_MORE,
    forms_of: FormsOf | None = None,
) -> list[Vote]:
    """`ask` for callers without an event loop of their own."""
    return asyncio.run(
        ask(
            items,
            task,
            teacher,
            ledger,
            budget=budget,
            progress=progress,
            capabilities=capabilities,
            prices=prices,
            patience=patience,
            rng=rng,
            more=more,
            forms_of=forms_of,
        )
    )
