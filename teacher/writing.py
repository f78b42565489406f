"""A teacher that writes one text: kept in the ledger and counted against the budget like every other reply."""

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np

from prompts.render import Prompt
from stillhouse.errors import InputError, TeacherError
from stillhouse.ledger import Ledger
from stillhouse.settings import DECISION_APIS, Teacher
from teacher.addresses import check_address
from teacher.calls import Call, Calls, RejectedError, worst_usd
from teacher.capabilities import MOST_REPAIR_TOKENS, REPAIR_ROOM, endpoint_of
from teacher.flow import Flow, Patience
from teacher.prices import BudgetGuard, PriceTable, check_price, load_prices, price_of
from teacher.probe import capabilities_of
from teacher.transport import check_key, connection, redacted
from teacher.wire import Asking, Choice, body_of, read_choices, request_key, tokens_asked

WRITING = "(writing)"  # the item of a request that is about none


def writes(teacher: Teacher) -> bool:
    """Whether it can be asked for words: a recording cannot, nor what is read by likelihood or only decides."""
    return teacher.recording is None and not teacher.by_likelihood and teacher.api not in DECISION_APIS


def write_text(
    prompt: Prompt,
    teacher: Teacher,
    ledger: Ledger,
    *,
    budget: BudgetGuard,
    reply_tokens: int,
    schema: Mapping[str, object],
    capabilities: MutableMapping[str, Any],
    rng: np.random.Generator,
    prices: PriceTable | None = None,
) -> str:
    """The words of the reply, "" for none; a request whose reply is in the ledger is not sent.

    A reply that was cut off is asked for once more, with room for thoughts. `schema` is sent where the API honours one;
    `capabilities` is as in `teacher.engine.ask`. Raises InputError where this teacher does not write, else as `ask`.
    """
    if not writes(teacher):
        raise InputError(
            f"teacher {teacher.name} writes nothing",
            expected="a teacher behind a chat API or under vLLM",
            found="a recording, a model that is read by likelihood, or an API that only decides",
            fix="name another teacher of the task with --teacher, or write the text yourself",
        )
    check_address(teacher)
    check_key(teacher)
    price = check_price(teacher, price_of(teacher, prices or load_prices()), budget)

    async def asked() -> str:
        async with connection(teacher) as session:
            calls = Calls(session, teacher, ledger, budget, price, Flow(1), Patience(), rng)
            known = await capabilities_of(calls, capabilities)
            asking = Asking(
                max_tokens=reply_tokens,
                max_tokens_field=known.max_tokens_field,
                temperature=None if known.temperature == "refused" else 0.0,
                schema=schema if known.response_format == "honoured" else None,
            )
            said = await _said(calls, prompt, asking)
            if said is not None and said.finish_reason == "length":
                room = min(reply_tokens * REPAIR_ROOM, MOST_REPAIR_TOKENS)
                said = await _said(calls, prompt, replace(asking, max_tokens=room))
            return said.content if said is not None else ""

    return asyncio.run(asked())


async def _said(calls: Calls, prompt: Prompt, asking: Asking) -> Choice | None:
    teacher = calls.teacher
    body = body_of(teacher, prompt, asking)
    key = request_key(body, model=teacher.model, endpoint=endpoint_of(teacher), variant=teacher.name, sample=0)
    cost_usd = worst_usd(calls.price, teacher, body, len(prompt.messages), asking.max_tokens)
    call = Call(key, body, WRITING, cost_usd, tokens_asked(prompt, asking))
    try:
        reply = calls.ledger.known([key]).get(key) or await calls.reply(call)
    except RejectedError as error:
        raise TeacherError(
            f"teacher {teacher.name}: the API rejects the request",
            expected=f"a reply of {teacher.model} from {teacher.base_url}",
            found=redacted(error.said, teacher),
            fix="correct this teacher in task.toml, or name another one",
        ) from error
    return next(iter(read_choices(reply.body)), None)
