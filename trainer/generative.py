"""A student that writes: a small causal language model with LoRA, held to the schema's grammar, for the kind "fields"."""

import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind
from kinds.words import word_spans
from prompts.delimit import sendable
from prompts.windows import windows
from stillhouse.errors import InputError, ModelError
from stillhouse.field_values import normal_fields, places
from stillhouse.records import Item
from stillhouse.task import FieldSpec, Student
from trainer.base import Base, load_base
from trainer.decoding import Written, write
from trainer.features import in_threads, length_batches
from trainer.inputs import Inputs
from trainer.json_grammar import Grammar, grammar_of
from trainer.lora import Adapter, adapter_of, merged
from trainer.pace import Progress, pacer
from trainer.teach_writing import Example, train_writer
from trainer.vocabulary import Vocabulary, vocabulary_of

# Fixed marks, not ones a text cannot forge: whatever a text says, only stretches of it and legal values can be written.
BEFORE, AFTER = "Fields of a text as JSON.\n<text>\n", "\n</text>\n"
LEAST_VALUE_TOKENS, LEAST_VALUES = 32, 4
SLACK = 1.5  # what is written later may be so much longer than what was taught
LEAST_TEXT_TOKENS = 16
COPIED_SHARE = 0.95
TOKENS_A_BATCH = 16_384  # of keys and values that are kept while a batch is written

Prediction = tuple[dict[str, Any], dict[str, float]]


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


@dataclass(frozen=True, slots=True, eq=False)
class GenerativeStudent:
    """A student that writes the fields of a text. `base.encoder` is a causal language model with the adapter added in.

    `facts` says how it came to be: recipe, trained tokens and tokens a second, seconds, final loss (nats a decision), texts
    read in several windows, fields that could not be taught because their value does not stand in the text.
    """

    fields: tuple[FieldSpec, ...]
    base: Base
    adapter: Adapter
    settings: Student
    bounds: Bounds
    facts: Mapping[str, Any] = field(default_factory=dict)
    reader: Reader = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", reader_of(self.base, self.fields, self.settings, self.bounds))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.fields)

    @property
    def recipe(self) -> Literal["generate"]:
        return "generate"

    @property
    def model_id(self) -> str:
        """16 hex digits of everything its predictions depend on: the same before it is saved and after it is loaded."""
        digest = hashlib.sha256()
        fields = [spec.model_dump(mode="json") for spec in self.fields]
        parts: list[Any] = [
            "generate",
            BEFORE,
            AFTER,
            self.base.sha256,
            self.settings.max_tokens,
            asdict(self.bounds),
            fields,
        ]
        digest.update(json.dumps(parts).encode())
        for name, tensor in sorted(self.adapter.tensors.items()):
            digest.update(name.encode() + tensor.tobytes())
        return digest.hexdigest()[:16]

    def predict(self, texts: Sequence[str], progress: Progress | None = None) -> list[Prediction]:
        """Each text's fields in normal form, and how likely each is: the geometric mean of its decisions' probabilities
        among what was legal. A text in windows has the first value found, or all of them where there may be many.
        """
        parts = [(number, part) for number, text in enumerate(texts) for part in self.reader.windows(_plain(text))]
        prompts = [self.reader.prompt(part) for _, part in parts]
        found: list[list[tuple[int, Prediction]]] = [[] for _ in texts]
        tell = pacer("writing", len(parts), "texts", progress)
        lengths = np.array([len(prompt) + self.bounds.room for prompt in prompts], dtype=np.int64)
        batches, done = length_batches(lengths, TOKENS_A_BATCH), 0

        def work(batch: NDArray[np.int64]) -> list[Written]:
            grammar = self.reader.grammar
            asks = [grammar.write(grammar.lattices(parts[row][1])) for row in batch]
            return write(self.base.encoder, [prompts[row] for row in batch], asks)

        for batch, each in zip(batches, in_threads(work, batches, self.settings.threads), strict=True):
            for row, written in zip(batch, each, strict=True):
                found[parts[row][0]].append((int(row), self._said(written)))
            done += len(batch)
            tell(done)
        return [self._merged([one for _, one in sorted(said, key=lambda pair: pair[0])]) for said in found]

    def _said(self, written: Written) -> Prediction:
        value = normal_fields(self.fields, self.reader.grammar.parsed(written.tokens))
        logs = [written.decisions.get(number, [0.0]) for number in range(len(self.fields))]
        return value, {name: math.exp(sum(log) / len(log)) for name, log in zip(self.columns, logs, strict=True)}

    def _merged(self, said: Sequence[Prediction]) -> Prediction:
        """A field that is missing, or has many values, is as sure as its least sure window."""
        value: dict[str, Any] = {}
        p: dict[str, float] = {}
        for spec in self.fields:
            each = [(one[spec.name], sure[spec.name]) for one, sure in said]
            first = next(((one, sure) for one, sure in each if one), None)
            if spec.many:
                value[spec.name] = list(dict.fromkeys(item for one, _ in each for item in one))
            else:
                value[spec.name] = first and first[0]
            p[spec.name] = min(sure for _, sure in each) if first is None or spec.many else first[1]
        return value, p


def fit_generative(
    texts: Sequence[str],
    values: Sequence[Mapping[str, Any]],
    weights: Sequence[float] | NDArray[np.floating[Any]],
    task_fields: Sequence[FieldSpec],
    settings: Student,
    *,
    seed: int,
    base: Base | None = None,
    progress: Progress | None = None,
) -> GenerativeStudent:
    """Teach a causal language model to write the `values` (in normal form) of the texts as JSON.

    A field that a value leaves out is not known and teaches nothing; nor does one of type text whose value does not
    stand in the text (counted in `facts`), or a text of weight 0. `settings` are those of a LoRA student; `max_tokens`
    is how much of a text is read at once, longer ones are taught and read in windows. Raises InputError where lengths
    differ or nothing can be learnt, ModelError where the base is no causal language model or training diverges.
    """
    if not len(texts) == len(values) == len(weights):
        raise InputError(
            "the student cannot be taught",
            expected="a value and a weight for each text",
            found=f"{len(texts)} texts, {len(values)} values, {len(weights)} weights",
            fix="give one of each for every text",
        )
    base = base or load_base(settings.base, writes=True)
    if getattr(base.encoder, "get_output_embeddings", lambda: None)() is None:
        raise ModelError(
            f"base {base.name!r} was loaded without what it writes with",
            expected="load_base(name, writes=True)",
            found=type(base.encoder).__name__,
            fix="load it that way, or give no base",
        )
    fields = tuple(task_fields)
    bounds = _bounds(base, fields, texts, values)
    reader = reader_of(base, fields, settings, bounds)
    facts: Counter[str] = Counter(windowed=0, not_in_text=0)
    examples: list[Example] = []
    for text, value, weight in zip(texts, values, weights, strict=True):
        if weight > 0:
            examples += _examples(reader, _plain(text), value, float(weight), facts)
    if not examples:
        raise InputError(
            "the student cannot be taught",
            expected="at least one text of weight above 0 with a field that is known and can be written",
            found=f"none in {len(texts)} texts",
            fix="give it more texts, or the fields another type",
        )
    taught = train_writer(base, examples, settings, seed, progress)
    adapter = adapter_of(taught.model)
    facts_now = {
        "recipe": "generate",
        "why": "recipe generate was asked for",
        **facts,
        "examples": len(examples),
        "tokens": taught.tokens,
        "tokens_per_s": taught.tokens / max(taught.seconds, 1e-9),
        "seconds": taught.seconds,
        "final_loss": taught.final_loss,
    }
    return GenerativeStudent(fields, replace(base, encoder=merged(taught.model)), adapter, settings, bounds, facts_now)


def _bounds(
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


def _plain(text: str) -> str:
    """The text as values are written: composed, and without halves of surrogate pairs."""
    return unicodedata.normalize("NFC", sendable(text))


def _examples(reader: Reader, text: str, value: Mapping[str, Any], weight: float, facts: Counter[str]) -> list[Example]:
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


def as_units(kind: Kind, items: Sequence[Item], predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """(U, K): the predictions as distributions over the tags of the kind "fields", units of all items end to end.

    A word of a value has its tag with the field's p, the rest evenly spread, so that the kind decodes the same value as
    long as p is above 1/K. What a missing field is unsure of is spread over the words outside, as a beginning of it.
    Words of which nothing can be said, because a value stands nowhere in the text, are uniform.
    """
    each = [_units(kind, item, value, p) for item, (value, p) in zip(items, predictions, strict=True)]
    return np.concatenate(each) if each else np.zeros((0, kind.width))


def _units(kind: Kind, item: Item, value: dict[str, Any], p: Mapping[str, float]) -> NDArray[np.float64]:
    names, K = [spec.name for spec in kind.task.fields], kind.width
    tags = kind.encode(item, kind.units(item), value)
    out = np.full(tags.shape, 1.0 / K)
    known = np.flatnonzero(~np.isnan(tags).any(axis=1))
    tag = tags[known].argmax(axis=1)
    outside = known[tag == 0]
    for row, column in zip(known[tag > 0], tag[tag > 0], strict=True):
        sure = max(p[names[(column - 1) // 2]], 1.0 / K)
        out[row] = (1.0 - sure) / (K - 1)
        out[row, column] = sure
    out[outside] = 0.0
    for number, name in enumerate(names):
        if not value[name]:  # never so much that a word outside is not likeliest outside
            out[outside, 1 + 2 * number] = min((1.0 - p[name]) / max(len(outside), 1), 1.0 / (len(names) + 2))
    out[outside, 0] = 1.0 - out[outside].sum(axis=1)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class UnitStudent:
    """A student that writes, as what labels and selects sees a student: distributions over units of a kind."""

    student: GenerativeStudent
    kind: Kind
    thresholds: None = None

    @property
    def recipe(self) -> Literal["generate"]:
        return self.student.recipe

    @property
    def model_id(self) -> str:
        return self.student.model_id

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.student.facts

    def predict_items(self, items: Sequence[Item], progress: Progress | None = None) -> NDArray[np.float64]:
        """(U, K), as `as_units` describes it."""
        return as_units(self.kind, items, self.student.predict([item.text for item in items], progress))

    def predict(self, inputs: Inputs, progress: Progress | None = None) -> NDArray[np.float64]:
        """(U, K) of the texts of the inputs; their spans must be the kind's own units."""
        items = [Item(str(number), text) for number, text in enumerate(inputs.texts)]
        return self.predict_items(items, progress)
