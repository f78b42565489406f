"""A student that writes: always valid, better for being taught, the same after it was saved."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinds.registry import kind_of
from stillhouse.errors import InputError, ModelError, TaskError
from stillhouse.field_values import field_problems, normal_fields
from stillhouse.records import Item
from stillhouse.task import FieldSpec, Task
from stillhouse.task_file import load_task
from tests.trainer.test_json_grammar import HOSTILE
from tests.trainer.tiny import settings
from tests.trainer.tiny_decoders import FIELDS, invoices, write_tiny_decoder
from trainer.artifact import (
    is_complete,
    load_generative,
    load_student,
    model_card,
    model_id_of,
    recipe_in,
    save_student,
)
from trainer.base import Base, load_base
from trainer.generative import GenerativeStudent, UnitStudent, as_units, fit_generative
from trainer.pace import Pace

FAMILIES = ("llama", "gpt2")
TEXTS, VALUES = invoices(60)
LEARNING: dict[str, Any] = {
    "epochs": 8,
    "learning_rate": 1e-2,
    "lora_rank": 16,
    "lora_alpha": 32,
    "tokens_per_batch": 1024,
}
UNTAUGHT: dict[str, Any] = LEARNING | {"epochs": 1, "learning_rate": 1e-9}


@dataclass(frozen=True)
class World:
    base: Base
    untaught: GenerativeStudent
    taught: GenerativeStudent


def fitted(base: Base, n: int = 60, **changes: Any) -> GenerativeStudent:
    chosen = settings(base.folder, **(UNTAUGHT | changes))
    return fit_generative(TEXTS[:n], VALUES[:n], np.ones(n), FIELDS, chosen, seed=0, base=base)


@pytest.fixture(scope="module", params=FAMILIES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = write_tiny_decoder(tmp_path_factory.mktemp("decoders") / request.param, request.param)
    base = load_base(str(folder), writes=True)
    return World(base, fitted(base), fitted(base, **LEARNING))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(str(write_tiny_decoder(tmp_path_factory.mktemp("llama"), "llama")), writes=True)


def fields_task(**changes: Any) -> Task:
    given = {"name": "invoices", "kind": "fields", "fields": FIELDS, "data": {"pool": "pool.jsonl"}}
    return Task.model_validate(given | {"teachers": [{"name": "a", "model": "m"}]} | changes)


def exact(student: GenerativeStudent) -> float:
    said = [value for value, _ in student.predict(TEXTS)]
    return float(np.mean([one == value for one, value in zip(said, VALUES, strict=True)]))


def test_whatever_a_text_says_the_output_is_valid(world: World) -> None:
    """Hostile texts and an untaught model: every field, in normal form, with a probability; texts copied from."""
    for student in (world.untaught, world.taught):
        for text, (value, p) in zip(HOSTILE, student.predict(HOSTILE), strict=True):
            assert list(value) == list(p) == [spec.name for spec in FIELDS]
            assert field_problems(FIELDS, value) == []
            assert normal_fields(FIELDS, value) == value
            assert all(0.0 < one <= 1.0 for one in p.values())
            assert value["seller"] is None or value["seller"] in text


def test_teaching_helps(world: World) -> None:
    """Exact match of whole objects on what was taught: nearly none before, most after."""
    assert exact(world.untaught) < 0.2
    assert exact(world.taught) > 0.6


def test_one_by_one_or_in_a_batch_it_writes_the_same(world: World) -> None:
    """Padding, waiting rows and the cache of keys and values change no decision."""
    together = world.taught.predict(TEXTS[:12])
    alone = [world.taught.predict([text])[0] for text in TEXTS[:12]]
    assert [value for value, _ in together] == [value for value, _ in alone]
    assert np.allclose([list(p.values()) for _, p in together], [list(p.values()) for _, p in alone], atol=1e-4)


def test_a_saved_student_writes_the_same(world: World, tmp_path: Path) -> None:
    """Values, probabilities and model id, bit for bit; the folder says what it is and leaves nothing beside it."""
    folder = tmp_path / "student"
    how: dict[str, Any] = {"name": "invoices", "question": "Which?", "taught_by": {"teacher": 60}}
    card = model_card(world.taught, metrics={}, **how)
    save_student(world.taught, folder, task_json="{}", metrics={}, card=card)
    again = load_generative(folder)
    assert again.predict(TEXTS[:20]) == world.taught.predict(TEXTS[:20])
    assert again.model_id == world.taught.model_id == model_id_of(folder)
    assert recipe_in(folder) == "generate"
    assert "causal language model" in card
    assert "terms: choice (net 30 | net 60 | paid)" in card
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_damaged_or_half_written_student_is_refused(llama: Base, tmp_path: Path) -> None:
    """One byte more, or no manifest, as after a kill: it is not loaded."""
    folder = tmp_path / "student"
    save_student(fitted(llama, 4), folder, task_json="{}", metrics={}, card="")
    with (folder / "adapter" / "adapter_model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelError, match="adapter_model"):
        load_generative(folder)
    save_student(fitted(llama, 4), folder, task_json="{}", metrics={}, card="")
    (folder / "manifest.json").unlink()
    assert not is_complete(folder)
    with pytest.raises(ModelError, match="incomplete"):
        load_generative(folder)


def test_a_student_that_writes_is_not_loaded_as_one_that_labels(llama: Base, tmp_path: Path) -> None:
    """The error says how to load it."""
    save_student(fitted(llama, 4), tmp_path / "s", task_json="{}", metrics={}, card="")
    with pytest.raises(ModelError, match="load_generative"):
        load_student(tmp_path / "s")


def test_a_long_text_is_read_in_windows(world: World) -> None:
    """The first value that a window has, all of a field with many, and the p of the window that said it."""
    long = "\n".join(TEXTS[:20])
    windows = world.taught.reader.windows(long)
    assert len(windows) > 3
    value, p = world.taught.predict([long])[0]
    each = world.taught.predict(windows)
    first = next((said for said, _ in each if said["terms"]), {"terms": None})
    assert value["terms"] == first["terms"]
    assert value["goods"] == list(dict.fromkeys(good for said, _ in each for good in said["goods"]))
    assert p["goods"] == pytest.approx(min(sure["goods"] for _, sure in each), abs=1e-4)
    assert p["number"] == pytest.approx(next(sure["number"] for said, sure in each if said["number"]), abs=1e-4)


def test_a_long_text_is_taught_in_windows(world: World) -> None:
    """Each window with what stands in it."""
    many = "\n".join(TEXTS[:20])
    student = fit_generative(
        [many], [VALUES[0]], [1.0], FIELDS, settings(world.base.folder, **UNTAUGHT), seed=0, base=world.base
    )
    assert student.facts["windowed"] == 1
    assert student.facts["examples"] > 2


def test_values_that_no_text_says_teach_nothing(llama: Base) -> None:
    """They are counted; a field left out is not known, and does not count."""
    values = [{"seller": "Nobody Inc"}, {"seller": "ACME", "number": "12"}, {}]
    student = fit_generative(
        ["from ACME", "12 from acme", "x"], values, [1, 1, 1], FIELDS, settings(llama.folder), seed=0, base=llama
    )
    assert (student.facts["not_in_text"], student.facts["examples"]) == (1, 1)


def test_threads_do_not_change_the_student(llama: Base) -> None:
    """The same lesson by one thread and by two."""
    assert fitted(llama, 8, threads=1).model_id == fitted(llama, 8, threads=2).model_id


def test_the_seed_counts_and_weight_zero_does_not(llama: Base) -> None:
    """Texts of weight 0 might as well not be there."""
    chosen = settings(llama.folder, **UNTAUGHT)
    weights = np.r_[np.ones(6), np.zeros(2)]
    how: dict[str, Any] = {"task_fields": FIELDS, "settings": chosen, "base": llama}
    whole = fit_generative(TEXTS[:8], VALUES[:8], weights, seed=0, **how)
    assert whole.facts["examples"] == 6
    assert whole.model_id != fit_generative(TEXTS[:8], VALUES[:8], weights, seed=1, **how).model_id


def test_progress_is_told(llama: Base) -> None:
    """Training counts tokens up to their number; writing counts texts."""
    told: list[Pace] = []
    student = fit_generative(
        TEXTS[:6], VALUES[:6], np.ones(6), FIELDS, settings(llama.folder), seed=0, base=llama, progress=told.append
    )
    student.predict(TEXTS[:3], told.append)
    assert {pace.stage: (pace.done, pace.total) for pace in told} == {
        "training": (student.facts["tokens"],) * 2,
        "writing": (3, 3),
    }


def test_composed_and_broken_characters(llama: Base) -> None:
    """A text is read as values are written: composed, and without halves of surrogate pairs."""
    said = fitted(llama, 4).predict(["Cafe\u0301 \ud800 x", ""])
    assert all(normal_fields(FIELDS, value) == value for value, _ in said)
    json.dumps([value for value, _ in said], ensure_ascii=False).encode()


def test_nothing_to_learn_from_is_an_error(llama: Base) -> None:
    """No texts, or as many values as there are not."""
    with pytest.raises(InputError, match="at least one text"):
        fit_generative([], [], [], FIELDS, settings(llama.folder), seed=0, base=llama)
    with pytest.raises(InputError, match="1 texts, 0 values"):
        fit_generative(["a"], [], [1], FIELDS, settings(llama.folder), seed=0, base=llama)


def test_a_base_that_does_not_write_is_refused(tiny_folder: Path) -> None:
    """A BERT is no causal language model; nor is the encoder alone of one that is."""
    with pytest.raises(ModelError, match="does not write"):
        load_base(str(tiny_folder), writes=True)
    with pytest.raises(ModelError, match="writes=True"):
        fit_generative(
            TEXTS[:1], VALUES[:1], [1], FIELDS, settings(tiny_folder), seed=0, base=load_base(str(tiny_folder))
        )


def test_a_context_too_short_for_the_fields_is_refused(llama: Base) -> None:
    """Forty fields cannot be written in 256 tokens beside a text."""
    fields = [FieldSpec(name=f"field number {number}", type="number") for number in range(40)]
    with pytest.raises(ModelError, match="fields"):
        fit_generative(["a"], [{}], [1], fields, settings(llama.folder), seed=0, base=llama)


def test_units_decode_to_what_was_written(world: World) -> None:
    """Every block is a distribution, and the kind reads the written value off it where that stands in the text."""
    kind = kind_of(fields_task())
    items = [Item(str(number), text) for number, text in enumerate(TEXTS[:10])]
    predictions = [(value, dict.fromkeys(value, 0.6)) for value in VALUES[:10]]
    probs = as_units(kind, items, predictions)
    assert np.allclose(probs.sum(axis=1), 1.0)
    assert (probs >= 0).all()
    start = 0
    for item, (value, _) in zip(items, predictions, strict=True):
        spans = kind.units(item)
        assert kind.decode(item, spans, probs[start : start + len(spans)]) == value
        start += len(spans)
    assert start == len(probs)
    surer = as_units(kind, items, [(value, dict.fromkeys(value, 0.99)) for value in VALUES[:10]])
    spans = kind.units(items[0])
    assert (
        kind.doubt(items[0], spans, surer[: len(spans)]).score < kind.doubt(items[0], spans, probs[: len(spans)]).score
    )
    assert UnitStudent(world.taught, kind).predict_items(items).shape == probs.shape


def test_words_of_a_value_that_is_not_in_the_text_are_unknown() -> None:
    """They are uniform, not "outside"."""
    kind = kind_of(fields_task())
    item, value = Item("1", "thirty days"), VALUES[0] | dict.fromkeys(["number", "seller", "date"]) | {"goods": []}
    probs = as_units(kind, [item], [(value | {"terms": "net 30"}, dict.fromkeys(value, 0.9))])
    assert np.allclose(probs, 1.0 / kind.width)
    assert as_units(kind, [], []).shape == (0, kind.width)


def test_only_a_task_of_fields_can_have_a_student_that_writes(tmp_path: Path) -> None:
    """The error names the recipe and the kind."""
    assert fields_task(student={"recipe": "generate"}).student.recipe == "generate"
    (tmp_path / "task.toml").write_text(
        'name = "a"\nkind = "spans"\n[data]\npool = "p"\n[[labels]]\nname = "x"\n'
        '[[teachers]]\nname = "a"\nmodel = "m"\n[student]\nrecipe = "generate"\n',
        encoding="utf-8",
    )
    with pytest.raises(TaskError, match=r'recipe: "generate".*kind "fields", found kind "spans"'):
        load_task(tmp_path / "task.toml")
