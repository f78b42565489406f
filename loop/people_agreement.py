"""How far people agree on the items that several of them answered: in all, by class, and each with the others."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind
from stillhouse.agreement import (
    Metric,
    cohen_kappa,
    fleiss_kappa,
    fleiss_kappa_by_class,
    krippendorff_alpha,
    masi_distance,
    positive_agreement,
)
from stillhouse.measures import mean_score_interval
from stillhouse.probabilities import blocks
from stillhouse.records import Answer, Interval, Item, Value

UNKNOWN = -1  # what an answer says nothing of


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """One item and the answers of several people who did not see each other's. `said` (m, u, b) is what each says of each
    unit: a column of each block, UNKNOWN where nothing.
    """

    item: Item
    answers: tuple[Answer, ...]
    values: tuple[Value, ...]
    said: NDArray[np.int64]

    @property
    def scope(self) -> str:
        if any(answer.way == "second" for answer in self.answers):
            return "second opinions"
        return "blind" if all(answer.blind for answer in self.answers) else "with suggestions"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of agreement; `name` says which, the interval on what."""

    name: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """`same`: where one person says this class, how often another does; None without a pair. `kappa` has its n: items
    where anybody said it.
    """

    name: str
    same: float | None
    kappa: Interval | None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    confidence: float
    rng: np.random.Generator


def shared_items(kind: Kind, items: Mapping[str, Item], answers: Iterable[Answer]) -> list[Shared]:
    """Items with two answers or more that were given without seeing another: a decision between opinions is none. A pass
    says nothing of the label.
    """
    by_item: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.label is not None and answer.way != "adjudicate" and answer.item_id in items:
            by_item[answer.item_id].append(answer)
    found = []
    for item_id, said in sorted(by_item.items()):
        if len(said) > 1:
            item, spans = items[item_id], kind.units(items[item_id])
            values = tuple(kind.normal(item, answer.label) for answer in said)
            columns = np.array([_columns(kind, kind.encode(item, spans, value)) for value in values])
            found.append(Shared(item, tuple(said), values, columns))
    return found


def figures_of(kind: Kind, shared: Sequence[Shared], by: Bootstrap) -> tuple[Figure, ...]:
    """Of all shared items, and of each way in which they came to be shared, where there is more than one."""
    scopes = sorted({each.scope for each in shared})
    found = list(_figures(kind, shared, f"{len(shared)} items", by))
    if len(scopes) > 1:
        for scope in scopes:
            of_scope = [each for each in shared if each.scope == scope]
            found += _figures(kind, of_scope, f"{len(of_scope)} items, {scope}", by)
    return tuple(found)


def _figures(kind: Kind, shared: Sequence[Shared], on: str, by: Bootstrap) -> list[Figure]:
    if not shared:
        return []
    scores = np.array([np.mean(pair_scores(kind, each.values)) for each in shared])
    found = [Figure(f"pairs of answers: {kind.score_name}", mean_score_interval(scores, by.confidence, on, by.rng))]
    counts, item_of, distance, what = _counts(kind, shared)
    alpha = krippendorff_alpha(counts, item_of, distance, confidence=by.confidence, on=on, rng=by.rng)
    found += [Figure(f"Krippendorff's alpha, {what}", alpha)] if alpha else []
    if kind.task.kind != "multi_label" and not kind.task.ordinal:
        kappa = fleiss_kappa(counts, item_of, confidence=by.confidence, on=on, rng=by.rng)
        found += [Figure("Fleiss' kappa", kappa)] if kappa else []
    return found


def classes_of(kind: Kind, shared: Sequence[Shared], by: Bootstrap) -> tuple[ClassAgreement, ...]:
    """Each class that anybody said, the least agreed on first."""
    if not shared:
        return ()
    counts, raters = np.concatenate([_class_counts(kind, each) for each in shared]), _raters(shared)
    kappas = fleiss_kappa_by_class(
        counts, raters, _item_of(shared), confidence=by.confidence, on="items where it was said", rng=by.rng
    )
    found = [
        ClassAgreement(name, None if np.isnan(same) else float(same), kappa)
        for name, same, kappa in zip(kind.classes, positive_agreement(counts, raters), kappas, strict=True)
        if not np.isnan(same)
    ]
    return tuple(sorted(found, key=lambda one: (one.kappa is None, one.kappa.value if one.kappa else 0.0, one.name)))


def with_others(
    kind: Kind, shared: Sequence[Shared], annotator: str, by: Bootstrap
) -> tuple[Interval, Interval | None]:
    """How far one person's answers score against the others', and Cohen's kappa of the two sides. Raises ValueError where
    nobody else answered an item of theirs.
    """
    mine = [(each, [a.annotator for a in each.answers].index(annotator)) for each in shared if _is_of(each, annotator)]
    if not mine:
        raise ValueError(f"{annotator} shares no item with anybody")
    on = f"{len(mine)} items that others answered too"
    scores = [
        np.mean([_score(kind, each.values[me], other) for n, other in enumerate(each.values) if n != me])
        for each, me in mine
    ]
    codes, k = _codes([each for each, _ in mine])
    left, right, item_of = [], [], []
    for number, ((_, me), of_item) in enumerate(zip(mine, codes, strict=True)):
        for other in range(len(of_item)):
            known = (of_item[me] != UNKNOWN) & (of_item[other] != UNKNOWN)
            if other != me:
                left.append(of_item[me][known])
                right.append(of_item[other][known])
                item_of.append(np.full(int(known.sum()), number))
    a, b, items = (np.concatenate(side) for side in (left, right, item_of))
    kappa = cohen_kappa(a, b, items, k, confidence=by.confidence, on=on, rng=by.rng)
    return mean_score_interval(np.array(scores), by.confidence, on, by.rng), kappa


def pair_scores(kind: Kind, values: Sequence[Value]) -> list[float]:
    return [_score(kind, a, b) for i, a in enumerate(values) for b in values[i + 1 :]]


def _score(kind: Kind, a: Value, b: Value) -> float:
    """Of two people neither is the truth: a score that knows one side is taken both ways."""
    return (kind.score(a, b) + kind.score(b, a)) / 2


def _is_of(shared: Shared, annotator: str) -> bool:
    return any(answer.annotator == annotator for answer in shared.answers)


def _columns(kind: Kind, encoded: NDArray[np.float64]) -> NDArray[np.int64]:
    """(u, k) of zeros and ones -> (u, b): the column of each block that is said; UNKNOWN where nothing is."""
    known = np.isfinite(encoded.sum(axis=1))
    said = blocks(np.nan_to_num(encoded), kind.width).argmax(axis=1).reshape(-1, len(kind.columns) // kind.width)
    out: NDArray[np.int64] = np.where(known[:, None], said, UNKNOWN)
    return out


def _codes(shared: Sequence[Shared]) -> tuple[list[NDArray[np.int64]], int]:
    """What is said of a unit as one number, for each item (m, u), in the order of columns; and how many there are."""
    flat = np.concatenate([each.said.reshape(-1, each.said.shape[2]) for each in shared])
    patterns, codes = np.unique(flat, axis=0, return_inverse=True)
    named = np.where((patterns == UNKNOWN).any(axis=1), UNKNOWN, np.cumsum((patterns != UNKNOWN).all(axis=1)) - 1)
    ends = np.cumsum([each.said.shape[0] * each.said.shape[1] for each in shared])[:-1]
    parts = np.split(named[codes.ravel()], ends)
    return [p.reshape(each.said.shape[:2]) for p, each in zip(parts, shared, strict=True)], int(named.max()) + 1


def _counts(
    kind: Kind, shared: Sequence[Shared]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Metric | NDArray[np.float64], str]:
    """(u, k) how many people said what of each unit, the item of each, how far apart two sayings are, and its name."""
    codes, k = _codes(shared)
    counts = np.concatenate([(of_item[:, :, None] == np.arange(k)).sum(axis=0) for of_item in codes])
    if kind.task.kind == "multi_label":
        flat = np.unique(np.concatenate([each.said.reshape(-1, each.said.shape[2]) for each in shared]), axis=0)
        return counts, _item_of(shared), masi_distance(flat == 1), "distance of sets: MASI"
    if kind.task.ordinal:
        return counts, _item_of(shared), "ordinal", "steps of a scale"
    return counts, _item_of(shared), "nominal", "labels" if kind.per_text else "tags of words or tokens"


def _class_counts(kind: Kind, shared: Shared) -> NDArray[np.int64]:
    """(u, c): how many people said each class of each unit."""
    width = kind.width
    found = []
    for columns in kind.classes.values():
        of_class = [shared.said[:, :, column // width] == column % width for column in columns]
        found.append(np.stack(of_class).any(axis=0).sum(axis=0))
    return np.stack(found, axis=1)


def _raters(shared: Sequence[Shared]) -> NDArray[np.int64]:
    return np.concatenate([(each.said[:, :, 0] != UNKNOWN).sum(axis=0) for each in shared])


def _item_of(shared: Sequence[Shared]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(shared)), [each.said.shape[1] for each in shared])
