"""Anthropic's messages API over real HTTP: the same votes, its own headers, cache, stops and errors."""

import math
from collections import Counter
from typing import Any

import orjson
import pytest

from prompts.render import Message, Prompt
from stillhouse.errors import TeacherAuthError, TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.settings import Teacher
from teacher.faults import Fault, Faults, RequestLog
from teacher.prices import BudgetGuard, Price, PriceTable
from teacher.recorded import serving
from teacher.wire import Asking, read_choices, read_usage
from teacher.wire_anthropic import messages_body
from tests.teacher.fakes import MessagesServer
from tests.teacher.helpdesk import Memory, ask_about, helpdesk_teacher, items, same_as_recorded, teacher_at

API = {"api": "anthropic_messages"}


def test_votes_over_messages_equal_those_over_chat() -> None:
    """The shape of the API changes nothing that is said, and everything sent arrives."""
    ledger = MemoryLedger()
    with helpdesk_teacher(60) as url:
        votes = ask_about(60, teacher_at(url, **API), ledger)
        chat = ask_about(60, teacher_at(url))
    assert len(votes) == 60
    assert same_as_recorded(votes)
    assert [(v.probs, v.residual, v.status, v.prompt_id) for v in votes] == [
        (v.probs, v.residual, v.status, v.prompt_id) for v in chat
    ]
    assert not ledger.in_doubt
    assert {vote.request_key for vote in votes}.isdisjoint(vote.request_key for vote in chat)


def test_the_system_text_is_marked_for_the_cache_and_the_key_has_its_own_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """x-api-key and anthropic-version, no Authorization; the system text is a block with cache_control."""
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", "sk-test")
    server = MessagesServer()
    with serving(server.app()) as url:
        ask_about(2, teacher_at(url, model="m", api_key_env="STILLHOUSE_TEST_KEY", **API))
    sent = {name.lower(): value for name, value in server.headers[-1].items()}
    assert (sent["x-api-key"], sent["anthropic-version"]) == ("sk-test", "2023-06-01")
    assert "authorization" not in sent
    body = server.bodies[-1]
    assert [block["cache_control"] for block in body["system"]] == [{"type": "ephemeral"}]
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert server.bodies[1]["system"] == server.bodies[2]["system"]
    assert not {"n", "logprobs", "response_format"} & set(body)


def test_what_is_cached_is_charged_as_such() -> None:
    """Written at 1.25 times, read at a tenth of the price; the stored tokens are all that were read."""
    ledger = MemoryLedger()
    prices = PriceTable(models={"m": Price(input_usd=1.0, output_usd=5.0)})
    guard = BudgetGuard(10.0)
    with serving(MessagesServer().app()) as url:
        ask_about(1, teacher_at(url, model="m", **API), ledger, prices=prices, budget=guard)
    for reply in ledger.replies.values():
        assert (reply.input_tokens, reply.output_tokens) == (1140, 10)
        assert math.isclose(reply.cost_usd, (40 + 125 + 100 + 50) / 1e6)
    assert math.isclose(guard.spent_usd, sum(reply.cost_usd for reply in ledger.replies.values()))


@pytest.mark.parametrize("refused", ["output_config", "temperature"])
def test_what_a_model_refuses_is_left_out(refused: str) -> None:
    """Found out by the probe, remembered under the API's name, and never sent again."""
    server, memory = MessagesServer(refuses=frozenset({refused})), Memory()
    with serving(server.app()) as url:
        votes = ask_about(3, teacher_at(url, model="m", **API), capabilities=memory)
    assert {vote.status for vote in votes} == {"ok"}
    assert all(refused not in body for body in server.bodies[-3:])
    assert list(memory) == [f"{url} m anthropic_messages"]


def test_a_schema_that_is_honoured_is_sent_without_bounds_it_may_not_state() -> None:
    """`minimum` and its kin are refused by this API; names of properties that look like them stay."""
    server = MessagesServer(honours=frozenset({"output_config"}))
    with serving(server.app()) as url:
        votes = ask_about(2, teacher_at(url, model="m", **API))
    assert {vote.status for vote in votes} == {"ok"}
    assert b"minimum" not in orjson.dumps(server.bodies[-1]["output_config"])
    number = {"type": "number", "minimum": 0}
    schema = {"type": "object", "properties": {"minimum": number}, "required": ["minimum"]}
    body = orjson.loads(
        messages_body("m", Prompt((Message("user", "x"),), "p", "verbalised"), Asking(9, schema=schema))
    )
    assert body["output_config"]["format"]["schema"]["properties"] == {"minimum": {"type": "number"}}


def test_samples_are_separate_calls() -> None:
    """There is no n: two samples are two requests, and neither hides the other in the ledger."""
    server, ledger = MessagesServer(), MemoryLedger()
    with serving(server.app()) as url:
        votes = ask_about(3, teacher_at(url, model="m", ask="samples", samples=2, **API), ledger)
    assert {vote.origin for vote in votes} == {"sample"}
    assert len(server.bodies) == len(ledger.replies) == 1 + 2 * 3


def test_a_picture_goes_along_as_this_api_wants_it() -> None:
    """By address, or taken apart where the address is the picture itself."""

    def source(image: str) -> Any:
        prompt = Prompt((Message("user", "What?", image),), "p", "verbalised")
        return orjson.loads(messages_body("m", prompt, Asking(9)))["messages"][0]["content"][0]["source"]

    assert source("https://x.example/a.png") == {"type": "url", "url": "https://x.example/a.png"}
    assert source("data:image/png;base64,AAA=") == {"type": "base64", "media_type": "image/png", "data": "AAA="}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 529, message="Overloaded"),
        Fault("status", 429, retry_after_s=0.01),
        Fault("status", 500),
        Fault("disconnect"),
    ],
)
def test_what_passes_is_tried_again(fault: Fault) -> None:
    """Overloaded, limited, broken: the votes are those of an undisturbed run."""
    log = RequestLog()
    with helpdesk_teacher(20, Faults(first=(fault,) * 3), log) as url:
        votes = ask_about(20, teacher_at(url, **API))
    assert same_as_recorded(votes)
    assert log.requests == 23


def test_a_vote_that_abstains_says_why() -> None:
    """refusal and max_tokens are read in this API's words; an empty reply is unreadable."""
    say = {
        "refused": Fault("content", content=None, refusal="I will not."),
        "truncated": Fault("content", content='{"label": "so', finish_reason="length"),
        "unreadable": Fault("empty_choices"),
    }
    texts = [item.text for item in items(3)]
    faults = Faults(texts={text: (fault, fault) for text, fault in zip(texts, say.values(), strict=True)})
    with helpdesk_teacher(3, faults) as url:
        votes = ask_about(3, teacher_at(url, **API))
    assert Counter(vote.status for vote in votes) == dict.fromkeys(say, 1)


def test_an_overload_that_does_not_pass_is_named_with_its_status() -> None:
    """The error says HTTP 529, and what the API said."""
    faults = Faults(always=Fault("status", 529, message="Overloaded"))
    with helpdesk_teacher(3, faults) as url, pytest.raises(TeacherError, match="HTTP 529: Overloaded"):
        ask_about(3, teacher_at(url, **API))


def test_a_wrong_key_and_used_up_credit_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """401, and the 400 this API answers an account without credit with."""
    monkeypatch.setenv("STILLHOUSE_TEST_KEY", "sk-wrong")
    with helpdesk_teacher(3, Faults(api_key="sk-right")) as url, pytest.raises(TeacherAuthError, match="HTTP 401"):
        ask_about(3, teacher_at(url, api_key_env="STILLHOUSE_TEST_KEY", **API))
    broke = Faults(always=Fault("status", 400, message="Your credit balance is too low to access the API"))
    log = RequestLog()
    with helpdesk_teacher(30, broke, log) as url, pytest.raises(TeacherError, match="HTTP 400: Your credit"):
        ask_about(30, teacher_at(url, max_in_flight=1, **API))
    assert log.requests == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"type":"message","content":[7,{"type":"text"}],"usage":{}}'])
def test_a_message_that_is_not_one_is_read_as_nothing(body: bytes) -> None:
    """Nothing is trusted: no words, and tokens estimated from bytes."""
    assert all(choice.content == "" for choice in read_choices(body))
    assert not read_usage(b"1234", body).stated


def test_address_and_key_follow_the_api() -> None:
    """A key of one maker never goes to another because a default was left as it was; what is given is taken."""
    asked = Teacher(name="c", model="claude", api="anthropic_messages")
    assert (asked.base_url, asked.api_key_env) == ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY")
    assert Teacher(name="o", model="gpt").base_url == "https://api.openai.com/v1"
    proxied = asked.model_copy(update={"base_url": "http://localhost:1/v1"})
    assert proxied.base_url == "http://localhost:1/v1"
    assert Teacher(name="c", model="m", api="anthropic_messages", api_key_env="K").api_key_env == "K"
