"""One run of a teacher over items: prepare, ask, repair, vote, count."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from kinds.kind import Kind
from prompts.combine import mean_of_orders
from prompts.parse import Reading
from prompts.render import Prompt, fill, repair
from prompts.windows import WINDOW_TOKENS, merge
from stillhouse.errors import StillhouseError, TeacherError
from stillhouse.ledger import StoredReply
from stillhouse.records import Item, Vote
from teacher.calls import Call, Calls, NoRecordingError, RejectedError, StoppedError, worst_usd
from teacher.capabilities import endpoint_of
from teacher.reading import read_replies, repaired, said, vote_of, worth_repair
from teacher.transport import redacted
from teacher.ways import Way, Ways
from teacher.wire import Asking, body_of, request_key, tokens_asked

# Called after each item: items done, items in all, US dollars spent in this run, and how often each status occurred
# (those of votes, and "no_recording" and "rejected", which leave an item without a vote).
Progress = Callable[[int, int, float, Mapping[str, int]], None]

ITEMS_PREPARED = 16  # rendered and looked up in the ledger together; meanwhile nobody reads what has arrived
VOTES_A_GROUP = 64  # committed together; votes of a killed run are read again from its replies
REJECTED_IN_A_ROW = 20  # that many, and it is not the items
REPAIR_SAMPLE = 1000  # beyond any sample index: a repair is another question than a sample


@dataclass(frozen=True, slots=True)
class Part:
    """One window of an item, or all of it, asked one way, with its calls. `start` is where it begins in the item's text."""

    way: Way
    start: int
    item: Item
    prompt: Prompt
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One item in its parts, and the replies to their calls that are in the ledger already."""

    item: Item
    parts: tuple[Part, ...]
    known: Mapping[str, StoredReply]


@dataclass(slots=True)
class Run:
    """The state of one `ask`."""

    calls: Calls
    kind: Kind
    ways: Ways
    total: int
    progress: Progress | None
    window_tokens: int = WINDOW_TOKENS
    votes: dict[str, Vote] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    done: int = 0
    failure: StillhouseError | None = None
    guidelines: str = field(init=False)
    _rejected_in_a_row: int = 0
    _unrecorded: list[Vote] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.guidelines = self.kind.task.guidelines_id()

    async def all(self, items: Sequence[Item]) -> None:
        jobs = self._jobs(items)
        most = min(self.calls.teacher.max_in_flight, len(items))
        workers = [asyncio.ensure_future(self._work(jobs)) for _ in range(most)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._record()
        if self.failure is not None:
            raise self.failure

    def _jobs(self, items: Sequence[Item]) -> Iterator[Job]:
        """Prepared a block at a time, so that a pool of millions is not rendered before the first call."""
        for start in range(0, len(items), ITEMS_PREPARED):
            block = [(item, self._parts(item)) for item in items[start : start + ITEMS_PREPARED]]
            known = self.calls.ledger.known([call.key for _, parts in block for part in parts for call in part.calls])
            for item, parts in block:
                yield Job(item, parts, known)

    def _parts(self, item: Item) -> tuple[Part, ...]:
        parts = []
        for way in self.ways.of(item):
            for start, window in way.plan.windows(item, self.window_tokens):
                prompt, asking = fill(way.common, window, way.examples), way.plan.asking(way.common, window)
                calls = tuple(self._call(item, prompt, asking, sample) for sample in range(way.plan.calls_an_item))
                parts.append(Part(way, start, window, prompt, calls))
        return tuple(parts)

    async def _work(self, jobs: Iterator[Job]) -> None:
        """One of `max_in_flight` workers; they share the iterator, which is safe because they share a thread."""
        for job in jobs:
            if self.failure is not None:
                return
            try:
                self._voted(await self._vote(job))
            except NoRecordingError:
                self._count("no_recording")
            except RejectedError as error:
                self._rejected(error)
            except StoppedError:
                return
            except StillhouseError as error:
                self._fail(error)
                return
            if self.done % ITEMS_PREPARED == 0:
                await asyncio.sleep(0)  # a run over known replies never waits, and must still be interruptible

    async def _vote(self, job: Job) -> Vote:
        heard: list[StoredReply] = []
        readings = [await self._read(job, part, heard) for part in job.parts]
        each = []
        for _, asked in groupby(zip(job.parts, readings, strict=True), key=lambda pair: id(pair[0].way)):
            parts, said_of = zip(*asked, strict=True)
            each.append(merge(self.kind.task.kind, job.item, [(part.start, part.item) for part in parts], said_of))
        prompt_ids = dict.fromkeys(part.prompt.prompt_id for part in job.parts)
        vote = vote_of(job.item.id, self.calls.teacher.name, "+".join(prompt_ids), mean_of_orders(each), heard)
        way = job.parts[0].way
        return replace(vote, demonstrations=way.demonstrations, candidates=way.candidates, guidelines=self.guidelines)

    async def _read(self, job: Job, part: Part, heard: list[StoredReply]) -> Reading:
        """What the teacher says of one part, asked again where it cannot be read; `heard` gets every reply."""
        replies = [job.known.get(call.key) or await self.calls.reply(call) for call in part.calls]
        heard += replies
        reading = read_replies(self.kind, part.way.common, part.item, replies)
        call = self._repair(job, part, reading, replies)
        if call is None:
            return reading
        known = self.calls.ledger.known([call.key])
        again = known.get(call.key) or await self.calls.reply(call)
        heard.append(again)
        return repaired(read_replies(self.kind, part.way.common, part.item, [again]))

    def _repair(self, job: Job, part: Part, reading: Reading, replies: Sequence[StoredReply]) -> Call | None:
        """The call that asks again, where that may help."""
        plan, common = part.way.plan, part.way.common
        if plan.how == "decision" or not worth_repair(reading, replies):
            return None
        cut_off = reading.status == "truncated"
        return self._call(
            job.item,
            part.prompt if cut_off else repair(common, part.prompt, said(replies)),
            plan.asking_again(common, part.item, cut_off=cut_off),
            REPAIR_SAMPLE,
        )

    def lacking(self, items: Sequence[Item]) -> Iterator[Call]:
        """The calls without a reply that votes on the items need, each once: repairs once the first reply is there."""
        seen = set(self.calls.refused)
        for job in self._jobs(items):
            for part in job.parts:
                for call in self._lacking(job, part):
                    if call.key not in seen:
                        seen.add(call.key)
                        yield call

    def _lacking(self, job: Job, part: Part) -> list[Call]:
        missing = [call for call in part.calls if call.key not in job.known]
        if missing:
            return missing
        replies = [job.known[call.key] for call in part.calls]
        again = self._repair(job, part, read_replies(self.kind, part.way.common, part.item, replies), replies)
        return [] if again is None or self.calls.ledger.known([again.key]) else [again]

    def _call(self, item: Item, prompt: Prompt, asking: Asking, sample: int) -> Call:
        teacher = self.calls.teacher
        body = body_of(teacher, prompt, asking)
        key = request_key(body, model=teacher.model, endpoint=endpoint_of(teacher), variant=teacher.name, sample=sample)
        cost = worst_usd(self.calls.price, teacher, body, len(prompt.messages), asking.max_tokens * asking.n)
        return Call(key, body, item.id, cost, tokens_asked(prompt, asking))

    def _voted(self, vote: Vote) -> None:
        self._rejected_in_a_row = 0
        self.votes[vote.item_id] = vote
        self._unrecorded.append(vote)
        if len(self._unrecorded) >= VOTES_A_GROUP:
            self._record()
        self._count(vote.status)

    def _rejected(self, error: RejectedError) -> None:
        self._count("rejected")
        self._rejected_in_a_row += 1
        if self._rejected_in_a_row >= min(REJECTED_IN_A_ROW, self.total):
            teacher = self.calls.teacher
            self._fail(
                TeacherError(
                    f"teacher {teacher.name}: the API rejects the requests",
                    expected=f"replies of {teacher.model} from {teacher.base_url}",
                    found=redacted(error.said, teacher),
                    fix="correct this teacher in task.toml; every reply that arrived is kept",
                )
            )

    def _count(self, status: str) -> None:
        self.done += 1
        self.counts[status] += 1
        if self.progress is not None:
            self.progress(self.done, self.total, self.calls.cost_usd, self.counts)

    def _fail(self, error: StillhouseError) -> None:
        self.failure = self.failure or error
        self.calls.flow.halt()

    def _record(self) -> None:
        votes, self._unrecorded = self._unrecorded, []
        self.calls.ledger.record_votes(votes)
