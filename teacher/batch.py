"""Asking in batches, at half the price and within a day: handed in once, followed through crashes, fetched as they end."""

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from stillhouse.errors import StillhouseError, TeacherError
from stillhouse.ledger import BatchNote
from stillhouse.records import Item
from stillhouse.task import Teacher
from teacher.batch_apis import AnthropicBatches, BatchApi, BatchFailedError, OpenAiBatches, Result, Standing
from teacher.calls import Call, Calls, NoRecordingError, RejectedError, said_by
from teacher.capabilities import endpoint_of
from teacher.prices import BATCH_SHARE
from teacher.run import Run
from teacher.transport import DisconnectedError, Response, TimedOutError, TransportError, get, post, redacted
from teacher.verdicts import Verdict, judge
from teacher.wire import ApiProblem, Usage, read_usage

MOST_REQUESTS = 20_000  # a batch; below what either API allows, so that one that expires takes less with it
MOST_BYTES = 90_000_000
TRANSFER_TIMEOUT_S = 600.0  # of a file of requests or replies
APIS: dict[str, BatchApi] = {"openai_chat": OpenAiBatches(), "anthropic_messages": AnthropicBatches()}


def check_batch(teacher: Teacher) -> None:
    """TeacherError where batches are wanted from an API that has none."""
    if teacher.batch and teacher.api not in APIS:
        raise TeacherError(
            f"teacher {teacher.name}: no batches over this API",
            expected=f"api = {' or '.join(map(repr, APIS))}, because batch = true",
            found=f"api = {teacher.api!r}",
            fix="leave batch out for this teacher",
        )


async def answered_in_batches(run: Run, items: Sequence[Item]) -> None:
    """After this every reply that votes on the items need is in the ledger, or is known not to come.

    First what earlier runs handed in, then what is lacking; repairs need the first replies, so they are a batch of their own.
    Raises as `ask` does; what is handed in stays noted, and a later run goes on with it.
    """
    desk = Desk(run, APIS[run.calls.teacher.api])
    await desk.resume()
    while await desk.hand_in(run.lacking(items)):
        pass


class _UnsureError(Exception):
    """A request that may or may not have been carried out."""


@dataclass(slots=True)
class _Chunk:
    """What will be one batch."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    worst_usd: float = 0.0

    def add(self, key: str, item_id: str, line: bytes, worst_usd: float) -> None:
        self.asked.append((key, item_id))
        self.lines.append(line)
        self.size += len(line) + 1
        self.worst_usd += worst_usd


@dataclass(slots=True)
class Desk:
    """The batches of one run: each is followed by a task of its own."""

    run: Run
    api: BatchApi
    answered: int = 0
    _times: Counter[str] = field(default_factory=Counter)  # a request was handed in, by key
    _far: dict[str, tuple[int, int]] = field(default_factory=dict)  # by name: answered, and asked in all
    _following: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def calls(self) -> Calls:
        return self.run.calls

    async def resume(self) -> None:
        """Follow what earlier runs handed in, and what they may have: a crash leaves open whether it arrived."""
        endpoint = endpoint_of(self.calls.teacher)
        for note in self.calls.ledger.batches(self.calls.teacher.name):
            if note.state != "done" and note.endpoint == endpoint:
                self.calls.guard.owe(note.worst_usd)
                self._follow(note, ())
        await self._all_ended()

    async def hand_in(self, wanted: Iterable[Call]) -> bool:
        """Hand in all that is wanted and wait for it; False if that was nothing. No more at once than money allows."""
        chunk, any_wanted = _Chunk(), False
        try:
            for call in wanted:
                any_wanted = True
                line, worst_usd = self.api.line(call.key, call.body), BATCH_SHARE * call.worst_usd
                if len(chunk.lines) >= MOST_REQUESTS or chunk.size + len(line) > MOST_BYTES:
                    chunk = await self._handed(chunk)
                while worst_usd > 0 and chunk.worst_usd + worst_usd > self._room_usd():
                    if chunk.lines:
                        chunk = await self._handed(chunk)
                    elif pending := [task for task in self._following if not task.done()]:
                        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        await self.calls.guard.reserve(worst_usd)  # raises: there is nothing to wait for
                chunk.add(call.key, call.item_id, line, worst_usd)
            await self._handed(chunk)
        finally:
            await self._all_ended()
        return any_wanted

    def _room_usd(self) -> float:
        guard = self.calls.guard
        return math.inf if guard.cap_usd is None else guard.left_usd - guard.reserved_usd

    async def _handed(self, chunk: _Chunk) -> _Chunk:
        """The chunk on its way; gives an empty one."""
        if chunk.lines:
            await self.calls.guard.reserve(chunk.worst_usd)
            teacher = self.calls.teacher
            note = BatchNote(
                name=f"stillhouse-{secrets.token_hex(8)}",  # a name, not a draw: no seed may ever give it twice
                source=teacher.name,
                endpoint=endpoint_of(teacher),
                asked=tuple(chunk.asked),
                worst_usd=chunk.worst_usd,
                noted_at_s=int(time.time()),
            )
            self._follow(note, chunk.lines)
        return _Chunk()

    def _follow(self, note: BatchNote, lines: Sequence[bytes]) -> None:
        self._far[note.name] = (0, len(note.asked))
        self._following.add(asyncio.ensure_future(self._through(note, lines)))
        self._tell()

    async def _all_ended(self) -> None:
        """Wait for every batch, also where one fails: the others go on and are paid for. Then say what failed."""
        following, self._following = list(self._following), set()
        try:
            outcomes = await asyncio.gather(*following, return_exceptions=True)
        finally:
            for task in following:
                task.cancel()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _through(self, note: BatchNote, lines: Sequence[bytes]) -> None:
        """One batch from being noted to being done. `lines` is empty for one of an earlier run."""
        spent_usd, open_usd = 0.0, note.worst_usd
        wires = _Wires(self, note.name)
        try:
            if note.state == "handing_in":
                note = await self._arrived(wires, note, lines)
            if note.batch_id:
                ended = await wires.ended(note.batch_id)
                spent_usd = await self._keep(note, await self.api.results(wires, note.batch_id, ended))
            self.calls.ledger.note_batch(replace(note, state="done"))
            open_usd = 0.0
        except BatchFailedError as error:
            self.calls.ledger.note_batch(replace(note, state="done"))
            open_usd = 0.0
            if not error.full:
                said = redacted(f"a batch failed: {error}", self.calls.teacher)
                raise self.calls.gives_up(said, "correct this teacher in task.toml") from error
            await self._asked_again([key for key, _ in note.asked], f"batch refused: {error}")
        finally:
            self._far.pop(note.name, None)
            self.calls.guard.settle(note.worst_usd, open_usd or spent_usd, in_doubt=open_usd > 0)

    async def _arrived(self, wires: "_Wires", note: BatchNote, lines: Sequence[bytes]) -> BatchNote:
        """The note with the API's id, kept before anything else is done. Without lines: found, or given up."""
        if lines:
            self.calls.ledger.note_batch(note)
        sure, batch_id = bool(lines), ""
        for tried in range(self.calls.teacher.max_tries):
            if not sure:
                batch_id = await self.api.find(wires, note, self._ids_of_others(note))
            if batch_id or not lines:
                break
            try:
                batch_id = await self.api.hand_in(wires, note, lines)
            except _UnsureError as error:
                if tried == self.calls.teacher.max_tries - 1:
                    raise self.calls.gives_up(str(error), "repeat the command later") from error
                sure = False
                await wires.pause(tried)
            else:
                break
        noted = replace(note, state="handed_in", batch_id=batch_id)
        self.calls.ledger.note_batch(noted)
        return noted

    def _ids_of_others(self, note: BatchNote) -> frozenset[str]:
        ours = self.calls.ledger.batches(note.source)
        return frozenset(other.batch_id for other in ours if other.batch_id and other.name != note.name)

    async def _keep(self, note: BatchNote, results: Sequence[Result]) -> float:
        """Every reply into the ledger, which may have some of them from before a crash; gives what they cost."""
        self._far.pop(note.name, None)  # from here on its replies are counted one by one
        items = dict(note.asked)
        known = self.calls.ledger.known(list(items))
        spent_usd = 0.0
        for result in results:
            if result.key not in items or result.key in known:
                continue
            response = Response(result.status, {}, result.body)
            verdict = judge(response) if result.status else None
            if verdict is not None and verdict.kind == "keep":
                usage, cost_usd = self._cost(response, note)
                await self.calls.keep(result.key, items[result.key], response, usage, cost_usd)
                self.answered += 1
                spent_usd += cost_usd
                del items[result.key]
            elif verdict is not None and self._is_final(result.key, verdict):
                del items[result.key]
        await self._asked_again([key for key in items if key not in known], "not worked on, or failed there")
        return spent_usd

    def _cost(self, response: Response, note: BatchNote) -> tuple[Usage, float]:
        if response.status >= 400:
            return Usage(0, 0, stated=True), 0.0
        usage = read_usage(b"", response.body)
        if not usage.stated:  # its request is not at hand to be counted: the most that it can have cost
            return usage, note.worst_usd / len(note.asked)
        return usage, BATCH_SHARE * self.calls.price.cost_usd(usage.priced_input, usage.output_tokens)

    def _is_final(self, key: str, verdict: Verdict) -> bool:
        """Whether asking again would not help; raises where no request can be answered."""
        said = redacted(verdict.said, self.calls.teacher)
        if verdict.kind == "auth":
            raise self.calls.no_entry(said)
        if verdict.kind == "stop":
            raise self.calls.gives_up(said, "correct model and base_url of this teacher in task.toml, or your account")
        if verdict.kind == "no_recording":
            self.calls.refused[key] = NoRecordingError(said)
        elif verdict.kind == "rejected":
            self.calls.refused[key] = RejectedError(verdict.problem, said)
        return key in self.calls.refused

    async def _asked_again(self, again: Sequence[str], why: str) -> None:
        """The next wave hands them in again, unless that has been done often enough."""
        self._times.update(again)
        most = self.calls.teacher.max_tries
        for key in again:
            if self._times[key] >= most:
                self.calls.refused[key] = RejectedError(ApiProblem("", "", why), f"{most} batches: {why}")
        if again:
            await _Wires(self, "").pause(0)
        self._tell()

    def told(self, name: str, standing: Standing) -> None:
        self._far[name] = (standing.answered, self._far.get(name, (0, 0))[1])
        self._tell()

    def _tell(self) -> None:
        """A batch names no items: what is counted is requests, until the votes follow."""
        run = self.run
        if run.progress is not None:
            answered = self.answered + sum(done for done, _ in self._far.values())
            waiting = sum(asked - done for done, asked in self._far.values())
            counts = {"answered in batches": answered, "waiting in batches": waiting}
            run.progress(run.done, run.total, self.calls.cost_usd, {**run.counts, **counts})


@dataclass(slots=True)
class _Wires:
    """HTTP for one batch: what is safe to repeat is repeated, up to max_tries in a row."""

    desk: Desk
    name: str

    async def get(self, path: str) -> bytes:
        return await self._asked(path, None, None)

    async def post(self, path: str, body: bytes, kind: str | None = None) -> bytes:
        """Raises _UnsureError where it may have been carried out without a reply."""
        return await self._asked(path, body, kind)

    async def ended(self, batch_id: str) -> Standing:
        asked = 0
        while True:
            standing = await self.desk.api.standing(self, batch_id)
            self.desk.told(self.name, standing)
            if standing.ended:
                return standing
            await self.pause(asked)
            asked += 1

    async def pause(self, times: int, wait_s: float | None = None) -> None:
        calls = self.desk.calls
        await calls.flow.pause(max(calls.patience.backoff_s(times, float(calls.rng.random())), wait_s or 0.0))

    async def _asked(self, path: str, body: bytes | None, kind: str | None) -> bytes:
        calls = self.desk.calls
        url = calls.teacher.base_url.rstrip("/") + path
        timeout_s = (
            max(TRANSFER_TIMEOUT_S, calls.teacher.timeout_s)
            if body or path.endswith(("/content", "/results"))
            else None
        )
        said = ""
        for tried in range(calls.teacher.max_tries):
            wait_s = None
            try:
                if body is None:
                    response = await get(calls.session, url, timeout_s=timeout_s)
                else:
                    response = await post(calls.session, url, body, kind=kind, timeout_s=timeout_s)
            except TransportError as error:
                said = said_by(error)
                if body is not None and isinstance(error, DisconnectedError | TimedOutError):
                    raise _UnsureError(said) from error
            else:
                verdict = judge(response)
                if 200 <= response.status < 300:
                    return response.body
                said, wait_s = self._may_pass(verdict), verdict.wait_s
                if body is not None and verdict.kind == "again":
                    raise _UnsureError(said)
            await self.pause(tried, wait_s)
        raise calls.gives_up(
            f"{calls.teacher.max_tries} tries failed, the last with {said}", "repeat the command later"
        )

    def _may_pass(self, verdict: Verdict) -> str:
        """What was said, if it is worth another try."""
        calls = self.desk.calls
        said = redacted(verdict.said, calls.teacher)
        error: StillhouseError | None = None
        if verdict.kind == "auth":
            error = calls.no_entry(said)
        elif verdict.kind not in {"slow", "again"}:
            error = calls.gives_up(said, "leave batch out for this teacher if its API has no batches")
        elif verdict.wait_s is not None and verdict.wait_s > calls.patience.longest_wait_s:
            error = calls.gives_up(f"asked to wait {verdict.wait_s:.0f} s: {said}", "repeat the command later")
        if error is not None:
            raise error
        return said
