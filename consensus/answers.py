"""People's answers as rows of the votes' table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stillhouse.probabilities import Bools, Floats


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """People's answers as the posterior takes them: `rows` (a,) of the table, and `targets` (a, k), one-hot in each
    block; a row of nan is one that the answer says nothing of.
    """

    rows: NDArray[np.intp]
    targets: Floats

    def known(self) -> "Answers":
        """Without the rows of which nothing was said."""
        said = np.isfinite(self.targets.sum(axis=1))
        return self if said.all() else self.only(said)

    def only(self, kept: Bools) -> "Answers":
        """Those that `kept` (a,) says."""
        return Answers(self.rows[kept], self.targets[kept])
