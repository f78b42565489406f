"""Texts end to end in one stream of tokens: each attends to itself alone, and nothing is spent on padding."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface

from trainer.base import OFFSET_POSITIONS

NAME = "stillhouse_packed"
TRIED_LENGTHS = (5, 5, 3)  # of the stream that shows whether an encoder can read streams
SAME = 1e-3  # the largest difference of a state, over the largest state, that is rounding


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The texts of a stream: their `lengths` in order, and where they begin and end (n + 1, int32, on the device)."""

    lengths: tuple[int, ...]
    ends: torch.Tensor
    runs: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Neighbours of one length are a run: how many, and their length."""
        runs = tuple((len(list(same)), length) for length, same in itertools.groupby(self.lengths))
        object.__setattr__(self, "runs", runs)


def stream_of(lengths: Sequence[int], device: torch.device) -> Stream:
    ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    return Stream(tuple(lengths), ends.to(device, non_blocking=True))


def positions_of(lengths: Sequence[int], first: int) -> torch.Tensor:
    """(1, t): each text's own positions, from `first` on."""
    return torch.cat([torch.arange(first, first + length) for length in lengths])[None]


def first_position(config: Any) -> int:
    """Where an architecture begins to count: some leave room for the padding token."""
    return int(config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001  # transformers' interface
    *,
    packed: Stream,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a stream: (1, h, t, d) each -> (1, t, h, d). A layer with a window sees less than that many tokens away.

    Without dropout. On a GPU flash attention for sequences of different lengths (Dao 2023, as torch has it); on a CPU the
    texts of one length are a batch, without a mask or a copy, which for short texts is faster than one masked product.
    """
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    if query.is_cuda and query.dtype != torch.float32:
        return _flash(query, key, value, packed, scaling, sliding_window, causal=causal), None
    sizes = [count * length for count, length in packed.runs]
    of_runs = [torch.split(part[0], sizes, dim=1) for part in (query, key, value)]
    parts = []
    for (count, length), *run in zip(packed.runs, *of_runs, strict=True):
        q, k, v = (part.unflatten(1, (count, length)).transpose(0, 1) for part in run)
        mask = None
        if sliding_window is not None and length > sliding_window:
            at = torch.arange(length, device=query.device)
            away = at[:, None] - at
            mask = (away.abs() < sliding_window) & ((away >= 0) | (not causal))
        found = _attention(q, k, v, mask, scaling, causal=causal and mask is None)
        parts.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None], None


def _attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scaling: float | None, *, causal: bool
) -> torch.Tensor:
    grouped = q.shape[1] != k.shape[1]
    if q.dtype == torch.bfloat16 and not (q.is_cuda or grouped or causal or mask is not None):
        # The fused kernel has a backward pass in bf16 that is six times slower than plain products on a CPU.
        scores = (q * (scaling or q.shape[-1] ** -0.5)) @ k.transpose(2, 3)
        return torch.softmax(scores, dim=3) @ v
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=scaling, is_causal=causal, enable_gqa=grouped
    )


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packed: Stream,
    scaling: float | None,
    sliding_window: int | None,
    *,
    causal: bool,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    away = -1 if sliding_window is None else sliding_window - 1
    longest = max(packed.lengths)
    found = varlen_attn(
        q,
        k,
        v,
        packed.ends,
        packed.ends,
        longest,
        longest,
        scale=scaling,
        window_size=(away, 0 if causal else away),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    assert isinstance(found, torch.Tensor)
    return found[None]


AttentionInterface.register(NAME, attend)


def pack(encoder: Any) -> bool:
    """Make an encoder read streams, if it can: those that leave attention and positions to the caller.

    It is tried on a few tokens: where the states are not those of the same texts in rows, or there is an error, the
    encoder is left as it was.
    """
    before, where = encoder.config._attn_implementation, encoder.device  # noqa: SLF001
    size = int(encoder.config.vocab_size)
    ids = [torch.arange(7, 7 + length, device=where) % size for length in TRIED_LENGTHS]
    positions = positions_of(TRIED_LENGTHS, first_position(encoder.config)).to(where)
    try:
        with torch.no_grad():
            alone = torch.cat([encoder(input_ids=one[None]).last_hidden_state[0] for one in ids])
            encoder.set_attn_implementation(NAME)
            packed = stream_of(TRIED_LENGTHS, where)
            kind = where.type
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind != "cpu"):
                together = encoder(input_ids=torch.cat(ids)[None], position_ids=positions, packed=packed)
        found = together.last_hidden_state[0].float()
        same = float((found - alone).abs().max() / alone.abs().max()) < (SAME if kind == "cpu" else 30 * SAME)
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError, NotImplementedError, AttributeError):
        same = False
    if not same:
        encoder.set_attn_implementation(before)
    return same
