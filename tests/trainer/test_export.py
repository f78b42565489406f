"""Exports: what every engine says is what the student says, for every architecture and kind of unit."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import InputError, ModelError
from stillhouse.measures import mean_score_interval, paired_mean_difference
from tests.trainer.conftest import taught
from tests.trainer.families import write_tiny
from tests.trainer.test_units import tagger
from tests.trainer.tiny import LABELS, messages, settings
from trainer.artifact import save_student
from trainer.base import Base, load_base
from trainer.engines import EXPORT, engine_in, is_export, model_id_in, predictor
from trainer.export import Target, export_student
from trainer.fitted import FittedStudent
from trainer.graphs import needed
from trainer.inputs import Inputs
from trainer.parity import Parity, export_card, parity_of
from trainer.student import fit_student

TEXTS = [*messages(30, seed=5)[0], "", "toner " * 200]


def exported(student: FittedStudent, folder: Path, target: Target, **changes: Any) -> FittedStudent:
    how: dict[str, Any] = {"task_json": "{}", "describe": lambda _: "# card", "calibration": Inputs(messages(40)[0])}
    export_student(student, folder, target, **(how | changes))
    return predictor(folder)


def furthest(student: FittedStudent, other: FittedStudent, inputs: Inputs) -> float:
    return float(np.abs(student.predict(inputs) - other.predict(inputs)).max())


@pytest.mark.parametrize("target", ["safetensors", "openvino", "onnx"])
def test_an_export_says_what_the_student_says(lora_student: FittedStudent, tmp_path: Path, target: Target) -> None:
    """Also of an empty text and of one in windows; its id is its own, and it needs no base."""
    found = exported(lora_student, tmp_path / "out", target)
    assert furthest(lora_student, found, Inputs(TEXTS)) < 1e-4
    assert found.model_id == model_id_in(tmp_path / "out") != lora_student.model_id
    assert found.base.folder == tmp_path / "out"


def test_int8_says_nearly_what_the_student_says(lora_student: FittedStudent, tmp_path: Path) -> None:
    """The same label nearly always, and the same probabilities for a text whatever stands beside it."""
    found = exported(lora_student, tmp_path / "out", "openvino-int8")
    texts = messages(60, seed=8)[0]
    said, before = found.predict(Inputs(texts)), lora_student.predict(Inputs(texts))
    assert (said.argmax(axis=1) == before.argmax(axis=1)).mean() > 0.9
    assert np.abs(found.predict(Inputs(texts[:1]))[0] - said[0]).max() < 1e-4
    assert engine_in(tmp_path / "out") == "openvino-int8"


@pytest.mark.parametrize("family", ["modernbert", "deberta-v2", "mbart", "mistral"])
def test_every_architecture_can_be_exported(family: str, tmp_path: Path) -> None:
    """Windows of attention, relative positions, half of a translation model, and a decoder; the others are built alike."""
    base = load_base(str(write_tiny(tmp_path / "base", family)))
    texts, labels = messages(40)
    how: dict[str, Any] = {"seed": 0, "base": base, "recipe": "head"}
    student = fit_student(Inputs(texts), np.eye(3)[labels], np.ones(40), LABELS, settings(base.folder), **how)
    for target in ("safetensors", "openvino", "onnx"):
        assert furthest(student, exported(student, tmp_path / target, target), Inputs(TEXTS)) < 1e-4


@pytest.mark.parametrize("target", ["safetensors", "openvino", "onnx"])
def test_a_tagger_is_exported_with_its_layers(tiny: Base, tmp_path: Path, target: Target) -> None:
    """Words are described by several layers, which the graph gives beside each other."""
    student = tagger(tiny, "lora")
    inputs = Inputs(["paper jam again"], spans=[np.array([[0, 5], [6, 9], [10, 15]])])
    assert furthest(student, exported(student, tmp_path / "out", target), inputs) < 1e-4


@pytest.mark.parametrize("target", ["safetensors", "openvino"])
def test_an_ensemble_is_exported_whole(tiny: Base, tmp_path: Path, target: Target) -> None:
    """Each member has a graph and a head of its own."""
    student = taught(tiny, n=80, ensemble=2)
    assert len(student.others) == 1
    assert furthest(student, exported(student, tmp_path / "out", target), Inputs(TEXTS)) < 1e-4


def test_the_card_is_written_by_who_has_seen_the_export(head_student: FittedStudent, tmp_path: Path) -> None:
    """So that it can say how far the two agree; whoever reads the folder finds it as README.md."""
    exported(head_student, tmp_path / "out", "safetensors", describe=lambda one: f"# {one.model_id}")
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8") == f"# {model_id_in(tmp_path / 'out')}"


def test_the_snippet_of_the_card_gives_the_same_in_plain_transformers(
    lora_student: FittedStudent, tmp_path: Path
) -> None:
    """What the card says to do is done here: it needs nothing of ours."""
    truths = mean_score_interval(np.ones(9), 0.95, "9 texts", np.random.default_rng(0))
    card = export_card(lora_student, lora_student, "safetensors", Parity(truths, None, 0.0, "accuracy"), "# card")
    exported(lora_student, tmp_path / "out", "safetensors")
    texts = messages(20, seed=3)[0]
    said: dict[str, Any] = {"folder": str(tmp_path / "out"), "texts": texts}
    exec(card.partition("```python\n")[2].partition("```")[0], said)
    assert np.abs(said["probabilities"].numpy() - lora_student.predict(Inputs(texts))).max() < 1e-4


def test_parity_counts_decisions_and_points(lora_student: FittedStudent) -> None:
    """Three of four decisions are the same, and the score fell by a quarter, with an interval around each."""
    before, after = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[0, 1, 2, 1]]
    change = paired_mean_difference(np.ones(4), np.array([1.0, 1.0, 1.0, 0.0]), 0.95, "4 texts")
    how: dict[str, Any] = {"change": change, "score_name": "accuracy", "on": "4 texts"}
    found = parity_of(before, after, np.arange(4), 3, rng=np.random.default_rng(0), **how)
    assert (found.same.value, found.furthest) == (0.75, 1.0)
    card = export_card(lora_student, lora_student, "openvino-int8", found, "# the student's own")
    assert "| same decision | 75.00% [30.06%, 95.44%] on 4 texts |" in card
    assert "| change of accuracy | -25.00 points [" in card
    assert card.endswith("# the student's own")


def test_nothing_is_left_of_an_export_that_failed(head_student: FittedStudent, tmp_path: Path) -> None:
    """A card that cannot be written, say, leaves neither a folder nor a part of one."""

    def fails(_: FittedStudent) -> str:
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        exported(head_student, tmp_path / "out", "safetensors", describe=fails)
    assert list(tmp_path.iterdir()) == []


def test_int8_without_texts_is_refused(head_student: FittedStudent, tmp_path: Path) -> None:
    """The ranges of activations have to be seen."""
    with pytest.raises(InputError, match="texts to calibrate on"):
        exported(head_student, tmp_path / "out", "openvino-int8", calibration=None)


def test_a_changed_export_is_refused(head_student: FittedStudent, tmp_path: Path) -> None:
    """One byte more in the weights, and it does not label."""
    exported(head_student, tmp_path / "out", "safetensors")
    with (tmp_path / "out" / "head.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelError, match=re.escape("head.safetensors")):
        predictor(tmp_path / "out")


def test_another_engine_than_the_folder_has_is_refused(head_student: FittedStudent, tmp_path: Path) -> None:
    """A student is no export, and the error says how to make one."""
    save_student(head_student, tmp_path / "s", task_json="{}", metrics={}, card="")
    assert not is_export(tmp_path / "s")
    assert predictor(tmp_path / "s", "torch").model_id == head_student.model_id
    with pytest.raises(ModelError, match="stillhouse export student RUN OUT --to openvino"):
        predictor(tmp_path / "s", "openvino")


def test_an_engine_that_is_unknown_is_refused(head_student: FittedStudent, tmp_path: Path) -> None:
    """An export of a later version is not guessed at."""
    exported(head_student, tmp_path / "out", "safetensors")
    path = tmp_path / "out" / EXPORT
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"engine": "abacus"}), encoding="utf-8")
    with pytest.raises(ModelError, match="abacus"):
        predictor(tmp_path / "out")


def test_a_library_that_is_missing_is_named_with_what_installs_it() -> None:
    """The engines are an extra: most students run on torch."""
    with pytest.raises(ModelError, match=re.escape("pip install -c constraints.txt -e '.[export]'")):
        needed("no_such_engine")
