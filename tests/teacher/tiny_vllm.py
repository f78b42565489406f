"""A stand-in for `vllm.LLM` over the tiny talker: the same calls, the same fields, real logprobs and a real grammar.

Names and defaults are those of vLLM 0.33 (`vllm/entrypoints/llm.py`, `sampling_params.py`, `outputs.py`, `logprobs.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache

from teacher.offline import Asked
from tests.teacher.json_regex import json_regex, regex
from tests.teacher.talker import Talker

MAX_LOGPROBS = 20


class VLLMClientError(Exception):
    """A request that the engine will not take."""


class VLLMValidationError(VLLMClientError):
    """What vLLM raises of a prompt that is too long or parameters that are out of range; no request of the call is done."""


@dataclass
class StructuredOutputsParams:
    json: str | dict[str, Any] | None = None


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    max_tokens: int | None = 16
    logprobs: int | None = None
    structured_outputs: StructuredOutputsParams | None = None


def sampling(asked: Asked) -> SamplingParams:
    """`teacher.offline.vllm_sampling`, for the classes of this module."""
    schema = asked.schema
    return SamplingParams(
        n=asked.n,
        temperature=asked.temperature,
        max_tokens=asked.max_tokens,
        logprobs=asked.top_logprobs or None,
        structured_outputs=None if schema is None else StructuredOutputsParams(json=dict(schema)),
    )


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True


@dataclass
class TinyLLM:
    """`batches` has the number of conversations of each call."""

    talker: Talker
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    batches: list[int] = field(default_factory=list)

    def get_tokenizer(self) -> Any:
        return self.talker.tokenizer

    def chat(
        self,
        messages: Sequence[Sequence[Mapping[str, Any]]],
        sampling_params: Sequence[SamplingParams],
        use_tqdm: bool = True,
        *,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[RequestOutput]:
        del use_tqdm, chat_template_kwargs
        assert len(messages) == len(sampling_params)
        prompts = [self.talker.prompt(chat) for chat in messages]
        for prompt, asked in zip(prompts, sampling_params, strict=True):
            self._check(prompt, asked)
        self.batches.append(len(prompts))
        return [
            RequestOutput(str(number), prompt, [self._said(prompt, asked, index) for index in range(asked.n)])
            for number, (prompt, asked) in enumerate(zip(prompts, sampling_params, strict=True))
        ]

    def _check(self, prompt: Sequence[int], asked: SamplingParams) -> None:
        most = self.talker.longest_tokens
        if len(prompt) >= most:
            raise VLLMValidationError(
                f"This model's maximum context length is {most} tokens. However, your prompt has {len(prompt)}."
            )
        if (asked.logprobs or 0) > MAX_LOGPROBS:
            raise VLLMValidationError(f"Requested sample logprobs of {asked.logprobs}, greater than {MAX_LOGPROBS}")

    @torch.inference_mode()
    def _said(self, prompt: Sequence[int], asked: SamplingParams, index: int) -> CompletionOutput:
        tokenizer = self.talker.tokenizer
        pattern = _pattern(asked)
        room = min(asked.max_tokens or MAX_LOGPROBS, self.talker.longest_tokens - len(prompt))
        tokens: list[int] = []
        shown: list[dict[int, Logprob]] = []
        cache = DynamicCache(config=self.talker.model.config)
        out = self.talker.model(torch.tensor([[*prompt]]), cache=cache)
        while len(tokens) < room:
            log_p = torch.log_softmax(out.logits[0, -1].double(), dim=-1).numpy()
            token = self._next(log_p, asked.temperature, tokens, pattern)
            tokens.append(token)
            shown.append(_shown(log_p, token, asked.logprobs or 0, tokenizer))
            if token == tokenizer.eos_token_id:
                break
            out = self.talker.model(torch.tensor([[token]]), cache=cache)
        return CompletionOutput(
            index=index,
            text=tokenizer.decode(tokens, skip_special_tokens=True),
            token_ids=tokens,
            cumulative_logprob=sum(step[token].logprob for step, token in zip(shown, tokens, strict=True)),
            logprobs=shown if asked.logprobs is not None else None,
            finish_reason="stop" if tokens and tokens[-1] == tokenizer.eos_token_id else "length",
        )

    def _next(self, log_p: NDArray[np.float64], temperature: float, before: Sequence[int], pattern: Any) -> int:
        """The likeliest token, or one drawn at the temperature, of those that the grammar allows."""
        noise = self.rng.gumbel(size=len(log_p)) if temperature > 0 else 0.0
        order = np.argsort(-(log_p / (temperature or 1.0) + noise), kind="stable")
        if pattern is None:
            return int(order[0])
        return next(int(token) for token in order if self._legal(int(token), before, pattern))

    def _legal(self, token: int, before: Sequence[int], pattern: Any) -> bool:
        tokenizer = self.talker.tokenizer
        if token == tokenizer.eos_token_id:
            return pattern.fullmatch(tokenizer.decode([*before])) is not None
        if token in tokenizer.all_special_ids:
            return False
        text = tokenizer.decode([*before, token])
        return "\ufffd" not in text and pattern.fullmatch(text, partial=True) is not None


def _pattern(asked: SamplingParams) -> Any:
    if asked.structured_outputs is None:
        return None
    assert isinstance(asked.structured_outputs.json, dict)
    return regex.compile(json_regex(asked.structured_outputs.json))


def _shown(log_p: NDArray[np.float64], token: int, count: int, tokenizer: Any) -> dict[int, Logprob]:
    """The token said and the likeliest ones: up to one more than was asked for, as vLLM gives them."""
    order = np.argsort(-log_p, kind="stable")
    ranks = {int(one): rank for rank, one in enumerate(order, 1)}
    return {
        one: Logprob(float(log_p[one]), ranks[one], tokenizer.decode([one]))
        for one in dict.fromkeys([token, *map(int, order[:count])])
    }
