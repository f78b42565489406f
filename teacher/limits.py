"""Token buckets for requests and tokens, filled from what an API says of its limits in the headers of its replies.

Read are OpenAI's headers (x-ratelimit-limit-requests, -remaining-requests, -reset-requests and the same of tokens; Azure,
Groq, Together and vLLM's gateways copy them) and Anthropic's (anthropic-ratelimit-requests-limit, -remaining, -reset, and
the same of tokens). Both fill their buckets steadily. Anthropic's reset is a moment, which only clocks that agree could
read; it is left alone, as all its limits are per minute.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

What = Literal["requests", "tokens"]
WHATS: tuple[What, ...] = ("requests", "tokens")
MINUTE_S = 60.0  # limits are stated per minute, where a reset does not clearly say otherwise
CLEARLY = 2.0
_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class Stated:
    """What one reply says of one limit: how much the bucket holds, what is left in it, and when it is full again."""

    limit: float
    remaining: float
    full_in_s: float | None

    @property
    def per_s(self) -> float:
        """How fast the bucket fills: resets are rounded, so that of a limit per minute is not taken at its word."""
        a_minute, missing = self.limit / MINUTE_S, self.limit - self.remaining
        if not self.full_in_s or missing <= 0:
            return a_minute
        said = missing / self.full_in_s
        return a_minute if a_minute / CLEARLY < said < a_minute * CLEARLY else said


def stated(headers: Mapping[str, str], what: What) -> Stated | None:
    """The limit of `what` in a reply's headers, or None where they say nothing whole of it."""
    for limit, remaining, reset in (
        (f"x-ratelimit-limit-{what}", f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}"),
        (f"anthropic-ratelimit-{what}-limit", f"anthropic-ratelimit-{what}-remaining", ""),
    ):
        most, left = _number(headers.get(limit)), _number(headers.get(remaining))
        if most and left is not None:
            return Stated(most, min(left, most), _seconds(headers.get(reset)))
    return None


@dataclass(slots=True)
class Bucket:
    """A token bucket on this side of the wire. `level` may be below zero: then so much has been promised already."""

    limit: float
    level: float
    per_s: float
    at_s: float

    def take(self, amount: float, now_s: float) -> float:
        """How long to wait before sending what takes so much; it counts as taken. Whoever asks first goes first."""
        self._fill(now_s)
        self.level -= amount
        return max(0.0, -self.level / self.per_s)

    def heard(self, said: Stated, promised: float, now_s: float) -> None:
        """The server knows best what is left, but for what is still under way or waiting to be sent.

        What is under way may be counted already, so that the level errs on the low side, by one round trip at most.
        """
        self.limit, self.per_s, self.at_s = said.limit, said.per_s, now_s
        self.level = said.remaining - promised

    def _fill(self, now_s: float) -> None:
        self.level = min(self.limit, self.level + (now_s - self.at_s) * self.per_s)
        self.at_s = now_s


@dataclass(slots=True)
class Limits:
    """The limits of one API as far as its replies have told them: nothing waits before the first one does."""

    buckets: dict[What, Bucket] = field(default_factory=dict)
    _promised: dict[What, float] = field(default_factory=lambda: dict.fromkeys(WHATS, 0.0))

    def take(self, tokens: float, now_s: float) -> float:
        """Promise a request of so many tokens; how long it must wait (0 without limits). `now_s` is on any clock."""
        wait_s = 0.0
        for what, amount in _amounts(tokens):
            self._promised[what] += amount
            bucket = self.buckets.get(what)
            wait_s = wait_s if bucket is None else max(wait_s, bucket.take(amount, now_s))
        return wait_s

    def done(self, tokens: float) -> None:
        """The request is over, whatever came of it."""
        for what, amount in _amounts(tokens):
            self._promised[what] -= amount

    def heard(self, headers: Mapping[str, str], now_s: float) -> None:
        """A reply came, of a request that is `done`; its headers correct the buckets."""
        for what in WHATS:
            said = stated(headers, what)
            if said is None:
                continue
            bucket = self.buckets.setdefault(what, Bucket(said.limit, said.remaining, said.per_s, now_s))
            bucket.heard(said, max(0.0, self._promised[what]), now_s)


def _amounts(tokens: float) -> tuple[tuple[What, float], ...]:
    return ("requests", 1.0), ("tokens", tokens)


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else None


def _seconds(text: str | None) -> float | None:
    """Of "6m0s", "20ms" or "1.5"; None for anything else."""
    text = (text or "").strip()
    if not text or _PARTS.sub("", text):
        return _number(text)
    return sum(float(amount) * _SECONDS[unit] for amount, unit in _PARTS.findall(text))
