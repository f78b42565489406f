"""A student that writes: a small causal language model with LoRA, held to the schema's grammar, for the kind "fields"."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind
from stillhouse.errors import InputError, ModelError
from stillhouse.field_values import normal_fields
from stillhouse.records import Item
from stillhouse.settings import Student
from stillhouse.task import FieldSpec
from trainer.base import Base, load_base
from trainer.checkpoint import Checkpoint
from trainer.decoding import Written, write
from trainer.features import in_threads, length_batches
from trainer.inputs import Inputs
from trainer.lora import Adapter, adapter_of, merged
from trainer.pace import Progress, pacer
from trainer.reader import AFTER, BEFORE, Bounds, Reader, bounds_of, examples_of, plain, reader_of
from trainer.teach_writing import Example, train_writer

TOKENS_A_BATCH = 16_384  # of keys and values that are kept while a batch is written

Prediction = tuple[dict[str, Any], dict[str, float]]


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
        parts = [(number, part) for number, text in enumerate(texts) for part in self.reader.windows(plain(text))]
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
    checkpoints: Path | None = None,
) -> GenerativeStudent:
    """Teach a causal language model to write the `values` (in normal form) of the texts as JSON.

    A field that a value leaves out is not known and teaches nothing; nor does one of type text whose value does not
    stand in the text (counted in `facts`), or a text of weight 0. `settings` are those of a LoRA student; `max_tokens`
    is how much of a text is read at once, longer ones are taught and read in windows. `checkpoints` is a folder where
    training is kept, as for `fit_student`. Raises InputError where lengths
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
    bounds = bounds_of(base, fields, texts, values)
    reader = reader_of(base, fields, settings, bounds)
    facts: Counter[str] = Counter(windowed=0, not_in_text=0)
    examples: list[Example] = []
    for text, value, weight in zip(texts, values, weights, strict=True):
        if weight > 0:
            examples += examples_of(reader, plain(text), value, float(weight), facts)
    if not examples:
        raise InputError(
            "the student cannot be taught",
            expected="at least one text of weight above 0 with a field that is known and can be written",
            found=f"none in {len(texts)} texts",
            fix="give it more texts, or the fields another type",
        )
    checkpoint = None
    if checkpoints is not None:
        parts = (examples, settings.model_dump_json(), base.sha256, seed)
        key = hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
        checkpoint = Checkpoint(checkpoints / "generate.safetensors", key)
    writer = train_writer(base, examples, settings, seed, progress, checkpoint)
    adapter = adapter_of(writer.model)
    facts_now = {
        "recipe": "generate",
        "why": "recipe generate was asked for",
        **facts,
        "examples": len(examples),
        "tokens": writer.taught.tokens,
        "tokens_per_s": writer.taught.tokens / max(writer.taught.seconds, 1e-9),
        "seconds": writer.taught.seconds,
        "final_loss": writer.taught.final_loss,
    }
    return GenerativeStudent(fields, replace(base, encoder=merged(writer.model)), adapter, settings, bounds, facts_now)


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
