"""What a student that writes is given: prompts with as much of a text as fits, and what it should decide after them."""

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kinds.words import word_spans
from prompts.delimit import sendable
from prompts.windows import windows
from stillhouse.errors import ModelError
from stillhouse.field_values import places
from stillhouse.settings import Student
from stillhouse.task import FieldSpec
from trainer.base import Base
from trainer.json_grammar import Grammar, grammar_of
from trainer.teach_writing import Example
from trainer.vocabulary import Vocabulary, vocabulary_of

# Fixed marks, not ones a text cannot forge: whatever a text says, only stretches of it and legal values can be written.
BEFORE, AFTER = "Fields of a text as JSON.\n<text>\n", "\n</text>\n"
LEAST_VALUE_TOKENS, LEAST_VALUES = 32, 4
SLACK = 1.5  # what is written later may be so much longer than what was taught
LEAST_TEXT_TOKENS = 16
COPIED_SHARE = 0.95  # of the numbers or dates of a field must be said by the texts for others not to be written


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that is written: tokens of an object, tokens of a value, values of a field with many; and the fields
    whose numbers or dates are only ever ones that the text says.
    """

    room: int
    value_tokens: int
    max_values: int
    copied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """How a text becomes prompts: `most` tokens of it at a time, between `before` and `after`."""

    grammar: Grammar
    before: tuple[int, ...]
    after: tuple[int, ...]
    most: int

    def windows(self, text: str) -> list[str]:
        """The text, or overlapping parts of it that each fit."""
        size, parts = self.most, [text]
        while size > 1 and any(len(self._tokens(part)) > self.most for part in parts):
            parts = [text[start:end] for start, end in windows(text, size)]
            size = size * 3 // 4
        return parts

    def prompt(self, part: str) -> list[int]:
        return [*self.before, *self._tokens(part), *self.after]

    def _tokens(self, text: str) -> list[int]:
        return self.grammar.vocabulary.raw(text)


def reader_of(base: Base, fields: Sequence[FieldSpec], settings: Student, bounds: Bounds) -> Reader:
    """Raises ModelError where the base's context is too short for the fields, or its tokenizer knows no bytes."""
    vocabulary = vocabulary_of(base.tokenizer)
    grammar = grammar_of(vocabulary, fields, **asdict(bounds))
    start = base.tokenizer.bos_token_id
    begins = start is not None and base.tokenizer("a")["input_ids"][:1] == [start]
    before = (*([start] if begins else []), *vocabulary.raw(BEFORE))
    after = tuple(vocabulary.raw(AFTER))
    most = min(settings.max_tokens, base.longest_tokens - len(before) - len(after) - bounds.room)
    if most < LEAST_TEXT_TOKENS:
        raise ModelError(
            "the base's context is too short for these fields",
            expected=f"room for {LEAST_TEXT_TOKENS} tokens of the text beside {bounds.room} of its fields",
            found=f"{base.longest_tokens} tokens in all",
            fix="take a base with a longer context, or fewer fields",
        )
    return Reader(grammar, before, after, most)


def bounds_of(
    base: Base, fields: tuple[FieldSpec, ...], texts: Sequence[str], values: Sequence[Mapping[str, Any]]
) -> Bounds:
    """From what is taught, with slack, and never more than half the base's context."""
    vocabulary = vocabulary_of(base.tokenizer)
    said = [_listed(value.get(spec.name)) for value in values for spec in fields]
    longest = max((_size(vocabulary, one) for several in said for one in several), default=0)
    many = max((len(several) for several in said), default=0)
    value_tokens, max_values = max(LEAST_VALUE_TOKENS, int(SLACK * longest)), max(LEAST_VALUES, int(SLACK * many))
    half = base.longest_tokens // 2
    grammar = grammar_of(vocabulary, fields, room=10**6, value_tokens=value_tokens, max_values=max_values)
    most = max((len(grammar.spell(value)) for value in values), default=0)
    room = min(half, max(int(SLACK * most), grammar.least_after(-1) + value_tokens))
    copied = tuple(spec.name for spec in fields if spec.type in {"number", "date"} and _copied(spec, texts, values))
    return Bounds(room, value_tokens, max_values, copied)


def _copied(spec: FieldSpec, texts: Sequence[str], values: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the text says nearly every value that is taught: then a value it does not say would be made up."""
    stands = [
        bool(places(spec, one, text))
        for text, value in zip(texts, values, strict=True)
        for one in _listed(value.get(spec.name))
    ]
    return bool(stands) and sum(stands) >= COPIED_SHARE * len(stands)


def _size(vocabulary: Vocabulary, value: str) -> int:
    return len(vocabulary.cut(json.dumps(value, ensure_ascii=False)[1:-1]))


def plain(text: str) -> str:
    """The text as values are written: composed, and without halves of surrogate pairs."""
    return unicodedata.normalize("NFC", sendable(text))


def examples_of(
    reader: Reader, text: str, value: Mapping[str, Any], weight: float, facts: Counter[str]
) -> list[Example]:
    """What each window of a text teaches: the values that stand in it; the others are the first window's to write."""
    grammar, parts = reader.grammar, reader.windows(text)
    facts["windowed"] += len(parts) > 1
    said: list[dict[str, Any]] = [{} for _ in parts]
    known = np.ones((len(parts), len(grammar.fields)), dtype=bool)
    for number, spec in enumerate(grammar.fields):
        known[:, number] = spec.name in value
        for one in _listed(value.get(spec.name)):
            written = [_as_written(spec, one, part) for part in parts]
            if not any(written):
                known[1 if spec.type != "text" else 0 :, number] = False
                written[0] = one if spec.type != "text" else None
            if not any(form is not None and grammar.accepts(spec, form) for form in written):
                facts["not_in_text"] += 1
                known[:, number] = False
            for place, form in enumerate(written):
                if form is not None:
                    said[place].setdefault(spec.name, []).append(form)
    examples = []
    for place, part in enumerate(parts):
        one_or_all = {
            spec.name: said[place].get(spec.name, []) if spec.many else (said[place].get(spec.name) or [None])[0]
            for spec in grammar.fields
        }
        target = grammar.spell(one_or_all)
        taught = [
            (where, (target[where], *(token for token in choice.legal if token != target[where])))
            for where, choice in grammar.decisions(grammar.lattices(part), target)
            if known[place, choice.field]
        ]
        if taught:
            examples.append(Example(reader.prompt(part), target, taught, weight))
    return examples


def _as_written(spec: FieldSpec, value: str, part: str) -> str | None:
    """The value as it is to be written where it stands in this part of the text; None where it does not."""
    found = places(spec, value, part)
    if not found or spec.type != "text":
        return value if found else None
    spans = word_spans(part)
    starts, ends = set(spans[:, 0].tolist()), set(spans[:, 1].tolist())
    return next((part[start:end] for start, end in found if start in starts and end in ends), None)


def _listed(said: Any) -> list[str]:
    return said if isinstance(said, list) else [] if said is None else [said]
