"""Where people and teacher, or people among themselves, are at odds: alike conflicts together, the most frequent first."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.certificate import RandomDraw
from kinds.kind import Kind
from prompts.amend import Between
from stillhouse.guidelines import Half, half_of
from stillhouse.measures import binomial_interval
from stillhouse.probabilities import Floats, Ints
from stillhouse.records import Answer, Interval, Item, Value

LEAST_OF_A_PART = 4  # conflicts of one kind that are parted by their texts
MOST_PARTS = 4
CLEARLY_PARTED = 0.1  # silhouette, below which texts are one heap (Rousseeuw 1987)
Embed = Callable[[Sequence[Item]], Floats]


@dataclass(frozen=True, slots=True)
class Conflict:
    """One item: what the teacher said of it, or one person, and what people agree on, or another person. `words` names the
    parts in question, where a value has parts.
    """

    item: Item
    said: Value
    right: Value
    words: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """Conflicts of one kind on texts that are alike, the most typical first.

    `said` and `right` are names of labels or fields, "" for nothing (`kinds.kind.Difference`). `blind` of the members
    were drawn at random. `pool` is how many items of the pool have such a conflict, from the random draws alone and
    unbiased; `believed` the same as the last belief has it: less noisy, and as right as that is. None where it cannot be told.
    """

    between: Between
    said: str
    right: str
    members: tuple[Conflict, ...]
    blind: int
    pool: Interval | None
    believed: float | None

    @property
    def names(self) -> frozenset[str]:
        """The labels or fields in play."""
        return frozenset({self.said, self.right} - {""})


@dataclass(frozen=True, eq=False)
class Compared:
    """What is compared, by item of the pool: `said` the teachers' pooled votes (None where none could be read), `labels`
    what people agreed on, by id, `draws` the random picks with what they were drawn from, `believed` the last belief.
    """

    kind: Kind
    items: Sequence[Item]
    said: Sequence[Value | None]
    labels: Mapping[str, Value]
    draws: Sequence[RandomDraw]
    embed: Embed
    believed: Sequence[Value] | None = None

    def with_teacher(self, number: int, right: Value) -> dict[tuple[str, str], Conflict]:
        """How the teachers' value of an item differs from another one, by (said, right)."""
        said = self.said[number]
        return {} if said is None else conflicts_between(self.kind, self.items[number], said, right)


def conflicts_between(kind: Kind, item: Item, said: Value, right: Value) -> dict[tuple[str, str], Conflict]:
    words = defaultdict(list)
    for one in kind.differences(item, right, said):
        words[one.said, one.right].append(one.words)
    return {pair: Conflict(item, said, right, "; ".join(filter(None, each))) for pair, each in words.items()}


def clusters_with_teacher(
    compared: Compared, half: Half | None, rng: np.random.Generator, confidence: float = 0.95
) -> list[Cluster]:
    """Those of a half of the items (`stillhouse.guidelines.half_of`), all of them if None; the most frequent in the pool
    first. Counts of the pool are of all of it.
    """
    mine = [number for number, item in enumerate(compared.items) if half is None or half_of(item.id) == half]
    groups: dict[tuple[str, str], list[Conflict]] = defaultdict(list)
    likely: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for number in mine:
        item = compared.items[number]
        if item.id in compared.labels:
            for pair, conflict in compared.with_teacher(number, compared.labels[item.id]).items():
                groups[pair].append(conflict)
        if compared.believed is not None:
            for pair in compared.with_teacher(number, compared.believed[number]):
                likely[pair].append(item)
    row = {item.id: number for number, item in enumerate(compared.items)}
    drawn = {compared.items[number].id for draw in compared.draws for number in draw.rows}
    looked_at = np.isin(np.arange(len(compared.items)), mine)
    found = []
    for pair in sorted(groups):
        for part in _parts(groups[pair], likely.get(pair, []), compared.embed, rng):
            rows = np.array([row[each.item.id] for each in part.members], dtype=np.intp)
            pool = _in_pool(rows, compared.draws, looked_at, confidence)
            believed = None if compared.believed is None else part.likely * len(compared.items) / len(mine)
            blind = sum(each.item.id in drawn for each in part.members)
            found.append(Cluster("teacher", *pair, part.members, blind, pool, believed))
    return sorted(found, key=_frequent_first)


def clusters_of_people(
    kind: Kind,
    items: Mapping[str, Item],
    answers: Sequence[Answer],
    half: Half | None,
    embed: Embed,
    rng: np.random.Generator,
) -> list[Cluster]:
    """Conflicts between any two people on an item, in no order of the two."""
    of_item: dict[str, list[Value]] = defaultdict(list)
    for answer in answers:
        if answer.label is not None and answer.item_id in items and (half is None or half_of(answer.item_id) == half):
            of_item[answer.item_id].append(answer.label)
    groups: dict[tuple[str, str], dict[str, Conflict]] = defaultdict(dict)
    for item_id, values in of_item.items():
        for one, other in itertools.combinations(values, 2):
            for pair, conflict in conflicts_between(kind, items[item_id], one, other).items():
                ordered = pair if pair[0] <= pair[1] else pair[::-1]
                swapped = Conflict(conflict.item, conflict.right, conflict.said, conflict.words)
                groups[ordered].setdefault(item_id, conflict if ordered == pair else swapped)
    found = [
        Cluster("people", *pair, part.members, 0, None, None)
        for pair in sorted(groups)
        for part in _parts(list(groups[pair].values()), [], embed, rng)
    ]
    return sorted(found, key=_frequent_first)


def _frequent_first(cluster: Cluster) -> tuple[float, int, str, str, str]:
    """What is seen among the answers counts where nothing is believed."""
    expected = len(cluster.members) + (cluster.believed or 0.0)
    return (-expected, -len(cluster.members), cluster.said, cluster.right, cluster.members[0].item.id)


@dataclass(frozen=True, slots=True)
class _Part:
    members: tuple[Conflict, ...]
    likely: int


def _parts(
    conflicts: Sequence[Conflict], likely: Sequence[Item], embed: Embed, rng: np.random.Generator
) -> list[_Part]:
    """Parted by their texts where those fall apart clearly; `likely` items go to the part they are nearest to."""
    ordered = sorted(conflicts, key=lambda each: each.item.id)
    vectors = embed([each.item for each in ordered])
    part_of = _parted(vectors, rng)
    centres = np.stack([vectors[part_of == part].mean(axis=0) for part in range(part_of.max() + 1)])
    nearest = (embed(likely) @ centres.T).argmax(axis=1) if likely else np.empty(0, dtype=np.intp)
    parts = []
    for part, centre in enumerate(centres):
        rows = np.flatnonzero(part_of == part)
        typical = rows[np.argsort(-(vectors[rows] @ centre), kind="stable")]
        parts.append(_Part(tuple(ordered[row] for row in typical), int((nearest == part).sum())))
    return parts


def _parted(vectors: Floats, rng: np.random.Generator) -> Ints:
    """(n,): the part of each, by k-means of the k with the best silhouette; all 0 where no k parts them clearly."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    one = np.zeros(len(vectors), dtype=np.int64)
    best, found = CLEARLY_PARTED, one
    distinct = len(np.unique(vectors, axis=0))
    for k in range(2, min(MOST_PARTS, len(vectors) // LEAST_OF_A_PART, distinct - 1) + 1):
        seed = int(rng.integers(2**31))
        parts = KMeans(k, n_init=10, random_state=seed).fit_predict(vectors).astype(np.int64)
        if np.bincount(parts, minlength=k).min() < LEAST_OF_A_PART:
            continue
        clear = float(silhouette_score(vectors, parts, metric="cosine"))
        if clear > best:
            best, found = clear, parts
    return found


def _in_pool(
    rows: NDArray[np.intp], draws: Sequence[RandomDraw], looked_at: NDArray[np.bool_], confidence: float
) -> Interval | None:
    """How many items of the pool are like the answered `rows`: the share in each round's draw of what was unanswered then,
    and those known before, weighted by the size of the draws as in `consensus.certificate.certify`. The interval is the
    exact binomial one of the share among all that was drawn.

    What is `looked_at` is itself a random part of the pool, so what was drawn of it stands for all. Of the items answered
    before a draw that are not looked at, as many are taken to be like these as of the others, at the lower end none.
    """
    parts = [(draw.rows[looked_at[draw.rows]], draw.population) for draw in draws]
    parts = [(drawn, population) for drawn, population in parts if len(drawn)]
    n = sum(len(drawn) for drawn, _ in parts)
    if not n:
        return None
    known = rest = value = 0.0
    for drawn, population in parts:
        weight = len(drawn) / n
        known += weight * int((~np.isin(rows, population)).sum())
        rest += weight * len(population)
        value += weight * len(population) * int(np.isin(rows, drawn).sum()) / len(drawn)
    hits = sum(int(np.isin(rows, drawn).sum()) for drawn, _ in parts)
    lo, hi = binomial_interval(hits, n, confidence)
    every = known * len(looked_at) / int(looked_at.sum())
    on = f"the pool, from {n} blind answers"
    return Interval(every + value, known + lo * rest, every + hi * rest, n, on, "exact binomial")
