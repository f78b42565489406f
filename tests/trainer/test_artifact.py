"""A student on disk: what comes back is what went in, and what was damaged does not come back at all."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import ModelError
from tests.trainer.tiny import LABELS, messages, settings, write_tiny_bert
from trainer.artifact import is_complete, load_student, model_card, model_id_of, save_student, write_card
from trainer.base import Base, load_base
from trainer.card import LabelCounts, with_figures
from trainer.inputs import Inputs
from trainer.student import FittedStudent, fit_student

CARD: dict[str, Any] = {
    "name": "mail",
    "question": "Where does it belong?",
    "taught_by": {"teacher": 100, "people": 60},
}


def saved(student: FittedStudent, folder: Path) -> Path:
    card = model_card(student, metrics={"accuracy": 0.9}, **CARD)
    save_student(student, folder, task_json='{"name": "mail"}', metrics={"accuracy": 0.9}, card=card)
    return folder


@pytest.fixture
def folder(lora_student: FittedStudent, tmp_path: Path) -> Path:
    return saved(lora_student, tmp_path / "student")


@pytest.mark.parametrize("recipe", ["head", "lora"])
def test_a_loaded_student_predicts_the_same(recipe: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Probabilities, names and model id are identical to the last bit."""
    student: FittedStudent = request.getfixturevalue(f"{recipe}_student")
    again = load_student(saved(student, tmp_path / "student"))
    texts, _ = messages(40, seed=9)
    assert (again.predict(Inputs(texts)) == student.predict(Inputs(texts))).all()
    assert (again.model_id, again.label_names, again.recipe) == (student.model_id, student.label_names, recipe)


def test_the_files_are_the_promised_ones(folder: Path) -> None:
    """Adapter in peft's format, head, tokenizer, config, task, metrics, card, manifest; no pickle anywhere."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= {"adapter/adapter_config.json", "adapter/adapter_model.safetensors", "head.safetensors"}
    assert names >= {
        "config.json",
        "task.json",
        "metrics.json",
        "README.md",
        "manifest.json",
        "tokenizer/tokenizer.json",
    }
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


def test_a_head_has_no_adapter(head_student: FittedStudent, tmp_path: Path) -> None:
    """Nothing pretends to be an adapter where there is none."""
    assert not (saved(head_student, tmp_path / "student") / "adapter").exists()


def test_the_model_id_can_be_read_without_loading(folder: Path, lora_student: FittedStudent) -> None:
    """It stands in the manifest."""
    assert model_id_of(folder) == lora_student.model_id


def test_nothing_is_left_beside_the_folder(folder: Path) -> None:
    """The temporary sibling is gone after saving."""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_saving_again_replaces_the_folder(folder: Path, head_student: FittedStudent) -> None:
    """A repeated command leaves one whole student, the new one."""
    saved(head_student, folder)
    assert load_student(folder).recipe == "head"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["head.safetensors", "config.json", "README.md", "adapter/adapter_model.safetensors"])
def test_a_changed_file_is_refused(folder: Path, name: str) -> None:
    """One byte more in any file, and the student is not loaded; the error names the file."""
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert not is_complete(folder)
    with pytest.raises(ModelError, match=re.escape(name)):
        load_student(folder)


@pytest.mark.parametrize("name", ["manifest.json", "head.safetensors"])
def test_a_half_written_folder_is_refused(folder: Path, name: str) -> None:
    """A file that is missing means that saving or copying did not end."""
    (folder / name).unlink()
    assert not is_complete(folder)
    with pytest.raises(ModelError, match="incomplete or was changed"):
        load_student(folder)


def test_a_file_that_was_added_is_refused(folder: Path) -> None:
    """A pickle dropped into the folder is noticed."""
    (folder / "adapter" / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="adapter_model"):
        load_student(folder)


def test_a_manifest_of_another_student_is_refused(folder: Path) -> None:
    """The model id is computed from what was loaded, not believed."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"model_id": "0" * 16}), encoding="utf-8")
    with pytest.raises(ModelError, match="model id 0000"):
        load_student(folder)


def test_no_folder_is_not_a_student(tmp_path: Path) -> None:
    """The error says that nothing is there."""
    assert not is_complete(tmp_path / "none")
    with pytest.raises(ModelError, match="no such folder"):
        load_student(tmp_path / "none")


def test_a_base_that_was_changed_is_refused(folder: Path, lora_student: FittedStudent, tmp_path: Path) -> None:
    """An adapter on other weights would predict nonsense, so it is not tried."""
    other = load_base(str(write_tiny_bert(tmp_path / "other", seed=1)))
    with pytest.raises(ModelError, match="trained on another base"):
        load_student(folder, base=other)


def test_a_base_that_is_gone_is_refused(tiny: Base, head_student: FittedStudent, tmp_path: Path) -> None:
    """The student names its base; without it there is nothing to adapt."""
    moved = replace(head_student, base=replace(tiny, name=str(tmp_path / "gone")))
    with pytest.raises(ModelError, match="no base at"):
        load_student(saved(moved, tmp_path / "student"))


def test_a_folder_that_cannot_be_written_is_one_clear_error(lora_student: FittedStudent, tmp_path: Path) -> None:
    """A file where the parent folder should be: no foreign exception, and the file is left alone."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be saved"):
        saved(lora_student, tmp_path / "file" / "student")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_student_without_held_out_answers_is_saved(tiny: Base, tmp_path: Path) -> None:
    """What was not measured is null in its facts, which JSON can hold."""
    texts, labels = messages(30)
    student = fit_student(
        Inputs(texts), np.eye(3)[labels], np.ones(30), LABELS, settings(tiny.folder), seed=0, base=tiny
    )
    assert load_student(saved(student, tmp_path / "student")).facts["held_out_accuracy_head"] is None


def test_a_figure_that_is_not_finite_is_refused(lora_student: FittedStudent, tmp_path: Path) -> None:
    """JSON has no nan; nothing is left behind."""
    with pytest.raises(ModelError, match="not finite"):
        save_student(lora_student, tmp_path / "s", task_json="{}", metrics={"accuracy": float("nan")}, card="")
    assert list(tmp_path.iterdir()) == []


def test_the_card_tells_rehearsal_and_recording(head_student: FittedStudent) -> None:
    """Whoever reads the card knows that no person and no live model was asked."""
    told: dict[str, Any] = {"rehearsed_answers": 60, "recorded_teacher": "recorded-A"}
    interval = {"accuracy": {"value": 0.9, "lo": 0.85, "hi": 0.94, "n": 200, "on": "gold", "method": "wilson"}}
    card = model_card(head_student, metrics=interval, **told, **CARD)
    assert "60 of the answers are rehearsed" in card
    assert "recorded-A was a **recording**" in card
    assert "| accuracy | 0.9 [0.85, 0.94] on gold |" in card


def test_the_card_says_nothing_of_rehearsals_where_there_were_none(head_student: FittedStudent) -> None:
    """Real answers are not called rehearsed."""
    card = model_card(head_student, metrics={}, **CARD)
    assert "rehearsed" not in card
    assert "Not measured." in card


def test_a_card_can_be_given_its_figures_later(folder: Path, lora_student: FittedStudent) -> None:
    """A student is measured after it is saved: the new card stands in the same, whole folder, also the second time."""
    by_label = [LabelCounts("printing", 9, 10, 12), LabelCounts("signing_in", 1, 10, 0), LabelCounts("other", 0, 0, 3)]
    for accuracy in (0.8, 0.7):
        card = with_figures((folder / "README.md").read_text(encoding="utf-8"), {"accuracy": accuracy}, by_label)
        write_card(folder, card)
    assert load_student(folder).model_id == lora_student.model_id
    assert (folder / "README.md").read_text(encoding="utf-8") == card
    assert "| accuracy | 0.7 |" in card
    assert "| accuracy | 0.8 |" not in card
    assert card.count("## Where it is weak") == card.count("## Intended use") == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_card_names_the_weakest_labels_first(head_student: FittedStudent) -> None:
    """By F1, with counts and Wilson's intervals; a label that never came up is said to be unknown."""
    by_label = [LabelCounts("printing", 9, 10, 12), LabelCounts("signing_in", 1, 10, 0), LabelCounts("other", 0, 0, 3)]
    card = model_card(head_student, metrics={"accuracy": 0.5}, by_label=by_label, **CARD)
    assert "| signing_in | 0.20 | 1 of 10 [2%, 40%] | never says it |\n| printing | 0.82 | 9 of 10 [60%, 98%]" in card
    assert "nothing is known of: other." in card
