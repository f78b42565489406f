"""Which penalty a head gets: the usual one, unless held-out texts say clearly that another is better."""

from typing import Any

import numpy as np
import pytest

from tests.trainer.tiny import LABELS, settings
from trainer.base import Base
from trainer.inputs import Inputs
from trainer.linear import DEFAULT_C
from trainer.student import HeldOut, fit_student


@pytest.mark.parametrize(("noise", "usual"), [(0.0, True), (6.0, False)])
def test_the_usual_penalty_stays_unless_another_is_clearly_better(tiny: Base, noise: float, usual: bool) -> None:
    """Labels that features explain leave it; features that are mostly noise ask for a stronger one."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    X = (np.eye(3)[labels] @ rng.normal(size=(3, 32)) + (0.3 + noise) * rng.normal(size=(400, 32))).astype(np.float32)
    Y = np.eye(3)[labels]
    how: dict[str, Any] = {"features": X, "held_out": HeldOut(np.arange(100), Y[:100]), "recipe": "head"}
    texts = Inputs(["paper"] * 400)
    student = fit_student(texts, Y, np.ones(400), LABELS, settings(tiny.folder), seed=0, base=tiny, **how)
    assert (student.facts["C"] == DEFAULT_C) == usual
