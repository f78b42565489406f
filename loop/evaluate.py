"""What a round is worth: teacher, student and delivered labels, each with its interval, none on items it has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.certificate import certify
from consensus.votes import VoteTable
from loop.learn import cross_fitted_student
from loop.project import Gold, Project
from loop.view import View, random_draws
from stillhouse.measures import accuracy_interval, macro_f1_interval, paired_difference
from stillhouse.probabilities import Floats, Ints
from stillhouse.records import Interval, Pick


@dataclass(frozen=True, slots=True, eq=False)
class GoldView:
    """Gold as arrays: what the teachers said and what the items' labels are."""

    gold: Gold
    votes: VoteTable
    features: NDArray[np.float32]

    @property
    def labels(self) -> Ints:
        return np.array(self.gold.labels, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Predictions (m, k) beside the truth (m,), for the diagrams of the report."""

    on: str
    truth: Ints
    teacher: Floats
    student: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """`delivered` is the certificate from blind answers; `delivered_known` the share of the pool that is right, where
    every label of the pool is known (rehearsals only).
    """

    teacher: Interval | None
    student: Interval | None
    student_macro_f1: Interval | None
    delivered: Interval
    delivered_known: Interval | None
    gain: Interval | None
    judged: Judged | None

    def to_json(self) -> dict[str, object]:
        named: Mapping[str, Interval | None] = {
            "teacher": self.teacher,
            "student": self.student,
            "student_macro_f1": self.student_macro_f1,
            "delivered": self.delivered,
            "delivered_known": self.delivered_known,
            "student_gain": self.gain,
        }
        return {name: None if value is None else value.to_json() for name, value in named.items()}


def evaluate(
    project: Project,
    view: View,
    picks: Sequence[Pick],
    gold: GoldView | None,
    gold_probs: Floats | None,
    *,
    known: Mapping[str, str] | None,
    before: Floats | None,
) -> Evaluation:
    """`gold_probs` are the student's on gold; `before` the previous round's student on the same items as `judged`."""
    confidence = project.task.stop.confidence
    judged = (
        _on_gold(gold, gold_probs) if gold is not None and gold_probs is not None else _on_blind(project, view, picks)
    )
    teacher = student = macro = gain = None
    if judged is not None and len(judged.truth):
        right = judged.student.argmax(axis=1) == judged.truth
        teacher = accuracy_interval(judged.teacher.argmax(axis=1) == judged.truth, confidence, judged.on)
        student = accuracy_interval(right, confidence, judged.on)
        macro = macro_f1_interval(
            judged.truth,
            judged.student.argmax(axis=1),
            len(project.task.labels),
            confidence=confidence,
            on=judged.on,
            rng=project.rng("bootstrap"),
        )
        if before is not None and before.shape == judged.student.shape:
            gain = paired_difference(before.argmax(axis=1) == judged.truth, right, confidence, judged.on)
    return Evaluation(
        teacher=teacher,
        student=student,
        student_macro_f1=macro,
        delivered=certify(view.belief, random_draws(view.items, picks, view.labels), confidence),
        delivered_known=_against(project, view, known),
        gain=gain,
        judged=judged,
    )


def _on_gold(gold: GoldView, probs: Floats) -> Judged:
    return Judged(f"{len(gold.labels)} gold items", gold.labels, gold.votes.pooled(), probs)


def _on_blind(project: Project, view: View, picks: Sequence[Pick]) -> Judged | None:
    """The random share so far, each item predicted by a student that has not seen its answer."""
    blind = {pick.item_id for pick in picks if pick.inclusion_probability is not None and pick.item_id in view.labels}
    if not blind or view.belief.folds.max() < 0:
        return None
    index = {name: number for number, name in enumerate(project.task.label_names)}
    rows = np.array([row for row, item in enumerate(view.items) if item.id in blind], dtype=np.intp)
    truth = np.array([index[view.labels[view.items[row].id]] for row in rows], dtype=np.int64)
    student = cross_fitted_student(view, project.task.student)[rows]
    return Judged(f"{len(rows)} blind answers, cross-fitted", truth, view.votes.pooled()[rows], student)


def _against(project: Project, view: View, known: Mapping[str, str] | None) -> Interval | None:
    if known is None or any(item.id not in known for item in view.items):
        return None
    names = project.task.label_names
    said = view.belief.probs.argmax(axis=1)
    right = np.array([names[label] == known[item.id] for label, item in zip(said, view.items, strict=True)])
    return accuracy_interval(
        right, project.task.stop.confidence, f"all {len(right)} known labels of the pool (rehearsal)"
    )
