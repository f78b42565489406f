"""What a recorded teacher can be told to do wrong, so that tests and benchmarks meet a bad API over real HTTP."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

FaultKind = Literal["status", "disconnect", "hang", "drip", "wrong_json", "empty_choices", "content"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing going wrong with one request.

    status         answers `status` with an error of `code` and `message`, and Retry-After where a wait is given
    disconnect     sends half of the true reply, then closes the connection
    hang           is silent for `seconds`, then answers truly
    drip           sends the true reply over `seconds`, a piece at a time
    wrong_json     answers 200 with half of the true reply as if it were all
    empty_choices  answers 200 without any choice
    content        answers 200 with `content`, `finish_reason` and `refusal` in place of the true ones
    """

    kind: FaultKind
    status: int = 500
    code: str = ""
    message: str = "a planned fault"
    retry_after_s: float | None = None
    retry_after_ms: float | None = None
    seconds: float = 0.0
    content: str | None = None
    finish_reason: str = "stop"
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class BatchFault:
    """One thing going wrong with one batch, after the share `answered` of its requests was answered.

    expired, cancelled   ends so; the rest is not worked on
    failed               is refused as a whole, with `code` and `message`; nothing is answered
    lost                 is taken, but the connection closes before a reply says so; all is answered
    """

    kind: Literal["expired", "cancelled", "failed", "lost"]
    answered: float = 0.5
    code: str = "invalid_request"
    message: str = "a planned fault"


@dataclass(frozen=True, slots=True)
class Faults:
    """When it goes wrong. A text's own faults come before `first`, then `share`, then `always`.

    first            one fault for each of the first requests, in order
    texts            for requests about one text: one fault each, in order
    share            that share of requests, drawn with `seed`, meets one of `share_of`
    always           every request after the first `always_after`
    api_key          any other key is answered 401
    requests_per_s   more than that (with a burst of a tenth of a second) is answered 429 with retry-after-ms
    tokens_per_s     the same for tokens, sent and asked for
    burst_s          another burst than that
    states_limits    tells of both limits in the headers of every answer, as OpenAI does
    latency_s        before every answer
    batches          one fault, or None, for each of the first batches, in order
    batch_s          how long a batch takes
    """

    first: Sequence[Fault] = ()
    texts: Mapping[str, Sequence[Fault]] = field(default_factory=dict)
    share: float = 0.0
    share_of: Sequence[Fault] = (Fault("status", 500),)
    seed: int = 0
    always: Fault | None = None
    always_after: int = 0
    api_key: str | None = None
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    burst_s: float = 0.1
    states_limits: bool = False
    latency_s: float = 0.0
    batches: Sequence[BatchFault | None] = ()
    batch_s: float = 0.0


@dataclass(slots=True)
class RequestLog:
    """What a recorded teacher has been asked: requests in all, whole replies by text, statuses, and the peak.

    `batches` has the number of requests of each batch; those are not among `requests`.
    """

    requests: int = 0
    served: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    batches: list[int] = field(default_factory=list)


class Bucket:
    """Fills at a rate; holds so many seconds of it, or one draw if that is more."""

    def __init__(self, per_s: float, burst_s: float) -> None:
        self.per_s = per_s
        self.most = per_s * burst_s
        self.level = self.most
        self._at_s = time.monotonic()

    def wait_s(self, amount: float) -> float:
        """0 if the amount was there and is taken, else how long until it would be."""
        now_s = time.monotonic()
        most = max(self.most, amount)
        self.level = min(most, self.level + (now_s - self._at_s) * self.per_s)
        self._at_s = now_s
        if self.level >= amount:
            self.level -= amount
            return 0.0
        return (amount - self.level) / self.per_s


class FaultPlay:
    """A plan of faults being played: what has gone wrong so far decides what does next."""

    def __init__(self, plan: Faults) -> None:
        self.plan = plan
        self._requests = 0
        self._by_text: Counter[str] = Counter()
        self._rng = np.random.default_rng(plan.seed)
        self._buckets = [
            (Bucket(per_s, plan.burst_s), by_tokens)
            for per_s, by_tokens in ((plan.requests_per_s, False), (plan.tokens_per_s, True))
            if per_s is not None
        ]

    def next(self, text: str, tokens: int) -> Fault | None:
        limit = self._limited(tokens)
        if limit is not None:
            return limit
        at, at_text = self._requests, self._by_text[text]
        self._requests += 1
        self._by_text[text] += 1
        for queue, position in ((self.plan.texts.get(text, ()), at_text), (self.plan.first, at)):
            if position < len(queue):
                return queue[position]
        if self.plan.share and self._rng.random() < self.plan.share:
            return self.plan.share_of[int(self._rng.integers(len(self.plan.share_of)))]
        return self.plan.always if at >= self.plan.always_after else None

    def limits(self) -> dict[str, str]:
        """The headers that tell of the limits, if they do."""
        headers = {}
        for bucket, by_tokens in self._buckets if self.plan.states_limits else ():
            what = "tokens" if by_tokens else "requests"
            left = max(0, int(bucket.level))
            headers[f"x-ratelimit-limit-{what}"] = str(int(bucket.most))
            headers[f"x-ratelimit-remaining-{what}"] = str(left)
            headers[f"x-ratelimit-reset-{what}"] = f"{1000 * (bucket.most - left) / bucket.per_s:.0f}ms"
        return headers

    def _limited(self, tokens: int) -> Fault | None:
        for bucket, by_tokens in self._buckets:
            wait_s = bucket.wait_s(float(tokens if by_tokens else 1))
            if wait_s > 0:
                code, message = "rate_limit_exceeded", "too many tokens" if by_tokens else "too many requests"
                return Fault("status", 429, code, message, retry_after_ms=round(1000 * wait_s, 3))
        return None
