"""Batches over real HTTP: the votes of the synchronous path at half the price, and nothing paid for twice, whatever happens."""

import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import BudgetError, TeacherAuthError, TeacherError
from stillhouse.ledger import BatchNote, MemoryLedger
from stillhouse.records import Vote
from stillhouse.store import Store
from teacher import batch
from teacher.faults import BatchFault, Fault, Faults, RequestLog
from teacher.prices import BudgetGuard, Price, PriceTable, estimate
from tests.teacher.helpdesk import TASK, ask_about, helpdesk_teacher, items, same_as_recorded, teacher_at

ROOT = Path(__file__).parents[2]
APIS = pytest.mark.parametrize("api", ["openai_chat", "anthropic_messages"])
PRICES = PriceTable(models={"team/A": Price(input_usd=1.0, output_usd=4.0)})


def said(votes: list[Vote]) -> list[tuple[Any, ...]]:
    return [(v.item_id, v.probs, v.residual, v.origin, v.status, v.prompt_id, v.request_key) for v in votes]


def in_batches(
    count: int, url: str, api: str, ledger: MemoryLedger | Store | None = None, **options: Any
) -> list[Vote]:
    changes = options.pop("changes", {})
    return ask_about(count, teacher_at(url, api=api, batch=True, **changes), ledger, **options)


@APIS
def test_votes_are_those_of_the_synchronous_path_at_half_the_price(api: str) -> None:
    """Same request keys, same votes; a batch and nothing else is sent."""
    log, dear, cheap = RequestLog(), BudgetGuard(10.0), BudgetGuard(10.0)
    with helpdesk_teacher(80, None, log) as url:
        one_by_one = ask_about(80, teacher_at(url, api=api), budget=dear, prices=PRICES)
        requests = log.requests
        ledger = MemoryLedger()
        together = in_batches(80, url, api, ledger, budget=cheap, prices=PRICES)
    assert said(together) == said(one_by_one)
    assert same_as_recorded(together)
    assert (log.requests, log.batches) == (requests, [80])
    assert cheap.spent_usd > 0
    assert math.isclose(cheap.spent_usd, dear.spent_usd / 2)
    assert math.isclose(sum(vote.cost_usd for vote in together), cheap.spent_usd)
    assert (cheap.reserved_usd, cheap.in_doubt_usd) == (0.0, 0.0)
    assert [note.state for note in ledger.batches("A")] == ["done"]


@APIS
def test_a_second_run_hands_nothing_in(api: str) -> None:
    """Replies in the ledger are read again without a call."""
    log, ledger = RequestLog(), MemoryLedger()
    with helpdesk_teacher(20, None, log) as url:
        changes = {"recording": "replies.jsonl"}
        first = in_batches(20, url, api, ledger, changes=changes)
        assert in_batches(20, url, api, ledger, changes=changes) == first
    assert log.batches == [20]


@APIS
@pytest.mark.parametrize("kind", ["expired", "cancelled"])
def test_what_was_answered_is_kept_and_the_rest_asked_again(api: str, kind: Any) -> None:
    """A batch that ends early gives what it has; only the rest is handed in again."""
    log = RequestLog()
    faults = Faults(batches=(BatchFault(kind, answered=0.7), BatchFault(kind, answered=0.0)))
    with helpdesk_teacher(50, faults, log) as url:
        votes = in_batches(50, url, api)
    assert same_as_recorded(votes)
    assert log.batches == [50, 15, 15]
    assert set(log.served.values()) == {1}


@APIS
def test_a_batch_whose_acceptance_was_not_heard_is_found_again(api: str) -> None:
    """The connection breaks after it was taken: it is looked for in the list, not handed in twice."""
    log = RequestLog()
    with helpdesk_teacher(30, Faults(batches=(BatchFault("lost"),)), log) as url:
        votes = in_batches(30, url, api)
    assert same_as_recorded(votes)
    assert log.batches == [30]


def test_a_batch_of_others_is_not_taken_for_ours() -> None:
    """Same size, same time, other requests: a message batch is known by its custom ids."""
    log = RequestLog()
    faults = Faults(batches=(None, BatchFault("lost")))
    with helpdesk_teacher(30, faults, log) as url:
        ask_about(30, teacher_at(url, api="anthropic_messages", batch=True, name="other"))
        votes = in_batches(30, url, "anthropic_messages")
    assert same_as_recorded(votes)
    assert log.batches == [30, 30]


@APIS
def test_a_reply_that_cannot_be_read_is_asked_about_in_a_second_batch(api: str) -> None:
    """The repair needs the first reply; refusals are not argued with, and the vote says repaired."""
    texts = [item.text for item in items(3)]
    unread = Fault("content", content="Hard to say.")
    faults = Faults(texts={texts[0]: (unread,), texts[1]: (Fault("content", content=None, refusal="No."),)})
    log = RequestLog()
    with helpdesk_teacher(3, faults, log) as url:
        votes = in_batches(3, url, api)
    assert [vote.status for vote in votes] == ["repaired", "refused", "ok"]
    assert log.batches == [3, 1]


@APIS
def test_single_requests_that_fail_are_told_apart(api: str) -> None:
    """What may pass is handed in again, what is rejected leaves its item without a vote, and the others do not care."""
    texts = [item.text for item in items(30)]
    faults = Faults(
        texts={
            texts[0]: (Fault("status", 500), Fault("status", 529)),
            texts[1]: (Fault("status", 400, message="no such thing"),) * 9,
            texts[2]: (Fault("status", 400, message="prompt is too long: 9 tokens > 8 maximum"),),
        }
    )
    log, counts = RequestLog(), Counter[str]()

    def progress(_done: int, _total: int, _cost_usd: float, seen: Mapping[str, int]) -> None:
        counts.clear()
        counts.update(seen)

    with helpdesk_teacher(30, faults, log) as url:
        votes = in_batches(30, url, api, progress=progress)
    assert log.batches == [30, 1, 1]
    assert len(votes) == 29
    assert counts == {"ok": 28, "rejected": 1, "truncated": 1}


@APIS
def test_a_request_that_never_works_is_given_up_after_max_tries(api: str) -> None:
    """As in the synchronous path: the others have their votes."""
    text = items(1)[0].text
    log = RequestLog()
    with helpdesk_teacher(10, Faults(texts={text: (Fault("status", 500),) * 99}), log) as url:
        votes = in_batches(10, url, api, changes={"max_tries": 3})
    assert len(votes) == 9
    assert log.batches == [10, 1, 1]


@APIS
def test_a_batch_that_is_refused_stops_the_run_and_says_why(api: str) -> None:
    """The API's own words, and no second attempt."""
    log = RequestLog()
    faults = Faults(batches=(BatchFault("failed", message="this model has no batches"),))
    with helpdesk_teacher(5, faults, log) as url, pytest.raises(TeacherError, match="this model has no batches"):
        in_batches(5, url, api)
    assert log.batches == [5]


@APIS
def test_an_account_without_credit_stops_the_run_with_all_that_came_kept(api: str) -> None:
    """Also what stands behind the refusal in the batch; once mended, a repeat asks for the rest alone."""
    text = items(5)[2].text
    log, ledger = RequestLog(), MemoryLedger()
    faults = Faults(texts={text: (Fault("status", 402, message="pay first"),)})
    with helpdesk_teacher(10, faults, log) as url:
        with pytest.raises(TeacherError, match="HTTP 402: pay first"):
            in_batches(10, url, api, ledger)
        assert len(ledger.replies) == 9
        votes = in_batches(10, url, api, ledger)
    assert same_as_recorded(votes)
    assert len(votes) == 10
    assert log.batches == [10, 1]


def test_a_queue_that_is_full_is_waited_for() -> None:
    """OpenAI limits the tokens handed in at a time: such a batch is handed in again later."""
    log = RequestLog()
    full = BatchFault("failed", code="token_limit_exceeded", message="Enqueued token limit reached")
    with helpdesk_teacher(5, Faults(batches=(full, full)), log) as url:
        votes = in_batches(5, url, "openai_chat")
    assert same_as_recorded(votes)
    assert log.batches == [5, 5, 5]


@APIS
def test_a_wrong_key_is_an_error_with_its_status(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP 401, before anything is handed in."""
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", "sk-wrong")
    with helpdesk_teacher(3, Faults(api_key="sk-right")) as url, pytest.raises(TeacherAuthError, match="HTTP 401"):
        in_batches(3, url, api, changes={"api_key_env": "STILLHOUSE_TEST_KEY"})


@APIS
def test_large_pools_are_several_batches(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more requests a batch than the limit, followed side by side."""
    monkeypatch.setattr(batch, "MOST_REQUESTS", 20)
    log = RequestLog()
    began_s = time.monotonic()
    with helpdesk_teacher(100, Faults(batch_s=0.3), log) as url:
        votes = in_batches(100, url, api)
    assert same_as_recorded(votes)
    assert log.batches == [20] * 5
    assert time.monotonic() - began_s < 1.4  # five after another would take longer


@APIS
def test_the_cap_holds_for_batches(api: str) -> None:
    """No more is handed in at once than the money allows in the worst case; then it stops, and what came is kept."""
    full = BudgetGuard(None)
    with helpdesk_teacher(40) as url:
        in_batches(40, url, api, budget=full, prices=PRICES)
    cap = BudgetGuard(full.spent_usd / 2)
    log, ledger = RequestLog(), MemoryLedger()
    with helpdesk_teacher(40, None, log) as url, pytest.raises(BudgetError):
        in_batches(40, url, api, ledger, budget=cap, prices=PRICES)
    assert len(log.batches) > 1
    assert 5 < len(ledger.replies) < 40
    assert cap.spent_usd <= cap.cap_usd  # type: ignore[operator]
    assert math.isclose(cap.spent_usd, sum(reply.cost_usd for reply in ledger.replies.values()))


def test_progress_counts_requests_until_there_are_votes() -> None:
    """Answered and waiting add up to what was handed in, and votes follow."""
    seen: list[tuple[int, dict[str, int]]] = []
    with helpdesk_teacher(10, Faults(batch_s=0.05)) as url:
        in_batches(10, url, "openai_chat", progress=lambda done, _t, _c, counts: seen.append((done, dict(counts))))
    waits = [counts for _, counts in seen if "waiting in batches" in counts]
    assert waits[0] == {"answered in batches": 0, "waiting in batches": 10}
    assert {sum(counts.values()) for counts in waits} == {10}
    assert seen[-1] == (10, {"ok": 10})


def test_an_api_without_batches_is_an_error_before_anything_is_sent() -> None:
    """Decisions have none that is described."""
    with pytest.raises(TeacherError, match="no batches over this API"):
        ask_about(1, teacher_at("http://127.0.0.1:9/v1", api="openai_decisions", batch=True))


def test_the_estimate_knows_the_half_price() -> None:
    """What `stillhouse plan` shows."""
    one, two = (
        estimate(
            items(20),
            TASK,
            teacher_at("http://localhost/v1", batch=batched),
            rng=np.random.default_rng(1),
            table=PRICES,
        ).cost_usd
        for batched in (False, True)
    )
    assert one is not None
    assert two is not None
    assert math.isclose(two, one / 2)


def asked_by_another_process(url: str, folder: Path, api: str) -> "subprocess.Popen[bytes]":
    script = (
        "import sys; from pathlib import Path; from stillhouse.store import Store; from teacher import batch;"
        "from tests.teacher.helpdesk import ask_about, teacher_at; batch.MOST_REQUESTS = 20;"
        "store = Store(Path(sys.argv[2])); print('asks', flush=True);"
        "ask_about(200, teacher_at(sys.argv[1], api=sys.argv[3], batch=True), store)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, url, str(folder), api],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )


@APIS
def test_killed_with_9_at_any_moment_pays_nothing_twice(api: str, tmp_path: Path) -> None:
    """Before, while and after batches are handed in, while waited for, while fetched: every text is answered once."""
    log = RequestLog()
    kills = 0
    with helpdesk_teacher(200, Faults(batch_s=0.6), log) as url:
        # Moments of one run, which goes on after each: early ones hand in, late ones fetch.
        for after_s in (0.005, 0.015, 0.03, 0.05, 0.08, 0.12):
            process = asked_by_another_process(url, tmp_path, api)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(after_s)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.wait()
            process.stdout.close()
        with Store(tmp_path) as store:
            votes = in_batches(200, url, api, store)
            states = {note.state for note in store.batches("A")}
            doubts = store.in_doubt()
        alone = ask_about(200, teacher_at(url, api=api))
    assert kills >= 3
    assert said(votes) == said(alone)
    assert set(log.served.values()) == {2}  # once in a batch, once in the run beside it
    assert states == {"done"}
    assert doubts == 0


def test_what_was_handed_in_before_a_crash_is_owed_though_it_exceeds_the_cap() -> None:
    """It will be charged: it is fetched and counted, and nothing more is asked."""
    log, ledger = RequestLog(), MemoryLedger()
    with helpdesk_teacher(10, None, log) as url:
        in_batches(10, url, "openai_chat", ledger, prices=PRICES)
        (note,) = ledger.batches("A")
        ledger.replies.clear()
        ledger.note_batch(BatchNote(**{**_fields(note), "state": "handed_in"}))
        guard = BudgetGuard(1e-6)
        votes = in_batches(10, url, "openai_chat", ledger, prices=PRICES, budget=guard)
    assert len(votes) == 10
    assert log.batches == [10]
    assert guard.spent_usd > 1e-6


@APIS
def test_a_batch_the_api_has_forgotten_is_asked_again_and_counted_in_doubt(api: str) -> None:
    """Deleted there, or older than results are kept: the run is not stuck with it."""
    log, ledger, guard = RequestLog(), MemoryLedger(), BudgetGuard(None)
    with helpdesk_teacher(10, None, log) as url:
        asked = tuple((f"key {number}", f"item {number}") for number in range(10))
        ledger.note_batch(BatchNote("old", "A", url, asked, 0.5, 100, "handed_in", "batch_99"))
        votes = in_batches(10, url, api, ledger, budget=guard)
    assert same_as_recorded(votes)
    assert log.batches == [10]
    assert guard.in_doubt_usd == 0.5
    assert {note.state for note in ledger.batches("A")} == {"done"}


def _fields(note: BatchNote) -> dict[str, Any]:
    return {name: getattr(note, name) for name in BatchNote.__slots__}
