"""A teacher that behaves: every vote is the recording's, nothing is asked twice, all is counted."""

from collections import Counter
from collections.abc import Mapping

import pytest

from stillhouse.errors import InputError, TeacherAuthError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Item
from teacher.engine import ask_sync
from teacher.faults import Fault, Faults, RequestLog
from teacher.prices import BudgetGuard
from tests.teacher.helpdesk import TASK, Memory, ask_about, helpdesk_teacher, items, same_as_recorded, teacher_at


@pytest.mark.parametrize("variant", ["A", "B"])
def test_votes_over_http_equal_the_recording(variant: str) -> None:
    """Label, confidence and second of 300 messages, in the order of the items, whatever the order of the labels."""
    with helpdesk_teacher(300) as url:
        teacher = teacher_at(
            url, name=variant, model=f"team/{variant}", label_order="as_given" if variant == "A" else "reversed"
        )
        votes = ask_about(300, teacher)
    assert [vote.item_id for vote in votes] == [item.id for item in items(300)]
    assert {(vote.status, vote.origin, vote.source) for vote in votes} == {("ok", "verbalised", variant)}
    assert {vote.guidelines for vote in votes} == {TASK.guidelines_id()}
    assert same_as_recorded(votes, variant)


def test_a_second_run_makes_no_call() -> None:
    """Known replies are read again; the address of a recording may have changed in between."""
    ledger, log = MemoryLedger(), RequestLog()
    with helpdesk_teacher(100) as url:
        first = ask_about(100, teacher_at(url, recording="replies.jsonl"), ledger)
    assert len(first) == len(ledger.replies) == len(ledger.votes) == 100
    with helpdesk_teacher(100, log=log) as url:
        second = ask_about(100, teacher_at(url, recording="replies.jsonl"), ledger)
    assert second == first
    assert log.requests == 0


def test_what_is_remembered_of_an_api_saves_the_probe() -> None:
    """The record of capabilities is filled by the first run and read by the second, without any server."""
    ledger = MemoryLedger()
    memory: Memory = {}
    with helpdesk_teacher(20) as url:
        first = ask_about(20, teacher_at(url), ledger, capabilities=memory)
    assert memory[f"{url} team/A"]["recorded"] is True
    assert ask_about(20, teacher_at(url), ledger, capabilities=memory) == first


def test_a_reply_is_kept_before_it_is_read() -> None:
    """Every vote names a reply that is in the ledger, and nothing is left in doubt."""
    ledger = MemoryLedger()
    with helpdesk_teacher(50) as url:
        votes = ask_about(50, teacher_at(url), ledger)
    assert {vote.request_key for vote in votes} == set(ledger.replies)
    assert all(reply.input_tokens > 100 and reply.output_tokens > 5 for reply in ledger.replies.values())
    assert not ledger.in_doubt


def test_two_items_with_one_text_share_one_call() -> None:
    """Both get a vote; the reply is paid for once."""
    first = items(1)[0]
    twins = [first, Item("twin", first.text)]
    log, ledger = RequestLog(), MemoryLedger()
    with helpdesk_teacher(1, log=log) as url:
        votes = ask_sync(twins, TASK, teacher_at(url), ledger, budget=BudgetGuard(None))
    assert [vote.item_id for vote in votes] == [first.id, "twin"]
    assert votes[0].probs == votes[1].probs
    assert log.requests == len(ledger.replies) == 1


def test_an_item_without_a_recording_has_no_vote_and_is_counted() -> None:
    """It can be asked again once there is a recording: nothing of it is kept."""
    seen: list[tuple[int, int, dict[str, int]]] = []

    def progress(done: int, total: int, cost_usd: float, counts: Mapping[str, int]) -> None:
        assert cost_usd == 0
        seen.append((done, total, dict(counts)))

    ledger = MemoryLedger()
    with helpdesk_teacher(10) as url:
        votes = ask_sync(
            [*items(10), Item("new", "never seen before")],
            TASK,
            teacher_at(url),
            ledger,
            budget=BudgetGuard(None),
            progress=progress,
        )
    assert len(votes) == len(ledger.replies) == 10
    assert seen[-1] == (11, 11, {"ok": 10, "no_recording": 1})
    assert [done for done, _, _ in seen] == list(range(1, 12))
    assert not ledger.in_doubt


def test_no_more_are_in_flight_than_allowed() -> None:
    """`max_in_flight` is a promise, and is made use of."""
    log = RequestLog()
    with helpdesk_teacher(60, Faults(latency_s=0.01), log) as url:
        ask_about(60, teacher_at(url, max_in_flight=7))
    assert log.most_in_flight == 7


def test_an_address_that_is_none_is_an_input_error() -> None:
    """Before anything is sent: expected, found, what to do."""
    with pytest.raises(InputError, match="base_url is not an address"):
        ask_about(1, teacher_at("localhost:8000"))


def test_a_teacher_elsewhere_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named before anything is sent."""
    monkeypatch.delenv("STILLHOUSE_TEST_KEY", raising=False)
    with pytest.raises(TeacherAuthError, match="STILLHOUSE_TEST_KEY"):
        ask_about(1, teacher_at("https://api.invalid/v1", api_key_env="STILLHOUSE_TEST_KEY"))


def test_nothing_to_ask_asks_nothing() -> None:
    """No items: no connection, no probe."""
    assert ask_sync([], TASK, teacher_at("http://127.0.0.1:9/v1"), MemoryLedger(), budget=BudgetGuard(None)) == []


def test_a_vote_that_abstains_is_still_a_vote() -> None:
    """Each way to say nothing usable has its status, after one repair call where that may help."""
    say = {
        "unreadable": Fault("content", content="Hard to say."),
        "truncated": Fault("content", content='{"label": "so', finish_reason="length"),
        "refused": Fault("content", content=None, refusal="I will not."),
    }
    texts = [item.text for item in items(3)]
    faults = Faults(texts={text: (fault, fault) for text, fault in zip(texts, say.values(), strict=True)})
    log = RequestLog()
    with helpdesk_teacher(3, faults, log) as url:
        votes = ask_about(3, teacher_at(url))
    assert Counter(vote.status for vote in votes) == dict.fromkeys(say, 1)
    assert {(sum(vote.probs), vote.residual) for vote in votes} == {(0.0, 1.0)}
    assert log.requests == 5  # a refusal is not argued with
