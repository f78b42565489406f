"""What of the base is trained, with what rates, how many times: each recipe learns, is saved whole and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import ModelError
from stillhouse.probabilities import softmax
from tests.trainer.conftest import taught
from tests.trainer.tiny import LABELS, messages, settings
from trainer import lower_layers
from trainer.artifact import load_student, save_student
from trainer.base import Base
from trainer.features import embed
from trainer.fitted import FittedStudent
from trainer.inputs import Inputs
from trainer.lora import adapt, groups_of
from trainer.lower_layers import LowerLayers
from trainer.student import _balanced, fit_student


def saved_and_read(student: FittedStudent, folder: Path) -> FittedStudent:
    save_student(student, folder / "s", task_json="{}", metrics={}, card="")
    return load_student(folder / "s")


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("full", {"full_learning_rate": 2e-3}),
        ("top", {}),
        ("lora", {"lora_variant": "dora"}),
        ("lora", {"lora_variant": "rslora", "lora_targets": ["query", "value"]}),
    ],
)
def test_each_recipe_learns_and_comes_back(
    tiny: Base, head_student: FittedStudent, tmp_path: Path, recipe: str, changes: dict[str, Any]
) -> None:
    """It is better than the head on what it was taught, and what is read again predicts the same to the last bit."""
    student = taught(tiny, recipe=recipe, epochs=4, **changes)
    texts, labels = messages(160)
    found = student.predict(Inputs(texts))
    head = head_student.predict(Inputs(texts))
    right = np.arange(160), labels
    assert np.log(found[right])[60:].mean() > np.log(head[right])[60:].mean()
    assert (saved_and_read(student, tmp_path).predict(Inputs(texts)) == found).all()
    assert student.facts["recipe"] == recipe


def test_the_upper_half_leaves_the_lower_alone(tiny: Base) -> None:
    """Of two layers only the second has an adapter."""
    student = taught(tiny, recipe="top")
    assert student.adapter is not None
    assert len(student.adapter.tensors) == 12
    assert all(".layer.1." in name for name in student.adapter.tensors)


def test_targets_that_name_no_layer_are_an_error(tiny: Base) -> None:
    """The error shows some names there are."""
    with pytest.raises(ModelError, match="names or parts of names among encoder"):
        adapt(tiny, settings(tiny.folder, lora_targets=["nothing"]), 0)


def test_an_ensemble_says_the_mean_of_its_members(tiny: Base, lora_student: FittedStudent, tmp_path: Path) -> None:
    """Two adapters and heads of their own; saved, read again, they still say the mean of what each says."""
    student = saved_and_read(taught(tiny, ensemble=2), tmp_path)
    texts, _ = messages(20, seed=9)
    windows = student.tokens(Inputs(texts))
    each = np.stack([softmax(logits) for logits in student.members(windows)])
    assert each.shape == (2, 20, 3)
    assert each.std(axis=0).max() > 1e-4
    assert np.allclose(softmax(student.logits(windows)), each.mean(axis=0), atol=1e-6)
    assert student.facts["members"] == 2
    assert student.model_id != lora_student.model_id


def test_each_layer_learns_slower_than_the_one_above(tiny: Base) -> None:
    """Half as fast; the embeddings below the first layer are one step further down."""
    model = adapt(tiny, settings(tiny.folder, layer_decay=0.5), 0, recipe="full")
    rates = {group["lr"]: len(group["params"]) for group in groups_of(model, settings("", layer_decay=0.5), 1.0)}
    assert list(rates) == [1.0, 0.5, 0.25]
    assert rates[1.0] == rates[0.5] == 16


def test_gradient_checkpointing_changes_memory_and_no_number(tiny: Base) -> None:
    """What is computed twice is the same both times."""
    first, second = (taught(tiny, n=100, gradient_checkpointing=on) for on in (False, True))
    assert first.adapter is not None
    assert second.adapter is not None
    for name, tensor in first.adapter.tensors.items():
        assert np.allclose(second.adapter.tensors[name], tensor, atol=1e-5)
    assert not second.base.encoder.is_gradient_checkpointing


def test_balance_gives_rare_labels_the_weight_of_frequent_ones() -> None:
    """At 1 each label weighs the same in all, at 0 nothing changes; rows that are unknown keep their weight."""
    Y = np.eye(2)[[0] * 9 + [1]]
    Y = np.concatenate([Y, [[np.nan, np.nan]]])
    w = _balanced(np.ones(11), Y, 2, 1.0)
    assert w[:9].sum() == pytest.approx(w[9])
    assert w[:10].sum() == pytest.approx(10)
    assert w[10] == 1.0
    assert (_balanced(np.ones(11), Y, 2, 0.0) == 1).all()


def test_balance_finds_more_of_a_rare_label(tiny: Base) -> None:
    """Nine of ten messages are of one sort: with balance the others are said oftener."""
    texts, labels = messages(300)
    rows = np.flatnonzero((labels != 0) | (np.arange(300) % 9 == 0))
    X = embed(tiny, Inputs([texts[row] for row in rows])).vectors
    said = []
    for balance in (0.0, 1.0):
        how: dict[str, Any] = {"seed": 0, "base": tiny, "features": X, "recipe": "head"}
        chosen = settings(tiny.folder, class_balance=balance)
        inputs, Y = Inputs([texts[row] for row in rows]), np.eye(3)[labels[rows]]
        student = fit_student(inputs, Y, np.ones(len(rows)), LABELS, chosen, **how)
        said.append((student.predict_features(X).argmax(axis=1) == 0).sum())
    assert said[1] > said[0]


def test_a_killed_fit_goes_on_from_its_checkpoints(tiny: Base, tmp_path: Path) -> None:
    """Called again with the same arguments it trains nothing anew; with another seed, or another word, it
    begins at the beginning.
    """
    texts, labels = messages(80)
    how: dict[str, Any] = {"base": tiny, "recipe": "lora", "checkpoints": tmp_path}
    first, again, other = (
        fit_student(Inputs(texts), np.eye(3)[labels], np.ones(80), LABELS, settings(tiny.folder), seed=seed, **how)
        for seed in (0, 0, 1)
    )
    assert first.model_id == again.model_id
    assert (first.facts["tokens"] > 0, "tokens_per_s" in again.facts) == (True, False)
    assert other.facts["tokens"] == first.facts["tokens"]
    texts[0] = "scanner"
    changed = fit_student(Inputs(texts), np.eye(3)[labels], np.ones(80), LABELS, settings(tiny.folder), seed=1, **how)
    assert changed.facts["tokens"] > 0


def test_lower_layers_that_read_once_change_no_number(tiny: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the first trained layer is the same in each epoch, so it may be kept; and it is kept."""
    kept = taught(tiny, n=100, recipe="top", epochs=2)
    read: list[int] = []
    known = LowerLayers.known

    def watched(layers: LowerLayers) -> bool:
        read.append(int(layers.read.sum()))
        return known(layers)

    monkeypatch.setattr(LowerLayers, "known", watched)
    assert taught(tiny, n=100, recipe="top", epochs=2).model_id == kept.model_id
    assert max(read) == 40
    monkeypatch.setattr(lower_layers, "MOST_BYTES", 0)
    again = taught(tiny, n=100, recipe="top", epochs=2)
    assert again.adapter is not None
    assert kept.adapter is not None
    for name, tensor in again.adapter.tensors.items():
        assert np.allclose(kept.adapter.tensors[name], tensor, atol=1e-6)
    assert not any("forward" in vars(module) for module in kept.base.encoder.modules())
