"""Items that people are asked again because labels changed: what their old answers leave certain, and who waits for them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind
from loop.view import Corpus, agreed
from stillhouse.label_changes import migration
from stillhouse.label_mapping import Carried, carried
from stillhouse.probabilities import Floats
from stillhouse.records import Answer, Item, Pick, Suggestion
from stillhouse.store import Store

AGENT = "the answer before the labels changed"
Spans = NDArray[np.int64]


def asked_again(store: Store) -> dict[str, Carried]:
    """Items whose answers were set aside, with what is certain of what was said: nothing, where the last change of labels
    is not the one that set them aside, or where people differed.
    """
    schemas, given = store.schemas(), defaultdict[int, list[Answer]](list)
    for number, answer in store.set_aside():
        given[number].append(answer)
    found = {answer.item_id: Carried(None, open=True) for answers in given.values() for answer in answers}
    last = schemas[-1] if schemas else None
    if last is None or last.changes is None:
        return found
    moved = migration(schemas[-2].labels, last.labels, last.changes)
    said, _ = agreed(given[len(schemas) - 1])
    return {**found, **{item_id: carried(moved, value) for item_id, value in said.items()}}


def narrowed(
    corpus: Corpus, believed: Floats, again: Mapping[str, Carried], picks: Iterable[Pick]
) -> dict[str, Suggestion]:
    """Suggestions that keep what an old answer said, and take what is open in it from the belief (u, k); none where the
    old answer is no help.
    """
    found = {}
    for pick in picks:
        old = again.get(pick.item_id)
        if old is None or old.value is None:
            continue
        at = corpus.number[pick.item_id]
        rows = corpus.layout.rows(at)
        item, spans, probs = corpus.items[at], corpus.layout.spans[rows], believed[rows]
        value = settled(corpus.kind, item, spans, probs, old.value)
        if not corpus.kind.problems(item, value):
            score = corpus.kind.expected_score(spans, probs)
            found[pick.item_id] = Suggestion(corpus.kind.normal(item, value), score, AGENT)
    return found


def settled(kind: Kind, item: Item, spans: Spans, probs: Floats, value: Any) -> Any:
    """A value without anything open: of several labels the one that the belief (u, k) gives most, the first of equals."""
    match kind.task.kind:
        case "single_label":
            return _likeliest(kind, probs, value) if isinstance(value, list) else value
        case "multi_label":
            sure = [name for name in value if isinstance(name, str)]
            likely = kind.decode(item, spans, probs)
            return [*sure, *(n for part in value if isinstance(part, dict) for n in part["any_of"] if n in likely)]
        case "tokens":
            return [
                _likeliest(kind, probs[unit : unit + 1], tag) if isinstance(tag, list) else tag
                for unit, tag in enumerate(value)
            ]
        case "fields":
            believed = kind.decode(item, spans, probs)
            assert isinstance(believed, dict)
            return {**believed, **value}
        case _:
            return [_span(kind, spans, probs, span) for span in value]


def _span(kind: Kind, spans: Spans, probs: Floats, span: Mapping[str, Any]) -> dict[str, Any]:
    touched = (spans[:, 0] < span["end"]) & (spans[:, 1] > span["start"])
    label = span["label"]
    return {**span, "label": _likeliest(kind, probs[touched], label) if isinstance(label, list) else label}


def _likeliest(kind: Kind, probs: Floats, names: Sequence[str]) -> str:
    """Of some labels the one with the most probability over the units."""
    return max(names, key=lambda name: float(probs[:, list(kind.classes[name])].sum()))
