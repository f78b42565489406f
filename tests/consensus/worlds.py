"""Simulated pools whose true labels are known: clusters of texts, and teachers that are wrong in a chosen way."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.posterior import Answers, Belief, believe
from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, one_hot


@dataclass(frozen=True)
class World:
    votes: VoteTable
    text: NDArray[np.float64]
    truth: NDArray[np.int64]
    cluster: NDArray[np.int64]

    def answers(self, rows: NDArray[np.intp]) -> Answers:
        return Answers(rows, one_hot(self.truth[rows], self.votes.probs.shape[2]))

    def teacher_accuracy(self) -> float:
        return float((self.votes.pooled().argmax(axis=1) == self.truth).mean())


def said(labels: NDArray[np.int64], k: int, confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Votes (n, k) for these labels; the rest of each vote spread evenly."""
    probs = np.repeat(((1 - confidence) / (k - 1))[:, None], k, axis=1)
    probs[np.arange(len(labels)), labels] = confidence
    return probs


def world(seed: int, *, n: int = 400, k: int = 3, noise: float = 0.1, biased: bool = True, sources: int = 1) -> World:
    """Two clusters of texts a label. Each source errs at random (`noise`); if `biased`, all say 1 for cluster 0."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(2 * k + 2, 2 * k)))[0].T
    cluster = rng.integers(0, 2 * k, n)
    text = centres[cluster] + 0.15 * rng.normal(size=(n, 2 * k + 2))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    truth = cluster % k
    tables = []
    for _ in range(sources):
        label = np.where(rng.random(n) < noise, rng.integers(0, k, n), truth)
        if biased:
            label = np.where(cluster == 0, 1, label)
        tables.append(said(label, k, rng.uniform(0.6, 0.95, n)))
    names = tuple(f"teacher {number}" for number in range(sources))
    return World(VoteTable(names, np.stack(tables), np.ones((sources, n), dtype=bool)), text, truth, cluster)


def drawn(seed: int, n: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).choice(n, count, replace=False)


def belief_of(w: World, answers: Answers, *, text: bool = True, student: Floats | None = None) -> Belief:
    return believe(w.votes, w.text if text else None, student, answers, rng=np.random.default_rng(5))
