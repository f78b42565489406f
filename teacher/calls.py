"""One call and its retries: reserve, note, send, keep what arrived, and know when to give up."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from stillhouse.errors import TeacherAuthError, TeacherError
from stillhouse.ledger import Ledger, StoredReply
from stillhouse.settings import Teacher
from teacher.flow import Flow, Patience
from teacher.prices import BudgetGuard, Price
from teacher.transport import (
    DisconnectedError,
    Response,
    TimedOutError,
    TransportError,
    UnreachableError,
    post,
    redacted,
)
from teacher.verdicts import Verdict, judge
from teacher.wire import ApiProblem, Usage, path_of, read_usage
from teacher.wire_shapes import CACHE_WRITE

REFUSALS_A_TRY = 20  # a rate limit that lets others through is waited for, but not for ever
MESSAGE_TOKENS = 16  # that an API adds around a message, at most


class NoRecordingError(Exception):
    """The recorded teacher does not know this item. Stays inside this package, like the next two."""


class RejectedError(Exception):
    """The API will not answer this one request."""

    def __init__(self, problem: ApiProblem, said: str) -> None:
        super().__init__(said)
        self.problem = problem
        self.said = said


class StoppedError(Exception):
    """Another call found out that no item can be answered."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, ready to send. `worst_usd` is the most it can cost, `tokens` about what limits count: those sent and
    those asked for.
    """

    key: str
    body: bytes
    item_id: str
    worst_usd: float
    tokens: int = 0


def worst_usd(price: Price, teacher: Teacher, body: bytes, messages: int, reply_tokens: int) -> float:
    """A token is at least one byte, so bytes bound the input; the reply is bounded by what was asked for.

    Where a cache is asked for, all of the input may be written to it, which costs more than sending it.
    """
    sent = len(body) + MESSAGE_TOKENS * messages
    return price.cost_usd(sent * (CACHE_WRITE if teacher.api == "anthropic_messages" else 1.0), reply_tokens)


@dataclass(slots=True)
class _Tries:
    """What has happened to one call so far."""

    failures: int = 0
    refusals: int = 0
    refusals_in_all: int = 0
    accepted_before: int = 0


@dataclass(slots=True)
class Calls:
    """All calls of one run to one teacher: what they share, and what they have cost."""

    session: aiohttp.ClientSession
    teacher: Teacher
    ledger: Ledger
    guard: BudgetGuard
    price: Price
    flow: Flow
    patience: Patience
    rng: np.random.Generator
    sent: int = 0
    heard: int = 0
    cost_usd: float = 0.0
    refused: dict[str, Exception] = field(default_factory=dict)  # by request key: what a batch said of it
    _arrived: set[str] = field(default_factory=set)
    _asking: dict[str, asyncio.Event] = field(default_factory=dict)

    async def reply(self, call: Call) -> StoredReply:
        """The reply to a call, kept before it is returned. Two items with one text share one call."""
        if (why_not := self.refused.get(call.key)) is not None:
            raise why_not
        while (twin := self._asking.get(call.key)) is not None:
            await twin.wait()
        if call.key in self._arrived:
            return self.ledger.known([call.key])[call.key]
        done = self._asking[call.key] = asyncio.Event()
        try:
            tries = _Tries(accepted_before=self.flow.accepted)
            while True:
                outcome = await self._attempt(call)
                if isinstance(outcome, StoredReply):
                    return outcome
                await self._wait_or_give_up(outcome, tries)
        finally:
            del self._asking[call.key]
            done.set()

    async def _attempt(self, call: Call) -> StoredReply | Verdict | TransportError:
        await self.guard.reserve(call.worst_usd)
        cost_usd, in_doubt = 0.0, False
        try:
            sent_at_s = await self.flow.enter(call.tokens)
            # The slot is held until the reply is kept: a kill loses no more than `max_in_flight`.
            try:
                if self.flow.halted:
                    raise StoppedError
                self.ledger.sending(call.key, call.item_id, self.teacher.name, call.worst_usd)
                self.sent += 1
                cost_usd, in_doubt = call.worst_usd, True
                response = await post(
                    self.session, self.teacher.base_url.rstrip("/") + path_of(self.teacher), call.body
                )
                self.heard += 1
                self.flow.heard(response.headers)
                verdict = judge(response)
                cost_usd, in_doubt = 0.0, False
                if verdict.kind == "keep":
                    self.flow.sped()
                    usage = read_usage(call.body, response.body) if response.status < 400 else Usage(0, 0, stated=True)
                    cost_usd = self.price.cost_of(usage)
                    return self.keep(call.key, call.item_id, response, usage, cost_usd)
                if verdict.kind == "slow":
                    self.flow.slowed(sent_at_s, verdict.wait_s)
            finally:
                self.flow.leave(call.tokens)
        except TransportError as error:
            if isinstance(error, UnreachableError):
                cost_usd, in_doubt = 0.0, False
            outcome: Verdict | TransportError = error
        else:
            outcome = verdict
        finally:
            self.guard.settle(call.worst_usd, cost_usd, in_doubt=in_doubt)
        if not in_doubt:
            self.ledger.failed(call.key)
        return outcome

    def keep(self, key: str, item_id: str, response: Response, usage: Usage, cost_usd: float) -> StoredReply:
        """The reply, in the ledger."""
        self.cost_usd += cost_usd
        said, sent, received = response.body, usage.input_tokens, usage.output_tokens
        reply = StoredReply(key, item_id, self.teacher.name, response.status, said, sent, received, cost_usd)
        self.ledger.arrived(reply)
        self._arrived.add(key)
        return reply

    async def _wait_or_give_up(self, outcome: Verdict | TransportError, tries: _Tries) -> None:
        alive = self.flow.accepted > tries.accepted_before
        tries.accepted_before = self.flow.accepted
        if isinstance(outcome, TransportError):
            if isinstance(outcome, UnreachableError) and self.heard == 0:
                raise self.unreachable(outcome)
            await self._again(None, tries, said_by(outcome), alive=alive)
            return
        said = redacted(outcome.said, self.teacher)
        if outcome.kind == "auth":
            raise self.no_entry(said)
        if outcome.kind == "no_recording":
            raise NoRecordingError(said)
        if outcome.kind == "rejected":
            raise RejectedError(outcome.problem, outcome.said)
        if outcome.kind == "stop":
            raise self.gives_up(said, "correct model and base_url of this teacher in task.toml, or your account there")
        if outcome.wait_s is not None and outcome.wait_s > self.patience.longest_wait_s:
            raise self.gives_up(f"asked to wait {outcome.wait_s:.0f} s: {said}", "repeat the command later")
        if outcome.kind == "slow":
            await self._slower(outcome.wait_s, tries, said, alive=alive)
        else:
            await self._again(outcome.wait_s, tries, said, alive=alive)

    async def _slower(self, wait_s: float | None, tries: _Tries, said: str, *, alive: bool) -> None:
        """Refusals count against the tries only while the API takes nobody else's requests either."""
        tries.refusals = 1 if alive else tries.refusals + 1
        tries.refusals_in_all += 1
        most = self.teacher.max_tries
        if tries.refusals >= most or tries.refusals_in_all >= most * REFUSALS_A_TRY:
            raise self.gives_up(
                f"refused {tries.refusals_in_all} times, the last with {said}", "lower max_in_flight, or repeat later"
            )
        if wait_s is None:
            await self.flow.pause(self.patience.backoff_s(tries.refusals - 1, float(self.rng.random())))

    async def _again(self, wait_s: float | None, tries: _Tries, said: str, *, alive: bool) -> None:
        tries.failures += 1
        if tries.failures >= self.teacher.max_tries:
            if alive:
                # Everybody else is being served: it is this item the server cannot take.
                raise RejectedError(ApiProblem("", "", said), said)
            raise self.gives_up(f"{tries.failures} tries failed, the last with: {said}", "repeat the command later")
        backoff_s = self.patience.backoff_s(tries.failures - 1, float(self.rng.random()))
        await self.flow.pause(max(backoff_s, wait_s or 0.0))

    def no_entry(self, said: str) -> TeacherAuthError:
        return TeacherAuthError(
            f"teacher {self.teacher.name}: the API refuses the key",
            expected=f"a key for {self.teacher.base_url} in the environment variable {self.teacher.api_key_env}",
            found=said,
            fix=f"export {self.teacher.api_key_env}=... and repeat the command",
        )

    def gives_up(self, said: str, fix: str) -> TeacherError:
        return TeacherError(
            f"teacher {self.teacher.name}: the API does not answer",
            expected=f"replies of {self.teacher.model} from {self.teacher.base_url}",
            found=said,
            fix=f"{fix}; every reply that arrived is kept",
        )

    def unreachable(self, error: UnreachableError) -> TeacherError:
        return TeacherError(
            f"teacher {self.teacher.name}: nothing answers at {self.teacher.base_url}",
            expected=f"an API in the shape {self.teacher.api}",
            found=said_by(error),
            fix="start the server, or correct base_url of this teacher in task.toml",
        )


def said_by(error: TransportError) -> str:
    if isinstance(error, TimedOutError):
        return "no complete reply within timeout_s"
    kind = "connection broke" if isinstance(error, DisconnectedError) else "no connection"
    return f"{kind}: {error}"
