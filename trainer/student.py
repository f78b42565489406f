"""The student: taught by soft targets, its recipe and its temperature chosen on answers it has not seen."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import InputError, ModelError
from stillhouse.probabilities import blocks, softmax
from stillhouse.settings import Student
from trainer.base import Base, load_base
from trainer.calibrate import MIN_ANSWERS, fit_temperature
from trainer.features import dimensions, embed, embed_windows
from trainer.inputs import Inputs
from trainer.linear import DEFAULT_C, TOKEN_C, Floats, Ints, LinearHead, cross_entropy, fit_linear
from trainer.lora import Adapter, Clock, adapter_of, merged, train_lora
from trainer.pace import Progress
from trainer.windows import Windows, tokenise

Recipe = Literal["head", "lora"]
CANDIDATE_C = (1.0, 3.0, 10.0, 30.0)  # in rising order: each fit starts from the one before
MANY_UNITS = 10_000  # above so many the candidates are tried only as long as they get better
NEARLY_ALL = 0.2  # of many units: a share held out that leaves enough for a head like the final one
_NO_HEAD = LinearHead(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32))
WORTH_STANDARD_ERRORS = 1.0  # LoRA is taken when it is likelier by more than so much noise: the head sees more rows


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Unit rows whose answers training must not see: all units of some texts.

    `rows` (m,) are positions among the units of the inputs, `targets` (m, k) what is believed of them: people's answers
    as 0 and 1, or distributions. What is measured, is measured against these; rows with nan are unknown and left out.
    """

    rows: Ints
    targets: Floats


@dataclass(frozen=True, slots=True, eq=False)
class FittedStudent:
    """A student that can label. `base.encoder` has the adapter already added; `adapter` is None for recipe "head".

    Each block of `width` of its `columns` is one distribution; `thresholds` (one a block) are for pairs of columns
    (absent, present) and change no probability. `per_text` says that its units are whole texts, `with_focus` that it
    reads what a question is about. `facts` says how it came to be: recipe, why, held-out log-likelihoods (nats a block,
    after each recipe's own temperature), held-out accuracies, temperature, trained tokens and tokens a second, texts
    that were read in several windows, seconds.
    """

    columns: tuple[str, ...]
    base: Base
    head: LinearHead
    temperature: float
    settings: Student
    adapter: Adapter | None = None
    width: int = 0
    thresholds: tuple[float, ...] | None = None
    per_text: bool = True
    with_focus: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width == 0:
            object.__setattr__(self, "width", len(self.columns))

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.columns

    @property
    def recipe(self) -> Recipe:
        return "head" if self.adapter is None else "lora"

    @property
    def model_id(self) -> str:
        """16 hex digits of everything its predictions depend on: the same before it is saved and after it is loaded."""
        digest = hashlib.sha256()
        parts: list[Any] = [self.base.sha256, self.settings.max_tokens, self.columns, self.temperature]
        shape = [self.width, self.thresholds, self.per_text, self.with_focus]
        if shape != [len(self.columns), None, True, False]:  # one label a text has the id it had in format 1
            parts += shape
        digest.update(json.dumps(parts).encode())
        digest.update(self.head.weight.tobytes() + self.head.bias.tobytes())
        for name, tensor in sorted(self.adapter.tensors.items()) if self.adapter else ():
            digest.update(name.encode() + tensor.tobytes())
        return digest.hexdigest()[:16]

    def predict(self, inputs: Inputs, progress: Progress | None = None) -> NDArray[np.float32]:
        """Calibrated probabilities (U, k) of all units, in the order of `columns`.

        Raises InputError where the inputs have other units than the ones it was taught.
        """
        return self.predict_tokens(self.tokens(inputs), progress)

    def tokens(self, inputs: Inputs) -> Windows:
        """What `predict_tokens` reads: the first half of `predict`, which another thread may do ahead of the model."""
        if (inputs.spans is None) != self.per_text or (inputs.focus is not None) != self.with_focus:
            raise InputError(
                "the student was taught on other units",
                expected=_units(per_text=self.per_text, with_focus=self.with_focus),
                found=_units(per_text=inputs.spans is None, with_focus=inputs.focus is not None),
                fix="give the inputs as the task's kind makes them",
            )
        return tokenise(self.base, inputs, self.settings.max_tokens)

    def predict_tokens(self, windows: Windows, progress: Progress | None = None) -> NDArray[np.float32]:
        """The second half of `predict`."""
        how: dict[str, Any] = {"tokens_per_batch": 1024, "threads": self.settings.threads, "progress": progress}
        features = embed_windows(self.base, windows, width=self.head.weight.shape[1], **how)
        return self._probabilities(features.vectors)

    def predict_features(self, features: Floats) -> NDArray[np.float32]:
        """Like `predict`, from features (U, d) of the frozen base. Raises ModelError for recipe "lora"."""
        if self.recipe == "lora":
            raise ModelError(
                "a LoRA student does not read the features of its base",
                expected="a student whose recipe is head",
                found="recipe lora: its adapter changes the features",
                fix="call predict with the texts",
            )
        return self._probabilities(features)

    def _probabilities(self, features: Floats) -> NDArray[np.float32]:
        return softmax(self.head.logits(features) / self.temperature, self.width).astype(np.float32)


def _units(*, per_text: bool, with_focus: bool) -> str:
    return ("whole texts" if per_text else "spans of texts") + (", each with a focus" if with_focus else "")


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """All that the trials share. `seen` (U,) are weights that are 0 on held-out rows; `text_of` (U,) numbers texts."""

    X: NDArray[np.float32]
    Y: Floats
    weights: NDArray[np.float64]
    seen: NDArray[np.float64]
    held: HeldOut
    text_of: NDArray[np.int64]
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """A recipe's outcome: a student, and how likely it makes each held-out row (m,), in nats a block."""

    student: FittedStudent
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
    recipe: Literal["auto", "head", "lora"] = "auto",
    progress: Progress | None = None,
) -> FittedStudent:
    """Teach a student `targets` (U, k) with `weights` (U,) >= 0, a row for each unit of the inputs.

    Each block of `width` columns (None: all) is one distribution and sums to 1; rows with nan, or of weight 0, teach
    nothing. "head" is a logistic regression on the frozen base's features; "lora" adapts all linear layers from that
    head on. "auto" tries both and takes LoRA where it makes the held-out answers likelier by more than one standard
    error of the paired difference between texts; without at least MIN_ANSWERS (50) held-out texts it cannot tell and
    takes the head, untried. The head's C is chosen likewise among CANDIDATE_C. Held-out rows teach neither trial. The
    temperature is fitted on them (1 with fewer than 50).

    A chosen head is then fitted again on all rows, the held-out ones with their given targets and weights, and its
    temperature is that of `settings.folds` heads that each left a share of the held-out texts out (where there are many
    units, that of the head that left all of them out). A LoRA student keeps them all out, because training again costs
    as much as the first time.

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
    lesson = _lesson(inputs, X, Y, w, held, width)
    blank = FittedStudent(names, base, _NO_HEAD, 1.0, settings, None, width, None, windows.per_text, windows.with_focus)

    C, plain = _best_head(blank, lesson)
    chosen, why = plain, f"recipe {recipe} was asked for"
    held_texts = len(np.unique(lesson.text_of[lesson.held.rows]))
    facts: dict[str, Any] = {"held_out": held_texts, "windowed": windows.windowed, "C": C}
    if recipe == "auto" and held_texts < MIN_ANSWERS:
        why = f"{held_texts} held-out answers are too few to choose by ({MIN_ANSWERS} are needed)"
    elif recipe != "head":
        lora, lora_facts = _adapted(plain.student, inputs, windows, lesson, seed, progress)
        facts |= lora_facts
        if recipe == "lora":
            chosen = lora
        else:
            chosen, why = _choose(plain, lora, lesson.text_of[lesson.held.rows])
    student = chosen.student
    if student.recipe == "head" and len(lesson.held.rows):
        student = _taught_by_all(student, lesson, C)
    facts |= {"recipe": student.recipe, "why": why, "temperature": student.temperature, "seconds": clock.seconds()}
    facts |= {"held_out_log_likelihood_head": plain.mean, "held_out_accuracy_head": plain.accuracy}
    return replace(student, facts=facts)


def _lesson(inputs: Inputs, X: NDArray[np.float32], Y: Floats, w: Floats, held: HeldOut, width: int) -> _Lesson:
    """Unknown rows get weight 0, held-out ones too where a trial is taught."""
    weights = np.where(np.isnan(Y).any(axis=1), 0.0, w)
    seen = weights.copy()
    seen[held.rows] = 0.0
    known = ~np.isnan(held.targets).any(axis=1)
    measured = HeldOut(np.asarray(held.rows, dtype=np.int64)[known], np.asarray(held.targets, dtype=np.float64)[known])
    text_of = np.repeat(np.arange(len(inputs), dtype=np.int64), np.diff(inputs.starts))
    return _Lesson(X, np.nan_to_num(Y), weights, seen, measured, text_of, width)


def _best_head(student: FittedStudent, lesson: _Lesson) -> tuple[float, _Trial]:
    """The head's penalty by held-out likelihood: strong where labels are noisy, weak where they are many and right."""
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
    return max(trials, key=lambda trial: trial[1].mean or 0.0)


def _trial(student: FittedStudent, features: Floats, held: HeldOut) -> _Trial:
    """Fit the temperature and measure. One number fitted on 50 answers or more favours neither recipe noticeably."""
    logits, width = student.head.logits(features), student.width
    temperature = fit_temperature(logits, held.targets, width=width)
    right = blocks(logits, width).argmax(axis=1) == blocks(held.targets, width).argmax(axis=1)
    likelihoods = -cross_entropy(logits, held.targets, temperature, width)
    return _Trial(replace(student, temperature=temperature), likelihoods, float(right.mean()) if len(right) else None)


def _adapted(
    start: FittedStudent, inputs: Inputs, windows: Windows, lesson: _Lesson, seed: int, progress: Progress | None
) -> tuple[_Trial, dict[str, Any]]:
    """The LoRA student that `start` becomes, measured on the held-out rows, and what there is to say of it."""
    base, settings, held = start.base, start.settings, lesson.held
    how: dict[str, Any] = {"width": lesson.width, "progress": progress}
    adapted = train_lora(base, windows, lesson.Y, lesson.seen, start.head, settings, seed, **how)
    adapter = adapter_of(adapted.model)
    changed = replace(base, encoder=merged(adapted.model))
    student = replace(start, base=changed, head=adapted.head, adapter=adapter, temperature=1.0)
    texts = np.unique(lesson.text_of[held.rows])
    found = embed(changed, inputs.take(texts), max_tokens=settings.max_tokens, threads=settings.threads).vectors
    trial = _trial(student, found[np.searchsorted(windows.units_of(texts), held.rows)], held)
    return trial, {
        "held_out_log_likelihood_lora": trial.mean,
        "held_out_accuracy_lora": trial.accuracy,
        "tokens": adapted.tokens,
        "tokens_per_s": adapted.tokens / max(adapted.seconds, 1e-9),
        "training_seconds": adapted.seconds,
    }


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


def _choose(plain: _Trial, lora: _Trial, text_of: NDArray[np.int64]) -> tuple[_Trial, str]:
    """Units of one text are not independent, so the noise is that between texts."""
    texts, number = np.unique(text_of, return_inverse=True)
    gain = np.bincount(number, lora.likelihoods - plain.likelihoods) / np.bincount(number)
    noise = float(gain.std(ddof=1) / np.sqrt(len(texts)))
    taken = float(gain.mean()) > WORTH_STANDARD_ERRORS * noise
    said = f"LoRA changes the held-out log-likelihood by {gain.mean():+.3f} nats a text (standard error {noise:.3f})"
    return (lora if taken else plain), f"{said}: {'taken' if taken else 'not worth it'}"


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
