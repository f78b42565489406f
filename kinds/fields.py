"""Data extraction: the fields of a schema, filled from stretches of the text; missing is a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinds.bio import Bio, Part
from kinds.kind import Difference, Measures, Question, Said, Spans
from kinds.span_values import UNSAID, in_characters
from kinds.tagged import Pointing, hedged
from kinds.words import word_spans
from prompts.parse import Reading
from prompts.render import Frame, Style, frame_of
from prompts.structured import read_fields
from prompts.write import write_fields
from stillhouse.field_values import field_problems, folded, normal_fields, normal_value, places
from stillhouse.measures import bootstrap_interval, macro_f1_of, micro_f1_of, ratio_of
from stillhouse.probabilities import Floats
from stillhouse.records import CharSpan, Item, Value, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Task

REPLY_TOKENS = 64
TOKENS_A_FIELD = 24


@dataclass(frozen=True)
class Fields(Pointing):
    """The value has every field: a text, a list of texts where there may be many, null where it is missing.

    Units are the words of the text, and a word's tag is the field it fills. A value that stands nowhere in the text
    (inferred, or written another way than `stillhouse.field_values` knows) cannot be learnt by a student that points:
    the words of such an item count as unknown where they are not part of a value that was found.
    """

    task: Task

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.task.fields)

    @property
    def bio(self) -> Bio:
        return Bio(self.names)

    @property
    def score_name(self) -> str:
        return "share of an item's fields"

    def frame(self, teacher: Teacher, style: Style) -> Frame:  # noqa: ARG002
        room = REPLY_TOKENS + TOKENS_A_FIELD * len(self.names)
        return frame_of(self.task, teacher, template="fields", schema=self._schema(), reply_tokens=room, echo=1.0)

    def read(self, common: Frame, item: Item, content: str) -> Reading:  # noqa: ARG002
        return read_fields(content, item.text, self.task.fields)

    def write(self, common: Frame, item: Item, value: Value) -> str:  # noqa: ARG002
        assert isinstance(value, dict)
        return write_fields(value, self.names)

    def units(self, item: Item) -> Spans:
        return word_spans(item.text)

    def said(self, item: Item, spans: Spans, vote: Vote) -> Said:
        """What the teacher found in the text; a field it left out of its reply is not known to be missing."""
        nothing = Said(np.full((len(spans), len(self.columns)), 1.0 / self.width), np.zeros(len(spans), dtype=bool))
        if not vote.usable or not isinstance(vote.value, dict):
            return nothing
        tags = self._tags(item, spans, vote.value, p=UNSAID)
        known = ~np.isnan(tags[:, 0])
        probs = hedged(self.bio, np.where(known[:, None], tags, 1.0 / self.width))
        return Said(np.where(known[:, None], probs, 1.0 / self.width), known)

    def encode(self, item: Item, spans: Spans, value: Value) -> NDArray[np.float64]:
        assert isinstance(value, dict)
        return self._tags(item, spans, value, p=1.0)

    def decode(self, item: Item, spans: Spans, probs: Floats, thresholds: Floats | None = None) -> Value:  # noqa: ARG002
        found: dict[str, list[tuple[float, str]]] = {name: [] for name in self.names}
        by_name = {spec.name: spec for spec in self.task.fields}
        for span in in_characters(self.bio.decode(probs), spans, self.names):
            start, end, name, p = (span[key] for key in ("start", "end", "label", "p"))
            value = normal_value(by_name[str(name)], item.text[int(str(start)) : int(str(end))])
            if value is not None:
                found[str(name)].append((float(str(p)), value))
        many = {name: [value for _, value in values] for name, values in found.items()}
        best = {name: max(values)[1] for name, values in found.items() if values}
        return normal_fields(
            self.task.fields,
            {spec.name: many[spec.name] if spec.many else best.get(spec.name) for spec in self.task.fields},
        )

    def score(self, truth: Value, value: Value) -> float:
        """The share of fields that are the same, of those that either side fills; 1 where there are none."""
        same = [_same(truth, value, name) for name in self.names if _filled(truth, name) or _filled(value, name)]
        return sum(same) / len(same) if same else 1.0

    def differences(self, item: Item, truth: Value, value: Value) -> tuple[Difference, ...]:  # noqa: ARG002
        found = []
        for name in self.names:
            right, said = (", ".join(_listed(side, name)) for side in (truth, value))
            if not _same(truth, value, name):
                words = f"{said!r} for {right!r}" if said and right else repr(said or right)
                found.append(Difference(name if said else "", name if right else "", words))
        return tuple(found)

    def measures(
        self,
        truths: Sequence[Value],
        values: Sequence[Value],
        *,
        confidence: float,
        on: str,
        rng: np.random.Generator,
    ) -> Measures:
        """F1 of single values; exact match over all fields, missing ones too; the same with case and spaces folded."""
        pairs = list(zip(truths, values, strict=True))
        counts = np.array([[_counts(t, v, name) for name in self.names] for t, v in pairs]).transpose(0, 2, 1)
        exact = np.array([[sum(_raw(t, n) == _raw(v, n) for n in self.names), len(self.names)] for t, v in pairs])
        loose = np.array([[sum(_same(t, v, n) for n in self.names), len(self.names)] for t, v in pairs])
        flat = counts.reshape(len(pairs), -1)
        rows = (
            ("f1", flat, micro_f1_of),
            ("macro_f1", flat, macro_f1_of),
            ("exact_match", exact.astype(np.float64), ratio_of),
            ("normalised_match", loose.astype(np.float64), ratio_of),
        )
        return Measures(
            "f1",
            {
                name: bootstrap_interval(sums, statistic, confidence=confidence, on=on, rng=rng)
                for name, sums, statistic in rows
            },
            self.names,
            counts.sum(axis=0),
        )

    def questions(self) -> tuple[Question, ...]:
        return tuple(
            Question(
                spec.name.replace(" ", "_").lower(),
                spec.name,
                "label" if spec.type == "choice" and not spec.many else "text",
                tuple((choice, "") for choice in spec.choices) if spec.type == "choice" and not spec.many else (),
                required=False,
                description=spec.description + (" One value a line." if spec.many else ""),
            )
            for spec in self.task.fields
        )

    def suggest(self, item: Item, value: Value) -> dict[str, object]:  # noqa: ARG002
        assert isinstance(value, dict)
        shown = {}
        for question, spec in zip(self.questions(), self.task.fields, strict=True):
            said = value.get(spec.name)
            if said:
                shown[question.name] = "\n".join(said) if isinstance(said, list) else said
        return shown

    def answer(self, item: Item, responses: Mapping[str, object]) -> Value:
        raw: dict[str, object] = {}
        for question, spec in zip(self.questions(), self.task.fields, strict=True):
            text = str(responses.get(question.name) or "")
            raw[spec.name] = [line for line in text.splitlines() if line.strip()] if spec.many else text.strip() or None
        return self.normal(item, raw)

    def show(self, item: Item, value: Value) -> str:  # noqa: ARG002
        return (
            "; ".join(f"{name}: {', '.join(_listed(value, name))}" for name in self.names if _filled(value, name))
            or "none"
        )

    def problems(self, item: Item, value: object) -> list[str]:  # noqa: ARG002
        return field_problems(self.task.fields, value)

    def normal(self, item: Item, value: object) -> Value:  # noqa: ARG002
        assert isinstance(value, dict)
        return normal_fields(self.task.fields, value)

    def mistake(self, item: Item, truth: Value, rng: np.random.Generator) -> Value:  # noqa: ARG002
        """One field forgotten, or one more value where all are missing."""
        assert isinstance(truth, dict)
        filled = [name for name in self.names if _filled(truth, name)]
        name = (filled or self.names)[int(rng.integers(len(filled or self.names)))]
        empty: object = next(([] if spec.many else None) for spec in self.task.fields if spec.name == name)
        return {**truth, name: empty} if filled else truth

    def _tags(self, item: Item, spans: Spans, value: Mapping[str, Any], *, p: float) -> NDArray[np.float64]:
        """(u, k): tags of the values that stand in the text; nan elsewhere if one of them could not be found."""
        parts: list[Part] = []
        taken: set[CharSpan] = set()
        lost = any(spec.name not in value for spec in self.task.fields)
        for number, spec in enumerate(self.task.fields):
            for one in _listed(value, spec.name):
                place = next((span for span in places(spec, one, item.text) if span not in taken), None)
                if place is None:
                    lost = True
                    continue
                touched = np.flatnonzero((spans[:, 0] < place[1]) & (spans[:, 1] > place[0]))
                if not len(touched):
                    lost = True
                    continue
                taken.add(place)
                parts.append(Part(int(touched[0]), int(touched[-1]), number, p))
        tags = self.bio.encode(len(spans), sorted(parts, key=lambda part: (part.first, part.first - part.last)))
        if lost:
            tags[tags[:, 0] == 1.0] = np.nan
        return tags

    def _schema(self) -> dict[str, object]:
        properties: dict[str, object] = {}
        for spec in self.task.fields:
            one: dict[str, object] = {"type": "string", **({"enum": list(spec.choices)} if spec.choices else {})}
            properties[spec.name] = {"type": "array", "items": one} if spec.many else {"anyOf": [one, {"type": "null"}]}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }


def _listed(value: Value | Mapping[str, Any], name: str) -> list[str]:
    said = value.get(name) if isinstance(value, Mapping) else None
    return said if isinstance(said, list) else [] if said is None else [said]


def _filled(value: Value, name: str) -> bool:
    return bool(_listed(value, name))


def _raw(value: Value, name: str) -> tuple[str, ...]:
    return tuple(_listed(value, name))


def _same(a: Value, b: Value, name: str) -> bool:
    return sorted(map(folded, _listed(a, name))) == sorted(map(folded, _listed(b, name)))


def _counts(truth: Value, value: Value, name: str) -> tuple[int, int, int]:
    """Values found, true and said of one field."""
    true, said = ({folded(one) for one in _listed(side, name)} for side in (truth, value))
    return len(true & said), len(true), len(said)
