"""Thresholds that promise an error: how often the promise is broken, and what is said where none can be made."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from stillhouse.errors import InputError
from trainer.risk import RiskScores, certified_threshold, fewest_items, p_value, thresholds_to_try

MANY = 20_000


def drawn(
    rng: np.random.Generator, n: int, *, overconfident: float = 1.0, whole: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A student that is right in 85 of 100 cases: how sure it is (n,), and its errors (n,)."""
    right = rng.beta(2.6, 0.45, n)
    errors = rng.random(n) > right
    shares = errors * (1.0 if whole else rng.choice([0.25, 0.5, 1.0], n))
    return right ** (1 / overconfident), shares.astype(float)


def scores(rng: np.random.Generator, n: int, **how: float | bool) -> RiskScores:
    sure, error = drawn(rng, n, **how)  # type: ignore[arg-type]
    return RiskScores(sure, error, "simulated", whole=bool(how.get("whole", True)))


@pytest.mark.parametrize("max_error", [0.05, 0.1])
@pytest.mark.parametrize("how", [{}, {"overconfident": 4.0}, {"whole": False}], ids=["honest", "too sure", "shares"])
def test_the_promise_is_broken_in_at_most_five_of_a_hundred_sets(
    max_error: float, how: dict[str, float | bool]
) -> None:
    """Over 300 simulated sets of answers; as far as so many sets can tell (one in a thousand by chance)."""
    rng = np.random.default_rng(1)
    sure, error = drawn(rng, MANY, **how)  # type: ignore[arg-type]
    broken = certified = 0
    for _ in range(300):
        bound = certified_threshold(scores(rng, 400, **how), max_error, 0.95)
        if bound.threshold is not None:
            certified += 1
            broken += bool(error[sure >= bound.threshold].mean() > max_error)
    assert certified > 50
    assert broken <= binom.ppf(0.999, 300, 0.05)


def test_a_student_without_skill_is_not_trusted() -> None:
    """Its probabilities say nothing of its errors, 10 in 100 at each: a promise of 5 is made in at most 5 % of sets."""
    rng = np.random.default_rng(2)
    made = 0
    for _ in range(200):
        found = RiskScores(rng.random(400), (rng.random(400) < 0.1).astype(float), "simulated", whole=True)
        made += certified_threshold(found, 0.05, 0.95).threshold is not None
    assert made <= binom.ppf(0.999, 200, 0.05)


def test_a_student_that_is_nearly_always_right_answers_everything() -> None:
    """The last threshold tried is 0: nobody is turned away for nothing."""
    rng = np.random.default_rng(3)
    found = RiskScores(rng.random(500), np.zeros(500), "simulated", whole=True)
    bound = certified_threshold(found, 0.03, 0.95)
    assert (bound.threshold, bound.answered, bound.errors) == (0.0, 500, 0.0)


@pytest.mark.parametrize(("max_error", "fewest"), [(0.05, 59), (0.03, 99), (0.01, 299)])
def test_too_few_answers_promise_nothing_and_say_how_many_it_takes(max_error: float, fewest: int) -> None:
    """One fewer than the exact binomial test needs."""
    assert fewest_items(max_error, 0.95) == fewest
    short = RiskScores(np.ones(fewest - 1), np.zeros(fewest - 1), "simulated", whole=True)
    bound = certified_threshold(short, max_error, 0.95)
    assert bound.threshold is None
    assert f"at least {fewest}" in bound.why
    enough = RiskScores(np.ones(fewest), np.zeros(fewest), "simulated", whole=True)
    assert certified_threshold(enough, max_error, 0.95).threshold is not None


def test_errors_among_the_surest_are_named_as_the_reason() -> None:
    """There are answers enough, but a student that errs where it is surest cannot be trusted."""
    rng = np.random.default_rng(4)
    sure = rng.random(300)
    found = RiskScores(sure, (sure > 0.8).astype(float), "simulated", whole=True)
    bound = certified_threshold(found, 0.03, 0.95)
    assert bound.threshold is None
    assert "are wrong, which is too many" in bound.why


Floats = NDArray[np.float64]
# How likely an error is at each probability, and how probabilities are spread.
WORLDS: dict[str, tuple[Callable[[Floats], Floats], Callable[[np.random.Generator, int], Floats]]] = {
    "right where sure": (lambda x: 1 - x, lambda rng, n: rng.beta(2.6, 0.4, n)),
    "equal probabilities": (lambda x: 1 - x, lambda rng, n: np.round(rng.beta(2.6, 0.4, n), 2)),
    "surest is worst": (lambda x: 0.09 * x, lambda rng, n: rng.random(n)),
    "up and down": (lambda x: 0.05 + 0.045 * np.sin(25 * x), lambda rng, n: rng.random(n)),
    "a cliff": (lambda x: np.where(x > 0.6, 0.01, 0.2), lambda rng, n: np.round(rng.random(n), 1)),
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_promise_does_not_rest_on_sureness_being_worth_something(world: str) -> None:
    """However error hangs on probability, one of 5 in 100 is broken in at most 5 % of 300 sets."""
    error_at, probabilities = WORLDS[world]
    rng = np.random.default_rng(8)
    many = probabilities(rng, 50_000)
    broken = 0
    for _ in range(300):
        sure = probabilities(rng, 300)
        error = (rng.random(300) < error_at(sure)).astype(float)
        bound = certified_threshold(RiskScores(sure, error, "simulated", whole=True), 0.05, 0.95)
        broken += bound.threshold is not None and bool(error_at(many[many >= bound.threshold]).mean() > 0.05)
    assert broken <= binom.ppf(0.999, 300, 0.05)


@given(st.integers(60, 500), st.integers(1, 60))
def test_thresholds_fall_to_nothing_and_the_first_answers_enough(n: int, least: int) -> None:
    """The first answers at least what the test needs, the last everything."""
    sure = np.random.default_rng(n).random(n)
    tried = thresholds_to_try(sure, least)
    assert (np.diff(tried) < 0).all()
    assert least <= (sure >= tried[0]).sum() <= n
    assert tried[-1] == 0.0


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0.005, 0.5))
def test_shares_are_never_tested_more_easily_than_whole_errors(n: int, share: float, max_error: float) -> None:
    """The bound for shares, on whole errors, is no smaller than the exact tail."""
    errors = np.zeros(n)
    errors[: int(share * n)] = 1.0
    assert p_value(errors, max_error, whole=False) >= p_value(errors, max_error, whole=True) - 1e-12


@given(st.integers(1, 200), st.integers(0, 199), st.floats(0.005, 0.5))
def test_one_error_more_is_never_better(n: int, wrong: int, max_error: float) -> None:
    """The p-value grows with every error."""
    errors = np.zeros(n)
    errors[: min(wrong, n - 1)] = 1.0
    worse = errors.copy()
    worse[-1] = 1.0
    for whole in (True, False):
        assert p_value(worse, max_error, whole=whole) >= p_value(errors, max_error, whole=whole)


@pytest.mark.parametrize(("max_error", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.03, 1.0), (0.03, 0.3)])
def test_wishes_that_are_none_are_refused(max_error: float, confidence: float) -> None:
    """Nothing is wrong never, and nothing is certain."""
    found = scores(np.random.default_rng(6), 200)
    with pytest.raises(InputError, match="cannot be promised"):
        certified_threshold(found, max_error, confidence)


def test_scores_are_the_same_after_a_file() -> None:
    """What is certified before a student is saved is certified after it is loaded."""
    found = scores(np.random.default_rng(7), 400)
    again = RiskScores.of_json(found.to_json())
    assert certified_threshold(again, 0.05, 0.95) == certified_threshold(found, 0.05, 0.95)
