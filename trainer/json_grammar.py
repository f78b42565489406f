"""Which tokens may come next when a model writes the JSON object of a schema: a small automaton over its vocabulary.

Keys and structure are fixed token lists, so a model is asked only where it has something to decide: whether a field is
missing, what its value is, where the value ends, and whether another one follows. (After Willard & Louf 2023, whose
index of an automaton's states by token is here one for each text.)
"""

import json
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.errors import ModelError
from stillhouse.field_values import said_in
from stillhouse.task import FieldSpec
from trainer.lattices import Lattice, choices, copies, dates, numbers
from trainer.vocabulary import Vocabulary

_PIECES = ("null", "[]", '"', '["', '","', '"]', "}")


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision that is the model's: the tokens written since the last one, the legal ones, the field's number."""

    before: tuple[int, ...]
    legal: tuple[int, ...]
    field: int


Choices = Generator[Choice, int, list[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """The JSON objects of a schema in the tokens of a vocabulary; each is at most `room` tokens long.

    A value has at most `value_tokens` tokens, a field with many at most `max_values` values. Numbers and dates of the
    fields in `copied` are those that the text says; of other fields any that have the right form. `fixed` are the lattices
    that do not depend on the text, `opens` the tokens before each field's value, `pieces` the rest of the structure.
    """

    vocabulary: Vocabulary
    fields: tuple[FieldSpec, ...]
    room: int
    value_tokens: int
    max_values: int
    copied: frozenset[str]
    fixed: Mapping[str, Lattice]
    opens: tuple[tuple[int, ...], ...]
    pieces: Mapping[str, tuple[int, ...]]

    def lattices(self, text: str) -> list[Lattice]:
        """What each field may say of this text, which is composed (NFC) as values are."""
        copied = copies(self.vocabulary, text)
        return [
            choices(self.vocabulary, said_in(spec, text))
            if spec.name in self.copied
            else self.fixed.get(spec.name, copied)
            for spec in self.fields
        ]

    def write(self, lattices: Sequence[Lattice]) -> Choices:
        """Ask for one decision after the other, each answered by `send` with a legal token; returns the object's tokens.

        Where one token only is legal nobody is asked. It ends within `room` tokens, whatever is sent.
        """
        return _Writer(self, lattices, []).object()

    def spell(self, value: Mapping[str, Any]) -> list[int]:
        """The object's tokens, each value cut in the tokenizer's own way."""
        written: list[int] = []
        for spec, opening in zip(self.fields, self.opens, strict=True):
            written += [*opening, *self._spelt(spec, value.get(spec.name))]
        return [*written, *self.pieces["}"]]

    def decisions(self, lattices: Sequence[Lattice], target: Sequence[int]) -> list[tuple[int, Choice]]:
        """The places in `target` where `write` would have asked; up to the first token that is not legal."""
        asks, place = self.write(lattices), 0
        found: list[tuple[int, Choice]] = []
        try:
            choice = next(asks)
            while True:
                place += len(choice.before)
                if target[place] not in choice.legal:
                    return found
                found.append((place, choice))
                choice = asks.send(target[place])
        except StopIteration:
            return found

    def accepts(self, spec: FieldSpec, value: str) -> bool:
        """Whether the value is short enough and of the field's type; that a text says it is not looked at."""
        tokens = self.cut(value)
        if spec.name in self.fixed:
            return self.fixed[spec.name].accepts(tokens, self.value_tokens)
        return 0 < len(tokens) <= self.value_tokens

    def parsed(self, tokens: Sequence[int]) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.vocabulary.spelt(tokens))
        return said

    def cut(self, value: str) -> list[int]:
        """A value as it stands between its quotes."""
        return self.vocabulary.cut(json.dumps(value, ensure_ascii=False)[1:-1])

    def least_after(self, number: int) -> int:
        """The fewest tokens that end the object after a field; after -1: that make an object."""
        rest = list(zip(self.fields, self.opens, strict=True))[number + 1 :]
        empty = sum(len(opening) + len(self.pieces["[]" if spec.many else "null"]) for spec, opening in rest)
        return empty + len(self.pieces["}"])

    def _spelt(self, spec: FieldSpec, said: Any) -> list[int]:
        values = said if isinstance(said, list) else [] if said is None else [said]
        empty, begin, close = _shape(spec)
        if not values:
            return list(self.pieces[empty])
        tokens = list(self.pieces[begin])
        for place, one in enumerate(values):
            tokens += [*(self.pieces['","'] if place else ()), *self.cut(one)]
        return [*tokens, *self.pieces[close]]


def grammar_of(
    vocabulary: Vocabulary,
    fields: Sequence[FieldSpec],
    *,
    room: int,
    value_tokens: int,
    max_values: int,
    copied: Collection[str] = (),
) -> Grammar:
    """The grammar of a schema. Raises ModelError where the vocabulary cannot spell the structure, or where `room` tokens
    do not hold an object without values.
    """
    specs = tuple(fields)
    of_type = {"number": numbers, "date": dates}
    fixed = {spec.name: of_type[spec.type](vocabulary) for spec in specs if spec.type in of_type}
    fixed |= {spec.name: choices(vocabulary, spec.choices) for spec in specs if spec.type == "choice"}
    opens = tuple(
        tuple(vocabulary.cut(f"{',' if place else '{'}{json.dumps(spec.name)}:")) for place, spec in enumerate(specs)
    )
    pieces = {piece: tuple(vocabulary.cut(piece)) for piece in _PIECES}
    made = Grammar(vocabulary, specs, room, value_tokens, max_values, frozenset(copied), fixed, opens, pieces)
    if (least := made.least_after(-1)) > room:
        raise ModelError(
            "the fields do not fit into what the base can write",
            expected=f"room for {least} tokens or more",
            found=f"{room} tokens",
            fix="take a base with a longer context, or fewer fields",
        )
    return made


def _shape(spec: FieldSpec) -> tuple[str, str, str]:
    """The pieces that stand for no value, before the first and after the last."""
    return ("[]", '["', '"]') if spec.many else ("null", '"', '"')


@dataclass(slots=True)
class _Writer:
    """An object that is being written: `fed` of its tokens have been told to whoever decides."""

    grammar: Grammar
    lattices: Sequence[Lattice]
    written: list[int]
    fed: int = 0

    def object(self) -> Choices:
        for number in range(len(self.grammar.fields)):
            self.written += self.grammar.opens[number]
            yield from self._field(number)
        self.written += self.grammar.pieces["}"]
        return self.written

    def _field(self, number: int) -> Generator[Choice, int, None]:
        empty, begin, _ = _shape(self.grammar.fields[number])
        piece = yield from self._one_of([empty, begin] if self._fits(begin, number) else [empty], number)
        values = 0
        while piece in {begin, '","'}:
            values += 1
            piece = yield from self._value(number, values)

    def _value(self, number: int, values: int) -> Generator[Choice, int, str]:
        """A value and the piece after it: `","` where another value follows, else none that begins one."""
        grammar, lattice, spec = self.grammar, self.lattices[number], self.grammar.fields[number]
        nodes, most = lattice.starts, min(grammar.value_tokens, self._left(number))
        while True:
            after = lattice.after(nodes, most)
            ways = [_shape(spec)[2]] if lattice.ended(nodes) else []
            if ways and spec.many and values < grammar.max_values and self._fits('","', number):
                ways.append('","')
            token = yield from self._decide([*(grammar.pieces[way][0] for way in ways), *after], number)
            if token not in after:  # no value begins with a quote, so a piece has begun
                piece = yield from self._one_of(ways, number, token)
                return "" if piece == _shape(spec)[2] else piece
            nodes, most = after[token], most - 1

    def _one_of(self, names: Sequence[str], number: int, first: int | None = None) -> Generator[Choice, int, str]:
        """One of several pieces, token by token as far as they differ; `first` has been written already."""
        pieces = {name: self.grammar.pieces[name] for name in names}
        place = 0
        if first is not None:
            pieces = {name: piece for name, piece in pieces.items() if piece[0] == first}
            place = 1
        while len(pieces) > 1:
            token = yield from self._decide([piece[place] for piece in pieces.values()], number)
            pieces = {name: piece for name, piece in pieces.items() if piece[place] == token}
            place += 1
        [(name, piece)] = pieces.items()
        self.written += piece[place:]
        return name

    def _decide(self, legal: Iterable[int], number: int) -> Generator[Choice, int, int]:
        options = tuple(dict.fromkeys(legal))
        token = options[0]
        if len(options) > 1:
            before, self.fed = tuple(self.written[self.fed :]), len(self.written)
            token = yield Choice(before, options, number)
        self.written.append(token)
        return token

    def _left(self, number: int) -> int:
        """The tokens a value may have if the object is to end in time."""
        close = self.grammar.pieces[_shape(self.grammar.fields[number])[2]]
        return self.grammar.room - len(self.written) - len(close) - self.grammar.least_after(number)

    def _fits(self, piece: str, number: int) -> bool:
        """Whether a value can follow after `piece`."""
        least = self.lattices[number].least
        return least <= self.grammar.value_tokens and least + len(self.grammar.pieces[piece]) <= self._left(number)
