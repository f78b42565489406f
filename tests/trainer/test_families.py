"""Every architecture that can be a base goes through the whole life of a student."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.settings import Student
from tests.trainer.families import FAMILIES, write_tiny
from tests.trainer.test_units import tagged
from tests.trainer.tiny import LABELS, messages, settings
from trainer.artifact import load_student, save_student
from trainer.base import Base, load_base
from trainer.features import embed
from trainer.inputs import Inputs
from trainer.lora import target_linears
from trainer.presets import PRESETS
from trainer.student import fit_student
from trainer.windows import tokenise

N_LINEARS = {"modernbert": 8, "llama": 14, "qwen2": 14, "qwen3": 14, "mistral": 14}


@pytest.fixture(scope="module", params=list(FAMILIES))
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(str(write_tiny(tmp_path_factory.mktemp("family") / request.param, request.param)))


def family_of(base: Base) -> str:
    return base.folder.name


def test_a_student_learns_and_comes_back_the_same(base: Base, tmp_path: Path) -> None:
    """Head, then adapter: it beats chance (a third) on what it was taught, and what is loaded predicts the same to the
    last bit.
    """
    texts, labels = messages(60)
    how: dict[str, Any] = {"seed": 0, "base": base, "recipe": "lora"}
    student = fit_student(Inputs(texts), np.eye(3)[labels], np.ones(60), LABELS, settings(base.folder), **how)
    found = student.predict(Inputs(texts))
    assert (found.argmax(axis=1) == labels).mean() > 0.6
    save_student(student, tmp_path / "s", task_json="{}", metrics={}, card="")
    assert (load_student(tmp_path / "s").predict(Inputs(texts)) == found).all()


def test_neighbours_do_not_change_a_text(base: Base) -> None:
    """Padding beside a longer text is not read, whatever id the family pads with; a text in windows is read too."""
    short, long = "paper jam", "the account is locked again " * 30
    alone = embed(base, Inputs([short])).vectors[0]
    assert np.abs(embed(base, Inputs([long, short])).vectors[1] - alone).max() < 1e-5
    assert base.longest_tokens == 64


def test_words_have_vectors_of_their_own(base: Base) -> None:
    """Units of words are described by states of several layers: other words have other vectors."""
    inputs, _ = tagged(3)
    vectors = embed(base, inputs).vectors
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(5), axis=0)) > 4


def test_all_linear_layers_get_an_adapter(base: Base) -> None:
    """Query, key, value, output and the two or three of the feed-forward part, in each of two layers."""
    assert len(target_linears(base.encoder)) == N_LINEARS.get(family_of(base), 12)


def test_a_second_text_is_set_apart(base: Base) -> None:
    """Between two texts stands at least one token, also where the tokenizer has no frame."""
    together = tokenise(base, Inputs(["paper"], pairs=["jam"]), 64).lengths[0]
    alone = tokenise(base, Inputs(["paper"]), 64).lengths[0]
    assert together > alone + len(base.tokenizer("jam", add_special_tokens=False)["input_ids"])


def test_presets_say_when_to_take_which() -> None:
    """Each names a Hub id and says in a sentence what it is for; the default is one of them."""
    assert Student().base in {preset.base for preset in PRESETS}
    assert all(preset.when.endswith(".") and len(preset.when) > 30 for preset in PRESETS)
    assert len({preset.base for preset in PRESETS}) == len(PRESETS)
