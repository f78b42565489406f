"""Money: what calls cost, what they will cost, and a cap that holds."""

import asyncio
import math
from pathlib import Path

import numpy as np
import pytest

from stillhouse.errors import BudgetError, InputError
from stillhouse.ledger import MemoryLedger
from stillhouse.store import Store
from teacher.faults import Fault, Faults, RequestLog
from teacher.prices import FREE, BudgetGuard, Price, PriceTable, estimate, load_prices, price_of
from teacher.wire import read_usage
from tests.teacher.helpdesk import TASK, Memory, ask_about, helpdesk_teacher, items, teacher_at

DEAR = PriceTable(models={"team/A": Price(input_usd=1000.0, output_usd=1000.0)})


def test_a_price_is_per_million_tokens() -> None:
    """Two dollars in, eight out."""
    assert Price(input_usd=2, output_usd=8).cost_usd(1_000_000, 500_000) == 6.0


def test_input_that_was_cached_has_its_own_price() -> None:
    """OpenAI's `cached_tokens` are part of `prompt_tokens`; without a price for them in the table they cost the whole one."""
    reply = (
        b'{"usage": {"prompt_tokens": 3000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 2000}}}'
    )
    usage = read_usage(b"", reply)
    assert (usage.input_tokens, usage.cache_read) == (3000, 2000)
    plain = Price(input_usd=2, output_usd=8)
    assert plain.cost_of(usage) == plain.cost_usd(3000, 10)
    cached = Price(input_usd=2, output_usd=8, cached_input_usd=0.5)
    assert cached.cost_of(usage) == pytest.approx(plain.cost_usd(1000, 10) + 2000 * 0.5 / 1e6)
    assert load_prices().models["gpt-4.1"].cached_input_usd == 0.5


@pytest.mark.parametrize("cached", ["-5", "true", '"many"', "9000", "null"])
def test_a_strange_count_of_cached_tokens_makes_nothing_cheaper_than_all_cached(cached: str) -> None:
    """Never more than what was sent, and nothing where it is no number."""
    reply = f'{{"usage": {{"prompt_tokens": 30, "completion_tokens": 1, "prompt_tokens_details": {{"cached_tokens": {cached}}}}}}}'
    assert read_usage(b"", reply.encode()).cache_read in {0, 30}


def test_a_local_model_and_a_recording_cost_nothing_and_an_unknown_one_is_unknown() -> None:
    """Unknown is not free."""
    table = load_prices()
    assert price_of(teacher_at("http://127.0.0.1:8000/v1"), table) == FREE
    assert price_of(teacher_at("https://api.example.com/v1", recording="r.jsonl"), table) == FREE
    assert price_of(teacher_at("https://api.example.com/v1"), table) is None
    dated = teacher_at("https://api.example.com/v1", model="gpt-4o-mini-2024-07-18")
    assert price_of(dated, table) == table.models["gpt-4o-mini"]


def test_a_file_of_prices_goes_over_the_table(tmp_path: Path) -> None:
    """Its models are added or replaced; the others stay."""
    path = tmp_path / "prices.toml"
    path.write_text(
        '[models]\n"mine" = { input_usd = 1, output_usd = 2 }\n"gpt-4o" = { input_usd = 3, output_usd = 4 }'
    )
    table = load_prices(path)
    assert table.models["mine"] == Price(input_usd=1, output_usd=2)
    assert table.models["gpt-4o"] == Price(input_usd=3, output_usd=4)
    assert "gpt-4o-mini" in table.models


@pytest.mark.parametrize(
    "text", ["[models", '[models]\n"m" = { input = 1 }', '[models]\n"m" = { input_usd = -1, output_usd = 1 }']
)
def test_a_file_that_is_no_price_table_is_an_input_error(text: str, tmp_path: Path) -> None:
    """It shows a line as it should be."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="input_usd"):
        load_prices(path)


def test_an_estimate_has_an_interval_around_what_is_spent() -> None:
    """Before a call is made, from sampled prompts; the recorded server counts bytes/4 like the estimate."""
    guard = BudgetGuard(None)
    with helpdesk_teacher(250) as url:
        teacher = teacher_at(url)
        expected = estimate(items(250), TASK, teacher, rng=np.random.default_rng(0), table=DEAR)
        ask_about(250, teacher, budget=guard, prices=DEAR)
    # Before the probe the dearest way is assumed: two samples in each call.
    assert expected.calls == 250
    assert expected.cost_lo_usd is not None
    assert expected.cost_hi_usd is not None
    assert expected.cost_lo_usd < guard.spent_usd < expected.cost_hi_usd
    assert "bytes/4" in expected.method


def test_an_estimate_without_a_price_says_so() -> None:
    """Calls and tokens are known, money is not."""
    expected = estimate(items(5), TASK, teacher_at("https://api.example.com/v1"), rng=np.random.default_rng(0))
    assert expected.cost_usd is None
    assert "price unknown" in expected.sentence()
    assert (
        "free of charge"
        in estimate((), TASK, teacher_at("http://127.0.0.1/v1"), rng=np.random.default_rng(0)).sentence()
    )


def test_what_is_spent_is_what_the_usage_says() -> None:
    """The running total, the guard, the replies and the votes agree."""
    guard, ledger, costs = BudgetGuard(None, spent_usd=1.0), MemoryLedger(), []
    with helpdesk_teacher(30) as url:
        votes = ask_about(
            30, teacher_at(url), ledger, budget=guard, prices=DEAR, progress=lambda *seen: costs.append(seen[2])
        )
    stated = sum(DEAR.models["team/A"].cost_usd(r.input_tokens, r.output_tokens) for r in ledger.replies.values())
    assert stated > 0
    for total in (guard.spent_usd - 1.0, costs[-1], sum(vote.cost_usd for vote in votes)):
        assert total == pytest.approx(stated)
    assert guard.reserved_usd == 0


def test_the_cap_is_never_exceeded_though_many_are_in_flight() -> None:
    """The run ends with a BudgetError once what was in flight has arrived; a higher cap goes on from there."""
    ledger, log = MemoryLedger(), RequestLog()
    memory: Memory = {}
    with helpdesk_teacher(100, Faults(latency_s=0.005), log) as url:
        teacher = teacher_at(url, max_in_flight=32)
        free_run = BudgetGuard(None)
        ask_about(100, teacher, budget=free_run, prices=DEAR)
        guard = BudgetGuard(free_run.spent_usd / 2)
        asked_before = log.requests
        with pytest.raises(BudgetError, match="used up"):
            ask_about(100, teacher, ledger, budget=guard, prices=DEAR, capabilities=memory)
        assert guard.cap_usd is not None
        assert guard.cap_usd * 0.7 < guard.spent_usd <= guard.cap_usd
        assert len(ledger.replies) == log.requests - asked_before == len(ledger.votes)
        assert guard.reserved_usd == 0
        more = BudgetGuard(free_run.spent_usd * 2, guard.spent_usd)
        votes = ask_about(100, teacher, ledger, budget=more, prices=DEAR, capabilities=memory)
    assert len(votes) == 100
    assert more.spent_usd == pytest.approx(free_run.spent_usd)


def test_a_call_that_may_have_been_charged_counts_at_its_worst() -> None:
    """A timeout leaves its reservation spent, apart from what is known to be."""
    guard = BudgetGuard(None)
    with helpdesk_teacher(1, Faults(first=(Fault("hang", seconds=0.5),))) as url:
        ask_about(1, teacher_at(url, timeout_s=0.1), budget=guard, prices=DEAR)
    assert guard.in_doubt_usd > guard.spent_usd > 0


def test_a_request_that_timed_out_and_was_answered_later_is_kept_at_both_costs(tmp_path: Path) -> None:
    """The store remembers the first try at its worst beside what the second one cost, in this run and after it."""
    guard = BudgetGuard(None)
    hang, refused = Fault("hang", seconds=0.5), Fault("status", 500)
    with Store(tmp_path) as store, helpdesk_teacher(1, Faults(first=(hang, refused))) as url:
        ask_about(1, teacher_at(url, timeout_s=0.1), store, budget=guard, prices=DEAR)
        assert store.in_doubt() == 1
        assert math.isclose(store.in_doubt_usd(), guard.in_doubt_usd)
        assert math.isclose(store.spent_usd(), guard.spent_usd)
    with Store(tmp_path) as store:
        assert store.in_doubt() == 1
        assert store.in_doubt_usd() > store.spent_usd() > 0


def test_a_cap_needs_a_price() -> None:
    """A cap that cannot be kept is refused before anything is sent."""
    with pytest.raises(BudgetError, match="price"):
        ask_about(1, teacher_at("https://api.invalid/v1", api_key_env="PATH"), budget=BudgetGuard(1.0))


def test_who_cannot_reserve_yet_waits_for_money_to_come_back() -> None:
    """Two calls of 0.6 under a cap of 1: the second goes when the first has cost less than feared."""

    async def run() -> list[str]:
        guard, order = BudgetGuard(1.0), []

        async def second() -> None:
            await guard.reserve(0.6)
            order.append("second")

        await guard.reserve(0.6)
        waiting = asyncio.ensure_future(second())
        await asyncio.sleep(0)
        order.append("first settled")
        guard.settle(0.6, 0.1)
        await waiting
        return order

    assert asyncio.run(run()) == ["first settled", "second"]
