"""The student: what teaches it, what must not, how its recipe is chosen, and how well it learns real text."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import InputError, ModelError
from tests.trainer.conftest import Routed, taught
from tests.trainer.test_features import ODD
from tests.trainer.tiny import LABELS, messages, settings
from trainer.base import Base
from trainer.features import embed
from trainer.inputs import Inputs
from trainer.linear import cross_entropy
from trainer.lora import adapt, merged, target_linears
from trainer.pace import Pace
from trainer.student import FittedStudent, HeldOut, Recipe, fit_student


def test_the_same_seed_gives_the_same_student(tiny: Base, lora_student: FittedStudent) -> None:
    """To the last bit, so that a run can be repeated."""
    assert taught(tiny).model_id == lora_student.model_id


def test_another_seed_gives_another_student(tiny: Base, lora_student: FittedStudent) -> None:
    """The seed is used: it draws the adapter's start and the order of the texts."""
    assert taught(tiny, seed=2).model_id != lora_student.model_id


def test_threads_do_not_change_the_student(tiny: Base, lora_student: FittedStudent) -> None:
    """Two threads share a step's micro-batches out and give the one thread's adapter."""
    other = taught(tiny, threads=2)
    assert other.adapter is not None
    assert lora_student.adapter is not None
    for name, tensor in lora_student.adapter.tensors.items():
        assert np.allclose(other.adapter.tensors[name], tensor, atol=1e-5)


def test_an_untrained_adapter_is_the_logistic_head(tiny: Base) -> None:
    """LoRA starts where the frozen features are: before the first step nothing has changed."""
    texts, _ = messages(20)
    start = replace(tiny, encoder=merged(adapt(tiny, settings(tiny.folder), seed=0)))
    assert np.abs(embed(start, Inputs(texts)).vectors - embed(tiny, Inputs(texts)).vectors).max() < 1e-5


def test_every_linear_layer_but_the_pooler_is_adapted(tiny: Base) -> None:
    """Six linear layers in each of two layers; the pooler does not take part in mean pooling."""
    names = target_linears(tiny.encoder)
    assert len(names) == 12
    assert not any("pooler" in name for name in names)


def test_a_training_that_diverges_is_one_clear_error(tiny: Base) -> None:
    """The error says which setting to lower; a student of nan is never delivered."""
    with pytest.raises(ModelError, match=r"lower student\.learning_rate"):
        taught(tiny, learning_rate=1e30)


def test_training_leaves_the_base_alone(tiny: Base, lora_student: FittedStudent) -> None:
    """The adapter is added into a copy, so that the next student starts from the same base."""
    before = embed(tiny, Inputs(["paper jam"])).vectors
    taught(tiny, learning_rate=0.05)
    assert (embed(tiny, Inputs(["paper jam"])).vectors == before).all()
    assert (embed(lora_student.base, Inputs(["paper jam"])).vectors != before).any()


def test_held_out_rows_do_not_teach_a_lora_student(tiny: Base) -> None:
    """Other answers, targets and weights on the held-out rows leave adapter and head as they were.

    There are too few of them here to choose the penalty, which is the one thing held-out answers may decide.
    """
    texts, labels = messages(160)
    Y, w = np.eye(3)[labels], np.ones(160)
    other = Y.copy()
    other[:40] = np.roll(other[:40], 1, axis=1)
    students = [
        fit_student(Inputs(texts), Z, v, LABELS, settings(tiny.folder), seed=0, base=tiny, held_out=held, recipe="lora")
        for Z, v, held in (
            (Y, w, HeldOut(np.arange(40), Y[:40])),
            (other, w + (np.arange(160) < 40), HeldOut(np.arange(40), other[:40])),
        )
    ]
    first, second = (student.adapter for student in students)
    assert first is not None
    assert second is not None
    assert all((first.tensors[name] == second.tensors[name]).all() for name in first.tensors)
    assert (students[0].head.weight == students[1].head.weight).all()


def test_a_head_learns_from_the_held_out_rows_at_last(tiny: Base, head_student: FittedStudent) -> None:
    """After its temperature is fitted, the head is fitted again on everything."""
    texts, labels = messages(160)
    how: dict[str, Any] = {"seed": 1, "base": tiny, "recipe": "head"}
    everything = fit_student(Inputs(texts), np.eye(3)[labels], np.ones(160), LABELS, settings(tiny.folder), **how)
    assert np.abs(everything.head.logits(np.eye(32)) - head_student.head.logits(np.eye(32))).max() < 0.1
    assert everything.temperature == 1.0


@pytest.mark.parametrize("recipe", ["head", "lora"])
def test_weights_matter(tiny: Base, recipe: Recipe) -> None:
    """Where two labels contradict each other, the heavier one wins."""
    texts, labels = messages(120)
    doubled, wrong = texts + texts, (labels + 1) % 3
    Y = np.eye(3)[np.concatenate([labels, wrong])]
    w = np.concatenate([np.ones(120), np.full(120, 5.0)])
    chosen = settings(tiny.folder)
    student = fit_student(Inputs(doubled), Y, w, LABELS, chosen, seed=0, base=tiny, recipe=recipe)
    found = student.predict(Inputs(texts)).argmax(axis=1)
    assert (found == wrong).mean() > 2 * (found == labels).mean()


def test_auto_takes_the_head_where_lora_is_not_worth_it(tiny: Base) -> None:
    """A learning rate that ruins the adapter loses on the held-out answers; both likelihoods are reported."""
    facts = taught(tiny, recipe="auto", learning_rate=5.0).facts
    assert facts["recipe"] == "head"
    assert facts["held_out_log_likelihood_lora"] < facts["held_out_log_likelihood_head"]
    assert "not worth it" in facts["why"]


def test_auto_takes_lora_where_frozen_features_are_poor(tiny: Base) -> None:
    """Random weights know nothing of the words: adapting them makes held-out answers likelier by far."""
    student = taught(tiny, n=400, recipe="auto", epochs=8, learning_rate=5e-3)
    assert student.recipe == "lora"
    assert student.facts["tokens_per_s"] > 0


def test_auto_without_answers_takes_the_head_and_says_why(tiny: Base) -> None:
    """With too few held-out answers there is nothing to choose by, so no time is spent on LoRA."""
    texts, labels = messages(80)
    how: dict[str, Any] = {"seed": 0, "base": tiny, "held_out": HeldOut(np.arange(10), np.eye(3)[labels[:10]])}
    student = fit_student(Inputs(texts), np.eye(3)[labels], np.ones(80), LABELS, settings(tiny.folder), **how)
    assert student.recipe == "head"
    assert "10 held-out answers are too few" in student.facts["why"]


def test_progress_tells_rate_and_time_to_go(tiny: Base) -> None:
    """Each stage ends with everything done."""
    told: list[Pace] = []
    texts, labels = messages(60)
    how: dict[str, Any] = {"seed": 0, "base": tiny, "recipe": "lora", "progress": told.append}
    fit_student(Inputs(texts), np.eye(3)[labels], np.ones(60), LABELS, settings(tiny.folder), **how)
    last = {pace.stage: pace for pace in told}
    assert set(last) == {"embedding", "training"}
    assert all(pace.done == pace.total and pace.rate > 0 and pace.eta_s == 0 for pace in last.values())


def test_odd_texts_get_probabilities(lora_student: FittedStudent) -> None:
    """Empty, very long and odd-script texts are labelled, and rows sum to 1."""
    probs = lora_student.predict(Inputs(ODD))
    assert probs.dtype == np.float32
    assert np.allclose(probs.sum(axis=1), 1.0, atol=1e-5)


def test_no_texts_are_labelled_at_once(lora_student: FittedStudent) -> None:
    """An empty list gives (0, k)."""
    assert lora_student.predict(Inputs([])).shape == (0, 3)


def test_a_head_predicts_from_features_what_it_predicts_from_texts(head_student: FittedStudent, tiny: Base) -> None:
    """The loop has the features already and need not embed again."""
    texts, _ = messages(30, seed=5)
    assert np.allclose(
        head_student.predict_features(embed(tiny, Inputs(texts)).vectors),
        head_student.predict(Inputs(texts)),
        atol=1e-5,
    )


def test_a_lora_student_refuses_frozen_features(lora_student: FittedStudent) -> None:
    """Its adapter changes the features, so the base's would be silently wrong."""
    with pytest.raises(ModelError, match="does not read the features"):
        lora_student.predict_features(np.zeros((1, 32), dtype=np.float32))


def test_targets_of_another_shape_are_refused(tiny: Base) -> None:
    """One column too few is found before anything is embedded."""
    with pytest.raises(InputError, match="one row of targets"):
        fit_student(Inputs(["paper"]), np.ones((1, 2)), np.ones(1), LABELS, settings(tiny.folder), seed=0, base=tiny)


def test_holding_everything_out_is_refused(tiny: Base) -> None:
    """Something has to be left to learn from."""
    held = HeldOut(np.arange(1), np.eye(3)[:1])
    with pytest.raises(InputError, match="units left to learn from"):
        fit_student(
            Inputs(["paper"]),
            np.eye(3)[:1],
            np.ones(1),
            LABELS,
            settings(tiny.folder),
            seed=0,
            base=tiny,
            held_out=held,
        )


def test_six_hundred_labels_teach_the_routes_of_the_helpdesk(routed: Routed, minilm: Base) -> None:
    """On real text, MiniLM's features and 600 labels route more than 60 % of other messages right."""
    Y = np.eye(len(routed.names))[routed.labels]
    how: dict[str, Any] = {"seed": 0, "base": minilm, "recipe": "head", "features": routed.features[:600]}
    chosen = settings(minilm.name)
    student = fit_student(Inputs(routed.texts[:600]), Y[:600], np.ones(600), routed.names, chosen, **how)
    found = student.predict_features(routed.features[600:]).argmax(axis=1)
    assert (found == routed.labels[600:]).mean() > 0.6


def test_calibration_makes_other_answers_likelier(routed: Routed, minilm: Base) -> None:
    """A head that is overconfident (weights of 3,000 leave it hardly any penalty) is softened on held-out answers."""
    Y, chosen = np.eye(len(routed.names))[routed.labels], settings(minilm.name)
    held = HeldOut(np.arange(300, 500), Y[300:500])
    how: dict[str, Any] = {"seed": 0, "base": minilm, "recipe": "head", "features": routed.features[:500]}
    student = fit_student(
        Inputs(routed.texts[:500]), Y[:500], np.full(500, 3000.0), routed.names, chosen, held_out=held, **how
    )
    logits = student.head.logits(routed.features[500:])
    after, before = (cross_entropy(logits, Y[500:], t).mean() for t in (student.temperature, 1.0))
    assert student.temperature > 1.0
    assert after < before
