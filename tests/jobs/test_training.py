"""A student taught by other processes is the student that this one would have taught."""

from pathlib import Path

import numpy as np
import pytest

from jobs.lessons import Lesson
from jobs.students import taught_on
from stillhouse.errors import ModelError
from tests.jobs.conftest import Here
from tests.trainer.tiny import LABELS, messages, settings
from trainer.base import Base
from trainer.inputs import Inputs
from trainer.student import HeldOut


def lesson(base: Base, **changes: object) -> Lesson:
    texts, labels = messages(120)
    targets = np.eye(3)[labels]
    held = np.arange(20)
    return Lesson(
        Inputs(texts),
        targets,
        np.ones(len(texts)),
        LABELS,
        settings(base.folder, **changes),
        1,
        3,
        HeldOut(held, targets[held]),
        "lora",
    )


def test_two_processes_of_another_teach_what_this_one_does(tiny: Base, tmp_path: Path) -> None:
    """The lesson goes through files, torchrun shares its steps, the student comes back, and a repeat teaches nothing."""
    here = lesson(tiny).taught(base=tiny)
    there = taught_on(Here(), lesson(tiny), tiny, tmp_path, task_json="{}", processes=2)
    texts = Inputs(messages(30, seed=9)[0])
    assert np.allclose(there.predict(texts), here.predict(texts), atol=1e-3)
    assert there.base.name == tiny.name
    (folder,) = tmp_path.glob("student-*/student")
    before = (folder / "manifest.json").stat().st_mtime_ns
    taught_on(Here(), lesson(tiny), tiny, tmp_path, task_json="{}", processes=2)
    assert (folder / "manifest.json").stat().st_mtime_ns == before


def test_a_training_that_fails_says_why(tiny: Base, tmp_path: Path) -> None:
    """What the process said comes back, and what to do."""
    with pytest.raises(ModelError, match="training diverged"):
        taught_on(Here(), lesson(tiny, learning_rate=1e30), tiny, tmp_path, task_json="{}")
