"""How many requests may be in flight: more while the server takes them, fewer when it refuses (AIMD), one gate for all.

Where replies state limits, requests leave no faster than those allow (see `teacher.limits`).
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from teacher.limits import Limits

START_IN_FLIGHT = 32
CUT = 0.85


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait before trying again. `longest_wait_s` bounds what a server may ask for."""

    first_backoff_s: float = 0.5
    most_backoff_s: float = 30.0
    longest_wait_s: float = 120.0

    def backoff_s(self, failures: int, jitter: float) -> float:
        """Doubles with each failure; `jitter` from 0 to 1 spreads the tries over the upper half."""
        full = min(self.most_backoff_s, self.first_backoff_s * 2.0 ** min(failures, 30))
        return full * (0.5 + 0.5 * jitter)


class Flow:
    """Slots for requests in one event loop. After `halt` nothing waits any more: `enter` and `pause` return at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(min(START_IN_FLIGHT, most))
        self.in_flight = 0
        self.accepted = 0
        self._limits = Limits()
        self._refused_before = False
        self._last_cut_s = float("-inf")
        self._open_at_s = float("-inf")
        self._halted = asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, tokens: int = 0) -> float:
        """Wait for a slot, and until a request of so many tokens is within the limits; returns when it leaves, on the loop's
        clock.
        """
        loop = asyncio.get_running_loop()
        while not self._halted.is_set():
            wait_s = self._open_at_s - loop.time()
            if wait_s > 0:
                await self.pause(wait_s)
            elif self.in_flight < int(self.limit):
                break
            else:
                turn: asyncio.Future[None] = loop.create_future()
                self._waiting.append(turn)
                await turn
        self.in_flight += 1
        wait_s = self._limits.take(tokens, loop.time())
        if wait_s > 0:
            try:
                await self.pause(wait_s)
            except asyncio.CancelledError:
                self.leave(tokens)
                raise
        return loop.time()

    def leave(self, tokens: int = 0) -> None:
        self._limits.done(tokens)
        self.in_flight -= 1
        self._wake(int(self.limit) - self.in_flight)

    def heard(self, headers: Mapping[str, str]) -> None:
        """What a reply to a request that has left says of limits."""
        self._limits.heard(headers, asyncio.get_running_loop().time())

    def sped(self) -> None:
        """A request was taken: one more a round trip; half as many again until the first refusal."""
        self.accepted += 1
        self.limit = min(float(self.most), self.limit + (1.0 / self.limit if self._refused_before else 0.5))

    def slowed(self, sent_at_s: float, wait_s: float | None) -> None:
        """A request was refused: cut once for all that were sent before the last cut, and close the gate if asked."""
        now_s = asyncio.get_running_loop().time()
        self._refused_before = True
        if sent_at_s > self._last_cut_s:
            self.limit = max(1.0, self.limit * CUT)
            self._last_cut_s = now_s
        if wait_s is not None:
            self._open_at_s = max(self._open_at_s, now_s + wait_s)

    async def pause(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._halted.wait()
        except TimeoutError:
            return

    def halt(self) -> None:
        self._halted.set()
        self._wake(len(self._waiting))

    @property
    def halted(self) -> bool:
        return self._halted.is_set()

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1
