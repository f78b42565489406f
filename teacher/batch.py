"""Asking in batches, at half the price and within a day: handed in once, followed through crashes, fetched as they end."""

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from stillhouse.errors import StillhouseError, TeacherError
from stillhouse.ledger import BatchNote
from stillhouse.records import Item
from stillhouse.settings import Teacher
from teacher.batch_apis import AnthropicBatches, BatchApi, BatchFailedError, GoneError, OpenAiBatches, Result, Standing
from teacher.batch_http import BatchHttp, UnsureError, pause
from teacher.calls import Call, Calls, NoRecordingError, RejectedError
from teacher.capabilities import endpoint_of
from teacher.prices import BATCH_SHARE
from teacher.run import Run
from teacher.transport import Response, redacted
from teacher.verdicts import Verdict, judge
from teacher.wire import ApiProblem, Usage, read_usage

MOST_REQUESTS = 20_000  # a batch; below what either API allows, so that one that expires takes less with it
MOST_BYTES = 90_000_000
KEPT_TOGETHER = 512  # replies kept before anything else has its turn
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
    _stop: StillhouseError | None = None  # raised once all that the batch has is kept: it is not fetched again
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
        wires = BatchHttp(self.calls, self.api, lambda standing: self._stands(note.name, standing))
        try:
            if note.state == "handing_in":
                note = await self._arrived(wires, note, lines)
            if note.batch_id:
                ended = await wires.ended(note.batch_id)
                spent_usd = await self._keep(note, await self.api.results(wires, note.batch_id, ended))
            self.calls.ledger.note_batch(replace(note, state="done"))
            open_usd = 0.0
            if self._stop is not None:
                raise self._stop
        except GoneError:  # deleted, or too old to be kept there: it may have been paid for, and is asked again
            self.calls.ledger.note_batch(replace(note, state="done"))
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

    async def _arrived(self, wires: BatchHttp, note: BatchNote, lines: Sequence[bytes]) -> BatchNote:
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
            except UnsureError as error:
                if tried == self.calls.teacher.max_tries - 1:
                    raise self.calls.gives_up(str(error), "repeat the command later") from error
                sure = False
                await pause(self.calls, tried)
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
        fresh = {result.key: result for result in results if result.key in items and result.key not in known}
        settled, spent_usd = set(known), 0.0
        for group in _groups(list(fresh.values())):
            kept = 0
            for result in group:
                response = Response(result.status, {}, result.body)
                verdict = judge(response) if result.status else None
                if verdict is not None and verdict.kind == "keep":
                    usage, cost_usd = self._cost(response, note)
                    self.calls.keep(result.key, items[result.key], response, usage, cost_usd)
                    kept += 1
                    spent_usd += cost_usd
                elif verdict is None or not self._is_final(result.key, verdict):
                    continue
                settled.add(result.key)
            self.answered += kept
            await asyncio.sleep(0)  # thousands at once must still be interruptible
        await self._asked_again([key for key in items if key not in settled], "not worked on, or failed there")
        return spent_usd

    def _cost(self, response: Response, note: BatchNote) -> tuple[Usage, float]:
        if response.status >= 400:
            return Usage(0, 0, stated=True), 0.0
        usage = read_usage(b"", response.body)
        if not usage.stated:  # its request is not at hand to be counted: the most that it can have cost
            return usage, note.worst_usd / len(note.asked)
        return usage, BATCH_SHARE * self.calls.price.cost_usd(usage.priced_input, usage.output_tokens)

    def _is_final(self, key: str, verdict: Verdict) -> bool:
        """Whether asking again in this run would not help; where no request can be answered, the run is to stop."""
        said = redacted(verdict.said, self.calls.teacher)
        if verdict.kind == "auth":
            self._stop = self.calls.no_entry(said)
        if verdict.kind == "stop":
            fix = "correct model and base_url of this teacher in task.toml, or your account"
            self._stop = self.calls.gives_up(said, fix)
        if verdict.kind == "no_recording":
            self.calls.refused[key] = NoRecordingError(said)
        elif verdict.kind == "rejected":
            self.calls.refused[key] = RejectedError(verdict.problem, said)
        return self._stop is not None or key in self.calls.refused

    async def _asked_again(self, again: Sequence[str], why: str) -> None:
        """The next wave hands them in again, unless that has been done often enough."""
        self._times.update(again)
        most = self.calls.teacher.max_tries
        for key in again:
            if self._times[key] >= most:
                self.calls.refused[key] = RejectedError(ApiProblem("", "", why), f"{most} batches: {why}")
        if again:
            await pause(self.calls, 0)
        self._tell()

    def _stands(self, name: str, standing: Standing) -> None:
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


def _groups(results: Sequence[Result]) -> Iterator[Sequence[Result]]:
    return (results[start : start + KEPT_TOGETHER] for start in range(0, len(results), KEPT_TOGETHER))
