"""Thresholds of labels."""

import numpy as np

from kinds.thresholds import f1_thresholds


def test_thresholds_reach_a_better_f1_than_one_half_on_a_rare_label() -> None:
    """On calibrated probabilities of a rare label, the F1 over the items is higher than at 0.5."""
    rng = np.random.default_rng(3)
    p = rng.beta(0.4, 2.5, size=20_000)
    truth = rng.random(len(p)) < p
    probs = np.stack([1 - p, p], axis=1)

    def f1(threshold: float) -> float:
        said = p > threshold
        return float(2 * (said & truth).sum() / (said.sum() + truth.sum()))

    threshold = float(f1_thresholds(probs)[0])
    assert threshold < 0.5
    assert f1(threshold) > f1(0.5) + 0.05
    assert f1(threshold) > max(f1(t) for t in np.linspace(0.05, 0.95, 19)) - 0.01


def test_without_items_every_label_is_asked_for_a_half() -> None:
    """There is nothing to go by."""
    assert f1_thresholds(np.zeros((0, 4))).tolist() == [0.5, 0.5]
