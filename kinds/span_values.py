"""Labelled spans as values: what is wrong with them, one way to write them, how alike two sets of them are."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinds.bio import Part
from kinds.kind import Difference, Measures, Spans
from kinds.whole_text import unknown_labels
from stillhouse.measures import bootstrap_interval, macro_f1_of, micro_f1_of
from stillhouse.probabilities import Ints
from stillhouse.records import Item, Value

PARTIAL_CREDIT = 0.5  # of a span that overlaps one of its label (MUC-5; Chinchor & Sundheim 1993)
UNSAID = 0.9  # how likely a span is whose teacher gave no probability


def key_of(span: Mapping[str, Any]) -> tuple[int, int, str]:
    return int(span["start"]), int(span["end"]), str(span["label"])


def written(spans: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """In order, each once, without probabilities."""
    return [{"start": start, "end": end, "label": label} for start, end, label in sorted({key_of(s) for s in spans})]


def span_problems(item: Item, value: object, labels: Sequence[str], *, overlapping: bool) -> list[str]:
    """Expected and found for each span that cannot be used."""
    if not isinstance(value, list | tuple):
        return [f"expected a list of spans, found {value!r}"]
    problems, good = [], []
    for span in value:
        if not isinstance(span, Mapping) or not {"start", "end", "label"} <= set(span):
            problems.append(f'expected {{"start": …, "end": …, "label": …}}, found {span!r}')
            continue
        start, end = span["start"], span["end"]
        whole = isinstance(start, int) and isinstance(end, int) and not isinstance(start, bool)
        if not whole or not 0 <= start < end <= len(item.text):
            problems.append(f"expected a span within {len(item.text)} characters, found {start!r} to {end!r}")
            continue
        problems += unknown_labels(labels, [span["label"]])
        good.append(span)
    ordered = sorted(good, key=lambda span: (span["start"], span["end"]))
    for first, second in itertools.pairwise(ordered):
        if second["start"] < first["end"] and not overlapping and key_of(first) != key_of(second):
            problems.append(
                f"expected spans that do not overlap, found {item.text[first['start'] : first['end']]!r} and "
                f"{item.text[second['start'] : second['end']]!r}; set overlapping = true if they may"
            )
    return problems


def parts_of(value: object, spans: Spans, labels: Sequence[str], *, p: float | None = None) -> list[Part]:
    """Spans in characters as stretches of units; one that touches no unit has none. `p` overrides what they say."""
    index = {name: number for number, name in enumerate(labels)}
    found = []
    for span in value if isinstance(value, list) else ():
        start, end, label = key_of(span)
        touched = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
        if len(touched) and label in index:
            sure = p if p is not None else float(span.get("p") or UNSAID)
            found.append(Part(int(touched[0]), int(touched[-1]), index[label], sure))
    return sorted(found, key=lambda part: (part.first, part.first - part.last))


def in_characters(parts: Sequence[Part], spans: Spans, labels: Sequence[str]) -> list[dict[str, object]]:
    """Stretches of units as spans in characters, with their p."""
    return [
        {
            "start": int(spans[part.first, 0]),
            "end": int(spans[part.last, 1]),
            "label": labels[part.label],
            "p": round(part.p, 4),
        }
        for part in parts
    ]


def item_f1(truth: Value, value: Value) -> float:
    """F1 of one item's spans, exactly matched; 1 where both are empty."""
    true, said = ({key_of(span) for span in side} for side in (truth, value))  # type: ignore[arg-type]
    return 2 * len(true & said) / (len(true) + len(said)) if true or said else 1.0


def span_differences(
    text: str, truth: Sequence[Mapping[str, Any]], value: Sequence[Mapping[str, Any]]
) -> tuple[Difference, ...]:
    """Spans that are not in both, each once: a true one beside the one said that overlaps it (of its label before any
    other, the first if there are several), or beside nothing; then those said that are left, beside nothing.
    """
    true, said = ({key_of(span) for span in side} for side in (truth, value))
    left, found = sorted(said - true), []
    for start, end, label in sorted(true - said):
        near = sorted((span for span in left if span[0] < end and span[1] > start), key=lambda s: (s[2] != label, s))
        if near:
            left.remove(near[0])
            found.append(Difference(near[0][2], label, f"{text[near[0][0] : near[0][1]]!r} for {text[start:end]!r}"))
        else:
            found.append(Difference("", label, repr(text[start:end])))
    return (*found, *(Difference(label, "", repr(text[start:end])) for start, end, label in left))


def span_measures(
    truths: Sequence[Value],
    values: Sequence[Value],
    labels: Sequence[str],
    *,
    confidence: float,
    on: str,
    rng: np.random.Generator,
) -> Measures:
    """Strict F1 (start, end and label), as seqeval and the CoNLL script count it; partial F1; macro-F1 over labels."""
    strict = np.array([_counts(t, v, labels, partial=False) for t, v in zip(truths, values, strict=True)])
    partial = np.array([_counts(t, v, labels, partial=True) for t, v in zip(truths, values, strict=True)])
    rows = (("f1", strict, micro_f1_of), ("partial_f1", partial, micro_f1_of), ("macro_f1", strict, macro_f1_of))
    return Measures(
        "f1",
        {
            name: bootstrap_interval(counts, statistic, confidence=confidence, on=on, rng=rng)
            for name, counts, statistic in rows
        },
        tuple(labels),
        strict.sum(axis=0).reshape(3, -1),
    )


def _counts(truth: Value, value: Value, labels: Sequence[str], *, partial: bool) -> NDArray[np.float64]:
    """(3l,) hits, true and said by label. A partial hit uses up both spans."""
    index = {name: number for number, name in enumerate(labels)}
    out = np.zeros((3, len(labels)))
    true, said = ({key_of(span) for span in side} for side in (truth, value))  # type: ignore[arg-type]
    for row, side in ((0, true & said), (1, true), (2, said)):
        for _, _, label in side:
            out[row, index[label]] += 1
    if partial:
        left = sorted(said - true)
        for start, end, label in sorted(true - said):
            near = next((s for s in left if s[2] == label and s[0] < end and s[1] > start), None)
            if near is not None:
                left.remove(near)
                out[0, index[label]] += PARTIAL_CREDIT
    flat: NDArray[np.float64] = out.ravel()
    return flat


def slip(spans: list[dict[str, Any]], labels: Sequence[str], rng: np.random.Generator, new: dict[str, Any]) -> Value:
    """A wrong set of spans: one forgotten, one with another label, or one too many where there were none."""
    if not spans:
        return [new]
    at = int(rng.integers(len(spans)))
    kept = [span for number, span in enumerate(spans) if number != at]
    others = [label for label in labels if label != spans[at]["label"]]
    if others and rng.random() < 0.5:
        kept.append({**spans[at], "label": others[int(rng.integers(len(others)))]})
    return list(written(kept))


def tags_in(spans: Spans, value: Value, labels: Sequence[str]) -> Ints:
    """(u,) the position of the label of the span over each unit; -1 where there is none."""
    out = np.full(len(spans), -1, dtype=np.int64)
    for part in parts_of(value, spans, labels):
        out[part.first : part.last + 1] = part.label
    return out
