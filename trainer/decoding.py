"""Many texts written at once by a causal language model, greedily and under a grammar, with one cache of keys and values.

Rows of a batch are at different places of their objects. A step feeds either one token to each row that has decided
inside a value, while the others wait (a masked column), or, once all wait, the keys and structure up to the next
decision of every row: so rows stay together field by field and the cache has few masked columns.
"""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from trainer.features import bf16_pays, device
from trainer.json_grammar import Choice, Choices


@dataclass(slots=True)
class Written:
    """An object's tokens, and for each field's number the log-probabilities of its decisions among the legal ones."""

    tokens: list[int] = field(default_factory=list)
    decisions: dict[int, list[float]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Row:
    """One text: tokens that the model has yet to read, how many it has read, and the decision it is asked for."""

    asks: Choices
    written: Written
    pending: list[int]
    read: int = 0
    choice: Choice | None = None

    def go(self, token: int | None) -> None:
        """On to the next decision, or to the end (then nothing is pending)."""
        try:
            self.choice = next(self.asks) if token is None else self.asks.send(token)
            self.pending += self.choice.before
        except StopIteration as end:
            self.written.tokens, self.choice, self.pending = end.value, None, []


@torch.inference_mode()
def write(model: Any, prompts: Sequence[Sequence[int]], asks: Sequence[Choices]) -> list[Written]:
    """What the model writes after each prompt, one batch; of several legal tokens the likeliest, ties by the lower id."""
    model.to(device())
    rows = [_Row(ask, Written(), list(prompt)) for prompt, ask in zip(prompts, asks, strict=True)]
    for row in rows:
        row.go(None)
    kept = torch.zeros((len(rows), 0), dtype=torch.int64)
    cache, last = _cache(model), {"logits_to_keep": 1} if "logits_to_keep" in parameters(model) else {}
    while any(row.choice for row in rows):
        inside = [row for row in rows if row.choice and len(row.pending) == 1]
        chunks = [row.pending if row.choice and (not inside or row in inside) else [] for row in rows]
        ids, mask, places = left_padded(chunks, [row.read for row in rows])
        kept = torch.cat([kept, mask], dim=1)
        with precision():
            out = model(**inputs_for(model, ids, kept, places), cache=cache, use_cache=True, **last)
        asked = [number for number, chunk in enumerate(chunks) if chunk]
        decisions = _decided(out.logits[:, -1].float(), [(number, rows[number].choice) for number in asked])
        for number, (token, log_p) in zip(asked, decisions, strict=True):
            row = rows[number]
            assert row.choice is not None
            row.read += len(row.pending)
            row.pending = []
            row.written.decisions.setdefault(row.choice.field, []).append(log_p)
            row.go(token)
    return [row.written for row in rows]


def _cache(model: Any) -> Any:
    """Keys and values as the model keeps them by itself, but a step does not copy those of all steps before."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    class Roomy(DynamicLayer):  # type: ignore[misc]
        room: tuple[torch.Tensor, ...]

        def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
                self.room = keys[:, :, :0], values[:, :, :0]
            start = self.get_seq_length()
            end = start + keys.shape[2]
            if end > self.room[0].shape[2]:
                self.room = tuple(
                    _roomier(old, new, 2 * end) for old, new in zip(self.room, (keys, values), strict=True)
                )
            for place, new in zip(self.room, (keys, values), strict=True):
                place[:, :, start:end] = new
            self.keys, self.values = (part[:, :, :end] for part in self.room)
            return self.keys, self.values

    cache = DynamicCache(config=model.config)
    cache.layers = [Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _roomier(old: torch.Tensor, new: torch.Tensor, size: int) -> torch.Tensor:
    made = new.new_zeros((*new.shape[:2], size, new.shape[3]))
    made[:, :, : old.shape[2]] = old
    return made


def _decided(logits: torch.Tensor, asked: Sequence[tuple[int, Choice | None]]) -> list[tuple[int, float]]:
    """For each row that is asked the likeliest legal token and its log-probability among the legal ones."""
    legal = [sorted(choice.legal) if choice else [] for _, choice in asked]
    widest = max(len(tokens) for tokens in legal)
    index = torch.tensor([tokens + [tokens[0]] * (widest - len(tokens)) for tokens in legal], device=logits.device)
    rows = torch.tensor([number for number, _ in asked], device=logits.device)
    scores = logits[rows[:, None], index].double().cpu().numpy()
    found = []
    for tokens, row in zip(legal, scores, strict=True):
        own = row[: len(tokens)]
        best = int(own.argmax())
        found.append((tokens[best], float(-np.log(np.exp(own - own[best]).sum()))))
    return found


def left_padded(
    chunks: Sequence[Sequence[int]], read: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and positions (b, longest), on the CPU; a row's positions go on from the tokens it has read."""
    longest = max(len(chunk) for chunk in chunks)
    ids, mask, places = (torch.zeros((len(chunks), longest), dtype=torch.int64) for _ in range(3))
    for number, chunk in enumerate(chunks):
        if chunk:
            ids[number, -len(chunk) :] = torch.tensor(chunk)
            mask[number, -len(chunk) :] = 1
            places[number, -len(chunk) :] = torch.arange(read[number], read[number] + len(chunk))
    return ids, mask, places


def inputs_for(model: Any, ids: torch.Tensor, mask: torch.Tensor, places: torch.Tensor) -> dict[str, torch.Tensor]:
    """A model's arguments, on its device; a model that counts positions by itself gets none."""
    given = {"input_ids": ids, "attention_mask": mask}
    if "position_ids" in parameters(model):
        given["position_ids"] = places
    return {name: tensor.to(device(), non_blocking=True) for name, tensor in given.items()}


def scores_after(model: Any, given: dict[str, torch.Tensor], places: torch.Tensor) -> torch.Tensor:
    """(b, len(places), v): what the model expects after each of these places, without scoring the others if it can."""
    few = "logits_to_keep" in parameters(model)
    with precision():
        logits: torch.Tensor = model(**given, use_cache=False, **({"logits_to_keep": places} if few else {})).logits
    return logits if few else logits[:, places]


def precision() -> AbstractContextManager[None]:
    kind = device().type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=bf16_pays(kind))


def parameters(model: Any) -> set[str]:
    unwrapped = model.get_base_model() if hasattr(model, "get_base_model") else model
    return set(inspect.signature(unwrapped.forward).parameters)
