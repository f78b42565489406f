"""How good a student of Banking77 is: with all labels, with ten a class, and with a recorded teacher's labels alone.

python -m benchmarks.student_quality [--parts full few teacher noise penalty] [--cache FOLDER] [--quick] --json OUT
Held-out rows choose and calibrate; the official test messages are only measured on. `full` takes about five minutes on
one CPU core, the others seconds once the texts are embedded.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.banking import BASE, Banking, Messages, load_banking
from benchmarks.figures import Figure, at_least, report
from stillhouse.probabilities import Floats
from stillhouse.settings import Student
from trainer.base import Base, load_base
from trainer.calibrate import fit_temperature
from trainer.fitted import FittedStudent
from trainer.inputs import Inputs
from trainer.linear import cross_entropy, fit_linear, out_of_fold
from trainer.student import HeldOut, Recipe, fit_student

SETTINGS = Student(base=BASE, epochs=2, threads=1)
HELD_OUT_SHARE = 0.1
FEW = 10
FOLDS = 3
NOISE_C = 10.0
PENALTIES = (3.0, 10.0, 30.0, 100.0)


def taught(
    banking: Banking,
    base: Base,
    messages: Messages,
    targets: Floats,
    recipe: Recipe,
    seed: int,
    weights: Floats | None = None,
    settings: Student = SETTINGS,
) -> FittedStudent:
    """The product's student, with a tenth of the messages held out to choose and calibrate."""
    n = len(messages)
    held = np.sort(np.random.default_rng([seed, 1]).permutation(n)[: round(HELD_OUT_SHARE * n)])
    how: dict[str, Any] = {"base": base, "features": messages.features, "held_out": HeldOut(held, targets[held])}
    w = np.ones(n) if weights is None else weights
    return fit_student(Inputs(messages.texts), targets, w, banking.labels, settings, seed=seed, recipe=recipe, **how)


def accuracy(student: FittedStudent, messages: Messages) -> float:
    if student.recipe == "head":
        said = student.predict_features(messages.features)
    else:
        said = student.predict(Inputs(messages.texts))
    return float((said.argmax(axis=1) == messages.labels).mean())


def full(banking: Banking, base: Base, seeds: int) -> list[Figure]:
    """All 10,003 labels."""
    figures = []
    for recipe, goal in (("head", None), ("lora", 0.935)):
        found = []
        for seed in range(seeds):
            clock = time.process_time()
            student = taught(banking, base, banking.train, banking.targets(banking.train.labels), recipe, seed)  # type: ignore[arg-type]
            found.append(accuracy(student, banking.test))
            print(f"{recipe}, seed {seed}: {found[-1]:.4f}, {time.process_time() - clock:.0f} CPU-s", flush=True)
            print(dict(student.facts), flush=True)
        name = f"all labels, {recipe}: accuracy on test ({seeds} seed{'s' * (seeds > 1)}{spread(found)})"
        value = float(np.mean(found))
        figures.append(at_least(name, value, goal) if goal else Figure(name, round(value, 4), "", None))
    return figures


def few(banking: Banking, base: Base, seeds: int) -> list[Figure]:
    """Ten labels a class, drawn anew for each seed."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 2])
        order = rng.permutation(len(banking.train))
        rows = np.concatenate(
            [order[banking.train.labels[order] == label][:FEW] for label in range(len(banking.labels))]
        )
        messages = banking.train.take(rows)
        student = taught(banking, base, messages, banking.targets(messages.labels), "head", seed)
        found.append(accuracy(student, banking.test))
    return [
        at_least(
            f"{FEW} labels a class, head: accuracy on test ({seeds} seeds{spread(found)})", float(np.mean(found)), 0.86
        )
    ]


def teacher(banking: Banking, base: Base, recipes: tuple[Recipe, ...]) -> list[Figure]:
    """Three folds: each message is predicted by a student that was taught the teacher's labels of the others."""
    pool, votes = banking.train.take(banking.pool), banking.votes.mean(axis=0)
    right_teacher = votes.argmax(axis=1) == pool.labels
    figures = [
        Figure(
            "teacher's labels: the teacher's own accuracy on its 3,000 messages",
            round(float(right_teacher.mean()), 4),
            "",
            None,
        )
    ]
    folds = np.random.default_rng(3).permutation(len(pool)) % FOLDS
    for recipe in recipes:
        right = np.zeros(len(pool))
        for fold in range(FOLDS):
            rows, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            student = taught(banking, base, pool.take(rest), votes[rest], recipe, fold)
            held = pool.take(rows)
            said = (
                student.predict_features(held.features)
                if student.recipe == "head"
                else student.predict(Inputs(held.texts))
            )
            right[rows] = said.argmax(axis=1) == held.labels
        gain = right - right_teacher
        noise = gain.std() / len(gain) ** 0.5
        name = f"teacher's labels alone, {recipe}: student's gain over the teacher, out of fold (± {2 * noise:.4f})"
        figures.append(at_least(name, float(gain.mean()), 0.0))
    known = out_of_fold(pool.features, banking.targets(pool.labels), None, folds)
    ceiling = float((known.argmax(axis=1) == pool.labels).mean())
    figures.append(
        Figure("the same, taught by the true labels of the others (head): accuracy", round(ceiling, 4), "", None)
    )
    return figures


def noise(banking: Banking, base: Base, seeds: int) -> list[Figure]:  # noqa: ARG001
    """What to do about the teacher's errors: test accuracy of heads taught 80 % of its messages each, one penalty for all."""
    everything, votes = banking.train.take(banking.pool), banking.votes.mean(axis=0)
    found: dict[str, list[float]] = {name: [] for name in ROBUST}
    for seed in range(seeds):
        rows = np.random.default_rng([seed, 4]).permutation(len(everything))[: int(0.8 * len(everything))]
        pool, said = everything.take(rows), votes[rows]
        unseen = out_of_fold(pool.features, said, None, np.arange(len(pool)) % 3, C=NOISE_C)
        head = None
        for name, weigh in ROBUST.items():
            weights, targets = weigh(said, unseen)
            head = fit_linear(pool.features, targets, weights, C=NOISE_C, start=head)
            found[name].append(float((head.logits(banking.test.features).argmax(axis=1) == banking.test.labels).mean()))
    plain = np.array(found["soft votes as they are"])
    figures = []
    for name, values in found.items():
        gain = np.array(values) - plain
        error = gain.std(ddof=1) / len(gain) ** 0.5
        figures.append(Figure(f"noisy labels, {name}: accuracy on test", round(float(np.mean(values)), 4), "", None))
        said_of = f"    its gain, paired over {seeds} seeds (standard error {error:.4f})"
        figures.append(Figure(said_of, round(float(gain.mean()), 4), "", None))
    return figures


def penalty(banking: Banking, base: Base, seeds: int) -> list[Figure]:  # noqa: ARG001
    """Which judge of held-out rows chooses the best penalty, where votes are taught (squared, as the loop does it)."""
    pool, votes = banking.train.take(banking.pool), banking.votes.mean(axis=0)
    squared = votes**2 / (votes**2).sum(axis=1, keepdims=True)
    hard = np.eye(votes.shape[1])[votes.argmax(axis=1)]
    judges = {"votes as they are": votes, "votes as they are taught": squared, "the likeliest label": hard}
    right: dict[str, list[float]] = {name: [] for name in [*judges, *map(str, PENALTIES)]}
    for seed in range(seeds):
        held = np.random.default_rng([seed, 7]).permutation(len(pool)) < HELD_OUT_SHARE * len(pool)
        likely: dict[str, list[float]] = {name: [] for name in judges}
        accuracies, head = [], None
        for C in PENALTIES:
            head = fit_linear(pool.features, squared, (~held).astype(np.float64), C=C, start=head)
            logits = head.logits(pool.features[held])
            for name, judge in judges.items():
                temperature = fit_temperature(logits, judge[held])
                likely[name].append(-float(cross_entropy(logits, judge[held], temperature).mean()))
            accuracies.append(float((head.logits(banking.test.features).argmax(axis=1) == banking.test.labels).mean()))
            right[str(C)].append(accuracies[-1])
        for name, values in likely.items():
            right[name].append(accuracies[int(np.argmax(values))])
            print(f"seed {seed}, judged by {name}: C = {PENALTIES[int(np.argmax(values))]:g}", flush=True)
    return [
        Figure(
            f"penalty, {f'C = {name}' if name in map(str, PENALTIES) else f'judged by {name}'}: accuracy on test",
            round(float(np.mean(values)), 4),
            "",
            None,
        )
        for name, values in right.items()
    ]


Weigh = Callable[[Floats, Floats], tuple[NDArray[np.float64], Floats]]


def _as_they_are(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:  # noqa: ARG001
    return np.ones(len(said)), said


def _hard(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:  # noqa: ARG001
    return np.ones(len(said)), np.eye(said.shape[1])[said.argmax(axis=1)]


def _squared(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:  # noqa: ARG001
    return np.ones(len(said)), said**2 / (said**2).sum(axis=1, keepdims=True)


def _small_loss(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:
    """The fifth that heads taught by the others find least likely weighs nothing (Han et al. 2018, with cross-fitting)."""
    likely = (said * np.log(np.maximum(unseen, 1e-9))).sum(axis=1)
    return (likely > np.quantile(likely, 0.2)).astype(np.float64), said


def _least_sure(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:  # noqa: ARG001
    """The fifth of which the teacher is least sure weighs nothing."""
    sure = said.max(axis=1)
    return (sure > np.quantile(sure, 0.2)).astype(np.float64), said


def _by_confidence(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:  # noqa: ARG001
    return said.max(axis=1), said


def _mixed(said: Floats, unseen: Floats) -> tuple[NDArray[np.float64], Floats]:
    """Half the vote, half what heads taught by the others say (bootstrapping, Reed et al. 2015, with cross-fitting)."""
    return np.ones(len(said)), 0.5 * said + 0.5 * unseen


ROBUST: dict[str, Weigh] = {
    "soft votes as they are": _as_they_are,
    "hard votes": _hard,
    "soft votes, squared": _squared,
    "without the fifth of largest loss": _small_loss,
    "without the fifth the teacher is least sure of": _least_sure,
    "weighed by the teacher's confidence": _by_confidence,
    "half the vote, half a cross-fitted student": _mixed,
}


def spread(values: list[float]) -> str:
    return f", ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=["full", "few", "teacher", "noise", "penalty"],
        default=["full", "few", "teacher", "noise", "penalty"],
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--full-seeds", type=int, default=1)
    parser.add_argument("--teacher-recipes", nargs="+", default=["head"], choices=["head", "top", "lora"])
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    parser.add_argument("--cache", type=Path, help="keep the features here")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    parts = [part for part in given.parts if part != "full"] if given.quick else given.parts
    with tempfile.TemporaryDirectory() as temporary:
        base = load_base(BASE)
        banking = load_banking(base, given.cache or Path(temporary))
        figures: list[Figure] = []
        if "few" in parts:
            figures += few(banking, base, given.seeds)
        if "teacher" in parts:
            figures += teacher(banking, base, tuple(given.teacher_recipes))
        if "noise" in parts:
            figures += noise(banking, base, given.seeds)
        if "penalty" in parts:
            figures += penalty(banking, base, given.seeds)
        if "full" in parts:
            figures += full(banking, base, given.full_seeds)
    report(figures, given.json)


if __name__ == "__main__":
    main()
