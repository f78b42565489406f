"""A teacher that misbehaves, over real HTTP: what can be mended is mended, what cannot is said, nothing is lost."""

import socket
import time

import pytest

from stillhouse.errors import TeacherAuthError, TeacherError
from stillhouse.ledger import MemoryLedger
from teacher.faults import Fault, Faults, RequestLog
from tests.teacher.helpdesk import Memory, ask_about, helpdesk_teacher, items, same_as_recorded, teacher_at

TEXT = items(1)[0].text


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500),
        Fault("status", 503, retry_after_s=0.01),
        Fault("status", 408),
        Fault("status", 429),
        Fault("status", 429, retry_after_ms=5),
        Fault("disconnect"),
        Fault("hang", seconds=0.6),
        Fault("drip", seconds=2.0),
    ],
    ids=["500", "503", "408", "429", "429-retry-after", "disconnect", "hang", "drip"],
)
def test_what_passes_is_tried_again(fault: Fault) -> None:
    """Three requests go wrong in this way; every item has its vote in the end."""
    ledger = MemoryLedger()
    with helpdesk_teacher(20, Faults(first=(fault,) * 3)) as url:
        votes = ask_about(20, teacher_at(url, timeout_s=0.3), ledger)
    assert len(votes) == 20
    assert {vote.status for vote in votes} == {"ok"}
    assert same_as_recorded(votes)
    assert not ledger.in_doubt


@pytest.mark.parametrize(
    "fault",
    [
        Fault("wrong_json"),
        Fault("empty_choices"),
        Fault("content", content=None),
        Fault("content", content="Hm."),
        Fault("content", content='{"label": "so', finish_reason="length"),
    ],
    ids=["wrong-json", "empty-choices", "none", "prose", "cut-off"],
)
def test_an_unreadable_reply_is_kept_and_repaired_by_one_call(fault: Fault) -> None:
    """Both replies are in the ledger, both are paid for, and a repeated run asks for neither."""
    ledger, log = MemoryLedger(), RequestLog()
    with helpdesk_teacher(1, Faults(texts={TEXT: (fault,)}), log) as url:
        memory: Memory = {}
        (vote,) = ask_about(1, teacher_at(url), ledger, capabilities=memory)
        again = ask_about(1, teacher_at(url), ledger, capabilities=memory)
    assert vote.status == "repaired"
    assert same_as_recorded([vote])
    assert len(ledger.replies) == log.requests == 2
    assert again == [vote]


def test_a_wait_that_was_asked_for_holds_everybody_back() -> None:
    """One gate: after a 429 with Retry-After no request leaves before the time is over."""
    log = RequestLog()
    started_s = time.monotonic()
    with helpdesk_teacher(30, Faults(first=(Fault("status", 429, retry_after_s=0.4),)), log) as url:
        votes = ask_about(30, teacher_at(url, max_in_flight=4))
    assert len(votes) == 30
    assert time.monotonic() - started_s >= 0.4
    assert log.statuses == {200: 30, 429: 1}


def test_a_rate_limit_is_found_and_kept_to() -> None:
    """Under a limit of 150 requests a second all arrive, though 64 at once would be far more, even on a busy machine."""
    log = RequestLog()
    with helpdesk_teacher(200, Faults(requests_per_s=150.0, latency_s=0.002), log) as url:
        votes = ask_about(200, teacher_at(url, max_in_flight=64))
    assert len(votes) == 200
    assert log.statuses[429] > 0


def test_a_limit_on_tokens_is_kept_to() -> None:
    """Tokens are refused like requests, and waited for alike."""
    with helpdesk_teacher(40, Faults(tokens_per_s=100_000.0)) as url:
        assert len(ask_about(40, teacher_at(url))) == 40


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_at_once(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named; the key is not, even where the server quotes it."""
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", "sk-secret-123")
    log, ledger = RequestLog(), MemoryLedger()
    fault = Fault("status", status, "invalid_api_key", "Incorrect API key provided: sk-secret-123.")
    with helpdesk_teacher(100, Faults(always=fault, latency_s=0.01), log) as url:
        teacher = teacher_at(url, api_key_env="STILLHOUSE_TEST_KEY", max_in_flight=4)
        with pytest.raises(TeacherAuthError, match="STILLHOUSE_TEST_KEY") as caught:
            ask_about(100, teacher, ledger)
    assert "sk-secret-123" not in str(caught.value)
    assert log.requests <= 4
    assert not ledger.in_doubt


def test_the_key_is_sent_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that wants it gets it; the ledger never sees it."""
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", "sk-secret-123")
    ledger = MemoryLedger()
    with helpdesk_teacher(5, Faults(api_key="sk-secret-123")) as url:
        assert len(ask_about(5, teacher_at(url, api_key_env="STILLHOUSE_TEST_KEY"), ledger)) == 5
    assert "sk-secret" not in repr(ledger.replies) + repr(ledger.votes)


@pytest.mark.parametrize("status", [500, 429])
def test_an_api_that_never_recovers_is_given_up_after_max_tries(status: int) -> None:
    """What arrived before it died is kept with its votes, and a repeated run asks only for the rest."""
    log, ledger = RequestLog(), MemoryLedger()
    memory: Memory = {}
    with helpdesk_teacher(60, Faults(always=Fault("status", status), always_after=25), log) as url:
        with pytest.raises(TeacherError, match="does not answer"):
            ask_about(60, teacher_at(url, max_in_flight=4), ledger, capabilities=memory)
        assert len(ledger.replies) == len(ledger.votes) == 25
        assert log.requests <= 25 + 4 * 4
    assert not ledger.in_doubt


def test_one_item_the_server_cannot_take_does_not_stop_the_others() -> None:
    """It is counted as rejected, and has no vote."""
    counts: dict[str, int] = {}
    with helpdesk_teacher(40, Faults(texts={TEXT: (Fault("status", 500),) * 9}, latency_s=0.01)) as url:
        votes = ask_about(40, teacher_at(url, max_in_flight=2), progress=lambda *seen: counts.update(seen[3]))
    assert len(votes) == 39
    assert counts == {"ok": 39, "rejected": 1}


def test_requests_that_are_all_rejected_stop_the_run() -> None:
    """HTTP 400 for everybody is a mistake of the settings, not of the items."""
    log = RequestLog()
    fault = Fault("status", 400, message="temperature must be 1")
    with helpdesk_teacher(100, Faults(always=fault), log) as url, pytest.raises(TeacherError, match="temperature"):
        ask_about(100, teacher_at(url))
    assert log.requests < 60


def test_an_unknown_model_stops_the_run_and_names_those_there_are() -> None:
    """The recorded teacher says what it has."""
    with helpdesk_teacher(5) as url, pytest.raises(TeacherError, match=r"team/A, team/B"):
        ask_about(5, teacher_at(url, model="team/C", recording="replies.jsonl"))


def test_credit_that_is_used_up_is_not_waited_for() -> None:
    """A 429 of that kind never passes."""
    log = RequestLog()
    fault = Fault("status", 429, "insufficient_quota", "You exceeded your current quota")
    with helpdesk_teacher(5, Faults(always=fault), log) as url, pytest.raises(TeacherError, match="quota"):
        ask_about(5, teacher_at(url, max_in_flight=1))
    assert log.requests == 1


def test_a_wait_of_hours_is_reported_not_sat_out() -> None:
    """The server's wish is passed on to the person."""
    fault = Fault("status", 429, retry_after_s=7200)
    with helpdesk_teacher(5, Faults(always=fault)) as url, pytest.raises(TeacherError, match="7200 s"):
        ask_about(5, teacher_at(url))


def test_a_dead_port_is_a_teacher_error_at_once() -> None:
    """Nothing was sent, so nothing is in doubt."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        ledger = MemoryLedger()
        with pytest.raises(TeacherError, match="nothing answers"):
            ask_about(5, teacher_at(f"http://127.0.0.1:{held.getsockname()[1]}/v1"), ledger)
    assert not ledger.in_doubt


def test_a_server_that_is_always_too_slow_is_given_up_in_doubt() -> None:
    """It may have charged for what it never delivered: those requests stay named."""
    ledger = MemoryLedger()
    slow = Faults(always=Fault("hang", seconds=1.0))
    with helpdesk_teacher(2, slow) as url, pytest.raises(TeacherError, match="timeout_s"):
        ask_about(2, teacher_at(url, timeout_s=0.05, max_tries=2), ledger)
    assert len(ledger.in_doubt) == 2
    assert not ledger.votes


def test_a_text_beyond_the_context_abstains_as_truncated() -> None:
    """The refusal is kept as a reply, so that it is not asked for again."""
    ledger, log = MemoryLedger(), RequestLog()
    memory: Memory = {}
    fault = Fault("status", 400, "context_length_exceeded", "maximum context length is 8192 tokens")
    with helpdesk_teacher(3, Faults(texts={TEXT: (fault,)}), log) as url:
        votes = ask_about(3, teacher_at(url), ledger, capabilities=memory)
        again = ask_about(3, teacher_at(url), ledger, capabilities=memory)
    assert [vote.status for vote in votes] == ["truncated", "ok", "ok"]
    assert votes[0].residual == 1.0
    assert again == votes
    assert log.requests == 3


def test_random_faults_change_no_vote() -> None:
    """A third of all requests goes wrong in one of five ways, and the votes are the recording's all the same."""
    kinds = (
        Fault("status", 500),
        Fault("status", 429, retry_after_ms=2),
        Fault("disconnect"),
        Fault("status", 503),
        Fault("drip", seconds=0.05),
    )
    ledger = MemoryLedger()
    with helpdesk_teacher(150, Faults(share=0.33, share_of=kinds, seed=3)) as url:
        votes = ask_about(150, teacher_at(url, max_tries=12), ledger)
    assert len(votes) == 150
    assert same_as_recorded(votes)
    assert not ledger.in_doubt
