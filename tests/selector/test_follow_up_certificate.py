"""Second opinions and the certificate: asked by one rule of all the random share, they leave it true; simulated, many times."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.certificate import RandomDraw, certify
from selector.follow_up import second_opinions

ITEMS, LABELS, ROUNDS, DRAWN, TARGETED = 1500, 6, 4, 24, 40
BELOW, CONFIDENCE, REPEATS = 0.1, 0.95, 100
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Simulated:
    """A pool whose belief (n, k) is calibrated, and three people who err alone: what each would say of each item (3, n)."""

    belief: NDArray[np.float64]
    truth: Ints
    people: Ints

    @staticmethod
    def of(rng: np.random.Generator, error: float) -> "Simulated":
        sharp = rng.gamma(1.0, 4.0, ITEMS)[:, None]
        logits = rng.normal(size=(ITEMS, LABELS)) * sharp
        belief = np.exp(logits - logits.max(axis=1, keepdims=True))
        belief /= belief.sum(axis=1, keepdims=True)
        truth = (belief.cumsum(axis=1) > rng.random(ITEMS)[:, None]).argmax(axis=1)
        slips = (truth + rng.integers(1, LABELS, (3, ITEMS))) % LABELS
        return Simulated(belief, truth, np.where(rng.random((3, ITEMS)) < error, slips, truth))

    def checked(self) -> Ints:
        """(n,): what people would say of each item in the end, if the rule were followed for all."""
        first, second, chief = self.people
        doubted = self.belief[np.arange(ITEMS), first] < BELOW
        said: Ints = np.where(doubted & (first != second), chief, first)
        return said


@dataclass(frozen=True)
class Found:
    """Whether the interval holds the share of labels that people would call right in the end, and that is right."""

    covers_people: bool
    covers_truth: bool
    bias: float


def run(rng: np.random.Generator, error: float, most: int | None) -> Found:
    """`most` targeted second opinions a round; with None nobody is asked twice."""
    world = Simulated.of(rng, error)
    said, final = world.belief.argmax(axis=1), world.people[0] if most is None else world.checked()
    labels, answered, known = np.full(ITEMS, -1), np.zeros(ITEMS, dtype=bool), np.zeros(ITEMS, dtype=bool)
    draws = []
    for _ in range(ROUNDS):
        population = np.flatnonzero(~answered)
        drawn = rng.choice(population, DRAWN, replace=False)
        left = np.setdiff1d(population, drawn)
        targeted = left[np.argsort(world.belief[left].max(axis=1))][:TARGETED]
        batch = np.concatenate([drawn, targeted])
        chance = world.belief[batch, world.people[0][batch]]
        again = np.empty(0, dtype=np.intp)
        if most is not None:
            ids = [str(row) for row in batch]
            again = second_opinions(ids, chance, np.isin(batch, drawn), below=BELOW, most=most)
        labels[batch] = world.people[0][batch]
        labels[batch[again]] = final[batch[again]]
        answered[batch] = True
        known[batch] = (chance >= BELOW) | (most is None)  # as loop.follow.unchecked has it
        known[batch[again]] = True
        draws.append(RandomDraw(drawn, population))
    wrong, expected = (said != labels).astype(float), 1.0 - world.belief.max(axis=1)
    interval = certify(wrong, expected, known, draws, CONFIDENCE)
    by_people, by_truth = float(np.mean(known | (said == final))), np.where(known, labels, said) == world.truth
    covers = [interval.lo <= truth <= interval.hi for truth in (by_people, float(np.mean(by_truth)))]
    return Found(covers[0], covers[1], interval.value - by_people)


def repeated(error: float, most: int | None) -> list[Found]:
    return [run(np.random.default_rng([5, seed]), error, most) for seed in range(REPEATS)]


@pytest.mark.parametrize("most", [0, 6])
def test_answers_checked_by_one_rule_leave_the_certificate_true(most: int) -> None:
    """It holds what people would say in the end, and where they err alone also what is true; whatever the cap."""
    found = repeated(0.15, most)
    assert np.mean([each.covers_people for each in found]) >= 0.93
    assert np.mean([each.covers_truth for each in found]) >= 0.93
    assert abs(np.mean([each.bias for each in found])) < 0.004


def test_slips_that_nobody_checks_count_against_the_labels() -> None:
    """One answer an item: the certificate holds what one person says, which is too low for the truth."""
    found = repeated(0.15, None)
    assert np.mean([each.covers_people for each in found]) >= 0.93
    assert np.mean([each.covers_truth for each in found]) < 0.9
