"""What a promise about the student's errors rests on: gold, or a first batch that teaches it nothing."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinds.kind import Kind, Layout
from loop.project import Gold, Project
from loop.view import View, view_of
from serving.student import inputs_of
from stillhouse.errors import InputError
from stillhouse.probabilities import Floats
from stillhouse.records import Answer, Item, Pick, Value
from trainer.artifact import risk_in
from trainer.engines import is_export
from trainer.generative import UnitStudent
from trainer.risk import Bound, RiskScores, certified_threshold, fewest_items
from trainer.student import FittedStudent

Trained = FittedStudent | UnitStudent


@dataclass(frozen=True, eq=False)
class Judges:
    """Items with what is true of them that no student has learned from. `predict` gives what a student says of their units
    (u, k); `from_pool` says that they are answers people gave to the pool.
    """

    items: tuple[Item, ...]
    values: tuple[Value, ...]
    on: str
    from_pool: bool
    predict: Callable[[Trained], Floats] = field(repr=False)

    def key(self) -> str:
        """Changes with any item or value."""
        said = [[item.id, value] for item, value in zip(self.items, self.values, strict=True)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def judges_of(
    project: Project,
    view: View,
    picks: Sequence[Pick],
    gold: Gold | None,
    predict: Callable[[Trained], Floats] | None = None,
) -> Judges | None:
    """Gold where the task has some. Else, if `student.max_error` is set, the random answers of the first batch: it alone is
    a uniform draw from all of the pool, because later ones come from what no batch had picked for being hard.

    `predict` saves predicting gold twice.
    """
    kind = project.kind
    if gold is not None and len(gold.items):
        asked = predict or _predicts(kind, gold.items)
        return Judges(gold.items, gold.values, f"{len(gold.items)} gold items", from_pool=False, predict=asked)
    if project.task.student.max_error is None:
        return None
    drawn = {pick.item_id for pick in picks if pick.round == 1 and pick.inclusion_probability is not None}
    items = tuple(item for item in view.items if item.id in drawn and item.id in view.labels)
    values = tuple(view.labels[item.id] for item in items)
    on = f"{len(items)} random answers of the first batch, which taught it nothing"
    return Judges(items, values, on, from_pool=True, predict=_predicts(kind, items))


def needs_audit(project: Project) -> bool:
    """Whether the first batch must be random, so that a promise can rest on it."""
    return project.task.student.max_error is not None and project.task.data.gold is None


def audit_words(project: Project, size: int) -> str:
    """Why the first batch is random, and whether it is large enough."""
    wish = project.task.student.max_error
    assert wish is not None
    least = fewest_items(wish, project.task.stop.confidence)
    said = (
        f"an error of at most {wish:g} is to be promised: the first batch is all random and teaches the student nothing"
    )
    return (
        said if size >= least else f"{said}; it takes at least {least} answers, and {size} are asked (selection.batch)"
    )


def taught_view(project: Project, view: View, answers: Sequence[Answer], judges: Judges | None) -> View:
    """The view that students learn from: as if nobody had answered the judges."""
    if judges is None or not judges.from_pool:
        return view
    kept_out = {item.id for item in judges.items}
    return view_of(project, view.corpus, [answer for answer in answers if answer.item_id not in kept_out])


def silent_rows(view: View, judges: Judges | None) -> NDArray[np.bool_]:
    """(u,): the units of the pool that a student must not be taught by at all: their texts neither."""
    kept_out = {item.id for item in judges.items} if judges is not None and judges.from_pool else set()
    of_items = np.array([item.id in kept_out for item in view.items], dtype=bool)
    return of_items[view.corpus.layout.item_of]


def risk_scores(kind: Kind, student: Trained, judges: Judges) -> RiskScores:
    """How sure the student is of each judge (the expected score, which labelling compares with its threshold), and how
    wrong.
    """
    layout, probs = Layout.of(kind, judges.items), judges.predict(student)
    thresholds = None if student.thresholds is None else np.array(student.thresholds)
    error = np.empty(len(judges.items))
    for number, (item, truth) in enumerate(zip(judges.items, judges.values, strict=True)):
        rows = layout.rows(number)
        error[number] = 1.0 - kind.score(truth, kind.decode(item, layout.spans[rows], probs[rows], thresholds))
    parts = [layout.rows(number) for number in range(len(judges.items))]
    sure = np.array([kind.expected_score(layout.spans[rows], probs[rows]) for rows in parts], dtype=np.float64)
    return RiskScores(sure, error, judges.on, whole=kind.score_name == "accuracy")


def _predicts(kind: Kind, items: Sequence[Item]) -> Callable[[Trained], Floats]:
    return lambda student: student.predict(inputs_of(kind, items)).astype(np.float64)


def answers_from(
    project: Project, student: Path, threshold: float | None, max_error: float | None
) -> tuple[float, str]:
    """The probability from which the student in a folder is to answer, and in words why: a threshold as given, or the one
    that keeps the promise `max_error` (the task's, if neither is given).

    Raises InputError where the promise cannot be made: nothing is labelled then that would look as if it was kept.
    """
    if threshold is not None and max_error is not None:
        raise InputError(
            "a threshold and an error were given",
            expected="one of the two",
            found=f"threshold {threshold:g} and error {max_error:g}",
            fix="leave one out: an error is turned into a threshold",
        )
    wish = project.task.student.max_error if max_error is None else max_error
    if threshold is not None or wish is None:
        return threshold or 0.0, ""
    bound = promised(student, wish, project.task.stop.confidence)
    if bound.threshold is None:
        raise InputError(
            f"the student in {student} cannot promise an error of at most {wish:g}",
            expected=f"a threshold certified with {bound.confidence:g} confidence",
            found=bound.why,
            fix="allow a larger error, add gold, or name a threshold that promises nothing: --threshold 0.8, say",
        )
    return bound.threshold, f"from probability {bound.threshold:.4g} on: {bound.promise} (certified on {bound.on})"


def promised(student: Path, max_error: float, confidence: float) -> Bound:
    """What the student in a folder can promise. Raises InputError where nothing was kept to certify on."""
    scores = None if is_export(student) else risk_in(student)
    if scores is None:
        raise InputError(
            f"nothing was kept in {student} that an error could be certified on",
            expected="a student of a run with gold, or one whose task sets student.max_error",
            found="neither (an export is another model than the student, and has no promise either)",
            fix="add data.gold or student.max_error to task.toml and run again; or name a threshold: --threshold 0.8, say",
        )
    return certified_threshold(scores, max_error, confidence)
