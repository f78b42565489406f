"""How far people agree beyond chance: Krippendorff's alpha, Fleiss' and Cohen's kappa, with bootstrap intervals over items.

All take counts (u, k): how many people chose each category for each unit, a decision that several people made. Units of
one item (its words, say) may depend on each other: items are drawn whole. Who said what plays no part but in Cohen's.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.measures import bootstrap_interval, wilson
from stillhouse.probabilities import Bools, Floats, Ints
from stillhouse.records import Interval

Metric = Literal["nominal", "ordinal", "interval"]
LEAST = 1e-12


def krippendorff_alpha(
    counts: Ints,
    item_of: Ints,
    distance: Metric | Floats = "nominal",
    *,
    confidence: float,
    on: str,
    rng: np.random.Generator,
) -> Interval | None:
    """Alpha of any number of people, each of whom may have left out any unit (Krippendorff 2011, Computing
    Krippendorff's Alpha-Reliability).

    `distance` is the squared difference of two categories: a metric over categories in their order, or a matrix (k, k),
    symmetric with zeros in its diagonal. None where no unit has two answers, or all answers are alike: where nothing
    varies, nothing can be told apart, and alpha is not defined.
    """
    several = np.asarray(counts).sum(axis=1) > 1
    n_uk, items = np.asarray(counts, dtype=np.float64)[several], np.asarray(item_of)[several]
    if np.count_nonzero(n_uk.sum(axis=0)) < 2:
        return None
    m = n_uk.sum(axis=1)
    if isinstance(distance, str) and distance == "ordinal":
        pairs = n_uk[:, :, None] * n_uk[:, None, :] - n_uk[:, :, None] * np.eye(n_uk.shape[1])
        each = (pairs / (m - 1)[:, None, None]).reshape(len(m), -1)
        return _interval(each, items, _ordinal_alpha, confidence, on, rng)
    delta = _nominal_or_interval(distance, n_uk.shape[1]) if isinstance(distance, str) else np.asarray(distance)
    disagreement = ((n_uk @ delta) * n_uk).sum(axis=1) / (m - 1)

    def alpha(sums: Floats) -> NDArray[np.float64]:
        observed, said = sums[:, 0], sums[:, 1:]
        return _beyond_chance(observed, ((said @ delta) * said).sum(axis=1) / np.maximum(said.sum(axis=1) - 1, 1))

    return _interval(np.column_stack([disagreement, n_uk]), items, alpha, confidence, on, rng)


def fleiss_kappa(
    counts: Ints, item_of: Ints, *, confidence: float, on: str, rng: np.random.Generator
) -> Interval | None:
    """Kappa of any number of people who choose one category each (Fleiss 1971; where their number differs, each unit
    counts the same, Gwet 2014). None as of alpha.
    """
    each, items = _shares(counts, np.asarray(counts).sum(axis=1), item_of)
    if np.count_nonzero(each[:, 1 : 1 + np.shape(counts)[1]].sum(axis=0)) < 2:
        return None
    return _interval(each, items, lambda sums: _kappas(sums)[0], confidence, on, rng)


def fleiss_kappa_by_class(
    counts: Ints, raters: Ints, item_of: Ints, *, confidence: float, on: str, rng: np.random.Generator
) -> list[Interval | None]:
    """Kappa of each category against all others (Fleiss 1971, section "agreement on a particular category").

    `raters` (u,) are how many people decided on each unit: of many labels each may choose several. The interval's n is
    the number of items in which somebody chose the category; None where nobody did, or nobody chose anything else.
    """
    each, items = _shares(counts, np.asarray(raters), item_of)
    found: list[Interval | None] = []
    k = np.shape(counts)[1]
    for number in range(k):
        of_class = each[:, [0, 1 + number, 1 + k + number]]
        said = of_class[:, 1].sum()
        if not 0 < said < len(of_class):
            found.append(None)
            continue
        support = len(np.unique(items[of_class[:, 1] > 0]))
        found.append(_interval(of_class, items, lambda sums: _kappas(sums)[1][:, 0], confidence, on, rng, support))
    return found


def cohen_kappa(
    a: Ints, b: Ints, item_of: Ints, k: int, *, confidence: float, on: str, rng: np.random.Generator
) -> Interval | None:
    """Kappa of two people, each with habits of their own: `a` and `b` (u,) are their categories, below k (Cohen 1960).

    None where they share no unit, or both always say the same one thing.
    """
    if not len(a) or len(np.unique(np.concatenate([a, b]))) < 2:
        return None
    a, b = np.asarray(a), np.asarray(b)
    each = np.column_stack([a != b, a[:, None] == np.arange(k), b[:, None] == np.arange(k)]).astype(np.float64)

    def kappa(sums: Floats) -> NDArray[np.float64]:
        one, other = np.split(sums[:, 1:], 2, axis=1)
        n = one.sum(axis=1)
        return _beyond_chance(sums[:, 0], n - (one * other).sum(axis=1) / np.maximum(n, 1))

    return _interval(each, item_of, kappa, confidence, on, rng)


def positive_agreement(counts: Ints, raters: Ints) -> NDArray[np.float64]:
    """(k,): where one person chose the category, how often another chose it too (specific agreement, Dice 1945; of many
    people, Uebersax 1982); nan where nobody did.
    """
    n_uk, m = np.asarray(counts, dtype=np.float64), np.asarray(raters, dtype=np.float64)[:, None]
    both, chances = (n_uk * (n_uk - 1) / np.maximum(m - 1, 1)).sum(axis=0), (n_uk * (m > 1)).sum(axis=0)
    out: NDArray[np.float64] = np.where(chances > 0, both / np.maximum(chances, LEAST), np.nan)
    return out


def masi_distance(sets: Bools) -> NDArray[np.float64]:
    """(v, l) sets of labels -> (v, v): 1 less Jaccard index times monotonicity (Passonneau 2006): 1 for equal sets, 2/3
    where one holds the other, 1/3 where they overlap, 0 where they share nothing. Two empty sets are equal.
    """
    member = np.asarray(sets, dtype=np.float64)
    both, size = member @ member.T, member.sum(axis=1)
    either = size[:, None] + size[None, :] - both
    smaller = np.minimum(size[:, None], size[None, :])
    monotone = np.select([both == either, both == smaller, both > 0], [1.0, 2 / 3, 1 / 3], 0.0)
    jaccard = np.where(either > 0, both / np.maximum(either, 1), 1.0)
    out: NDArray[np.float64] = 1.0 - jaccard * monotone
    return out


def _shares(counts: Ints, raters: Ints, item_of: Ints) -> tuple[NDArray[np.float64], Ints]:
    """Of each unit with two answers or more: 1, the share (k) that chose each category, the share (k) of pairs in which
    both did; and its item.
    """
    several = raters > 1
    n_uk, m = np.asarray(counts, dtype=np.float64)[several], np.asarray(raters, dtype=np.float64)[several, None]
    each = np.concatenate([np.ones((len(n_uk), 1)), n_uk / m, n_uk * (n_uk - 1) / (m * (m - 1))], axis=1)
    return each, np.asarray(item_of)[several]


def _kappas(sums: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of `_shares` (d, 1 + 2k) -> kappa (d,), and that of each category (d, k)."""
    units = np.maximum(sums[:, :1], 1.0)
    said, both = np.split(sums[:, 1:], 2, axis=1)
    observed, expected = said - both, said * (1 - said / units)
    return _beyond_chance(observed.sum(axis=1), expected.sum(axis=1)), _beyond_chance(observed, expected)


def _beyond_chance(observed: Floats, expected: Floats) -> NDArray[np.float64]:
    """1 less disagreement observed over disagreement expected; 1 where none was expected, which then none was."""
    out: NDArray[np.float64] = np.where(expected > LEAST, 1 - observed / np.maximum(expected, LEAST), 1.0)
    return out


def _nominal_or_interval(metric: str, k: int) -> NDArray[np.float64]:
    steps = np.arange(k, dtype=np.float64)
    out: NDArray[np.float64] = 1.0 - np.eye(k) if metric == "nominal" else (steps[:, None] - steps[None, :]) ** 2
    return out


def _ordinal_alpha(sums: Floats) -> NDArray[np.float64]:
    """(d, k * k) coincidences -> (d,). How far two steps of a scale are apart depends on how many answers lie between."""
    k = round(np.shape(sums)[1] ** 0.5)
    o = np.asarray(sums, dtype=np.float64).reshape(-1, k, k)
    n_k = o.sum(axis=2)
    middle = np.cumsum(n_k, axis=1) - n_k / 2
    delta = (middle[:, :, None] - middle[:, None, :]) ** 2
    n = n_k.sum(axis=1)
    expected = (delta * n_k[:, :, None] * n_k[:, None, :]).sum(axis=(1, 2)) / np.maximum(n - 1, 1)
    return _beyond_chance((delta * o).sum(axis=(1, 2)), expected)


def _interval(
    each: Floats,
    item_of: Ints,
    statistic: Callable[[Floats], Floats],
    confidence: float,
    on: str,
    rng: np.random.Generator,
    support: int | None = None,
) -> Interval:
    """A statistic of sums over units, from items drawn whole. Where nobody disagreed, a bootstrap knows no doubt: Wilson's
    interval over the items (`support` of them, if not all count) stands in.
    """
    names, of = np.unique(item_of, return_inverse=True)
    per_item = np.zeros((len(names), each.shape[1]))
    np.add.at(per_item, of, each)
    n = len(names) if support is None else support
    value = float(statistic(per_item.sum(axis=0, keepdims=True))[0])
    if value > 1 - LEAST:
        return Interval(1.0, wilson(n, n, confidence)[0], 1.0, n, on, "Wilson score over the items")
    rows, times = np.unique(per_item, axis=0, return_counts=True)
    found = bootstrap_interval(rows, statistic, confidence=confidence, on=on, rng=rng, times=times)
    return Interval(value, found.lo, found.hi, n, on, found.method)
