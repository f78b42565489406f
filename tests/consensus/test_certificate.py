"""The certificate against known truth: unbiased, and its interval covers as often as it says."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from consensus.certificate import RandomDraw, certify
from consensus.posterior import Belief, believe
from consensus.votes import VoteTable
from selector.batch import choose_batch
from selector.uncertainty import signals
from stillhouse.measures import binomial_interval
from stillhouse.probabilities import margin
from stillhouse.records import Interval
from tests.consensus.worlds import World, belief_of, drawn, said, world

CONFIDENCE = 0.95


def certified(belief: Belief, draws: list[RandomDraw], confidence: float) -> Interval:
    """The accuracy of a belief of single labels: an item is right or wrong, and its confidence is what it expects."""
    rows, targets = belief.answers.rows, belief.answers.targets
    error, answered = np.zeros(len(belief.probs)), np.zeros(len(belief.probs), dtype=bool)
    error[rows] = belief.out_of_fold[rows].argmax(axis=1) != targets.argmax(axis=1)
    answered[rows] = True
    return certify(error, 1 - belief.out_of_fold.max(axis=1), answered, draws, confidence)


@dataclass(frozen=True)
class Measured:
    """What was certified in each repetition and what was true."""

    intervals: list[Interval]
    truth: list[float]

    def coverage(self) -> float:
        return float(np.mean([i.lo <= true <= i.hi for i, true in zip(self.intervals, self.truth, strict=True)]))

    def promised_too_much(self) -> float:
        return float(np.mean([i.lo > true for i, true in zip(self.intervals, self.truth, strict=True)]))

    def bias(self) -> tuple[float, float]:
        """Mean of the estimate less the truth, and its standard error."""
        gaps = np.array([i.value for i in self.intervals]) - self.truth
        return float(gaps.mean()), float(gaps.std() / np.sqrt(len(gaps)))


def answered(belief: Belief, w: World, rows: np.ndarray) -> Belief:
    """A belief that did not learn from its answers, so that a simulation is cheap."""
    probs = belief.out_of_fold.copy()
    probs[rows] = np.eye(probs.shape[1])[w.truth[rows]]
    return replace(belief, probs=probs, answers=w.answers(rows))


def unlearned(seed: int, n: int, accuracy: float) -> World:
    """A teacher that is right where it is sure, at best."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    confidence = 1 / 3 + 2 / 3 * rng.beta(6 * accuracy, 6 * (1 - accuracy), n)
    right = rng.random(n) < 0.3 * accuracy + 0.7 * confidence
    votes = said(np.where(right, truth, (truth + 1) % 3), 3, confidence)
    table = VoteTable(("teacher",), votes[None], np.ones((1, n), dtype=bool))
    return World(table, np.ones((n, 1)), truth, np.zeros(n, dtype=np.int64))


def rounds_of_draws(
    belief: Belief, n: int, rounds: int, random: int, targeted: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[RandomDraw]]:
    """Answered rows and draws: each round a random share first, then the least certain."""
    waiting, draws = np.ones(n, dtype=bool), []
    for _ in range(rounds):
        population = np.flatnonzero(waiting)
        rows = rng.choice(population, random, replace=False)
        waiting[rows] = False
        left = np.flatnonzero(waiting)
        waiting[left[np.argsort(belief.out_of_fold[left].max(axis=1), kind="stable")[:targeted]]] = False
        draws.append(RandomDraw(rows, population))
    return np.flatnonzero(~waiting), draws


@pytest.mark.parametrize(
    ("n", "accuracy", "rounds", "random", "targeted"),
    [
        (2000, 0.9, 4, 50, 100),
        (2000, 0.97, 4, 50, 100),
        (400, 0.9, 2, 25, 50),
        (1000, 0.8, 1, 100, 0),
        (2000, 0.8, 3, 38, 112),
    ],
)
def test_interval_covers_and_estimate_is_unbiased(
    n: int, accuracy: float, rounds: int, random: int, targeted: int
) -> None:
    """Rounds of random and targeted picks, many times: the interval holds the true accuracy in at least 93 %, the
    lower end promises too much in at most 5 %, and the estimate is off by less than noise or half a point.
    """
    intervals, truth = [], []
    rng = np.random.default_rng(0)
    for repetition in range(400):
        w = unlearned(repetition, n, accuracy)
        bare = believe(w.votes, None, None, w.answers(np.empty(0, np.intp)), rng=rng)
        rows, draws = rounds_of_draws(bare, n, rounds, random, targeted, rng)
        belief = answered(bare, w, rows)
        intervals.append(certified(belief, draws, CONFIDENCE))
        truth.append(float((belief.probs.argmax(axis=1) == w.truth).mean()))
    measured = Measured(intervals, truth)
    bias, error = measured.bias()
    assert measured.coverage() >= 0.93
    assert measured.promised_too_much() <= 0.05
    assert abs(bias) < max(3 * error, 0.005)


def test_covers_when_belief_learns_from_the_answers_it_is_judged_on() -> None:
    """The whole chain in small, with real batches and a correction that learns from them: 100 pools, two rounds."""
    intervals, truth = [], []
    n = 150
    ids = [f"item {row:03d}" for row in range(n)]
    for seed in range(100):
        w = world(seed, n=n, k=2, noise=0.25)
        rng = np.random.default_rng(seed)
        rows, draws = np.empty(0, dtype=np.intp), []
        for number in range(2):
            waiting = np.ones(n, dtype=bool)
            waiting[rows] = False
            picks = choose_batch(
                ids,
                waiting,
                signals(1 - margin(w.votes.pooled())),
                w.text,
                size=24,
                random_share=0.5,
                near_duplicate_cosine=0.9999,
                round_number=number,
                rng=rng,
            )
            blind = np.array([ids.index(pick.item_id) for pick in picks if pick.blind])
            draws.append(RandomDraw(blind, np.flatnonzero(waiting)))
            rows = np.concatenate([rows, [ids.index(pick.item_id) for pick in picks]])
        belief = believe(w.votes, w.text, None, w.answers(rows), folds=3, rng=rng)
        intervals.append(certified(belief, draws, CONFIDENCE))
        truth.append(float((belief.probs.argmax(axis=1) == w.truth).mean()))
    measured = Measured(intervals, truth)
    bias, error = measured.bias()
    assert measured.coverage() >= 0.93
    assert abs(bias) < max(3 * error, 0.02)


def test_a_small_sample_without_errors_has_the_exact_interval() -> None:
    """Thirty of thirty right is not a certainty: the lower end is that of the exact binomial."""
    w = world(0, noise=0.0, biased=False)
    rows = drawn(0, 400, 30)
    measured = certified(belief_of(w, w.answers(rows)), [RandomDraw(rows, np.arange(400))], CONFIDENCE)
    assert measured.method == "exact binomial"
    assert measured.n == 30
    assert measured.hi == 1.0
    assert measured.lo == pytest.approx(1 - binomial_interval(0, 30, CONFIDENCE)[1])


def test_errors_that_were_answered_are_no_errors_of_the_delivery() -> None:
    """The exact interval is of the whole pool: errors found by people are taken off it."""
    w = unlearned(0, 200, 0.9)
    belief = believe(w.votes, None, None, w.answers(np.empty(0, np.intp)), rng=np.random.default_rng(0))
    wrong = np.flatnonzero(belief.out_of_fold.argmax(axis=1) != w.truth)
    right = np.setdiff1d(np.arange(200), wrong)
    rows = np.concatenate([wrong[:4], right[:36]])
    measured = certified(answered(belief, w, rows), [RandomDraw(rows, np.arange(200))], CONFIDENCE)
    least, most = binomial_interval(4, 40, CONFIDENCE)
    assert measured.method == "exact binomial"
    assert (measured.lo, measured.hi) == pytest.approx((1 - (200 * most - 4) / 200, 1 - (200 * least - 4) / 200))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_answers_certify_nothing(count: int) -> None:
    """One answer or none: anything between 0 and 1 may be true."""
    w = world(0)
    rows = drawn(0, 400, count)
    measured = certified(belief_of(w, w.answers(rows)), [RandomDraw(rows, np.arange(400))], CONFIDENCE)
    assert (measured.lo, measured.hi, measured.n) == (0.0, 1.0, count)
    assert "too few" in measured.method


def test_without_any_draw_nothing_is_certified() -> None:
    """Targeted answers alone say nothing of the pool."""
    w = world(0)
    measured = certified(belief_of(w, w.answers(drawn(0, 400, 40))), [], CONFIDENCE)
    assert (measured.lo, measured.hi, measured.n) == (0.0, 1.0, 0)


def test_a_draw_of_everything_leaves_no_doubt() -> None:
    """If the draw is the whole pool every label is a person's: accuracy is 1."""
    w = world(0, n=60)
    rows = np.arange(60)
    measured = certified(belief_of(w, w.answers(rows)), [RandomDraw(rows, rows)], CONFIDENCE)
    assert measured.value == pytest.approx(1.0)
    assert measured.hi == pytest.approx(1.0)


def test_exact_interval_against_published_values() -> None:
    """Clopper and Pearson for 10 of 100 at 95 %: 4.90 % to 17.62 %."""
    assert binomial_interval(10, 100, 0.95) == pytest.approx((0.0490, 0.1762), abs=1e-4)


def test_more_confidence_is_wider() -> None:
    """A 99 % interval holds the 90 % one."""
    w = unlearned(1, 400, 0.8)
    rows = drawn(1, 400, 80)
    bare = believe(w.votes, None, None, w.answers(rows[:0]), rng=np.random.default_rng(0))
    belief, draws = answered(bare, w, rows), [RandomDraw(rows, np.arange(400))]
    wide, narrow = certified(belief, draws, 0.99), certified(belief, draws, 0.90)
    assert wide.lo < narrow.lo < narrow.value < narrow.hi < wide.hi


@pytest.mark.parametrize(("spread", "share"), [(0.3, 0.2), (0.3, 0.02), (1.0, 0.1)])
def test_covers_scores_that_are_shares(spread: float, share: float) -> None:
    """Values that are partly right: the interval of the mean score holds it as often as it says, rare errors or not."""
    intervals, truth = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        error = np.where(rng.random(600) < share / spread, spread * rng.integers(1, 4, 600) / 3, 0.0)
        rows = rng.choice(600, 60, replace=False)
        answered = np.isin(np.arange(600), rows)
        read = np.where(answered, error, np.nan)
        intervals.append(certify(read, np.full(600, share), answered, [RandomDraw(rows, np.arange(600))], CONFIDENCE))
        truth.append(1 - float(error[~answered].sum()) / 600)
    measured = Measured(intervals, truth)
    bias, noise = measured.bias()
    assert measured.coverage() >= 0.93
    assert abs(bias) < max(3 * noise, 0.005)


def test_a_share_of_an_error_is_rounded_outward() -> None:
    """Half an error in forty: no less than none, no more than one; three thirds are one."""
    rows = np.arange(40)
    draws = [RandomDraw(rows, np.arange(4000))]
    error = np.zeros(4000)
    answered, expected = np.arange(4000) < 40, np.zeros(4000)
    error[0] = 0.5
    half = certify(error, expected, answered, draws, CONFIDENCE)
    assert half.hi == 1.0
    assert half.lo == pytest.approx(1 - binomial_interval(1, 40, CONFIDENCE)[1] + 0.5 / 4000)
    error[:3] = 1 / 3
    whole = certify(error, expected, answered, draws, CONFIDENCE)
    least = binomial_interval(1, 40, CONFIDENCE)[0]
    assert whole.hi == pytest.approx(1 - least + 1 / 4000)
