"""The recorded teacher says plainly that it is one, and answers only what it knows."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from prompts.parse import parse_verbalised
from prompts.render import fill, frame
from stillhouse.errors import InputError, TeacherError
from stillhouse.records import Item
from teacher.recorded import load_recording, recorded_teacher
from teacher.wire import Asking, chat_body
from tests.teacher.helpdesk import HELPDESK, REPLIES, TASK, helpdesk_teacher, items, recorded, teacher_at

ROOT = Path(__file__).parents[2]


def exchange(url: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], Any]:
    async def run() -> tuple[int, dict[str, str], Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.request("GET" if body is None else "POST", url + path, data=body) as response,
        ):
            return response.status, dict(response.headers), orjson.loads(await response.read())

    return asyncio.run(run())


def question(item: Item, model: str = "team/A") -> bytes:
    return chat_body(model, fill(frame(TASK, teacher_at("http://127.0.0.1"), "verbalised"), item), Asking(60))


def test_a_known_item_is_answered_as_a_chat_api_would() -> None:
    """JSON in the message, usage, and the marks of a recording."""
    item = items(1)[0]
    with helpdesk_teacher(1) as url:
        status, headers, reply = exchange(url, "/chat/completions", question(item))
    said = recorded("A")[item.id]
    assert (status, headers["x-stillhouse-recorded"], reply["system_fingerprint"]) == (200, "true", "recording")
    assert json.loads(reply["choices"][0]["message"]["content"]) == {
        k: said[k] for k in ("label", "confidence", "second")
    }
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]


def test_an_unknown_item_is_404_with_a_clear_text() -> None:
    """It says that it is a recording, of what, and which text it does not have."""
    with helpdesk_teacher(1) as url:
        status, headers, reply = exchange(url, "/chat/completions", question(Item("x", "never seen before")))
    assert (status, reply["error"]["code"]) == (404, "no_recording")
    assert headers["x-stillhouse-recorded"] == "true"
    assert "recorded teacher" in reply["error"]["message"]
    assert "never seen before" in reply["error"]["message"]


def test_its_models_are_listed_as_recordings() -> None:
    """Tasks and variants by name."""
    with helpdesk_teacher(1) as url:
        _, _, listed = exchange(url, "/models")
    entries = {entry["id"]: entry["stillhouse"]["recorded"] for entry in listed["data"]}
    assert entries["team/A"] is True
    assert {"team/B", "route/A", "urgency/B"} <= set(entries)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[]", 400),
        (b'{"model": "team/A"}', 400),
        (b'{"model": "team/A", "messages": [1]}', 400),
        (b'{"model": "team/A", "messages": [{"role": "user", "content": "hello"}]}', 400),
        (b'{"model": "team/Z", "messages": []}', 404),
    ],
)
def test_a_request_that_is_not_ours_is_refused(body: bytes, status: int) -> None:
    """With a text that says what was expected."""
    with helpdesk_teacher(1) as url:
        found, _, reply = exchange(url, "/chat/completions", body)
    assert found == status
    assert "recording" in reply["error"]["message"] or "Expected" in reply["error"]["message"]


def test_a_reply_without_confidence_is_played_without_it() -> None:
    """Urgency was recorded as a label alone: nothing is made up."""
    said = load_recording(REPLIES, items=items(2550)).models["urgency/A"]
    assert {tuple(json.loads(content)) for content in said.values()} == {("label",)}


def test_the_whole_corpus_is_known_by_its_texts() -> None:
    """All 3,050 messages of pool and gold, and each reply reads as it was recorded."""
    said = load_recording(REPLIES, [HELPDESK / "pool.jsonl", HELPDESK / "gold.jsonl"]).models["team/A"]
    labels = frame(TASK, teacher_at("http://127.0.0.1"), "verbalised").labels
    assert len(said) == 3050
    assert {parse_verbalised(content, labels).status for content in said.values()} == {"ok"}


@pytest.mark.parametrize(
    ("line", "found"),
    [("{", "line 2: not JSON"), ("[]", "line 2: no object"), ('{"id": 1}', "line 2: no message")],
)
def test_messages_that_cannot_be_read_are_an_input_error(line: str, found: str, tmp_path: Path) -> None:
    """File, line, expected, found."""
    path = tmp_path / "messages.jsonl"
    path.write_text('{"id": "a", "text": "b"}\n' + line)
    with pytest.raises(InputError, match=found):
        load_recording(REPLIES, [path])
    with pytest.raises(InputError, match="cannot be read"):
        load_recording(tmp_path / "none.jsonl")


def test_a_port_that_is_taken_is_a_teacher_error() -> None:
    """It does not move elsewhere silently."""
    with helpdesk_teacher(1) as url:
        port = int(url.split(":")[2].removesuffix("/v1"))
        with pytest.raises(TeacherError, match="cannot start"), recorded_teacher(REPLIES, port=port):
            pass


def test_it_starts_from_the_command_line(tmp_path: Path) -> None:
    """The first line is the address, the second says that it is a recording."""
    messages = tmp_path / "messages.jsonl"
    item = items(1)[0]
    messages.write_text(json.dumps({"id": item.id, "text": item.text}))
    process = subprocess.Popen(
        [sys.executable, "-m", "teacher.recorded", "--replies", str(REPLIES), "--messages", str(messages)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url, says = process.stdout.readline().strip(), process.stdout.readline()
        assert "a recording, not a model" in says
        assert exchange(url, "/chat/completions", question(item))[0] == 200
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_reply_that_is_no_json_is_played_as_it_is(tmp_path: Path) -> None:
    """Lines of tags stand under "reply"; beside other keys that word is one of the reply's own."""
    rows = [{"reply": "1:vpn:NOUN\n2:down:ADV"}, {"reply": "no", "label": "apps"}]
    replies = tmp_path / "replies.jsonl"
    lines = [json.dumps({"id": str(n), "task": "t", "variant": "A", **row}) for n, row in enumerate(rows)]
    replies.write_text("\n".join(lines), encoding="utf-8")
    said = load_recording(replies, items=[Item("0", "vpn down"), Item("1", "other")]).models["t/A"]
    assert said == {"vpn down": rows[0]["reply"], "other": '{"reply":"no","label":"apps"}'}
