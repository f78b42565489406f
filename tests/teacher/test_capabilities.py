"""What an API can do is found out, not believed, and decides how it is asked."""

import json
import math
from typing import Any

import pytest

from prompts.render import fill, frame
from stillhouse.errors import TeacherError
from stillhouse.ledger import MemoryLedger
from teacher.capabilities import RECORDED, Capabilities, capabilities_from_json, plan_of
from teacher.faults import RequestLog
from teacher.recorded import serving
from teacher.wire import Asking, body_of
from tests.teacher.fakes import CapableServer
from tests.teacher.helpdesk import TASK, Memory, ask_about, helpdesk_teacher, items, teacher_at

ALL = frozenset({"logprobs", "n", "response_format"})


def found(server: CapableServer, **changes: Any) -> dict[str, Any]:
    memory: Memory = {}
    with serving(server.app()) as url:
        ask_about(2, teacher_at(url, model="m", **changes), capabilities=memory)
    (capabilities,) = memory.values()
    return dict(capabilities)


def test_logprobs_that_are_given_are_used() -> None:
    """The distribution over codes, and what the API did not show as residual."""
    server, ledger = CapableServer(honours=ALL), MemoryLedger()
    with serving(server.app()) as url:
        votes = ask_about(5, teacher_at(url, model="m"), ledger)
    apps, collab = (TASK.label_names.index(name) for name in ("apps", "collab"))
    for vote in votes:
        assert (vote.status, vote.origin) == ("ok", "logprob")
        assert math.isclose(vote.probs[apps], 0.6)
        assert math.isclose(vote.probs[collab], 0.3)
        assert math.isclose(vote.residual, 0.1)
    assert len(server.bodies) == len(ledger.replies) == 6  # one probe, kept like any paid reply
    assert server.bodies[1]["top_logprobs"] == 20
    assert server.bodies[1]["max_tokens"] <= 8


def test_the_codes_of_a_reversed_order_are_read_in_the_tasks_order() -> None:
    """Code A is the last label then."""
    with serving(CapableServer(honours=ALL).app()) as url:
        votes = ask_about(2, teacher_at(url, model="m", label_order="reversed"))
    assert math.isclose(votes[0].probs[TASK.label_names.index("soc")], 0.6)


def test_a_server_that_silently_ignores_everything_is_found_out() -> None:
    """HTTP 200 proves nothing: without logprobs and n, confidence in words is what is left."""
    server = CapableServer()
    with serving(server.app()) as url:
        votes = ask_about(3, teacher_at(url, model="m"))
    assert {vote.origin for vote in votes} == {"verbalised"}
    assert all("logprobs" not in body and "n" not in body for body in server.bodies[1:])
    capabilities = found(CapableServer())
    assert {capabilities[part] for part in ("logprobs", "n", "response_format")} == {"ignored"}


def test_n_alone_gives_samples_with_confidence() -> None:
    """Without logprobs two samples in one call, each with its confidence, are worth more than one."""
    server = CapableServer(honours=frozenset({"n", "response_format"}))
    with serving(server.app()) as url:
        votes = ask_about(3, teacher_at(url, model="m"))
    assert {vote.origin for vote in votes} == {"sample"}
    assert {body["n"] for body in server.bodies[1:]} == {2}
    assert server.bodies[1]["response_format"]["json_schema"]["strict"] is True


def test_samples_without_n_are_separate_calls() -> None:
    """Asked for by the task, each sample is a call of its own with a key of its own."""
    server, ledger = CapableServer(), MemoryLedger()
    with serving(server.app()) as url:
        votes = ask_about(3, teacher_at(url, model="m", ask="samples", samples=3), ledger)
    assert {vote.origin for vote in votes} == {"sample"}
    assert len(ledger.replies) == 1 + 9


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("refused", "field"),
    [
        ("top_logprobs", "logprobs"),
        ("n", "n"),
        ("response_format", "response_format"),
        ("temperature", "temperature"),
    ],
)
def test_what_is_refused_with_400_is_left_out(refused: str, field: str, named: bool) -> None:
    """Whether or not the error names the parameter, every item gets its vote."""
    server = CapableServer(honours=ALL, refuses=frozenset({refused}), names_what_it_refuses=named)
    assert found(server)[field] == "refused"
    assert all(refused not in body for body in server.bodies[-2:])


def test_a_model_that_wants_max_completion_tokens_gets_it() -> None:
    """Newer models refuse the older name."""
    server = CapableServer(honours=ALL, refuses=frozenset({"max_tokens"}))
    assert found(server)["max_tokens_field"] == "max_completion_tokens"


def test_logprobs_that_were_demanded_and_are_not_given_are_an_error() -> None:
    """Better than votes of another kind than the task asked for."""
    with serving(CapableServer().app()) as url, pytest.raises(TeacherError, match="ignored"):
        ask_about(1, teacher_at(url, model="m", ask="logprobs"))


@pytest.mark.parametrize("api", ["openai_chat", "anthropic_messages"])
def test_the_keys_of_a_schema_stay_in_order(api: str) -> None:
    """A server makes the model write them in that order, and a label must not be written after how sure it is."""
    teacher = teacher_at("http://127.0.0.1/v1", api=api)
    common = frame(TASK, teacher, "verbalised")
    body = body_of(teacher, fill(common, items(1)[0]), Asking(60, schema=common.schema))
    assert body.index(b'"label":{') < body.index(b'"confidence":{') < body.index(b'"second":{')


def test_a_recording_is_not_probed() -> None:
    """/v1/models says what it is: the first call is about an item."""
    log = RequestLog()
    memory: Memory = {}
    with helpdesk_teacher(4, log=log) as url:
        ask_about(4, teacher_at(url), capabilities=memory)
    assert log.requests == 4
    assert capabilities_from_json(next(iter(memory.values()))) == RECORDED


def test_capabilities_survive_json() -> None:
    """They are stored as JSON; a record of another version counts as none."""
    known = Capabilities("honoured", "ignored", "refused", "honoured", top_logprobs=5)
    assert capabilities_from_json(json.loads(json.dumps(known.to_json()))) == known
    assert capabilities_from_json({"logprobs": "honoured", "shape": "other"}) is None


def test_a_repair_has_room_for_a_reply_that_was_cut_off() -> None:
    """One answer, and eight times the tokens."""
    teacher = teacher_at("http://127.0.0.1/v1", ask="samples", samples=2)
    plan = plan_of(teacher, None)
    common = frame(TASK, teacher, plan.style)
    again = plan.asking_again(common, items(1)[0], cut_off=True)
    assert (again.n, again.max_tokens) == (1, 8 * common.reply_tokens)
