"""The student: taught by soft targets, its recipe and its temperature chosen on answers it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import InputError
from stillhouse.probabilities import blocks
from stillhouse.settings import Student
from trainer.base import Base, load_base
from trainer.calibrate import MIN_ANSWERS, fit_temperature
from trainer.checkpoint import Checkpoint
from trainer.features import dimensions, embed_windows
from trainer.fitted import FittedStudent, Member, mean_logits
from trainer.inputs import Inputs
from trainer.linear import DEFAULT_C, TOKEN_C, Floats, Ints, LinearHead, cross_entropy, fit_linear
from trainer.lora import Depth, Lesson, adapter_of, merged, train_lora
from trainer.pace import Clock, Progress
from trainer.windows import Windows, tokenise

__all__ = ["FittedStudent", "HeldOut", "Recipe", "fit_student"]

Recipe = Literal["head", "top", "lora", "full"]
CANDIDATES: tuple[Depth, ...] = ("top", "lora")  # what "auto" tries beside the head, from little to much
SAID = {"top": "LoRA on the upper layers", "lora": "LoRA on all layers", "full": "training all weights"}
CANDIDATE_C = (1.0, 3.0, 10.0, 30.0)  # in rising order: each fit starts from the one before
MANY_UNITS = 10_000  # above so many the candidates are tried only as long as they get better
NEARLY_ALL = 0.2  # of many units: a share held out that leaves enough for a head like the final one
_NO_HEAD = LinearHead(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32))
WORTH_STANDARD_ERRORS = 1.0  # more is trained when it is likelier by more than so much noise: the head sees more rows
MEMBER_SEEDS = 7_919  # between the seeds of an ensemble's members


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Unit rows whose answers training must not see: all units of some texts.

    `rows` (m,) are positions among the units of the inputs, `targets` (m, k) what is believed of them: people's answers
    as 0 and 1, or distributions. What is measured, is measured against these; rows with nan are unknown and left out.
    """

    rows: Ints
    targets: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """All that the trials share. `seen` (U,) are weights that are 0 on held-out rows; `text_of` (U,) numbers texts."""

    inputs: Inputs
    windows: Windows
    X: NDArray[np.float32]
    Y: Floats
    weights: NDArray[np.float64]
    seen: NDArray[np.float64]
    held: HeldOut
    text_of: NDArray[np.int64]
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """A recipe's outcome: a student, what it says of the held-out rows (m, k) before the temperature, and how likely it
    makes each of them (m,), in nats a block.
    """

    recipe: str
    student: FittedStudent
    logits: Floats
    likelihoods: NDArray[np.float64]
    accuracy: float | None

    @property
    def mean(self) -> float | None:
        return float(self.likelihoods.mean()) if len(self.likelihoods) else None


def fit_student(
    inputs: Inputs,
    targets: Floats,
    weights: Floats,
    columns: Sequence[str],
    settings: Student,
    *,
    seed: int,
    width: int | None = None,
    base: Base | None = None,
    features: NDArray[np.float32] | None = None,
    held_out: HeldOut | None = None,
    recipe: Literal["auto"] | Recipe = "auto",
    progress: Progress | None = None,
    checkpoints: Path | None = None,
) -> FittedStudent:
    """Teach a student `targets` (U, k) with `weights` (U,) >= 0, a row for each unit of the inputs.

    Each block of `width` columns (None: all) is one distribution and sums to 1; rows with nan, or of weight 0, teach
    nothing. "head" is a logistic regression on the frozen base's features; from that head on "top" adapts the upper half
    of the layers, "lora" all of them, and "full" trains all weights. "auto" tries the first three in this order and goes
    on to one that trains more where it makes the held-out answers likelier by more than one standard error of the paired
    difference between texts (the rule of Breiman et al. 1984); without at least MIN_ANSWERS (50) held-out texts it
    cannot tell and takes the head, untried. The head's C is chosen likewise among CANDIDATE_C. Held-out rows teach no
    trial, but training may stop early by them. The temperature is fitted on them (1 with fewer than 50).

    A chosen head is then fitted again on all rows, the held-out ones with their given targets and weights, and its
    temperature is that of `settings.folds` heads that each left a share of the held-out texts out (where there are many
    units, that of the head that left all of them out). An adapted student keeps them all out, because training again costs
    as much as the first time. With `settings.ensemble` there are so many of them, each from a seed of its own.

    `checkpoints` is a folder where training is kept every few steps: killed and called again with the same arguments it
    goes on from there to the same student. Whoever has kept the student may delete the folder.

    `features` (U, d) saves embedding the texts: they must come from `trainer.features.embed` with the same base and
    max_tokens. Raises InputError where shapes do not fit, ModelError where the base cannot be loaded.
    """
    clock = Clock()
    names = tuple(columns)
    width = width or len(names)
    held = held_out or HeldOut(np.zeros(0, dtype=np.int64), np.zeros((0, len(names))))
    Y, w = np.asarray(targets, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    _check(inputs.units, Y, w, names, width, held)
    base = base or load_base(settings.base)
    windows = tokenise(base, inputs, settings.max_tokens)
    how: dict[str, Any] = {"tokens_per_batch": 1024, "threads": settings.threads, "progress": progress}
    how["width"] = dimensions(base, inputs)
    X = embed_windows(base, windows, **how).vectors if features is None else features
    lesson = _lesson(inputs, windows, X, Y, _balanced(w, Y, width, settings.class_balance), held, width)
    blank = FittedStudent(names, base, _NO_HEAD, 1.0, settings, None, width, None, windows.per_text, windows.with_focus)

    C, plain = _best_head(blank, lesson)
    chosen, why = plain, [f"recipe {recipe} was asked for"]
    held_texts = len(np.unique(lesson.text_of[lesson.held.rows]))
    tried: tuple[Depth, ...] = CANDIDATES if recipe == "auto" else () if recipe == "head" else (recipe,)
    if recipe == "auto" and held_texts < MIN_ANSWERS:
        tried, why = (), [f"{held_texts} held-out answers are too few to choose by ({MIN_ANSWERS} are needed)"]
    elif recipe == "auto":
        why = []
    trained: dict[str, float] = {"tokens": 0, "training_seconds": 0.0}
    facts: dict[str, Any] = {"held_out": held_texts, "windowed": windows.windowed, "C": C}
    for depth in tried:
        trial = _adapted(plain.student, depth, lesson, seed, 0, trained, progress, checkpoints)
        facts |= _measured(depth, trial)
        taken, said = (
            _better(chosen, trial, depth, lesson.text_of[lesson.held.rows]) if recipe == "auto" else (True, "")
        )
        chosen = trial if taken else chosen
        why += [said] if said else []
    student = chosen.student
    if student.recipe == "head" and len(lesson.held.rows):
        student = _taught_by_all(student, lesson, C)
    elif student.recipe != "head" and settings.ensemble > 1:
        chosen = _ensemble(chosen, plain.student, lesson, seed, trained, progress, checkpoints)
        student = chosen.student
        facts |= _measured("ensemble", chosen) | {"members": 1 + len(student.others)}
    facts |= {"recipe": chosen.recipe, "why": "; ".join(why), "temperature": student.temperature}
    facts |= _measured("head", plain) | {"seconds": clock.seconds()}
    if trained["tokens"]:
        facts |= trained | {"tokens_per_s": trained["tokens"] / max(trained["training_seconds"], 1e-9)}
    return replace(student, facts=facts)


def _measured(name: str, trial: "_Trial") -> dict[str, Any]:
    return {f"held_out_log_likelihood_{name}": trial.mean, f"held_out_accuracy_{name}": trial.accuracy}


def _balanced(weights: NDArray[np.float64], targets: Floats, width: int, power: float) -> NDArray[np.float64]:
    """Weights times (1 / how frequent a row's labels are) ** power, the mean weight as before.

    Of several blocks the mean counts. Rows with nan keep their weight; it is not read.
    """
    if power == 0:
        return weights
    known = ~np.isnan(targets).any(axis=1)
    mass = (weights[known, None] * targets[known]).sum(axis=0)
    rarity = (1.0 / np.maximum(mass / max(mass.sum(), 1e-12), 1e-6)) ** power
    factors = np.ones(len(weights))
    factors[known] = (targets[known] * rarity).sum(axis=1) * width / targets.shape[1]
    factors[known] *= weights[known].sum() / max(float((weights[known] * factors[known]).sum()), 1e-12)
    return weights * factors


def _lesson(
    inputs: Inputs, windows: Windows, X: NDArray[np.float32], Y: Floats, w: Floats, held: HeldOut, width: int
) -> _Lesson:
    """Unknown rows get weight 0, held-out ones too where a trial is taught."""
    weights = np.where(np.isnan(Y).any(axis=1), 0.0, w)
    seen = weights.copy()
    seen[held.rows] = 0.0
    known = ~np.isnan(held.targets).any(axis=1)
    measured = HeldOut(np.asarray(held.rows, dtype=np.int64)[known], np.asarray(held.targets, dtype=np.float64)[known])
    text_of = np.repeat(np.arange(len(inputs), dtype=np.int64), np.diff(inputs.starts))
    return _Lesson(inputs, windows, X, np.nan_to_num(Y), weights, seen, measured, text_of, width)


def _best_head(student: FittedStudent, lesson: _Lesson) -> tuple[float, _Trial]:
    """The head's penalty by held-out likelihood: strong where labels are noisy, weak where they are many and right.

    For whole texts the penalty that was best elsewhere stays, unless another makes the held-out texts likelier by more
    than their noise: of a few dozen of them the likeliest of four penalties is mostly a matter of chance.
    """
    held = lesson.held
    untried = DEFAULT_C if student.per_text else TOKEN_C
    candidates = CANDIDATE_C if len(held.rows) >= MIN_ANSWERS else (untried,)
    trials: list[tuple[float, _Trial]] = []
    head = None
    for C in candidates:
        head = fit_linear(lesson.X, lesson.Y, lesson.seen, C=C, start=head, width=lesson.width)
        trials.append((C, _trial(replace(student, head=head), lesson.X[held.rows], held)))
        if len(trials) > 1 and len(lesson.X) > MANY_UNITS and (trials[-1][1].mean or 0) < (trials[-2][1].mean or 0):
            break  # the likelihood has one peak, and a fit on many units takes its time
    C, best = max(trials, key=lambda trial: trial[1].mean or 0.0)
    usual = next((trial for penalty, trial in trials if penalty == untried), best)
    clear = usual is best or _gain(usual, best, lesson.text_of[held.rows])[2]
    return (C, best) if clear else (untried, usual)


def _trial(student: FittedStudent, features: Floats, held: HeldOut) -> _Trial:
    return _tried("head", student, student.head.logits(features), held)


def _tried(recipe: str, student: FittedStudent, logits: Floats, held: HeldOut) -> _Trial:
    """Fit the temperature and measure. One number fitted on 50 answers or more favours no recipe noticeably."""
    width = student.width
    temperature = fit_temperature(logits, held.targets, width=width)
    right = blocks(logits, width).argmax(axis=1) == blocks(held.targets, width).argmax(axis=1)
    likelihoods = -cross_entropy(logits, held.targets, temperature, width)
    accuracy = float(right.mean()) if len(right) else None
    return _Trial(recipe, replace(student, temperature=temperature), logits, likelihoods, accuracy)


def _adapted(
    start: FittedStudent,
    recipe: Depth,
    lesson: _Lesson,
    seed: int,
    member: int,
    trained: dict[str, float],
    progress: Progress | None,
    checkpoints: Path | None,
) -> _Trial:
    """The adapted student that `start` becomes, measured on the held-out rows. Adds what it cost to `trained`."""
    base, settings, held = start.base, start.settings, lesson.held
    taught = Lesson(lesson.Y, lesson.seen, lesson.width, (held.rows, held.targets))
    seed += MEMBER_SEEDS * member
    checkpoint = None
    if checkpoints is not None:
        key = taught.digest(lesson.windows, settings.model_dump_json(), base.sha256, recipe, seed)
        checkpoint = Checkpoint(checkpoints / f"{recipe}-{member}.safetensors", key.hex())
    how: dict[str, Any] = {"recipe": recipe, "progress": progress, "checkpoint": checkpoint}
    adapted = train_lora(base, lesson.windows, taught, start.head, settings, seed, **how)
    trained["tokens"] += adapted.taught.tokens
    trained["training_seconds"] += adapted.taught.seconds
    adapter = adapter_of(adapted.model)
    changed = replace(base, encoder=merged(adapted.model))
    student = replace(start, base=changed, head=adapted.head, adapter=adapter, temperature=1.0)
    texts = np.unique(lesson.text_of[held.rows])
    found = student.logits(tokenise(base, lesson.inputs.take(texts), settings.max_tokens))
    return _tried(recipe, student, found[np.searchsorted(lesson.windows.units_of(texts), held.rows)], held)


def _ensemble(
    first: _Trial,
    start: FittedStudent,
    lesson: _Lesson,
    seed: int,
    trained: dict[str, float],
    progress: Progress | None,
    checkpoints: Path | None,
) -> _Trial:
    """`first` and further members taught alike from other seeds, their probabilities averaged."""
    recipe: Any = first.recipe
    more = [
        _adapted(start, recipe, lesson, seed, member, trained, progress, checkpoints)
        for member in range(1, start.settings.ensemble)
    ]
    others = []
    for trial in more:
        assert trial.student.adapter is not None
        others.append(Member(trial.student.base.encoder, trial.student.head, trial.student.adapter))
    logits = mean_logits([trial.logits for trial in (first, *more)], lesson.width)
    return _tried(first.recipe, replace(first.student, others=tuple(others)), logits, lesson.held)


def _taught_by_all(student: FittedStudent, lesson: _Lesson, C: float) -> FittedStudent:
    """A head that has been chosen, fitted again with the held-out rows."""
    temperature = student.temperature
    if not _nearly_all(lesson):
        temperature = _cross_fitted_temperature(lesson, student.head, student.settings.folds, C)
    head = fit_linear(lesson.X, lesson.Y, lesson.weights, C=C, start=student.head, width=lesson.width)
    return replace(student, head=head, temperature=temperature)


def _nearly_all(lesson: _Lesson) -> bool:
    """Whether the first head saw so much that one taught by all rows is no surer of itself: no other fits are needed."""
    return len(lesson.X) > MANY_UNITS and len(lesson.held.rows) < NEARLY_ALL * len(lesson.X)


def _cross_fitted_temperature(lesson: _Lesson, start: LinearHead, folds: int, C: float) -> float:
    """The temperature of a head that sees nearly all rows: each fold of the held-out texts by a head that sees the rest.

    One fitted on fewer rows is less sure of itself, and its temperature would make the final head too sure.
    """
    rows = lesson.held.rows
    if len(rows) < MIN_ANSWERS:
        return 1.0
    logits = np.empty((len(rows), lesson.Y.shape[1]))
    number = np.unique(lesson.text_of[rows], return_inverse=True)[1]
    for fold in range(folds):
        places = np.flatnonzero(number % folds == fold)
        w = lesson.weights.copy()
        w[rows[places]] = 0.0
        head = fit_linear(lesson.X, lesson.Y, w, C=C, start=start, width=lesson.width)
        logits[places] = head.logits(lesson.X[rows[places]])
    return fit_temperature(logits, lesson.held.targets, width=lesson.width)


def _gain(before: _Trial, trial: _Trial, text_of: NDArray[np.int64]) -> tuple[float, float, bool]:
    """The mean gain in held-out log-likelihood (nats a text), its standard error, and whether it is more than noise."""
    texts, number = np.unique(text_of, return_inverse=True)
    gain = np.bincount(number, trial.likelihoods - before.likelihoods) / np.bincount(number)
    noise = float(gain.std(ddof=1) / np.sqrt(len(texts)))
    return float(gain.mean()), noise, float(gain.mean()) > WORTH_STANDARD_ERRORS * noise


def _better(before: _Trial, trial: _Trial, recipe: Depth, text_of: NDArray[np.int64]) -> tuple[bool, str]:
    """Whether to go on to a recipe that trains more. Units of one text are not independent: the noise is that of texts."""
    gain, noise, taken = _gain(before, trial, text_of)
    said = f"{SAID[recipe]} changes the held-out log-likelihood by {gain:+.3f} nats a text"
    return taken, f"{said} (standard error {noise:.3f}): {'taken' if taken else 'not worth it'}"


def _check(n: int, targets: Floats, weights: Floats, names: tuple[str, ...], width: int, held: HeldOut) -> None:
    if n == 0 or targets.shape != (n, len(names)) or weights.shape != (n,) or len(names) % width:
        raise InputError(
            "the student cannot be taught",
            expected=f"units (at least one), targets ({n}, {len(names)}) in blocks of {width}, and weights ({n},)",
            found=f"{n} units, targets {targets.shape}, weights {weights.shape}",
            fix="give one row of targets and one weight for each unit",
        )
    rows = np.asarray(held.rows)
    within = rows.ndim == 1 and (len(rows) == 0 or (rows.min() >= 0 and rows.max() < n))
    if not within or np.shape(held.targets) != (len(rows), len(names)) or len(np.unique(rows)) >= n:
        raise InputError(
            "the held-out rows do not fit the units",
            expected=f"positions below {n}, {len(names)} targets for each, and units left to learn from",
            found=f"{len(rows)} rows, targets {np.shape(held.targets)}",
            fix="hold out fewer rows, each with what is believed of it",
        )
