"""A server over the tiny talker in the shapes of OpenAI and Anthropic: it really generates, and misbehaves when told to.

What answers is the talker behind `teacher.offline`, what goes wrong comes from `teacher.faults`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from prompts.delimit import enclosed
from teacher.faults import Fault, FaultPlay, Faults, RequestLog
from teacher.offline import Desk, UnansweredError, asked_in, completion
from teacher.playback_answers import Unfit, check_key
from teacher.playback_faults import counted, planned_error, with_fault
from teacher.playback_replies import Api
from teacher.wire import CHAT_PATH, tokens_about
from teacher.wire_anthropic import MESSAGES_PATH
from tests.teacher.talker import talker
from tests.teacher.tiny_vllm import TinyLLM, sampling

TOGETHER = 8
_STOPPED = {"stop": "end_turn", "length": "max_tokens"}


@dataclass
class ModelServer:
    """`ignores` and `refuses` name parameters of a request: those it takes no notice of, and those it answers with 400.

    `most_top_logprobs` is how many alternatives it shows at most: more are refused, as APIs do.
    """

    ignores: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()
    names_what_it_refuses: bool = True
    most_top_logprobs: int = 20
    faults: Faults = field(default_factory=Faults)
    log: RequestLog = field(default_factory=RequestLog)
    engine: TinyLLM = field(default_factory=lambda: TinyLLM(talker()))
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        desk, play = Desk(self.engine, sampling, most=TOGETHER), FaultPlay(self.faults)

        async def answer(request: web.Request) -> web.StreamResponse:
            api: Api = "anthropic_messages" if request.path.endswith(MESSAGES_PATH) else "openai_chat"
            try:
                check_key(request, self.faults.api_key)
                body = orjson.loads(await request.read())
                self.bodies.append(body)
                self._check(body)
                chat = _as_chat(body) if api == "anthropic_messages" else body
                fault = play.next(_text(chat), _counted(chat))
                if fault is not None and fault.kind == "status":
                    return planned_error(api, fault)
                asked = asked_in(orjson.dumps({k: v for k, v in chat.items() if k not in self.ignores}))
                said = completion(asked, await desk.reply(asked))
            except Unfit as unfit:
                return unfit.response(api)
            except UnansweredError as error:
                return Unfit(error.status, error.code, str(error)).response(api)
            self.log.served[_text(chat)] += 1
            shaped = _as_message if api == "anthropic_messages" else orjson.dumps
            if fault is None:
                return web.Response(body=shaped(said), content_type="application/json")
            return await with_fault(request, fault, shaped(said), shaped(_instead(said, fault)), {})

        app = web.Application()
        for path in (CHAT_PATH, MESSAGES_PATH):
            app.router.add_post("/v1" + path, counted(answer, play, self.log))
        app.on_cleanup.append(desk.close)
        return app

    def _check(self, body: Mapping[str, Any]) -> None:
        for part in sorted(self.refuses & set(body)):
            said = f"Unsupported parameter: '{part}'" if self.names_what_it_refuses else "Bad Request"
            raise Unfit(400, "unsupported_parameter", said)
        if body.get("top_logprobs", 0) > self.most_top_logprobs:
            raise Unfit(400, "invalid_value", f"top_logprobs must be at most {self.most_top_logprobs}")


def _text(chat: Mapping[str, Any]) -> str:
    """The item that is asked about; the first one, as a repair repeats it. Nothing in a probe."""
    shown = (enclosed(message["content"]) for message in chat["messages"])
    return next((text for text in shown if text is not None), "")


def _counted(chat: Mapping[str, Any]) -> int:
    """What a limit on tokens counts."""
    sent = sum(tokens_about(len(message["content"])) for message in chat["messages"])
    return sent + int(chat.get("max_tokens") or chat["max_completion_tokens"]) * int(chat.get("n", 1))


def _instead(said: dict[str, Any], fault: Fault) -> dict[str, Any]:
    message = {"role": "assistant", "content": fault.content, "refusal": fault.refusal}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": fault.finish_reason}
    return {**said, "choices": [choice]}


def _as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request to Anthropic's API as one to OpenAI's."""
    system = "\n\n".join(block["text"] for block in body.get("system", []))
    chat = {name: body[name] for name in ("model", "max_tokens", "temperature") if name in body}
    chat["messages"] = [*([{"role": "system", "content": system}] if system else []), *body["messages"]]
    if "output_config" in body:
        schema = body["output_config"]["format"]["schema"]
        chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
    return chat


def _as_message(said: Mapping[str, Any]) -> bytes:
    """OpenAI's reply as Anthropic's."""
    (choice,) = said["choices"]
    content = choice["message"]["content"]
    return orjson.dumps(
        {
            "id": said["id"],
            "type": "message",
            "role": "assistant",
            "model": said["model"],
            "content": [] if content is None else [{"type": "text", "text": content}],
            "stop_reason": _STOPPED.get(choice["finish_reason"], choice["finish_reason"]),
            "usage": {
                "input_tokens": said["usage"]["prompt_tokens"],
                "output_tokens": said["usage"]["completion_tokens"],
            },
        }
    )
