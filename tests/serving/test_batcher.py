"""Dynamic batches: what waits is answered together, in order, within bounds; nobody is forgotten."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from serving.batcher import Batcher, ClosedError, QueueFullError


@dataclass
class Work:
    """Doubles numbers; holds each batch until it is let go; fails on -1."""

    held: bool = False
    sizes: list[int] = field(default_factory=list)
    going: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, parts: Sequence[int]) -> list[int]:
        self.sizes.append(len(parts))
        if self.held:
            await self.going.wait()
        if -1 in parts:
            raise ConnectionError("minus one")
        return [2 * part for part in parts]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 10))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_while_a_batch_is_read_is_the_next_batch() -> None:
    """Each request gets its own answers."""

    async def test() -> None:
        work = Work(held=True)
        batcher = Batcher(work)
        asked = [asyncio.create_task(batcher.ask([n, n + 1])) for n in range(10)]
        await settled()
        late = asyncio.create_task(batcher.ask([100]))
        await settled()
        work.going.set()
        assert [list(await task) for task in asked] == [[2 * n, 2 * n + 2] for n in range(10)]
        assert list(await late) == [200]
        assert work.sizes == [20, 1]
        await batcher.close()

    run(test)


def test_a_batch_has_at_most_so_many_parts_unless_one_request_brings_more() -> None:
    """A request is never split."""

    async def test() -> None:
        work = Work()
        batcher = Batcher(work, most_parts=3)
        asked = [batcher.ask([n] * size) for n, size in enumerate((2, 2, 1, 5, 1))]
        await asyncio.gather(*asked)
        assert work.sizes == [2, 3, 5, 1]
        await batcher.close()

    run(test)


def test_workers_share_what_waits() -> None:
    """Two idle ones take half each."""

    async def test() -> None:
        work = Work(held=True)
        batcher = Batcher(work, workers=2)
        asked = [asyncio.create_task(batcher.ask([n])) for n in range(8)]
        await settled()
        assert work.sizes == [4, 4]
        work.going.set()
        await asyncio.gather(*asked)
        await batcher.close()

    run(test)


def test_after_a_crowd_a_worker_waits_for_it_to_come_back() -> None:
    """Those who were answered together ask again one after another, and are read together again; a lone one is not waited for."""

    async def test() -> None:
        work = Work()
        batcher = Batcher(work, linger_s=0.02)
        for _ in range(2):
            asked = [asyncio.create_task(batcher.ask([1]))]
            if work.sizes:
                await settled()
            asked.append(asyncio.create_task(batcher.ask([2])))
            await asyncio.gather(*asked)
        assert work.sizes == [2, 2]
        await batcher.ask([3])
        for number in range(2):
            asked = [asyncio.create_task(batcher.ask([number]))]
            await settled()
        assert work.sizes == [2, 2, 1, 1, 1]
        await batcher.close()

    run(test)


def test_more_than_may_wait_is_refused_at_once() -> None:
    """What waits already is answered."""

    async def test() -> None:
        work = Work(held=True)
        batcher = Batcher(work, most_waiting=2)
        first = asyncio.create_task(batcher.ask([1]))
        await settled()
        waiting = asyncio.create_task(batcher.ask([2, 3]))
        await settled()
        with pytest.raises(QueueFullError):
            await batcher.ask([4])
        work.going.set()
        assert (list(await first), list(await waiting)) == ([2], [4, 6])
        await batcher.close()

    run(test)


def test_a_request_that_cannot_be_answered_fails_alone() -> None:
    """Its neighbours in the batch are answered."""

    async def test() -> None:
        batcher = Batcher(Work())
        found = await asyncio.gather(*(batcher.ask([n]) for n in (1, -1, 3)), return_exceptions=True)
        assert [list(found[0]), list(found[2])] == [[2], [6]]  # type: ignore[arg-type]
        assert isinstance(found[1], ConnectionError)
        await batcher.close()

    run(test)


def test_what_would_fail_one_by_one_too_is_tried_once() -> None:
    """A teacher that is down is not asked again for each text."""

    async def test() -> None:
        work = Work()
        batcher = Batcher(work, one_by_one=False)
        found = await asyncio.gather(*(batcher.ask([n]) for n in (1, -1, 3)), return_exceptions=True)
        assert [type(one) for one in found] == [ConnectionError] * 3
        assert work.sizes == [3]
        await batcher.close()

    run(test)


def test_closing_answers_what_waits_and_takes_nothing_new() -> None:
    """In that order."""

    async def test() -> None:
        work = Work(held=True)
        batcher = Batcher(work)
        first = asyncio.create_task(batcher.ask([1]))
        await settled()
        second = asyncio.create_task(batcher.ask([2]))
        await settled()
        closing = asyncio.create_task(batcher.close())
        await settled()
        with pytest.raises(ClosedError):
            await batcher.ask([3])
        work.going.set()
        await closing
        assert (list(await first), list(await second)) == ([2], [4])

    run(test)


def test_who_has_left_is_not_answered() -> None:
    """A request that was cancelled while it waited costs no work."""

    async def test() -> None:
        work = Work(held=True)
        batcher = Batcher(work)
        first = asyncio.create_task(batcher.ask([1]))
        await settled()
        gone, stays = asyncio.create_task(batcher.ask([2])), asyncio.create_task(batcher.ask([3]))
        await settled()
        gone.cancel()
        work.going.set()
        await asyncio.gather(first, stays)
        assert work.sizes == [1, 1]
        await batcher.close()

    run(test)
