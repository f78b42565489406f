"""Frozen vectors of units: the student's first look at them, and what selection spreads over."""

import hashlib
import json
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
from trainer.inputs import Inputs
from trainer.pace import Progress, pacer
from trainer.packing import NAME, Stream, first_position, positions_of, stream_of
from trainer.surface import surface_width
from trainer.windows import Windows, tokenise

T = TypeVar("T")
# Which hidden states describe a token, as shares of the layers. The last ones of a sentence encoder have forgotten
# much of the single word: on UD EWT (1,500 sentences, MiniLM-L6) a head on the last says 87.5 % of the tags right, on
# the first 89, on the middle one 94.3, on these three 95.1.
TOKEN_LAYERS = (1 / 6, 1 / 2, 5 / 6)
GPU_TOKENS = 65_536  # tokens of a batch that a GPU is given at least, where nothing is trained


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """`vectors` is (U, d) float32, one row a unit; `windowed` counts the texts that were read in several windows."""

    vectors: NDArray[np.float32]
    windowed: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some texts on the model's device: padded windows, and how their states add up to units.

    `ids`, `mask` and `types` are (b, t); in a `stream` all windows stand in one row, and `positions` in the place of the
    mask. Pooled row r is the mean of the states numbered states[offsets[r]] to states[offsets[r + 1] - 1] of the b * t.
    `units` are the pooled rows that are units, `focus` each unit's focus.
    """

    ids: torch.Tensor
    mask: torch.Tensor | None
    types: torch.Tensor | None
    states: torch.Tensor
    offsets: torch.Tensor
    units: torch.Tensor
    focus: torch.Tensor | None
    surface: torch.Tensor
    layers: tuple[int, ...] | None
    stream: Stream | None = None
    positions: torch.Tensor | None = None


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


def layers_of(encoder: Any) -> tuple[int, ...]:
    """Which hidden states describe a token: 0 is the embedding, the number of layers the last."""
    depth = int(encoder.config.num_hidden_layers)
    return tuple(sorted({max(1, round(share * depth)) for share in TOKEN_LAYERS}))


def dimensions(base: Base, inputs: Inputs) -> int:
    """How long the vector of a unit is: the states of `layers_of` (one pooled state of a whole text), the focus'
    state, the marks of its surface.
    """
    states = 1 if inputs.spans is None else len(layers_of(base.encoder))
    return base.dimensions * (states + (inputs.focus is not None)) + surface_width(inputs)


def embed(
    base: Base,
    inputs: Inputs,
    *,
    max_tokens: int = 256,
    tokens_per_batch: int = 1024,
    threads: int = 2,
    progress: Progress | None = None,
) -> Features:
    """Vectors of all units of `inputs`.

    A whole text: the mean of its tokens' last states, of length 1 (Reimers & Gurevych 2019, the pooling of the base we
    ship). A span: for each of `layers_of` the mean of the states of the tokens that overlap it, each of length 1, then
    the marks of its surface. With a focus: its state besides, and how far the unit is from it. Each thread takes whole
    batches: threads inside one matrix product wait for each other at every layer, which on a shared machine costs more
    than they bring.
    """
    return embed_windows(
        base,
        tokenise(base, inputs, max_tokens),
        tokens_per_batch=tokens_per_batch,
        threads=threads,
        progress=progress,
        width=dimensions(base, inputs),
    )


def embed_windows(
    base: Base, windows: Windows, *, tokens_per_batch: int, threads: int, progress: Progress | None, width: int
) -> Features:
    """Like `embed`, of texts that are tokenised already."""
    vectors = np.zeros((int(windows.starts[-1]), width), dtype=np.float32)
    encoder = base.encoder.to(device())
    tell = pacer("embedding", len(windows), "texts", progress)
    on_gpu = device().type != "cpu"

    def forward(texts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with torch.inference_mode():
            return texts, unit_vectors(encoder, collate(windows, texts, encoder)).float().cpu().numpy()

    done = 0
    batches = length_batches(windows.lengths, max(tokens_per_batch, GPU_TOKENS) if on_gpu else tokens_per_batch)
    for texts, found in in_threads(forward, batches, threads):
        vectors[windows.units_of(texts)] = found
        done += len(texts)
        tell(done)
    return Features(vectors, windows.windowed)


def collate(windows: Windows, texts: NDArray[np.int64], encoder: Any) -> Batch:
    """All windows of these texts as one batch, their units in the order of `windows.units_of(texts)`.

    It is a stream for an encoder that reads streams (`trainer.packing.pack`), else padded.
    """
    flat = [window for text in texts for window in windows.ids[text]]
    lengths = [len(window) for window in flat]
    packed = encoder.config._attn_implementation == NAME  # noqa: SLF001
    begins = np.cumsum([0, *lengths[:-1]]) if packed else np.arange(len(flat)) * max(lengths)
    first, row = 0, 0
    states, rows, units, focus = [], [], [], []
    for text in texts:
        links, count = windows.links[text], int(windows.starts[text + 1] - windows.starts[text])
        states.append(begins[links[:, 0] + first] + links[:, 1])
        rows.append(links[:, 2] + row)
        units.append(np.arange(row, row + count))
        focus.append(np.full(count, row + count))
        first, row = first + len(windows.ids[text]), row + count + windows.with_focus
    pooled = np.concatenate(rows)
    types = None if windows.types is None else [window for text in texts for window in windows.types[text]]
    rows_of = _in_one_row if packed else padded
    ids, mask = rows_of(flat)
    assert (np.diff(pooled) >= 0).all(), "the tokens of a pooled row stand together"
    return Batch(
        ids,
        mask,
        None if types is None else rows_of(types)[0],
        _on_device(np.concatenate(states)),
        _on_device(np.searchsorted(pooled, np.arange(row))),
        _on_device(np.concatenate(units)),
        _on_device(np.concatenate(focus)) if windows.with_focus else None,
        _on_device(windows.surface[windows.units_of(texts)]),
        None if windows.per_text else layers_of(encoder),
        stream_of(lengths, device()) if packed else None,
        positions_of(lengths, first_position(encoder.config)).to(device(), non_blocking=True) if packed else None,
    )


def unit_vectors(encoder: Any, batch: Batch) -> torch.Tensor:
    """(u, d): the vectors of a batch's units, as `embed` describes them; with gradients where they are wanted."""
    kind = batch.ids.device.type
    how: dict[str, Any] = {} if batch.types is None else {"token_type_ids": batch.types}
    how |= {"attention_mask": batch.mask} if batch.stream is None else {"packed": batch.stream}
    if batch.positions is not None:
        how["position_ids"] = batch.positions
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=bf16_pays(kind)):
        read = encoder(input_ids=batch.ids, output_hidden_states=batch.layers is not None, **how)
    last = read.last_hidden_state
    layers = [last] if batch.layers is None else [read.hidden_states[layer] for layer in batch.layers]
    pooled = [_pooled(states, batch) for states in layers]
    parts = [part[batch.units] for part in pooled]
    if batch.focus is not None:
        parts.append(pooled[-1][batch.focus])
    return torch.cat([*parts, batch.surface], dim=1)


def _pooled(states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(r, d): the unit-length mean of the states of each pooled row; 0 for a row without any."""
    flat = states.reshape(-1, states.shape[-1]).float()
    mean = torch.nn.functional.embedding_bag(batch.states, flat, batch.offsets, mode="mean")
    return torch.nn.functional.normalize(mean, dim=1)


def padded(rows: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (or segments) and attention mask, both (b, longest) int64, on the device of the model."""
    ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return _on_device(ids), _on_device(mask)


def _in_one_row(rows: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, None]:
    """Token ids (or segments) end to end, (1, t); nothing is padded, so there is no mask."""
    return _on_device(np.concatenate(rows)[None]), None


def _on_device(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array).to(device(), non_blocking=True)


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


def feature_key(base_sha256: str, inputs: Inputs, max_tokens: int) -> str:
    """A name for the features of these inputs, in this order, under this base: the same key, the same numbers."""
    digest = hashlib.sha256(f"mean-l2-2\x1f{base_sha256}\x1f{max_tokens}".encode())
    for text in inputs.texts:
        digest.update(_digest(text))
    for name in ("pairs", "spans", "focus"):
        if (parts := getattr(inputs, name)) is not None:
            digest.update(f"\x1f{name}\x1f{TOKEN_LAYERS}".encode())
            for part in parts:
                text = (
                    part if isinstance(part, str) else json.dumps(None if part is None else np.asarray(part).tolist())
                )
                digest.update(_digest(text))
    return digest.hexdigest()[:32]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def embed_cached(base: Base, inputs: Inputs, folder: Path, **how: Any) -> Features:
    """Like `embed`, but kept in `folder` as KEY.npy (beside it KEY.windowed), and read from there the next time.

    A file that is damaged or of another shape is computed again.
    """
    key = feature_key(base.sha256, inputs, int(how.get("max_tokens", 256)))
    path = folder / f"{key}.npy"
    try:
        vectors = np.load(path, allow_pickle=False)
        count = int((folder / f"{key}.windowed").read_text(encoding="utf-8"))
        if vectors.shape == (inputs.units, dimensions(base, inputs)) and vectors.dtype == np.float32:
            return Features(vectors, count)
    except (OSError, ValueError, EOFError):
        pass
    features = embed(base, inputs, **how)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{key}.windowed").write_text(str(features.windowed), encoding="utf-8")
    part = folder / f"{key}.{os.getpid()}.part"
    with part.open("wb") as file:
        np.save(file, features.vectors)
    part.replace(path)
    return features
