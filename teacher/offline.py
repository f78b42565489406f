"""A teacher that runs in this process: chat requests over loopback HTTP, answered in large batches by `vllm.LLM.chat`.

The engine asks it as it asks any API, so replies are kept, read and repaired as everywhere. What vLLM is called with is
that of its version 0.33 (`vllm/entrypoints/llm.py`, `sampling_params.py`, `outputs.py`).
"""

import asyncio
import gc
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from aiohttp import web

from prompts.specials import specials_of, without_specials
from stillhouse.errors import ModelError, TeacherError
from stillhouse.settings import Teacher
from teacher.recorded import serving
from teacher.wire import CHAT_PATH

IN_FLIGHT = 384  # nothing is paid for, so nothing is lost with them; each takes two of a process's 1,024 files
TIMEOUT_S = 3600.0  # a request waits for the batch before its own
GATHER_S = 0.002  # requests that arrive together are one batch
MOST_BYTES = 16 * 1024 * 1024
# Free whitespace lets a weak model write blanks to its limit: the same schema without it is filled every time.
STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}
_TOO_LONG = ("maximum context length", "maximum model length")


class Engine(Protocol):
    """The part of `vllm.LLM` that is used."""

    def chat(
        self,
        messages: Sequence[Sequence[Mapping[str, Any]]],
        sampling_params: Sequence[Any],
        use_tqdm: bool = ...,
        *,
        chat_template_kwargs: Mapping[str, Any] | None = ...,
    ) -> Sequence[Any]:
        """One `vllm.RequestOutput` a conversation, in their order. One that is not taken fails them all, undone."""
        ...

    def get_tokenizer(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it was sent."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    temperature: float
    n: int
    top_logprobs: int
    schema: Mapping[str, Any] | None


Sampling = Callable[[Asked], Any]  # from a request to vLLM's SamplingParams


class UnansweredError(Exception):
    """A request that gets an error: 400 where it was not taken, 500 where the engine broke."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def response(self) -> web.Response:
        error = {"message": str(self), "type": "invalid_request_error" if self.status < 500 else "api_error"}
        return _json(self.status, {"error": {**error, "param": None, "code": self.code}})


@contextmanager
def offline_teacher(teacher: Teacher, engine: Engine, sampling: Sampling) -> Iterator[Teacher]:
    """The teacher as it can be asked while the engine stands behind an address of this machine.

    As many are in flight as keep the engine busy, unless the task says how many: half of them are its present batch.
    """
    changed: dict[str, Any] = {"max_in_flight": IN_FLIGHT, "timeout_s": TIMEOUT_S}
    changed = {name: value for name, value in changed.items() if name not in teacher.model_fields_set}
    in_flight = changed.get("max_in_flight", teacher.max_in_flight)
    desk = Desk(engine, sampling, most=max(1, in_flight // 2))
    app = offline_app(desk.reply)
    app.on_cleanup.append(desk.close)
    with serving(app) as url:
        yield teacher.model_copy(update={**changed, "base_url": url})


def offline_app(reply: Callable[[Asked], Any]) -> web.Application:
    """/v1/chat/completions before whatever gives a `vllm.RequestOutput` for a request, or raises UnansweredError."""

    async def chat(request: web.Request) -> web.Response:
        try:
            asked = asked_in(await request.read())
            return _json(200, completion(asked, await reply(asked)))
        except UnansweredError as error:
            return error.response()

    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/v1" + CHAT_PATH, chat)
    return app


class Desk:
    """Requests that arrive while the engine is at work are its next batch, at most `most` of them."""

    def __init__(self, engine: Engine, sampling: Sampling, *, most: int) -> None:
        self._engine, self._sampling, self._most = engine, sampling, most
        self._specials = specials_of(engine.get_tokenizer())
        self._waiting: list[tuple[Asked, asyncio.Future[Any]]] = []
        self._working: asyncio.Task[None] | None = None

    async def reply(self, asked: Asked) -> Any:
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, turn))
        if self._working is None or self._working.done():
            self._working = asyncio.ensure_future(self._work())
        return await turn

    async def close(self, _: web.Application) -> None:
        """Whoever stops waits for the batch that the engine is at: it cannot be interrupted, and must not outlive this."""
        self._waiting.clear()
        if self._working is not None:
            await self._working

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_S)
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            outputs = await asyncio.to_thread(self._answers, [asked for asked, _ in batch])
            for (_, turn), output in zip(batch, outputs, strict=True):
                if turn.done():
                    continue
                if isinstance(output, UnansweredError):
                    turn.set_exception(output)
                else:
                    turn.set_result(output)

    def _answers(self, batch: Sequence[Asked]) -> Sequence[Any]:
        """An output or an error for each; one that is not taken is found by halves, before anything is generated."""
        try:
            return self._engine.chat(
                [self._plain(asked.messages) for asked in batch],
                [self._sampling(asked) for asked in batch],
                use_tqdm=False,
                # Reasoning would come before the answer; templates that do not know the switch leave it alone.
                chat_template_kwargs={"enable_thinking": False},
            )
        except Exception as error:  # noqa: BLE001 - whatever the engine raises is the answer to a request
            if not _is_refusal(error):
                return [UnansweredError(500, "engine_failed", f"{type(error).__name__}: {error}")] * len(batch)
            if len(batch) == 1:
                too_long = any(words in str(error) for words in _TOO_LONG)
                return [UnansweredError(400, "context_length_exceeded" if too_long else "invalid_request", str(error))]
            middle = len(batch) // 2
            return [*self._answers(batch[:middle]), *self._answers(batch[middle:])]

    def _plain(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [
            {**message, "content": without_specials(message["content"], self._specials)}
            if isinstance(message.get("content"), str)
            else message
            for message in messages
        ]


def asked_in(body: bytes) -> Asked:
    """A request as `teacher.wire.chat_body` writes it. UnansweredError for anything else."""
    try:
        said = orjson.loads(body)
        form = said.get("response_format") or {}
        return Asked(
            model=str(said["model"]),
            messages=[dict(message) for message in said["messages"]],
            max_tokens=int(said.get("max_tokens") or said["max_completion_tokens"]),
            temperature=float(said.get("temperature", 1.0)),
            n=int(said.get("n", 1)),
            top_logprobs=int(said.get("top_logprobs", 0)) if said.get("logprobs") else 0,
            schema=form["json_schema"]["schema"] if form else None,
        )
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnansweredError(400, "invalid_request", f"no chat request: {error!r}") from error


def completion(asked: Asked, output: Any) -> dict[str, Any]:
    """A chat completion that says what a `vllm.RequestOutput` says."""
    sent, said = len(output.prompt_token_ids), sum(len(choice.token_ids) for choice in output.outputs)
    return {
        "id": f"offline-{output.request_id}",
        "object": "chat.completion",
        "created": 0,
        "model": asked.model,
        "choices": [
            {
                "index": choice.index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": {"content": _tokens(choice, asked.top_logprobs)} if asked.top_logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for choice in output.outputs
        ],
        "usage": {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said},
    }


def vllm_sampling(asked: Asked) -> Any:
    """`vllm.SamplingParams` of a request. The schema's parameter was called `guided_decoding` in older versions."""
    vllm = importlib.import_module("vllm.sampling_params")
    structured = None if asked.schema is None else vllm.StructuredOutputsParams(json=dict(asked.schema))
    return vllm.SamplingParams(
        n=asked.n,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        logprobs=asked.top_logprobs or None,
        structured_outputs=structured,
    )


@contextmanager
def vllm_engine(teacher: Teacher, name: str) -> Iterator[Engine]:
    """`vllm.LLM` of a folder or Hub id with the arguments in `teacher.vllm`; its memory is free again at the end.

    Raises TeacherError where vLLM is not installed, ModelError where it cannot load the model.
    """
    try:
        vllm = importlib.import_module("vllm")
    except ImportError as error:
        raise TeacherError(
            f"teacher {teacher.name}: vLLM is not there",
            expected="the package vllm, on a machine with a GPU",
            found=str(error),
            fix="pip install vllm where the model runs, or leave [teachers.vllm] out",
        ) from error
    try:
        engine = vllm.LLM(model=name, **{"structured_outputs_config": STRUCTURED, **(teacher.vllm or {})})
    except Exception as error:
        raise ModelError(
            f"vLLM cannot load {name!r}",
            expected="a model that vLLM knows, and a GPU with room for it",
            found=f"{type(error).__name__}: {error}",
            fix="correct `local` or [teachers.vllm] of this teacher in task.toml",
        ) from error
    try:
        yield engine
    finally:
        del engine
        gc.collect()


def _is_refusal(error: Exception) -> bool:
    """Whether the engine lives on and did not take one of the requests. vLLM's own errors are known by their name."""
    return isinstance(error, ValueError) or any(kind.__name__ == "VLLMClientError" for kind in type(error).__mro__)


def _tokens(choice: Any, most: int) -> list[dict[str, Any]]:
    """Each token said, with the likeliest alternatives: vLLM gives one more where the token is not among them."""
    tokens = []
    for token_id, shown in zip(choice.token_ids, choice.logprobs or (), strict=False):
        likeliest = sorted(shown.items(), key=lambda entry: (-entry[1].logprob, entry[0]))
        top = [_token(logprob) for _, logprob in itertools.islice(likeliest, most)]
        tokens.append({**_token(shown[token_id]), "top_logprobs": top})
    return tokens


def _token(logprob: Any) -> dict[str, Any]:
    return {"token": logprob.decoded_token or "", "logprob": max(float(logprob.logprob), -9999.0)}


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
