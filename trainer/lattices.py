"""The legal values of a field as lattices of tokens: copies of the text, choices, numbers, dates.

A lattice is exact on bytes: any way of cutting a legal value into tokens is legal, nothing else is.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kinds.words import word_spans
from trainer.vocabulary import LONGEST_TOKEN, Vocabulary

INTEGER_DIGITS, FRACTION_DIGITS = 18, 6
NEVER = 10**9  # tokens to an end that cannot be reached
_DIGITS = b"0123456789"


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """All legal values of a field as paths of tokens. Every arc leads to a node of a higher number.

    `ends[node]` says that a value may end there, `cost[node]` how many more tokens it needs at least.
    """

    starts: frozenset[int]
    arcs: Sequence[Sequence[tuple[int, int]]]
    ends: Sequence[bool]
    cost: Sequence[int]

    @property
    def least(self) -> int:
        """How many tokens the shortest value has; NEVER where there is none."""
        return min((self.cost[node] for node in self.starts), default=NEVER)

    def after(self, nodes: frozenset[int], most: int) -> dict[int, frozenset[int]]:
        """Where each token leads from `nodes`, if a value can still end within `most` tokens, itself counted."""
        found: dict[int, set[int]] = {}
        for node in nodes:
            for token, there in self.arcs[node]:
                if 1 + self.cost[there] <= most:
                    found.setdefault(token, set()).add(there)
        return {token: frozenset(there) for token, there in found.items()}

    def ended(self, nodes: frozenset[int]) -> bool:
        return any(self.ends[node] for node in nodes)

    def accepts(self, tokens: Sequence[int], most: int) -> bool:
        nodes = self.starts
        for place, token in enumerate(tokens):
            nodes = self.after(nodes, most - place).get(token, frozenset())
        return bool(tokens) and self.ended(nodes)


def _lattice(starts: Iterable[int], arcs: Sequence[Sequence[tuple[int, int]]], ends: Sequence[bool]) -> Lattice:
    cost = [0 if end else NEVER for end in ends]
    for node in range(len(arcs) - 1, -1, -1):
        if not ends[node]:
            cost[node] = min((1 + cost[there] for _, there in arcs[node]), default=NEVER)
    return Lattice(frozenset(node for node in starts if cost[node] < NEVER), arcs, ends, cost)


def copies(vocabulary: Vocabulary, text: str) -> Lattice:
    """Every stretch of the text that begins and ends with a word (`kinds.words`), written as JSON writes it."""
    written = [json.dumps(char, ensure_ascii=False)[1:-1].encode("utf-8") for char in text]
    offsets = [0]
    for part in written:
        offsets.append(offsets[-1] + len(part))
    content, ids = b"".join(written), vocabulary.ids
    arcs = [
        [
            (ids[part], start + size)
            for size in range(1, min(LONGEST_TOKEN, len(content) - start) + 1)
            if (part := content[start : start + size]) in ids
        ]
        for start in range(len(content))
    ]
    spans = word_spans(text)
    last = {offsets[end] for end in spans[:, 1].tolist()}
    ends = [node in last for node in range(len(content) + 1)]
    # A stretch that has begun is not over before it has a token: a node can be a start and an end at once.
    return _begun(Lattice(frozenset(), [*arcs, []], ends, []), [offsets[start] for start in spans[:, 0].tolist()])


def _begun(unbegun: Lattice, starts: Sequence[int]) -> Lattice:
    """Nodes of their own for the starts, before all others, which are no ends."""
    shift = len(starts)
    moved = [[(token, there + shift) for token, there in arcs] for arcs in unbegun.arcs]
    arcs = [*(moved[start] for start in starts), *moved]
    return _lattice(range(shift), arcs, [False] * shift + list(unbegun.ends))


def choices(vocabulary: Vocabulary, names: Sequence[str]) -> Lattice:
    """One of `names`, each cut into tokens in the tokenizer's own way only: what follows from a choice is copied."""
    nodes: dict[tuple[int, ...], None] = {(): None}
    whole = {tuple(vocabulary.cut(json.dumps(name, ensure_ascii=False)[1:-1])) for name in names}
    for tokens in whole:
        nodes |= {tokens[:size]: None for size in range(1, len(tokens) + 1)}
    ordered = sorted(nodes, key=lambda tokens: (len(tokens), tokens))
    number = {tokens: place for place, tokens in enumerate(ordered)}
    arcs: list[list[tuple[int, int]]] = [[] for _ in ordered]
    for tokens in ordered[1:]:
        arcs[number[tokens[:-1]]].append((tokens[-1], number[tokens]))
    return _lattice([0], arcs, [tokens in whole for tokens in ordered])


_Moves = list[dict[int, int]]


def numbers(vocabulary: Vocabulary) -> Lattice:
    """-?(0|[1-9]d*)(.d*[1-9])? of bounded length, and never -0: the numbers as `normal_value` writes them."""
    first, dot = 4, 4 + INTEGER_DIGITS  # 0 the start, 1 after the sign, 2 after 0, 3 after -0, then the integers
    zero, other = dot + 1, dot + 1 + FRACTION_DIGITS
    moves: _Moves = [{} for _ in range(other + FRACTION_DIGITS)]
    for begin, nought in ((0, 2), (1, 3)):
        moves[begin] |= {_DIGITS[0]: nought} | dict.fromkeys(_DIGITS[1:], first)
    moves[0][ord("-")] = 1
    for node in range(first, dot - 1):
        moves[node] |= dict.fromkeys(_DIGITS, node + 1)
    for node in (2, 3, *range(first, dot)):
        moves[node][ord(".")] = dot
    for place in range(-1, FRACTION_DIGITS - 1):
        for node in {dot} if place < 0 else {zero + place, other + place}:
            moves[node] |= {_DIGITS[0]: zero + place + 1} | dict.fromkeys(_DIGITS[1:], other + place + 1)
    ends = {2, *range(first, dot), *range(other, len(moves))}
    return _of_bytes(vocabulary, moves, ends, _DIGITS + b"-.")


def dates(vocabulary: Vocabulary) -> Lattice:
    """YYYY-MM-DD with a month from 01 to 12 and a day from 01 to 31; any part may be left blank as []."""
    moves: _Moves = [{}]
    blank = [b"[", b"]"]
    _part(moves, [[_DIGITS] * 4, blank])
    _part(moves, [[b"-"]])
    _part(moves, [[b"0", _DIGITS[1:]], [b"1", b"012"], blank])
    _part(moves, [[b"-"]])
    _part(moves, [[b"0", _DIGITS[1:]], [b"12", _DIGITS], [b"3", b"01"], blank])
    return _of_bytes(vocabulary, moves, {len(moves) - 1}, _DIGITS + b"-[]")


def _part(moves: _Moves, shapes: Sequence[Sequence[bytes]]) -> None:
    """From the last node through any of the shapes (the bytes allowed at each step) to a new last node."""
    begin, last = len(moves) - 1, len(moves) + sum(len(shape) - 1 for shape in shapes)
    for shape in shapes:
        path = [begin, *range(len(moves), len(moves) + len(shape) - 1), last]
        moves.extend({} for _ in shape[1:])
        for step, allowed in enumerate(shape):
            # Two shapes may begin with the same byte only if they are one shape, or a path would be lost.
            moves[path[step]] |= dict.fromkeys(allowed, path[step + 1])
    moves.append({})


def _of_bytes(vocabulary: Vocabulary, moves: _Moves, ends: set[int], alphabet: bytes) -> Lattice:
    """A lattice from what each byte does in each node. Nodes are numbered anew, by the most bytes that lead to them."""
    depth = [0] * len(moves)
    for _ in moves:
        for node, move in enumerate(moves):
            for there in move.values():
                depth[there] = max(depth[there], depth[node] + 1)
    order = sorted(range(len(moves)), key=lambda node: depth[node])
    number = {node: place for place, node in enumerate(order)}
    tokens = vocabulary.made_of(alphabet)
    arcs = [
        [(token, number[end]) for text, token in tokens if (end := _moved(moves, node, text)) is not None]
        for node in order
    ]
    return _lattice([number[0]], arcs, [node in ends for node in order])


def _moved(moves: _Moves, node: int, text: bytes) -> int | None:
    at: int | None = node
    for byte in text:
        if at is None:
            return None
        at = moves[at].get(byte)
    return at
