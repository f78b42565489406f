"""How many may be in flight: more while it goes well, fewer when refused, nobody through a closed gate."""

import asyncio
import math

from teacher.flow import Flow, Patience


def test_the_limit_starts_careful_and_grows_to_the_most() -> None:
    """32 at first, half as many again a round trip, never beyond what is allowed."""
    flow = Flow(100)
    assert flow.limit == 32
    for _ in range(200):
        flow.sped()
    assert flow.limit == 100


def test_one_round_trip_of_refusals_cuts_once() -> None:
    """Ten requests sent before the cut and refused after it mean one cut, not ten."""

    async def run() -> float:
        flow = Flow(32)
        sent_at_s = asyncio.get_running_loop().time()
        for _ in range(10):
            flow.slowed(sent_at_s - 1.0, None)
        return flow.limit

    assert math.isclose(asyncio.run(run()), 32 * 0.85)


def test_the_limit_never_falls_below_one() -> None:
    """However often it is refused, somebody goes on trying."""

    async def run() -> float:
        flow = Flow(4)
        for _ in range(50):
            flow.slowed(math.inf, None)
        return flow.limit

    assert asyncio.run(run()) == 1


def test_who_finds_no_slot_gets_the_next() -> None:
    """Waiting costs no polling, and nobody is forgotten."""

    async def run() -> list[int]:
        flow, order = Flow(1), []

        async def go(name: int) -> None:
            await flow.enter()
            order.append(name)
            await asyncio.sleep(0)
            flow.leave()

        await asyncio.gather(*(go(name) for name in range(20)))
        assert flow.in_flight == 0
        return order

    assert sorted(asyncio.run(run())) == list(range(20))


def test_halting_lets_everybody_out() -> None:
    """Those at the gate, those without a slot and those between two tries all return."""

    async def run() -> None:
        flow = Flow(1)
        await flow.enter()
        flow.slowed(math.inf, 60.0)
        waiting = [asyncio.ensure_future(flow.enter()), asyncio.ensure_future(flow.pause(60.0))]
        await asyncio.sleep(0)
        flow.halt()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)

    asyncio.run(run())


def test_waiting_doubles_up_to_a_bound() -> None:
    """With jitter over the upper half."""
    patience = Patience(first_backoff_s=1.0, most_backoff_s=8.0)
    assert [patience.backoff_s(n, 1.0) for n in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert patience.backoff_s(0, 0.0) == 0.5
