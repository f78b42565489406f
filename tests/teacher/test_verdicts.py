"""What responses mean, without a server."""

import pytest

from teacher.addresses import is_local
from teacher.transport import Response
from teacher.verdicts import asked_wait_s, judge
from teacher.wire import read_choices, read_problem, read_usage, request_key


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"", "keep"),
        (301, b"", "stop"),
        (400, b'{"error": {"code": "context_length_exceeded", "message": ""}}', "keep"),
        (400, b'{"error": {"message": "This model\'s maximum context length is 8192 tokens"}}', "keep"),
        (400, b'{"error": {"code": "content_filter"}}', "keep"),
        (400, b'{"error": "bad"}', "rejected"),
        (401, b"", "auth"),
        (403, b"", "auth"),
        (404, b'{"error": {"code": "no_recording"}}', "no_recording"),
        (404, b"", "stop"),
        (408, b"", "again"),
        (413, b"", "keep"),
        (422, b'{"detail": "x"}', "rejected"),
        (429, b"", "slow"),
        (429, b'{"error": {"code": "insufficient_quota"}}', "stop"),
        (500, b"<html>", "again"),
        (529, b"", "slow"),
        (402, b"", "stop"),
        (400, b'{"error": {"message": "Your credit balance is too low"}}', "stop"),
    ],
)
def test_a_status_and_its_body_have_one_meaning(status: int, body: bytes, kind: str) -> None:
    """Kept, tried again, slower, given up for this item, or for all."""
    assert judge(Response(status, {}, body)).kind == kind


def test_the_server_may_say_whether_to_retry() -> None:
    """x-should-retry goes before the status."""
    assert judge(Response(500, {"x-should-retry": "false"}, b"")).kind == "rejected"
    assert judge(Response(422, {"x-should-retry": "true"}, b"")).kind == "again"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
    ],
)
def test_a_wait_is_read_in_all_its_forms(headers: dict[str, str], wait_s: float | None) -> None:
    """Milliseconds, seconds, a date; anything else is no wish."""
    assert asked_wait_s(headers, now_s=60.0) == wait_s


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"choices": 3}', b'{"choices": [null]}', b"\xff", b'{"error": 1}']
)
def test_a_body_that_is_not_ours_is_read_as_nothing(body: bytes) -> None:
    """Never raises; usage is estimated and says so."""
    assert read_choices(body) == ()
    assert read_problem(body).code == ""
    usage = read_usage(b"x" * 40, body)
    assert (usage.input_tokens, usage.output_tokens, usage.stated) == (10, 0, False)


def test_a_servers_text_is_one_line_for_a_terminal() -> None:
    """Control characters of a server do not reach it."""
    assert read_problem(b'{"error": {"message": "a\\n\\u001b[2Jb"}}').message == "a  [2Jb"


def test_a_request_key_follows_everything_that_makes_a_question() -> None:
    """Body, model, endpoint, variant, sample."""
    keys = [
        request_key(b"body", model="m", endpoint="e", variant="v", sample=0),
        request_key(b"other", model="m", endpoint="e", variant="v", sample=0),
        request_key(b"body", model="n", endpoint="e", variant="v", sample=0),
        request_key(b"body", model="m", endpoint="f", variant="v", sample=0),
        request_key(b"body", model="m", endpoint="e", variant="w", sample=0),
        request_key(b"body", model="m", endpoint="e", variant="v", sample=1),
    ]
    assert len(set(keys)) == 6


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]/v1", True),
        ("http://127.0.0.1.example.com/v1", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_local_is_this_machine_only(address: str, local: bool) -> None:
    """A name that begins like a local address is not one."""
    assert is_local(address) is local
