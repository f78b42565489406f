"""Requests that come while a worker is busy are answered together: batches grow with the load."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

LINGER_SHARE = 0.1
In = TypeVar("In")
Out = TypeVar("Out")


class QueueFullError(Exception):
    """More waits than may wait. Stays inside this package."""


class ClosedError(Exception):
    """The server is stopping. Stays inside this package."""


@dataclass(slots=True, eq=False)
class _Group(Generic[In, Out]):
    """What one request asks; it stays together."""

    parts: Sequence[In]
    done: asyncio.Future[Sequence[Out]]


class Batcher(Generic[In, Out]):
    """Workers that take what waits, up to `most_parts` at a time, each worker its share of it.

    After a batch of several requests a worker waits until as much waits again, at most LINGER_SHARE of the time that the
    batch took (but `linger_s`): their senders are likely to ask again, and answering the first of them alone would make
    the others wait. `told` gets the size of each batch. `most_waiting`
    parts may wait; a request may bring more only when nothing waits. Requests of a batch whose work raises are tried one
    by one, unless what fails one would fail all (`one_by_one`).
    """

    def __init__(
        self,
        work: Callable[[Sequence[In]], Awaitable[Sequence[Out]]],
        *,
        most_parts: int = 256,
        most_waiting: int = 4096,
        workers: int = 1,
        linger_s: float = 0.002,
        one_by_one: bool = True,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self.most_parts, self.most_waiting, self.linger_s = most_parts, most_waiting, linger_s
        self.waiting = 0
        self._work, self._told, self._one_by_one = work, told, one_by_one
        self._groups: deque[_Group[In, Out]] = deque()
        self._some = asyncio.Event()
        self._closing = False
        self._idle = workers
        self._workers = [asyncio.create_task(self._run()) for _ in range(workers)]

    async def ask(self, parts: Sequence[In]) -> Sequence[Out]:
        """An answer for each part. Raises what the work raises, QueueFullError, or ClosedError once it closes."""
        if self._closing:
            raise ClosedError
        if self.waiting and self.waiting + len(parts) > self.most_waiting:
            raise QueueFullError
        group = _Group[In, Out](parts, asyncio.get_running_loop().create_future())
        self._groups.append(group)
        self.waiting += len(parts)
        self._some.set()
        return await group.done

    async def close(self) -> None:
        """Answers what waits, then ends the workers."""
        self._closing = True
        self._some.set()
        await asyncio.gather(*self._workers)

    async def _run(self) -> None:
        crowd, took_s = 0, 0.0  # parts of the last batch, where it was of several requests
        while True:
            await self._some.wait()
            if self._closing and not self._groups:
                return
            await self._linger(crowd, took_s)
            batch = self._take()
            if batch:
                started = time.monotonic()
                self._idle -= 1
                await self._answer(batch)
                self._idle += 1
                took_s = time.monotonic() - started
            crowd = sum(len(group.parts) for group in batch) if len(batch) > 1 else 0

    async def _linger(self, crowd: int, took_s: float) -> None:
        until = time.monotonic() + max(self.linger_s, LINGER_SHARE * took_s)
        while not self._closing and self.waiting < crowd:
            if time.monotonic() >= until:
                return
            await asyncio.sleep(self.linger_s)

    def _take(self) -> list[_Group[In, Out]]:
        most = min(self.most_parts, -(-self.waiting // max(self._idle, 1)))
        batch, parts = list[_Group[In, Out]](), 0
        while self._groups and (not batch or parts + len(self._groups[0].parts) <= most):
            group = self._groups.popleft()
            self.waiting -= len(group.parts)
            if not group.done.done():  # whoever asked has left
                batch.append(group)
                parts += len(group.parts)
        if not self._groups and not self._closing:
            self._some.clear()
        return batch

    async def _answer(self, batch: Sequence[_Group[In, Out]]) -> None:
        parts = [part for group in batch for part in group.parts]
        if self._told is not None:
            self._told(len(parts))
        try:
            answers = await self._work(parts)
        except Exception as error:  # noqa: BLE001 - whatever it is goes to those who asked
            await self._failed(batch, error)
            return
        at = 0
        for group in batch:
            if not group.done.done():
                group.done.set_result(answers[at : at + len(group.parts)])
            at += len(group.parts)

    async def _failed(self, batch: Sequence[_Group[In, Out]], error: Exception) -> None:
        if len(batch) > 1 and self._one_by_one:
            for group in batch:  # one request that cannot be answered must not fail its neighbours
                await self._answer([group])
            return
        for group in batch:
            if not group.done.done():
                group.done.set_exception(error)
