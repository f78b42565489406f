"""Students of tokens, of several labels, of pairs and of roles: taught, saved and asked by the same code as any other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from stillhouse.errors import InputError
from tests.trainer.conftest import taught
from tests.trainer.tiny import PRINTING, WORDS, messages, settings
from trainer.artifact import load_student, model_card, save_student
from trainer.base import Base
from trainer.features import dimensions, embed
from trainer.inputs import Inputs
from trainer.student import FittedStudent, HeldOut, Recipe, fit_student

TAGS = ("O", "PRINT")
ROLES = ("before", "focus", "after")


def tagged(n: int = 60, *, seed: int = 0) -> tuple[Inputs, NDArray[np.int64]]:
    """Messages whose units are their words: is the word one of printing?"""
    texts, _ = messages(n, seed=seed)
    inputs = Inputs(texts, spans=[word_spans(text) for text in texts])
    return inputs, np.array([word in PRINTING for text in texts for word in text.split()], dtype=np.int64)


def word_spans(text: str) -> NDArray[np.int64]:
    ends = np.cumsum([len(word) + 1 for word in text.split()]) - 1
    return np.array([(end - len(word), end) for end, word in zip(ends, text.split(), strict=True)], dtype=np.int64)


def focused(n: int = 60) -> tuple[Inputs, NDArray[np.int64]]:
    """Each message with a word in focus; its other words are before or after it."""
    inputs, _ = tagged(n)
    assert inputs.spans is not None
    rng = np.random.default_rng(0)
    chosen = [int(rng.integers(len(spans))) for spans in inputs.spans]
    focus = [(int(spans[k][0]), int(spans[k][1])) for spans, k in zip(inputs.spans, chosen, strict=True)]
    places = [np.sign(np.arange(len(spans)) - k) + 1 for spans, k in zip(inputs.spans, chosen, strict=True)]
    return Inputs(inputs.texts, spans=inputs.spans, focus=focus), np.concatenate(places)


def tagger(base: Base, recipe: Literal["auto"] | Recipe, n: int = 60, **changes: Any) -> FittedStudent:
    inputs, tags = tagged(n)
    held = np.arange(inputs.starts[10])
    how: dict[str, Any] = {"seed": 0, "base": base, "recipe": recipe, "held_out": HeldOut(held, np.eye(2)[tags[held]])}
    chosen = settings(base.folder, **changes)
    return fit_student(inputs, np.eye(2)[tags], np.ones(len(tags)), TAGS, chosen, **how)


@pytest.mark.parametrize("recipe", ["head", "lora"])
def test_a_tagger_learns_its_tags(tiny: Base, recipe: Recipe) -> None:
    """On other messages nearly every word is right; each row of the answer is a unit."""
    student = tagger(tiny, recipe)
    inputs, tags = tagged(30, seed=7)
    probs = student.predict(inputs)
    assert probs.shape == (inputs.units, 2)
    assert (probs.argmax(axis=1) == tags).mean() > 0.95
    assert (student.recipe, student.per_text, student.width) == (recipe, False, 2)


def test_roles_depend_on_what_is_in_focus(tiny: Base) -> None:
    """The same words have other roles with another word in focus."""
    inputs, roles = focused()
    student = fit_student(
        inputs, np.eye(3)[roles], np.ones(len(roles)), ROLES, settings(tiny.folder), seed=0, base=tiny
    )
    spans = word_spans("toner paper jam tray")
    asked = Inputs(["toner paper jam tray"] * 2, spans=[spans] * 2, focus=[(0, 5), (16, 20)])
    said = [ROLES[column] for column in student.predict(asked).argmax(axis=1)]
    assert said == ["focus", "after", "after", "after", "before", "before", "before", "focus"]


def test_a_student_of_several_labels_gives_each_its_pair(tiny: Base) -> None:
    """Each pair (absent, present) sums to 1, and both labels are learned."""
    texts, _ = messages(200)
    has = np.array([[word in text.split() for word in ("printer", "login")] for text in texts], dtype=int)
    Y = np.concatenate([np.eye(2)[has[:, 0]], np.eye(2)[has[:, 1]]], axis=1)
    columns = ("no printer", "printer", "no login", "login")
    how: dict[str, Any] = {"seed": 0, "base": tiny, "width": 2, "recipe": "lora"}
    student = fit_student(Inputs(texts), Y, np.ones(200), columns, settings(tiny.folder, epochs=6), **how)
    probs = student.predict(Inputs(texts))
    assert np.allclose(probs.reshape(-1, 2).sum(axis=1), 1.0, atol=1e-5)
    assert ((probs[:, [1, 3]] > 0.5) == has).mean(axis=0).min() > 0.9


def test_unknown_rows_teach_nothing(tiny: Base) -> None:
    """nan targets are ignored whatever their weight: the student is that of targets with weight 0."""
    inputs, tags = tagged()
    Y, w = np.eye(2)[tags], np.ones(len(tags))
    unknown, without = Y.copy(), w.copy()
    unknown[::3], without[::3] = np.nan, 0.0
    how: dict[str, Any] = {"seed": 0, "base": tiny, "recipe": "lora"}
    first = fit_student(inputs, unknown, w, TAGS, settings(tiny.folder), **how)
    second = fit_student(inputs, Y, without, TAGS, settings(tiny.folder), **how)
    assert first.model_id == second.model_id


def test_held_out_units_do_not_teach_a_tagger(tiny: Base) -> None:
    """Other tags on the held-out texts leave the adapter as it was (too few to choose the penalty by)."""
    inputs, tags = tagged(40)
    held = np.arange(inputs.starts[5])
    other = tags.copy()
    other[held] = 1 - other[held]
    ids = []
    for truth in (tags, other):
        how: dict[str, Any] = {"held_out": HeldOut(held, np.eye(2)[truth[held]]), "recipe": "lora"}
        assert len(held) < 50
        Y = np.eye(2)[truth]
        student = fit_student(inputs, Y, np.ones(len(Y)), TAGS, settings(tiny.folder), seed=0, base=tiny, **how)
        ids.append(student.model_id)
    assert ids[0] == ids[1]


def test_auto_counts_texts_not_tokens(tiny: Base) -> None:
    """Ten held-out texts of many words are too few to choose a recipe by."""
    student = tagger(tiny, "auto")
    assert "10 held-out answers are too few" in student.facts["why"]


def test_a_long_text_is_trained_in_windows(tiny: Base) -> None:
    """Units far beyond the limit learn and are labelled; the windowed texts are counted."""
    texts = [" ".join(messages(8, seed=seed)[0]) for seed in range(12)]
    inputs = Inputs(texts, spans=[word_spans(text) for text in texts])
    tags = np.array([word in PRINTING for text in texts for word in text.split()], dtype=np.int64)
    chosen = settings(tiny.folder, max_tokens=16)
    student = fit_student(inputs, np.eye(2)[tags], np.ones(len(tags)), TAGS, chosen, seed=0, base=tiny, recipe="lora")
    assert student.facts["windowed"] == 12
    assert (student.predict(inputs).argmax(axis=1) == tags).mean() > 0.95


def test_a_tagger_from_features_says_what_it_says_from_texts(tiny: Base) -> None:
    """The loop keeps the frozen features of units as it does those of texts."""
    inputs, _ = tagged(20, seed=3)
    student = tagger(tiny, "head")
    vectors = embed(tiny, inputs).vectors
    assert vectors.shape == (inputs.units, dimensions(tiny, inputs))
    assert np.allclose(student.predict_features(vectors), student.predict(inputs), atol=1e-5)


@pytest.mark.parametrize("recipe", ["head", "lora"])
def test_a_tagger_is_saved_whole(tiny: Base, recipe: Recipe, tmp_path: Path) -> None:
    """Width, units and thresholds come back, the predictions to the last bit; the card names units and columns."""
    student = replace(tagger(tiny, recipe), thresholds=(0.3,))
    card = model_card(student, name="tags", question="?", taught_by={}, metrics={})
    save_student(student, tmp_path / "s", task_json="{}", metrics={}, card=card)
    again = load_student(tmp_path / "s")
    inputs, _ = tagged(10, seed=5)
    assert (again.predict(inputs) == student.predict(inputs)).all()
    assert (again.columns, again.width, again.thresholds, again.per_text) == (TAGS, 2, (0.3,), False)
    assert "For each unit" in card
    assert "- PRINT" in card


def test_the_model_id_depends_on_shape_and_thresholds(head_student: FittedStudent) -> None:
    """Whatever changes what is made of the numbers is another student."""
    others: list[dict[str, Any]] = [{"thresholds": (0.5,)}, {"width": 1}, {"per_text": False}, {"with_focus": True}]
    ids = {replace(head_student, **other).model_id for other in others}
    assert len(ids | {head_student.model_id}) == 5


def test_a_student_of_the_first_format_is_read(tiny: Base, tmp_path: Path) -> None:
    """It knew label names and nothing of units; its id is still the one it was saved with."""
    student = taught(tiny, n=80, recipe="head")
    save_student(student, tmp_path / "s", task_json="{}", metrics={}, card="")
    config = json.loads((tmp_path / "s" / "config.json").read_text(encoding="utf-8"))
    config["label_names"] = config.pop("columns")
    for name in ("width", "thresholds", "per_text", "with_focus"):
        del config[name]
    rewrite(tmp_path / "s", config | {"format": 1})
    again = load_student(tmp_path / "s")
    assert (again.model_id, again.columns, again.width) == (student.model_id, student.columns, 3)


def rewrite(folder: Path, config: dict[str, Any]) -> None:
    """Another config, with the manifest that belongs to it."""
    from trainer.base import sha256_of

    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["config.json"] = sha256_of(folder / "config.json")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": config["format"]}), encoding="utf-8")


def test_other_units_than_it_was_taught_are_refused(head_student: FittedStudent) -> None:
    """A student of whole texts cannot tag words."""
    inputs, _ = tagged(2)
    with pytest.raises(InputError, match="expected: whole texts"):
        head_student.predict(inputs)


def test_targets_that_are_not_blocks_are_refused(tiny: Base) -> None:
    """Three columns are not pairs."""
    how: dict[str, Any] = {"seed": 0, "base": tiny, "width": 2}
    with pytest.raises(InputError, match="in blocks of 2"):
        fit_student(Inputs([WORDS]), np.ones((1, 3)), np.ones(1), ("a", "b", "c"), settings(tiny.folder), **how)
