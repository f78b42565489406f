"""How unsure belief and student are of each item, and how far they differ: scores in which larger means "ask a person"."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Floats, entropy, jensen_shannon, margin


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Scores (n,) by reason. All are larger where a person is needed more; each has its own unit."""

    by_reason: dict[str, NDArray[np.float64]]
    margin: NDArray[np.float64]
    entropy: NDArray[np.float64]


def signals(belief: Floats, student: Floats | None, votes: Floats) -> Signals:
    """`belief` (n, k), `student` (n, k) or None, `votes` (s, n, k) one distribution for each teacher variant.

    Reasons: `uncertain` 1 - margin of the belief (Scheffer et al. 2001), `student_unsure` the same of the student,
    `teacher_student` Jensen–Shannon divergence between belief and student, `variants` the same between the teacher's
    variants (the mean over pairs).
    """
    scores = {"uncertain": 1.0 - margin(belief)}
    if student is not None:
        scores["student_unsure"] = 1.0 - margin(student)
        scores["teacher_student"] = jensen_shannon(belief, student)
    pairs = [(a, b) for a in range(len(votes)) for b in range(a + 1, len(votes))]
    if pairs:
        scores["variants"] = np.add.reduce([jensen_shannon(votes[a], votes[b]) for a, b in pairs]) / len(pairs)
    return Signals(scores, margin(belief), entropy(belief))
