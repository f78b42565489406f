"""What an API says of its limits in headers is understood, and kept to before it has to refuse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teacher.limits import Bucket, Limits, Stated, stated


def openai(limit: float, remaining: float, reset: str, what: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": f"{limit:g}",
        f"x-ratelimit-remaining-{what}": f"{remaining:g}",
        f"x-ratelimit-reset-{what}": reset,
    }


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1d", 86_400.0), ("2.5", 2.5), ("0s", 0.0)],
)
def test_openais_resets_are_understood(reset: str, seconds: float) -> None:
    """Hours, minutes, seconds and milliseconds, alone or together, and plain seconds."""
    assert stated(openai(60, 59, reset), "requests") == Stated(60.0, 59.0, seconds)


@pytest.mark.parametrize("reset", ["", "soon", "1 s", "-1s", "2026-11-26T05:00:00Z"])
def test_a_reset_that_is_not_understood_is_none(reset: str) -> None:
    """Then the limit is one per minute."""
    said = stated(openai(120, 10, reset), "requests")
    assert said == Stated(120.0, 10.0, None)
    assert said.per_s == 2.0


def test_anthropics_headers_are_understood() -> None:
    """The moment of their reset is not: clocks differ."""
    headers = {
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "39000",
        "anthropic-ratelimit-tokens-reset": "2026-11-26T05:00:00Z",
    }
    assert stated(headers, "tokens") == Stated(40_000.0, 39_000.0, None)
    assert stated(headers, "requests") is None


@pytest.mark.parametrize("limit", ["", "none", "-5", "0", "1e9", "inf"])
def test_headers_that_say_nothing_whole_are_none(limit: str) -> None:
    """A limit of nothing, or no number, is not believed."""
    assert stated({"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": "3"}, "requests") is None
    assert stated({"x-ratelimit-limit-requests": "60"}, "requests") is None


def test_a_daily_limit_fills_as_slowly_as_it_says() -> None:
    """200 requests a day, one of them gone, full again in 432 seconds."""
    said = stated(openai(200, 199, "7m12s"), "requests")
    assert said is not None
    assert math.isclose(said.per_s, 200 / 86_400)


def test_a_rounded_reset_does_not_slow_down_a_limit_per_minute() -> None:
    """100,000 a minute give one back in 0.6 ms, which is told as 1 ms."""
    said = stated(openai(100_000, 99_999, "1ms"), "requests")
    assert said is not None
    assert said.per_s == 100_000 / 60


def test_nothing_waits_before_a_limit_is_known() -> None:
    """Most servers state none."""
    limits = Limits()
    assert [limits.take(10_000, 0.0) for _ in range(100)] == [0.0] * 100
    limits.heard({"content-type": "application/json"}, 1.0)
    assert limits.take(10_000, 1.0) == 0.0


def test_requests_beyond_what_is_left_wait_their_turn() -> None:
    """Two are left and one comes a second: the third waits a second, the fourth two."""
    limits = Limits()
    limits.heard(openai(60, 2, "58s"), 0.0)
    assert [limits.take(0, 0.0) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]


def test_tokens_are_waited_for_like_requests() -> None:
    """The longer of both waits counts."""
    limits = Limits()
    limits.heard({**openai(60, 60, "0s"), **openai(6_000, 500, "55s", "tokens")}, 0.0)
    assert limits.take(500, 0.0) == 0.0
    assert limits.take(200, 0.0) == 2.0


def test_what_is_under_way_is_not_promised_twice() -> None:
    """A reply says five are left, while three requests are on their way: two more may go."""
    limits = Limits()
    for _ in range(4):
        limits.take(10, 0.0)
    limits.done(10)
    limits.heard(openai(60, 5, "55s"), 0.0)
    assert [limits.take(10, 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_the_server_corrects_what_was_guessed() -> None:
    """Tokens that were counted too high come back with the next reply."""
    limits = Limits()
    limits.heard(openai(6_000, 1_000, "50s", "tokens"), 0.0)
    limits.take(1_000, 0.0)
    limits.done(1_000)
    limits.heard(openai(6_000, 900, "51s", "tokens"), 0.0)
    assert limits.take(900, 0.0) == 0.0


@given(
    limit=st.integers(1, 500),
    per_s=st.floats(0.5, 500.0),
    amounts=st.lists(st.floats(0.0, 50.0), min_size=1, max_size=60),
    pauses=st.lists(st.floats(0.0, 2.0), min_size=60, max_size=60),
)
def test_what_leaves_never_exceeds_the_bucket(
    limit: int, per_s: float, amounts: list[float], pauses: list[float]
) -> None:
    """By any moment no more has left than was there at first and has come since: the law of a token bucket."""
    bucket = Bucket(float(limit), float(limit), per_s, 0.0)
    now_s, sent = 0.0, []
    for amount, pause_s in zip(amounts, pauses, strict=False):
        now_s += pause_s
        sent.append((now_s + bucket.take(amount, now_s), amount))
    for moment, _ in sent:
        left = math.fsum(amount for at_s, amount in sent if at_s <= moment)
        assert left <= limit + moment * per_s + 1e-6
