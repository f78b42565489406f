"""Which items are alike for the question "is the teacher wrong here, and how?": a kernel on votes and texts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, one_hot

# Weights of the parts, chosen on helpdesk and Banking77 (benchmarks/label_efficiency.py shows what they reach).
VOTES, TEXT, TEXT_GIVEN_VOTES, EVERYWHERE = 1.0, 9.0, 9.0, 1.0
LOG_FLOOR = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Two items are alike if the teachers said alike of them, if their texts are alike, or both at once.

    `said` (n, 2sk): log-probabilities and top label of each source. `shape` (n, sk): the votes as one unit vector.
    `text` (n, d): unit embeddings, or None.
    """

    said: Floats
    shape: Floats
    text: Floats | None

    def kernel(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
        """(len(rows), len(columns)), positive semi-definite: sums and products of kernels are kernels."""
        K = EVERYWHERE + VOTES * (self.said[rows] @ self.said[columns].T)
        if self.text is not None:
            alike = (self.text[rows] @ self.text[columns].T).astype(np.float64)
            K += TEXT * alike + TEXT_GIVEN_VOTES * alike * (self.shape[rows] @ self.shape[columns].T)
        out: NDArray[np.float64] = np.asarray(K, dtype=np.float64)
        return out


def evidence_of(votes: VoteTable, text: Floats | None) -> Evidence:
    k = votes.probs.shape[2]
    logs = [np.log(probs + LOG_FLOOR) / 2 for probs in votes.probs]
    tops = [
        one_hot(probs.argmax(axis=1), k) * usable[:, None]
        for probs, usable in zip(votes.probs, votes.usable, strict=True)
    ]
    said = np.hstack([log - log.mean(axis=1, keepdims=True) for log in logs] + tops)
    shape = np.hstack(list(votes.probs))
    shape /= np.linalg.norm(shape, axis=1, keepdims=True)
    return Evidence(said, shape, text)
