"""Texts as token ids: whole where they fit, else in overlapping windows, and which tokens each unit is the mean of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.records import CharSpan
from trainer.base import Base
from trainer.inputs import Inputs, Spans
from trainer.surface import surface_of

OVERLAP = 4  # neighbouring windows share this part of a window: a token near an edge is read in the middle of another
CHUNK = 4096  # texts that are tokenised at once: offsets of millions of tokens need not all be held as Python objects


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What the encoder reads of each text, and what is pooled from it.

    `ids[i]` are the token ids of text i's windows, `types[i]` their segments (None for a base that has none).
    `links[i]` (m, 3) says window, place in it and pooled row for each token that counts: row r < u is the text's unit
    r, row u (only `with_focus`) its focus. Unit rows of all texts lie end to end as `starts` (n + 1,) says. `surface`
    (U, s) describes the units' characters (s = 0 where the unit is the whole text). `lengths` (n,) are tokens of a
    text in all its windows, `windowed` the number of texts that needed more than one.
    """

    ids: Sequence[Sequence[NDArray[np.int64]]]
    types: Sequence[Sequence[NDArray[np.int64]]] | None
    links: Sequence[NDArray[np.int64]]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    surface: NDArray[np.float32]
    per_text: bool
    with_focus: bool
    windowed: int

    def __len__(self) -> int:
        return len(self.ids)

    def units_of(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The unit rows of these texts, text after text."""
        begins, counts = self.starts[texts], self.starts[texts + 1] - self.starts[texts]
        before = np.cumsum(counts) - counts
        out: NDArray[np.int64] = np.repeat(begins - before, counts) + np.arange(counts.sum())
        return out


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """One window: its ids and segments, which text and piece of the second text it is of, and the tokens' places."""

    text: int
    piece: int
    ids: NDArray[np.int64]
    types: NDArray[np.int64] | None
    sequence: NDArray[np.int64]  # 0 text, 1 second text, -1 the frame
    offsets: NDArray[np.int64] | None
    shared: int  # tokens of the text that it has in common with the next window, if there is one


def tokenise(base: Base, inputs: Inputs, max_tokens: int) -> Windows:
    """Token ids with the base's frame, in windows of at most `max_tokens` or the base's own limit; nothing is cut.

    A second text (the pair, and the words in focus: Shi & Lin 2019 give a predicate so) stands in every window; one
    that leaves the text too little room is itself read in pieces. Each token counts once, in the window where it is
    farthest from an edge; the frame counts in the first window. A unit without a token of its own (zero-width
    characters) has those of its nearest.
    """
    ids: list[list[NDArray[np.int64]]] = []
    types: list[list[NDArray[np.int64]]] = []
    links: list[NDArray[np.int64]] = []
    for windows in _read(base, inputs, max_tokens):
        number = len(ids)
        ids.append([window.ids for window in windows])
        types.append([window.types for window in windows if window.types is not None])
        spans = None if inputs.spans is None else inputs.spans[number]
        links.append(_links(windows, spans, None if inputs.focus is None else inputs.focus[number]))
    return Windows(
        ids,
        types if any(types) else None,
        links,
        np.array([sum(map(len, windows)) for windows in ids], dtype=np.int64),
        inputs.starts,
        surface_of(inputs),
        inputs.spans is None,
        inputs.focus is not None,
        sum(len(windows) > 1 for windows in ids),
    )


def _read(base: Base, inputs: Inputs, max_tokens: int) -> Iterator[list[_Window]]:
    """The windows of each text, in order."""
    offsets = inputs.spans is not None or inputs.focus is not None
    for start in range(0, len(inputs), CHUNK):
        part = inputs.take(range(start, min(start + CHUNK, len(inputs))))
        found: list[list[_Window]] = [[] for _ in range(len(part))]
        for window in _encode(base, part.texts, _second_texts(part), max_tokens, offsets=offsets):
            found[window.text].append(window)
        yield from (sorted(windows, key=lambda window: window.piece) for windows in found)


def _second_texts(inputs: Inputs) -> list[str]:
    pairs = inputs.pairs or [""] * len(inputs)
    focus = inputs.focus or [None] * len(inputs)
    asked = [text[span[0] : span[1]] if span else "" for text, span in zip(inputs.texts, focus, strict=True)]
    return [" ".join(filter(None, both)) for both in zip(asked, pairs, strict=True)]


def _encode(
    base: Base, texts: Sequence[str], seconds: Sequence[str], max_tokens: int, *, offsets: bool
) -> Iterator[_Window]:
    tokenizer = base.tokenizer
    alone = [row for row, second in enumerate(seconds) if not second]
    longest = _longest(base, max_tokens, pair=False)
    yield from _windows(tokenizer, alone, [texts[row] for row in alone], None, longest, offsets=offsets)
    paired = [row for row, second in enumerate(seconds) if second]
    if not paired:
        return
    longest = _longest(base, max_tokens, pair=True)
    room = longest - tokenizer.num_special_tokens_to_add(pair=True)
    pieces = _pieces(tokenizer, [texts[row] for row in paired], [seconds[row] for row in paired], room)
    # Many a decoder's tokenizer puts nothing between two texts.
    apart = "" if tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add() else "\n"
    for piece in range(max(map(len, pieces))):
        rows = [place for place, parts in enumerate(pieces) if piece < len(parts)]
        firsts, thens = [texts[paired[place]] for place in rows], [apart + pieces[place][piece] for place in rows]
        numbers = [paired[place] for place in rows]
        yield from _windows(tokenizer, numbers, firsts, thens, longest, piece=piece, offsets=offsets)


def _longest(base: Base, max_tokens: int, *, pair: bool) -> int:
    """What a window may hold: at least two tokens of each text beside the frame, whatever was asked for."""
    least = base.tokenizer.num_special_tokens_to_add(pair=pair) + (6 if pair else 2)
    return min(max(max_tokens, int(least)), base.longest_tokens)


def _pieces(tokenizer: Any, texts: Sequence[str], seconds: Sequence[str], room: int) -> list[list[str]]:
    """Second texts in pieces of at most half the room; one that fits beside its whole text stays whole."""
    how = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    firsts = tokenizer(list(texts), **how)["input_ids"]
    read = tokenizer(list(seconds), return_offsets_mapping=True, **how)["offset_mapping"]
    pieces = []
    for first, second, offsets in zip(firsts, seconds, read, strict=True):
        if len(offsets) <= max(room // 2, room - len(first)):
            pieces.append([second])
            continue
        cuts = [offsets[place][0] for place in range(0, len(offsets), room // 2)][1:]
        pieces.append([second[a:b] for a, b in zip([0, *cuts], [*cuts, len(second)], strict=True) if second[a:b]])
    return pieces


def _windows(
    tokenizer: Any,
    numbers: Sequence[int],
    texts: Sequence[str],
    seconds: Sequence[str] | None,
    longest: int,
    *,
    piece: int = 0,
    offsets: bool,
) -> Iterator[_Window]:
    if not texts:
        return
    room = longest - tokenizer.num_special_tokens_to_add(pair=seconds is not None)
    shared = room // OVERLAP if seconds is None else room // (2 * OVERLAP)
    read = tokenizer(
        texts,
        seconds,
        truncation="only_first",
        max_length=longest,
        stride=shared,
        return_overflowing_tokens=True,
        return_offsets_mapping=offsets,
        return_attention_mask=False,
        verbose=False,
    )
    nothing = [tokenizer.eos_token_id or tokenizer.pad_token_id or 0]  # an empty text of a tokenizer without frame
    parts = np.bincount(read["overflow_to_sample_mapping"]) if not offsets and seconds is None else None
    for place, text in enumerate(read["overflow_to_sample_mapping"]):
        ids = np.array(read["input_ids"][place] or nothing, dtype=np.int64)
        types = read["token_type_ids"][place] if "token_type_ids" in read else None
        whole = parts is not None and parts[text] == 1  # nobody asks which of its tokens is what
        sequence = [] if whole else [-1 if part is None else part for part in read.sequence_ids(place)] or [-1]
        yield _Window(
            numbers[text],
            piece,
            ids,
            None if types is None else np.array(types or [0], dtype=np.int64),
            np.array(sequence, dtype=np.int64),
            np.array(read["offset_mapping"][place], dtype=np.int64).reshape(-1, 2) if offsets else None,
            shared,
        )


def _links(windows: Sequence[_Window], spans: Spans | None, focus: CharSpan | None) -> NDArray[np.int64]:
    """(m, 3): window, place and pooled row of every token that counts."""
    if spans is None and focus is None and len(windows) == 1:  # all of its tokens do: most texts are like that
        links = np.zeros((len(windows[0].ids), 3), dtype=np.int64)
        links[:, 1] = np.arange(len(links))
        return links
    tokens = _text_tokens(windows)
    if spans is None:
        counted = np.concatenate([_frame_and_second(windows), tokens])
        links, units = np.column_stack([counted, np.zeros(len(counted), dtype=np.int64)]), 1
    else:
        links, units = _link_spans(windows, tokens, spans), len(spans)
    if focus is None:
        return links
    asked = _link_spans(windows, tokens, np.array([focus], dtype=np.int64))
    asked[:, 2] = units
    return np.concatenate([links, asked])


def _text_tokens(windows: Sequence[_Window]) -> NDArray[np.int64]:
    """(t, 2): window and place of each of the text's tokens, in the window where it is farthest from an edge."""
    first = [window for window in windows if window.piece == 0]
    parts = []
    for number, window in enumerate(first):
        places = np.flatnonzero(window.sequence == 0)
        left = window.shared // 2 if number else 0
        right = window.shared - window.shared // 2 if number + 1 < len(first) else 0
        kept = places[left : len(places) - right]
        parts.append(np.column_stack([np.full(len(kept), number), kept]))
    return np.concatenate(parts).astype(np.int64)


def _frame_and_second(windows: Sequence[_Window]) -> NDArray[np.int64]:
    """(t, 2): the first window's frame, and each piece of the second text in the first window that has it."""
    parts = []
    for number, window in enumerate(windows):
        counted = window.sequence == (-1 if number == 0 else 2)
        if number == 0 or window.piece != windows[number - 1].piece:
            counted |= window.sequence == 1
        places = np.flatnonzero(counted)
        parts.append(np.column_stack([np.full(len(places), number), places]))
    return np.concatenate(parts).astype(np.int64)


def _link_spans(windows: Sequence[_Window], tokens: NDArray[np.int64], spans: Spans) -> NDArray[np.int64]:
    """(m, 3): the tokens that overlap each span; its nearest where none does, the frame's first where there is none."""
    spans = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
    if len(tokens) == 0:
        return np.column_stack([np.zeros((len(spans), 2), dtype=np.int64), np.arange(len(spans))])
    offsets = np.concatenate(
        [
            window.offsets[tokens[tokens[:, 0] == number, 1]]
            for number, window in enumerate(windows)
            if window.offsets is not None
        ]
    )
    begins, ends = np.maximum.accumulate(offsets, axis=0).T
    first = np.searchsorted(ends, spans[:, 0], side="right")
    last = np.searchsorted(begins, spans[:, 1], side="left")
    before, after = np.clip(first - 1, 0, None), np.clip(first, None, len(tokens) - 1)
    nearest = np.where(np.abs(spans[:, 0] - ends[before]) <= np.abs(begins[after] - spans[:, 1]), before, after)
    alone = last <= first
    first, last = np.where(alone, nearest, first), np.where(alone, nearest + 1, last)
    counts = last - first
    unit = np.repeat(np.arange(len(spans)), counts)
    token = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[unit]
    return np.column_stack([tokens[token], unit])
