"""The log-probabilities of a tree's edges under a language model: the whole tree in one forward, or path by path."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.decoding import parameters
from trainer.features import device
from trainer.likelihood_trie import Tokens, Trie, trie_of

LOGITS = 2**27  # of a batch of rows at most: half a gigabyte in float32
STATES = 2**28  # numbers of encoded texts that are repeated for the rows of a decoder
KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})
PROBE_TOKENS, LONGEST_PROBE = 12, 64


@torch.inference_mode()
def prefix_cache(model: Any, prefix: Tokens) -> Any:
    """Keys and values of the tokens that all sequences begin with; every layer keeps all of them."""
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache()
    if len(prefix):
        last = {"logits_to_keep": 1} if "logits_to_keep" in parameters(model) else {}
        model(input_ids=_ids([list(prefix)]), use_cache=True, **{_cache_name(model): cache}, **last)
    return cache


@torch.inference_mode()
def tree_scores(model: Any, cache: Any, read: int, tries: Sequence[Trie]) -> list[NDArray[np.float64]]:
    """The log p of each trie's edges after a prefix of `read` tokens, all tries in one forward.

    The trees stand one behind another in one row; a node sees the prefix and its own ancestors (a 4-D mask), and its
    position is its depth (as in SpecInfer's tree attention, Miao et al. 2023). So nothing is padded or read twice.
    """
    offsets = np.cumsum([0, *map(len, tries)])
    size = int(offsets[-1])
    seen = np.zeros((size, read + size), dtype=np.bool_)
    seen[:, :read] = True
    for trie, start in zip(tries, offsets, strict=False):
        seen[start : start + len(trie), read + start : read + start + len(trie)] = trie.ancestors()
    parents = np.concatenate([trie.edge_from + start for trie, start in zip(tries, offsets, strict=False)])
    asked, places = np.unique(parents, return_inverse=True)
    keep = torch.from_numpy(asked).to(device())
    few = "logits_to_keep" in parameters(model)
    at = read + np.concatenate([trie.depths for trie in tries])
    out = model(
        input_ids=_ids([np.concatenate([trie.tokens for trie in tries]).tolist()]),
        position_ids=_ids([at.tolist()]),
        attention_mask=_masks(model, seen, at, np.concatenate([np.arange(read), at])),
        use_cache=True,
        **{_cache_name(model): _copied(cache)},
        **({"logits_to_keep": keep} if few else {}),
    )
    logits = out.logits[0] if few else out.logits[0, keep]
    wanted = np.concatenate([trie.edge_token for trie in tries])
    found = _picked(logits, places, wanted)
    return np.split(found, np.cumsum([len(trie.edge_token) for trie in tries])[:-1])


@torch.inference_mode()
def row_scores(model: Any, prefix: Tokens, trie: Trie) -> NDArray[np.float64]:
    """The same of one trie, each path a row of a batch, for models that cannot read a tree.

    Padding is on the right, after all that counts, so positions and recurrent states are as in the row alone.
    """
    paths, where = trie.rows()
    rows = [[*prefix, *path] for path in paths]
    longest = max(map(len, rows))
    size = max(1, LOGITS // (longest * _vocabulary(model)))
    found = np.zeros(len(trie.edge_from))
    at = where[trie.edge_from]
    for start in range(0, len(rows), size):
        ids, mask = _right_padded(rows[start : start + size])
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        mine = np.flatnonzero((at[:, 0] >= start) & (at[:, 0] < start + size))
        places = (at[mine, 0] - start) * _longest(ids) + len(prefix) + at[mine, 1]
        found[mine] = _picked(logits.flatten(0, 1), places, trie.edge_token[mine])
    return found


@torch.inference_mode()
def seq2seq_scores(model: Any, inputs: Sequence[Tokens], trie: Trie) -> list[NDArray[np.float64]]:
    """The log p of the trie's edges for each input: it is encoded once, and the trie's paths are rows of the decoder."""
    from transformers.modeling_outputs import BaseModelOutput

    paths, where = trie.rows()
    ids, mask = _right_padded(inputs)
    states = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    decoded, _ = _right_padded(paths)
    width, many = _longest(decoded), len(paths)
    fit = min(LOGITS // (width * many * _vocabulary(model)), STATES // (states[0].numel() * many))
    size = 1 if device().type == "cpu" and width > 1 else max(1, fit)  # a single text is not copied for its rows
    at = where[trie.edge_from]
    found = []
    for start in range(0, len(inputs), size):
        part = slice(start, start + size)
        logits = _decoded(model, BaseModelOutput(last_hidden_state=states[part]), mask[part], decoded)
        found += [_picked(own.flatten(0, 1), at[:, 0] * width + at[:, 1], trie.edge_token) for own in logits]
    return found


def _decoded(model: Any, encoded: Any, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(n, r, t, v): every row of (r, t) after each of n encoded texts.

    All rows begin with the same token. It goes first and alone: what the decoder makes of the encoded text then is
    there for all rows, and is most of the work.
    """
    many, longest = rows.shape
    n = len(mask)
    out = model(
        encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=rows[:1, :1].repeat(n, 1), use_cache=True
    )
    logits: torch.Tensor = out.logits[:, None].expand(-1, many, -1, -1)
    if longest == 1:
        return logits
    cache = out.past_key_values
    for layer in (*cache.self_attention_cache.layers, *cache.cross_attention_cache.layers):
        layer.keys, layer.values = _for_rows(layer.keys, many), _for_rows(layer.values, many)
    encoded.last_hidden_state = _for_rows(encoded.last_hidden_state, many)
    rest = model(
        encoder_outputs=encoded,
        attention_mask=_for_rows(mask, many),
        decoder_input_ids=rows[:, 1:].repeat(n, 1),
        use_cache=True,
        **{_cache_name(model): cache},
    ).logits
    return torch.cat([logits, rest.unflatten(0, (n, many))], dim=2)


def _for_rows(each: torch.Tensor, many: int) -> torch.Tensor:
    """(n, ...) -> (n * many, ...); of a single text without copying it."""
    return each[:, None].expand(-1, many, *each.shape[1:]).flatten(0, 1)


def reads_trees(model: Any) -> bool:
    """Whether one forward over a tree gives what its paths give one by one: tried, not looked up.

    Recurrent models, and those that count positions by themselves, do not.
    """
    text = model.config.get_text_config()
    if set(getattr(text, "layer_types", None) or ()) - KNOWN_LAYERS:
        return False
    size = PROBE_TOKENS + min(int(getattr(text, "sliding_window", None) or 0), LONGEST_PROBE)
    tokens = np.random.default_rng(0).integers(0, _vocabulary(model), size).tolist()
    prefix, rest = tokens[:-8], tokens[-8:]
    trie = trie_of([rest[:3], [*rest[:2], *rest[4:7]], [*rest[:2], rest[4], *rest[1:4]]], [1, 1, 1])
    try:
        tree = tree_scores(model, prefix_cache(model, prefix), len(prefix), [trie])[0]
    except Exception:  # noqa: BLE001  # whatever it is, this model is asked row by row
        return False
    far = float(np.abs(tree - row_scores(model, prefix, trie)).max())
    return far < (1e-3 if model.dtype == torch.float32 else 0.3)


def _longest(ids: torch.Tensor) -> int:
    return int(ids.shape[1])


def _picked(logits: torch.Tensor, places: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """The log p of tokens[i] in row places[i] of (r, v) logits, in float32 whatever the model computes in."""
    rows, where = np.unique(places, return_inverse=True)
    scores = logits[torch.from_numpy(rows).to(logits.device)].float()
    index = torch.from_numpy(where).to(logits.device)
    picked = scores[index, torch.from_numpy(tokens).to(logits.device)] - scores.logsumexp(dim=1)[index]
    out: NDArray[np.float64] = picked.double().cpu().numpy()
    return out


def _masks(
    model: Any, seen: NDArray[np.bool_], at: NDArray[np.int64], keys: NDArray[np.int64]
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The mask of a tree's nodes, at positions `at`; of layers that look back only so far, what they see of it."""
    text = model.config.get_text_config()
    window = getattr(text, "sliding_window", None)
    if not window:
        return _additive(seen, model.dtype)
    near = _additive(seen & (at[:, None] - keys[None] < window), model.dtype)
    if not getattr(text, "layer_types", None):
        return near
    return {"full_attention": _additive(seen, model.dtype), "sliding_attention": near}


def _cache_name(model: Any) -> str:
    return "cache" if "cache" in parameters(model) else "past_key_values"


def _additive(seen: NDArray[np.bool_], dtype: torch.dtype) -> torch.Tensor:
    """(1, 1, q, k): 0 where seen. Additive, because not every attention takes a mask of booleans."""
    hidden = torch.from_numpy(~seen).to(device())
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device())
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)[None, None]


def _copied(cache: Any) -> Any:
    """A cache that grows by itself; the tensors of the prefix are shared, as growing makes new ones."""
    mine = copy.copy(cache)
    mine.layers = [copy.copy(layer) for layer in cache.layers]
    return mine


def _right_padded(rows: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return _ids(ids), _ids(mask)


def _ids(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int64, device=device())


def _vocabulary(model: Any) -> int:
    return int(model.config.get_text_config().vocab_size)
