"""Agreement beyond chance is what the papers that define it say it is, and its intervals hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from stillhouse.agreement import (
    Metric,
    cohen_kappa,
    fleiss_kappa,
    fleiss_kappa_by_class,
    krippendorff_alpha,
    masi_distance,
    positive_agreement,
)
from stillhouse.measures import wilson
from stillhouse.records import Interval

# Krippendorff (2011), example C: four observers, twelve units, a dot where an observer said nothing.
FOUR_OBSERVERS = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
# The same, example B: two observers, no value missing.
BEN, GERRY = "a a b b d c c c e d d a", "b a b b b c c c e d d d"
# Fleiss' kappa of fourteen psychiatrists and ten patients, as Cardillo (2007) prints it.
FOURTEEN_PSYCHIATRISTS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def counts_of(*observers: str) -> NDArray[np.int64]:
    """(u, k) of observers' values, a unit each, categories in order."""
    said = [line.split() for line in observers]
    names = sorted({value for line in said for value in line} - {"."})
    return np.array([[sum(v == name for v in unit) for name in names] for unit in zip(*said, strict=True)])


def alpha_of(counts: NDArray[np.int64], metric: Metric | NDArray[np.float64] = "nominal") -> Interval | None:
    rng = np.random.default_rng(0)
    return krippendorff_alpha(counts, np.arange(len(counts)), metric, confidence=0.95, on="", rng=rng)


def kappa_of(a: NDArray[np.int64], b: NDArray[np.int64], k: int) -> Interval | None:
    return cohen_kappa(a, b, np.arange(len(a)), k, confidence=0.95, on="", rng=np.random.default_rng(0))


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_as_published(metric: Metric, published: float) -> None:
    """Four observers with values missing (Krippendorff 2011, example C), each metric."""
    found = alpha_of(counts_of(*FOUR_OBSERVERS), metric)
    assert found is not None
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.n == 11  # one unit has a single value, which can be paired with none


def test_alpha_of_two_observers_is_as_published() -> None:
    """Krippendorff (2011), example B."""
    found = alpha_of(counts_of(BEN, GERRY))
    assert found is not None
    assert found.value == pytest.approx(0.692, abs=5e-4)


def test_a_distance_of_ones_is_the_nominal_metric() -> None:
    """What a matrix says and what the name says are one."""
    counts = counts_of(*FOUR_OBSERVERS)
    assert alpha_of(counts, 1.0 - np.eye(5)) == alpha_of(counts)


def test_fleiss_kappa_is_as_published() -> None:
    """Over all and by category, to the four digits that are printed."""
    units = np.arange(10)
    rng = np.random.default_rng(0)
    overall = fleiss_kappa(FOURTEEN_PSYCHIATRISTS, units, confidence=0.95, on="", rng=rng)
    each = fleiss_kappa_by_class(FOURTEEN_PSYCHIATRISTS, np.full(10, 14), units, confidence=0.95, on="", rng=rng)
    assert overall is not None
    assert overall.value == pytest.approx(0.2099, abs=5e-5)
    values = [found.value if found else None for found in each]
    assert values == pytest.approx([0.2013, 0.0797, 0.1716, 0.0304, 0.5077], abs=5e-5)


def test_alpha_and_fleiss_kappa_differ_by_small_samples_only() -> None:
    """With 100 copies of every unit, alpha's correction for few values is gone."""
    many = np.repeat(FOURTEEN_PSYCHIATRISTS, 100, axis=0)
    found = alpha_of(many)
    assert found is not None
    assert found.value == pytest.approx(0.2099, abs=2e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30))
def test_cohens_kappa_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Wherever it is defined."""
    a, b = np.array(pairs).T
    found = kappa_of(a, b, 4)
    if len({*a, *b}) < 2:
        assert found is None
    else:
        assert found is not None
        assert found.value == pytest.approx(cohen_kappa_score(a, b))


def test_masi_has_four_steps() -> None:
    """Equal, one within the other, overlapping, apart (Passonneau 2006); empty sets are equal to each other alone."""
    sets = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=bool)
    assert masi_distance(sets)[0] == pytest.approx([0, 0, 1 - 1 / 2 * 2 / 3, 1 - 1 / 3 * 1 / 3, 1, 1])
    assert masi_distance(sets)[5] == pytest.approx([1, 1, 1, 1, 1, 0])


def test_nothing_to_compare_is_no_number() -> None:
    """A value of one person each, or one value throughout: alpha and kappa are not defined, and none is invented."""
    rng = np.random.default_rng(0)
    for counts in (np.eye(3, dtype=np.int64), np.array([[2, 0], [3, 0]]), np.zeros((0, 3), dtype=np.int64)):
        units = np.arange(len(counts))
        assert alpha_of(counts) is None
        assert fleiss_kappa(counts, units, confidence=0.95, on="", rng=rng) is None
        each = fleiss_kappa_by_class(counts, counts.sum(axis=1), units, confidence=0.95, on="", rng=rng)
        assert each == [None] * counts.shape[1]
    assert kappa_of(np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64), 2) is None


def test_agreeing_throughout_leaves_doubt() -> None:
    """Ten items of two labels without one disagreement: Wilson's lower bound, not 1."""
    counts = np.array([[2, 0], [0, 2]] * 5)
    found = alpha_of(counts)
    assert found is not None
    assert (found.value, found.lo, found.hi) == (1.0, wilson(10, 10, 0.95)[0], 1.0)


def test_a_rare_category_says_on_how_few_items_it_rests() -> None:
    """Chosen by both in one item of fifty: agreement so far, on one item, and the interval says so."""
    counts = np.array([[2, 0]] * 49 + [[0, 2]])
    each = fleiss_kappa_by_class(
        counts, counts.sum(axis=1), np.arange(50), confidence=0.95, on="", rng=np.random.default_rng(0)
    )
    assert each[1] is not None
    assert (each[1].value, each[1].lo, each[1].n) == (1.0, wilson(1, 1, 0.95)[0], 1)


def test_units_of_one_item_are_drawn_together() -> None:
    """Forty words of two texts are no forty texts: the interval is as wide as that of two."""
    rng = np.random.default_rng(0)
    counts = np.repeat([[2, 0], [1, 1], [0, 2], [0, 2]], 10, axis=0)
    apart = krippendorff_alpha(counts, np.arange(40), confidence=0.95, on="", rng=rng)
    together = krippendorff_alpha(counts, np.repeat([0, 1], 20), confidence=0.95, on="", rng=rng)
    assert apart is not None
    assert together is not None
    assert together.value == apart.value
    assert together.hi - together.lo > 1.5 * (apart.hi - apart.lo)


def test_positive_agreement_is_how_often_a_second_person_chooses_the_same() -> None:
    """Two of three chose the first label, both of two the second: of the first's two, each has one of two others."""
    counts = np.array([[2, 1, 0], [0, 2, 0]])
    assert positive_agreement(counts, counts.sum(axis=1)) == pytest.approx([1 / 2, 2 / 3, np.nan], nan_ok=True)


@pytest.mark.parametrize("people", [2, 3])
def test_the_interval_of_alpha_holds_the_truth(people: int) -> None:
    """In at least 92 of 100 samples of 80 items at a promised 95: three labels, everybody wrong now and then."""
    rng = np.random.default_rng(1)
    shares = np.array([0.6, 0.3, 0.1])

    def sample(n: int) -> NDArray[np.int64]:
        truth = rng.choice(3, n, p=shares)
        said = np.where(rng.random((people, n)) < 0.85, truth, rng.choice(3, (people, n), p=shares))
        return np.stack([(said == label).sum(axis=0) for label in range(3)], axis=1)

    population = alpha_of(sample(10_000))
    assert population is not None
    held = 0
    for _ in range(150):
        counts = sample(80)
        found = krippendorff_alpha(counts, np.arange(80), confidence=0.95, on="", rng=rng)
        assert found is not None
        held += found.lo <= population.value <= found.hi
    assert held / 150 >= 0.92
