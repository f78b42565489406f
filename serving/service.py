"""The student and what comes after it, as a server asks them: batched across requests, each text paid for once."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from kinds.kind import Kind
from serving.batcher import Batcher
from serving.cascade import Cascade
from serving.items import made_id
from serving.metrics import Metrics
from serving.verdicts import Predicts, Verdict, verdicts
from stillhouse.errors import BudgetError, DeskError, TeacherError
from stillhouse.records import Item

REMEMBERED = 10_000  # verdicts of teacher and people, the latest asked for
TEACHER_BATCH, TEACHER_WORKERS, TEACHER_LINGER_S = 32, 4, 0.02
REST_S = 30.0  # after a failure the teacher is left alone, and nobody waits for it
Asked = tuple[Item, Verdict]


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served. `threads` batches are predicted at a time, each of at most `most_texts` texts."""

    student: Predicts
    kind: Kind
    model_id: str
    threshold: float = 0.0
    cascade: Cascade | None = None
    threads: int = 1
    most_texts: int = 256
    most_waiting: int = 4096
    linger_s: float = 0.002


class Service:
    """`Serving` in an event loop: opened in it, and closed in it once nobody asks any more."""

    def __init__(self, what: Serving, metrics: Metrics) -> None:
        self.what, self.metrics = what, metrics
        self._pool = ThreadPoolExecutor(what.threads, thread_name_prefix="student")
        self._turn = threading.Lock()
        self._known: OrderedDict[str, Verdict] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Verdict]] = {}
        self.student: Batcher[Item, Verdict] = Batcher(
            self._predict,
            most_parts=what.most_texts,
            most_waiting=what.most_waiting,
            workers=what.threads,
            linger_s=what.linger_s,
            told=metrics.batch,
        )
        self.next: Batcher[Asked, Verdict] = Batcher(
            self._settle,
            most_parts=TEACHER_BATCH,
            workers=TEACHER_WORKERS,
            linger_s=TEACHER_LINGER_S,
            one_by_one=False,
        )
        self._rests_until_s, self._why = 0.0, ""
        metrics.waiting.set_function(lambda: self.student.waiting)

    async def label(self, items: Sequence[Item]) -> list[Verdict]:
        """A verdict for each item. Raises QueueFullError, ClosedError, and what the student raises.

        Where the teacher cannot be asked (budget, an API that is down) the student's verdict stands, abstains and says
        why.
        """
        said = list(await self.student.ask(items))
        if self.what.cascade is not None:
            unsure = [number for number, verdict in enumerate(said) if verdict.abstained]
            settled = await asyncio.gather(*(self._next(items[number], said[number]) for number in unsure))
            for number, verdict in zip(unsure, settled, strict=True):
                said[number] = verdict
        for verdict in said:
            self.metrics.verdict(verdict)
        return said

    async def close(self) -> None:
        """What waits is answered first."""
        await self.student.close()
        if self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await self.next.close()
        self._pool.shutdown()

    async def _predict(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._said, items)

    def _said(self, items: Sequence[Item]) -> list[Verdict]:
        what = self.what
        with self._turn:  # tokenizers keep state while they read
            prepared = what.student.prepare(items)
        probs = what.student.predict(prepared)
        units = [what.kind.units(item) for item in items]
        thresholds = what.student.thresholds
        return list(verdicts(what.kind, items, units, probs, thresholds=thresholds, threshold=what.threshold))

    async def _next(self, item: Item, first: Verdict) -> Verdict:
        """The verdict of a text that has been settled, or is being settled for somebody else, is not paid for again."""
        key = made_id(item)
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        if time.monotonic() < self._rests_until_s:
            return replace(first, note=self._why)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask_next(key, item, first))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)  # whoever asked may leave: the reply is paid for, and kept for the next

    async def _ask_next(self, key: str, item: Item, first: Verdict) -> Verdict:
        try:
            (verdict,) = await self.next.ask([(item, first)])
        except (TeacherError, BudgetError, DeskError) as error:
            self.metrics.failed(type(error).__name__)
            self._rests_until_s, self._why = time.monotonic() + REST_S, error.what
            return replace(first, note=error.what)
        self._known[key] = verdict
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return verdict

    async def _settle(self, asked: Sequence[Asked]) -> Sequence[Verdict]:
        assert self.what.cascade is not None
        settled = await self.what.cascade.settle([item for item, _ in asked], [first for _, first in asked])
        self.metrics.paid(sum(verdict.cost_usd for verdict in settled))
        return settled
