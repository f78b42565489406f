"""Fake servers and a ledger for these tests; each is real HTTP or a real file, and keeps a history."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from stillhouse.ledger import MemoryLedger, StoredReply

SHOWN = {"A": math.log(0.6), "B": math.log(0.3), "Well": math.log(0.04)}
VERBALISED = '{"label": "soc", "confidence": 0.8, "second": null}'


@dataclass
class CapableServer:
    """An API that honours what it is told to, refuses with 400 what it is told to, and ignores the rest silently.

    Asked for logprobs it honours, it says code A with the alternatives in `SHOWN`; else it says `VERBALISED`.
    """

    honours: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    names_what_it_refuses: bool = True
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        for part in sorted(self.refuses & set(body)):
            said = f"Unsupported parameter: '{part}'" if self.names_what_it_refuses else "Bad Request"
            return web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=400)
        logprobs = "logprobs" in self.honours and body.get("logprobs")
        content = "A" if logprobs else VERBALISED
        if "response_format" in self.honours and "response_format" in body:
            names = body["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]
            content = content if logprobs or "soc" in names else '{"label": "yes"}'
        top = [{"token": token, "logprob": logprob} for token, logprob in SHOWN.items()]
        choice = {
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "A", "top_logprobs": top}]} if logprobs else None,
        }
        count = body.get("n", 1) if "n" in self.honours else 1
        usage = {"prompt_tokens": 100, "completion_tokens": 10 * count}
        return web.json_response({"choices": [choice] * count, "usage": usage})


class FileLedger(MemoryLedger):
    """A ledger in a file of lines, each flushed and synced: what kill -9 leaves of it is what arrived."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        if path.exists():
            for line in path.read_text().splitlines():
                stored = json.loads(line)
                reply = StoredReply(**{**stored, "body": stored["body"].encode()})
                self.replies[reply.request_key] = reply

    def arrived(self, reply: StoredReply) -> None:
        with self.path.open("a") as file:
            row = {name: getattr(reply, name) for name in StoredReply.__slots__}
            file.write(json.dumps({**row, "body": reply.body.decode()}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        super().arrived(reply)


@dataclass
class MessagesServer:
    """Anthropic's API as far as it is asked here: says `VERBALISED`, and refuses what it is told to with 400.

    `honours` may hold "output_config": then a reply has the form that was asked for.
    """

    honours: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/messages", self.message)
        return app

    async def message(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        for part in sorted(self.refuses & set(body)):
            said = f"{part}: Extra inputs are not permitted"
            error = {"type": "invalid_request_error", "message": said}
            return web.json_response({"type": "error", "error": error}, status=400)
        content = VERBALISED
        if "output_config" in self.honours and "output_config" in body:
            names = body["output_config"]["format"]["schema"]["properties"]["label"]["enum"]
            content = content if "soc" in names else '{"label": "yes"}'
        usage = {
            "input_tokens": 40,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1000,
            "output_tokens": 10,
        }
        blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": content}]
        reply = {"type": "message", "content": blocks, "stop_reason": "end_turn", "usage": usage}
        return web.json_response(reply)


@dataclass
class DecisionServer:
    """Decision endpoints in both shapes: 0.7 for the first option and 0.2 for the second, or what `says` has by name.

    `refuses` names questions that are declined; `leaves_out` those that get no answer.
    """

    says: dict[str, Any] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    leaves_out: frozenset[str] = frozenset()
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/decisions", self.decisions)
        app.router.add_post("/v1/systemone", self.systemone)
        return app

    async def decisions(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        answers = []
        for question in body["questions"]:
            name = question["name"]
            if name in self.leaves_out:
                continue
            if name in self.refuses:
                answers.append({"type": "refusal", "name": name})
            elif question["type"] == "choice":
                chances = self._chances([choice["value"] for choice in question["choices"]])
                shown = [{"value": value, "probability": p} for value, p in chances.items()]
                answers.append({"type": "choice", "name": name, "confidence": 0.6, "probabilities": shown})
            else:
                answers.append({"type": "predicate", "name": name, "probability": self.says.get(name, 0.25)})
        usage = {"input_tokens": 100, "output_tokens": 0, "total_tokens": 100}
        return web.json_response({"model": body["model"], "answers": answers, "usage": usage})

    async def systemone(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        self.bodies.append(body)
        answers: dict[str, dict[str, Any]] = {}
        for name, question in body["questions"].items():
            if name in self.leaves_out:
                continue
            if question["type"] == "choice":
                answers[name] = {"type": "choice", "probabilities": self._chances(list(question["criteria"]))}
            else:
                answers[name] = {"type": "noul", "noul": self.says.get(name, 0.25)}
        usage = {"input_tokens": 100, "output_tokens": 0}
        return web.json_response({"model": body["model"], "answers": answers, "usage": usage})

    def _chances(self, names: list[str]) -> dict[str, Any]:
        return self.says or dict(zip(names, (0.7, 0.2), strict=False))


@dataclass
class PromptServer:
    """An API that says what `says` makes of a request's body, and keeps all bodies but those of the probe.

    It says words; with `coded` it has logprobs, and may say one token with those of its alternatives (a mapping), of which
    the first is what it says.
    """

    says: Callable[[dict[str, Any]], str | dict[str, float]]
    coded: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        probed = "markers" not in body["messages"][0]["content"]
        if not probed:
            self.bodies.append(body)
        said = self.says(body) if not probed else {"A": -0.1} if self.coded else "yes"
        word = said if isinstance(said, str) else next(iter(said))
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": word}, "finish_reason": "stop"}
        if not isinstance(said, str):
            top = [{"token": token, "logprob": logprob} for token, logprob in said.items()]
            choice["logprobs"] = {"content": [{"token": word, "top_logprobs": top}]}
        usage = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": 10}
        return web.json_response({"choices": [choice], "usage": usage})
