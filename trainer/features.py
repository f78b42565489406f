"""Frozen sentence embeddings of texts: the student's first look at them, and what selection spreads over."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.base import Base
from trainer.pace import Progress, pacer

T = TypeVar("T")
Tokens = Sequence[NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Tokenised:
    """Token ids of each text; `truncated` counts the texts that were longer than `max_tokens` and lost their end."""

    ids: Tokens
    lengths: NDArray[np.int64]
    truncated: int

    def take(self, rows: NDArray[np.integer[Any]]) -> "Tokenised":
        """The texts at these positions only."""
        return Tokenised([self.ids[row] for row in rows], self.lengths[rows], self.truncated)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """`vectors` is (n, d) float32, mean-pooled and of unit length."""

    vectors: NDArray[np.float32]
    truncated: int


def tokenise(base: Base, texts: Sequence[str], max_tokens: int) -> Tokenised:
    """Token ids of each text with the base's special tokens, cut at `max_tokens` or the base's own limit."""
    longest = min(max_tokens, base.longest_tokens)
    if not texts:
        return Tokenised([], np.zeros(0, dtype=np.int64), 0)
    ids = _encode(base.tokenizer, texts, longest)
    suspects = [text for text, row in zip(texts, ids, strict=True) if len(row) == longest]
    truncated = sum(len(row) > longest for row in _encode(base.tokenizer, suspects, None)) if suspects else 0
    return Tokenised(ids, np.array([len(row) for row in ids], dtype=np.int64), truncated)


def length_batches(lengths: NDArray[np.int64], tokens_per_batch: int) -> list[NDArray[np.int64]]:
    """Positions in batches of like lengths, each of at most `tokens_per_batch` tokens with padding, longest first.

    The longest first, so that a batch that does not fit into memory says so at once. A text longer than the budget
    is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens_per_batch // max(int(lengths[order[start]]), 1))
        batches.append(order[start : start + size])
        start += size
    return batches


def embed(
    base: Base,
    texts: Sequence[str],
    *,
    max_tokens: int = 256,
    tokens_per_batch: int = 1024,
    threads: int = 2,
    progress: Progress | None = None,
) -> Features:
    """Mean-pooled, L2-normalised embeddings of `texts` (Reimers & Gurevych 2019, the pooling of the base we ship).

    Each thread takes whole batches: threads inside one matrix product wait for each other at every layer, which on a
    shared machine costs more than they bring.
    """
    tokens = tokenise(base, texts, max_tokens)
    vectors = np.zeros((len(texts), base.dimensions), dtype=np.float32)
    encoder = base.encoder.to(device())
    tell = pacer("embedding", len(texts), "texts", progress)

    def forward(batch: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with torch.inference_mode():
            pooled = pool(encoder, *pad([tokens.ids[row] for row in batch]))
            return batch, pooled.float().cpu().numpy()

    done = 0
    for batch, pooled in in_threads(forward, length_batches(tokens.lengths, tokens_per_batch), threads):
        vectors[batch] = pooled
        done += len(batch)
        tell(done)
    return Features(vectors, tokens.truncated)


def pool(encoder: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit-length mean of the last hidden states over real tokens: (b, t) ids and mask -> (b, d)."""
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=bf16_pays(ids.device.type)):
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    weight = mask.unsqueeze(-1).float()
    mean = (states.float() * weight).sum(dim=1) / weight.sum(dim=1)
    return torch.nn.functional.normalize(mean, dim=1)


def pad(rows: Tokens) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both (b, longest) int64, on the device of the model."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return torch.from_numpy(ids).to(device()), torch.from_numpy(mask).to(device())


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_pays(device_type: str) -> bool:
    """On a GPU always; on a CPU only with bf16 instructions (without them it is four times slower than float32)."""
    if device_type != "cpu":
        return True
    supported: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(supported())


def in_threads(work: Callable[[Any], T], parts: Sequence[Any], threads: int) -> Iterator[T]:
    """`work(part)` for each part, results in the order of the parts; on a CPU `threads` parts at a time."""
    if threads == 1 or device().type != "cpu":
        yield from (_alone(work, part) for part in parts)
        return
    with ThreadPoolExecutor(threads) as pool_of_threads:
        yield from pool_of_threads.map(lambda part: _alone(work, part), parts)


def _alone(work: Callable[[Any], T], part: Any) -> T:
    # The count belongs to the calling thread in OpenMP, so each thread has to set it.
    torch.set_num_threads(1)
    return work(part)


def feature_key(base_sha256: str, texts: Sequence[str], max_tokens: int) -> str:
    """A name for the features of these texts, in this order, under this base: the same key, the same numbers."""
    digest = hashlib.sha256(f"mean-l2-1\x1f{base_sha256}\x1f{max_tokens}".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()[:32]


def embed_cached(base: Base, texts: Sequence[str], folder: Path, **how: Any) -> Features:
    """Like `embed`, but kept in `folder` as KEY.npy (beside it KEY.truncated), and read from there the next time.

    A file that is damaged or of another shape is computed again.
    """
    key = feature_key(base.sha256, texts, int(how.get("max_tokens", 256)))
    path = folder / f"{key}.npy"
    try:
        vectors = np.load(path, allow_pickle=False)
        count = int((folder / f"{key}.truncated").read_text(encoding="utf-8"))
        if vectors.shape == (len(texts), base.dimensions) and vectors.dtype == np.float32:
            return Features(vectors, count)
    except (OSError, ValueError, EOFError):
        pass
    features = embed(base, texts, **how)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.truncated").write_text(str(features.truncated), encoding="utf-8")
    part = folder / f"{key}.{os.getpid()}.part"
    with part.open("wb") as file:
        np.save(file, features.vectors)
    part.replace(path)
    return features


def _encode(tokenizer: Any, texts: Sequence[str], longest: int | None) -> list[NDArray[np.int64]]:
    limits = {"truncation": True, "max_length": longest} if longest else {"truncation": False}
    rows = tokenizer(list(texts), return_attention_mask=False, return_token_type_ids=False, verbose=False, **limits)
    nothing = [tokenizer.eos_token_id or tokenizer.pad_token_id or 0]  # an empty text of a tokenizer without frame
    return [np.array(row or nothing, dtype=np.int64) for row in rows["input_ids"]]
