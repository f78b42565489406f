"""The student's turn: what it is taught, what is held out to choose and calibrate it, where it is kept."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jobs import lessons
from loop.progress import Display
from loop.project import Project
from loop.risk import Judges, risk_scores, silent_rows
from loop.view import View, penalty_of
from serving.student import inputs_of, loaded
from stillhouse.probabilities import Floats, blocks, softmax
from stillhouse.settings import Student
from trainer.artifact import is_complete, model_card, save_student
from trainer.base import Base, load_base
from trainer.features import embed_cached
from trainer.generative import UnitStudent, fit_generative
from trainer.inputs import Inputs
from trainer.linear import fit_linear, out_of_fold
from trainer.pace import Pace, Progress
from trainer.risk import RiskScores, bounds_to_report
from trainer.student import FittedStudent, HeldOut

HELD_OUT_SHARE = 0.1
TRAINING = "training"  # the folder of a training that is under way: deleted once its student is saved

Recipe = Literal["auto", "head", "top", "lora", "full", "generate"]
Trained = FittedStudent | UnitStudent
TaughtBy = Callable[[lessons.Lesson, Base], FittedStudent]  # on another machine


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a student is taught: distributions (u, k) and weights (u,) of its units."""

    targets: Floats
    weights: NDArray[np.float64]


def lesson(view: View, settings: Student, without_fold: int | None = None) -> Lesson:
    """Belief as soft targets, sharpened; people's answers override it. A fold left out is taught as unanswered."""
    belief = view.belief
    probs = belief.probs if without_fold is None else belief.without(without_fold)
    targets = sharpened(probs, settings.target_sharpness, view.kind.width)
    weights = np.ones(len(targets))
    rows = belief.answers.rows
    weights[rows if without_fold is None else rows[belief.folds[rows] != without_fold]] = settings.answer_weight
    return Lesson(targets, weights)


def features_of(project: Project, base: Base, inputs: Inputs, display: Display, name: str) -> NDArray[np.float32]:
    """Features (u, d) of the units by the frozen base, kept in the run's folder."""
    settings = project.task.student
    with display.bar(f"embedding {name}", len(inputs)) as bar:
        made = embed_cached(
            base,
            inputs,
            project.features,
            max_tokens=settings.max_tokens,
            threads=settings.threads,
            progress=lambda pace: bar(pace.done, pace.note),
        )
        note = f", {made.windowed} read in windows of {settings.max_tokens} tokens" if made.windowed else ""
        bar(len(inputs), note)
    return made.vectors


def train(
    project: Project,
    base: Base,
    view: View,
    round_number: int,
    recipe: Recipe,
    display: Display,
    judges: Judges | None = None,
    taught_by: TaughtBy | None = None,
) -> Trained:
    """The student of a round: loaded if this very lesson has been learned already, else trained and saved.

    A random tenth of the pool is held out to choose the recipe and to calibrate, judged by what is believed of it
    (people's answers where there are some). It is random, so unlike the answers it looks like what will be labelled.
    `judges` say on which items, that must not teach it, its errors can be certified; `view` has not seen their answers.
    `taught_by` trains on other machines; a head is fitted here, where the features are.
    """
    folder = project.student(round_number)
    key = lesson_key(project, view, recipe) + (judges.key() if judges else "")
    if is_complete(folder) and _key_of(folder / "metrics.json") == key:
        return loaded(folder, view.kind, None if recipe == "generate" else base)
    teach = _writer if recipe == "generate" else _pointer
    with display.bar(f"student, round {round_number}", 100) as bar:

        def progress(pace: Pace) -> None:
            bar(round(100 * pace.done / max(pace.total, 1)), f"{pace.stage} {pace.note}")

        student = teach(project, base, view, recipe, silent_rows(view, judges), progress, taught_by)
        bar(100, said_of(student))
    risk = risk_scores(view.kind, student, judges) if judges and judges.items else None
    save_student(
        student.student if isinstance(student, UnitStudent) else student,
        folder,
        task_json=project.task.model_dump_json(indent=1),
        metrics={"lesson": key, **student.facts},
        card=card_of(project, view, student, risk),
        risk=risk,
    )
    shutil.rmtree(project.folder / TRAINING, ignore_errors=True)
    return student


def _pointer(
    project: Project,
    base: Base,
    view: View,
    recipe: Recipe,
    silent: NDArray[np.bool_],
    progress: Progress,
    taught_by: TaughtBy | None,
) -> Trained:
    """A head on the base, with or without an adapter: it labels units."""
    assert recipe != "generate"
    taught, held = lesson(view, project.task.student), held_out_rows(project, view)
    held = held[~silent[held]]
    told = lessons.Lesson(
        inputs=inputs_of(view.kind, view.items, view.corpus.layout),
        targets=taught.targets,
        weights=np.where(silent, 0.0, taught.weights),
        columns=tuple(view.kind.columns),
        settings=project.task.student,
        seed=project.task.seed,
        width=view.kind.width,
        held_out=HeldOut(held, view.belief.probs[held]),
        recipe=recipe,
    )
    if taught_by is not None and recipe != "head":
        student = taught_by(told, base)
    else:
        student = told.taught(
            base=base, features=view.corpus.features, progress=progress, checkpoints=project.folder / TRAINING
        )
    if view.thresholds is None:
        return student
    return replace(student, thresholds=tuple(float(t) for t in view.thresholds))


def _writer(
    project: Project,
    base: Base,  # noqa: ARG001
    view: View,
    recipe: Recipe,  # noqa: ARG001
    silent: NDArray[np.bool_],
    progress: Progress,
    taught_by: TaughtBy | None,  # noqa: ARG001
) -> Trained:
    """A decoder that writes the fields: taught what is delivered, the surer the more."""
    settings = project.task.student
    weights = np.where(view.answered, settings.answer_weight, 1.0 - view.expected_error)
    weights[np.unique(view.corpus.layout.item_of[silent])] = 0.0
    normal = (view.kind.normal(item, value) for item, value in zip(view.items, view.delivered, strict=True))
    values = [value for value in normal if isinstance(value, dict)]  # those of the kind "fields" are
    student = fit_generative(
        [item.text for item in view.items],
        values,
        weights,
        project.task.fields,
        settings,
        seed=project.task.seed,
        base=load_base(_base_name(project), writes=True),
        progress=progress,
        checkpoints=project.folder / TRAINING,
    )
    return UnitStudent(student, view.kind)


def held_out_rows(project: Project, view: View) -> NDArray[np.int64]:
    """The unit rows of a random tenth of the items: whole items, because units of one item are alike."""
    count = len(view.items)
    held = project.rng("held out").permutation(count)[: round(HELD_OUT_SHARE * count)]
    out: NDArray[np.int64] = np.flatnonzero(np.isin(view.corpus.layout.item_of, held))
    return out


def sharpened(probs: Floats, power: float, width: int) -> Floats:
    """Each block of `width` columns raised to a power and normalised: (u, k) -> (u, k); 1 leaves them as they are."""
    raised = blocks(probs, width) ** power
    out: Floats = (raised / raised.sum(axis=1, keepdims=True)).reshape(probs.shape)
    return out


def recipe_of(project: Project, *, last: bool) -> Recipe:
    """Before the last round only selection needs the student: the head is enough, unless the task insists on more."""
    wanted = project.task.student.recipe
    return wanted if last or wanted not in {"auto", "generate"} else "head"


def said_of(student: Trained) -> str:
    if isinstance(student, UnitStudent):
        return "it writes the fields"
    return f"recipe {student.recipe}, temperature {student.temperature:.2f}"


def lesson_key(project: Project, view: View, recipe: Recipe) -> str:
    """Changes with anything that would make another student."""
    digest = hashlib.sha256(project.task.student.model_dump_json().encode())
    digest.update(f"{recipe}\x1f{project.task.seed}\x1f{project.task.schema_hash()}".encode())
    digest.update(np.round(view.belief.probs, 6).astype(np.float32).tobytes())
    return digest.hexdigest()[:32]


def _key_of(path: Path) -> str:
    return str(json.loads(path.read_text(encoding="utf-8")).get("lesson", ""))


def card_of(project: Project, view: View, student: Trained, risk: RiskScores | None = None) -> str:
    task, answered = project.task, int(view.answered.sum())
    recorded = [teacher.name for teacher in task.teachers if teacher.recording]
    return model_card(
        student.student if isinstance(student, UnitStudent) else student,
        name=task.name,
        question=task.question,
        taught_by={"people": answered, "teacher, corrected by people": len(view.items) - answered},
        metrics={},
        rehearsed_answers=answered if task.desk.rehearse else 0,
        recorded_teacher=", ".join(recorded) or None,
        bounds=bounds_to_report(risk, task.stop.confidence, task.student.max_error) if risk else (),
    )


def cross_fitted_student(view: View, settings: Student) -> NDArray[np.float64]:
    """(u, k): for each unit of an answered item, what a student says that was taught without that item's fold of
    answers, by a belief that has not seen them either; nan elsewhere. The head on frozen features stands in.
    """
    belief, width = view.belief, view.kind.width
    out = np.full(belief.probs.shape, np.nan)
    for fold in sorted(set(belief.folds[belief.folds >= 0].tolist())):
        taught = lesson(view, settings, fold)
        head = fit_linear(view.corpus.features, taught.targets, taught.weights, C=penalty_of(view.kind), width=width)
        rows = np.flatnonzero(belief.folds == fold)
        out[rows] = softmax(head.logits(view.corpus.features[rows]), width)
    return out


def quick_student(view: View, settings: Student) -> NDArray[np.float64]:
    """(u, k): every unit predicted by a head that was not taught by its item: where student and belief differ is a
    signal.
    """
    taught = lesson(view, settings)
    folds = view.corpus.layout.item_of % (3 if view.kind.per_text else 2)
    out: NDArray[np.float64] = out_of_fold(
        view.corpus.features,
        taught.targets,
        taught.weights,
        folds,
        C=penalty_of(view.kind),
        width=view.kind.width,
    ).astype(np.float64)
    return out


def base_of(project: Project) -> Base:
    """The encoder that selection and heads look through. Raises ModelError."""
    return load_base(_base_name(project))


def _base_name(project: Project) -> str:
    """A relative path starts at the folder of task.toml, if it exists there."""
    name = project.task.student.base
    here = project.home / name
    return str(here) if not name.startswith("package:") and here.exists() else name
