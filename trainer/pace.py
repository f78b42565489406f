"""How far a long step is, how fast it goes and when it will be done: what a progress line shows."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """A moment of a long step. `rate` is units a second since the start, `eta_s` the seconds still to go."""

    stage: str
    done: int
    total: int
    unit: str
    rate: float
    eta_s: float
    note: str = ""


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._start


Progress = Callable[[Pace], None]


def pacer(stage: str, total: int, unit: str, progress: Progress | None) -> Callable[..., None]:
    """A function `tell(done, note="")` that reports the pace to `progress`, and does nothing without one."""
    started = time.monotonic()

    def tell(done: int, note: str = "") -> None:
        if progress is None:
            return
        rate = done / max(time.monotonic() - started, 1e-9)
        progress(Pace(stage, done, total, unit, rate, max(total - done, 0) / max(rate, 1e-9), note))

    return tell
