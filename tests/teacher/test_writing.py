"""A teacher that writes a text: paid for once, within the budget, with room for thoughts."""

from typing import Any

import numpy as np
import pytest
from aiohttp import web

from prompts.render import Message, Prompt
from stillhouse.errors import BudgetError, InputError, TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.settings import Teacher
from teacher.prices import BudgetGuard
from teacher.recorded import serving
from teacher.writing import WRITING, write_text

PROMPT = Prompt((Message("system", "Write between the markers."), Message("user", "Go on.")), "p", "verbalised")
SCHEMA = {"type": "object"}


class Writer:
    """A chat API that is done with a reply in 100 tokens or not at all, as models that think are."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[int] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        probed = "markers" not in body["messages"][0]["content"]
        if not probed:
            self.asked.append(body["max_tokens"])
        if self.status != 200 and not probed:
            return web.json_response({"error": {"message": "no such words"}}, status=self.status)
        done = body["max_tokens"] >= 100 or probed
        choice = {"message": {"content": "written" if done else ""}, "finish_reason": "stop" if done else "length"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": 5}})


def write(
    teacher: Teacher, ledger: MemoryLedger, cap_usd: float | None = None, memory: dict[str, Any] | None = None
) -> str:
    return write_text(
        PROMPT,
        teacher,
        ledger,
        budget=BudgetGuard(cap_usd),
        reply_tokens=50,
        schema=SCHEMA,
        capabilities={} if memory is None else memory,
        rng=np.random.default_rng(0),
    )


def at(url: str) -> Teacher:
    return Teacher(name="w", model="gpt-4.1-mini", base_url=url)


def test_a_reply_that_was_cut_off_is_asked_for_with_more_room() -> None:
    """Both replies are kept, and a repeat sends nothing."""
    writer, ledger = Writer(), MemoryLedger()
    memory: dict[str, Any] = {}
    with serving(writer.app()) as url:
        assert write(at(url), ledger, memory=memory) == "written"
        assert write(at(url), ledger, memory=memory) == "written"
    assert writer.asked == [50, 400]
    assert sum(reply.item_id == WRITING for reply in ledger.replies.values()) == 2
    assert all(reply.cost_usd > 0 for reply in ledger.replies.values())


def test_what_the_budget_cannot_pay_is_not_sent() -> None:
    """Neither the text nor the probe before it."""
    writer = Writer()
    with serving(writer.app()) as url, pytest.raises(BudgetError):
        write(at(url), MemoryLedger(), cap_usd=1e-9)
    assert writer.asked == []


def test_an_api_that_rejects_the_request_is_told() -> None:
    """As this project's error, with what the API said."""
    with serving(Writer(status=400).app()) as url, pytest.raises(TeacherError, match="rejects") as raised:
        write(at(url), MemoryLedger())
    assert "no such words" in raised.value.text()


@pytest.mark.parametrize(
    "settings",
    [{"recording": "replies.jsonl"}, {"local": "a-model"}, {"api": "openai_decisions"}, {"api": "systemone"}],
)
def test_who_does_not_write_is_not_asked(settings: dict[str, str]) -> None:
    """A recording, a model that is read by likelihood, an API that decides."""
    with pytest.raises(InputError, match="writes nothing"):
        write(Teacher.model_validate({"name": "w", "model": "m", **settings}), MemoryLedger())
