"""The student: taught by soft targets, its recipe and its temperature chosen on answers it has not seen."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import InputError, ModelError
from stillhouse.task import Student
from trainer.base import Base, load_base
from trainer.calibrate import MIN_ANSWERS, as_distributions, fit_temperature
from trainer.features import embed, tokenise
from trainer.linear import DEFAULT_C, Floats, Ints, LinearHead, cross_entropy, fit_linear, softmax
from trainer.lora import Adapter, Clock, adapter_of, merged, train_lora
from trainer.pace import Progress

Recipe = Literal["head", "lora"]
CANDIDATE_C = (1.0, 3.0, 10.0, 30.0)  # in rising order: each fit starts from the one before
_NO_HEAD = LinearHead(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32))
WORTH_STANDARD_ERRORS = 1.0  # LoRA is taken when it is likelier by more than so much noise: the head sees more rows


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Rows of the texts whose answers training must not see.

    `rows` (m,) are positions in the texts, `labels` (m,) what people answered, as positions in the label names.
    Likelihoods and the temperature are measured against `targets` (m, k): people's distributions where several
    answered; None means the labels.
    """

    rows: Ints
    labels: Ints
    targets: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FittedStudent:
    """A student that can label. `base.encoder` has the adapter already added; `adapter` is None for recipe "head".

    `facts` says how it came to be: recipe, why, held-out log-likelihoods (nats a text, after each recipe's own
    temperature), held-out accuracies, temperature, trained tokens and tokens a second, truncated texts, seconds.
    """

    label_names: tuple[str, ...]
    base: Base
    head: LinearHead
    temperature: float
    settings: Student
    adapter: Adapter | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return "head" if self.adapter is None else "lora"

    @property
    def model_id(self) -> str:
        """16 hex digits of everything its predictions depend on: the same before it is saved and after it is loaded."""
        digest = hashlib.sha256()
        parts = [self.base.sha256, self.settings.max_tokens, self.label_names, self.temperature]
        digest.update(json.dumps(parts).encode())
        digest.update(self.head.weight.tobytes() + self.head.bias.tobytes())
        for name, tensor in sorted(self.adapter.tensors.items()) if self.adapter else ():
            digest.update(name.encode() + tensor.tobytes())
        return digest.hexdigest()[:16]

    def predict(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Calibrated probabilities (n, k), in the order of `label_names`; a text beyond max_tokens loses its end."""
        how = {"max_tokens": self.settings.max_tokens, "threads": self.settings.threads}
        return self._probabilities(embed(self.base, texts, progress=progress, **how).vectors)

    def predict_features(self, features: Floats) -> NDArray[np.float32]:
        """Like `predict`, from features (n, d) of the frozen base. Raises ModelError for recipe "lora"."""
        if self.recipe == "lora":
            raise ModelError(
                "a LoRA student does not read the features of its base",
                expected="a student whose recipe is head",
                found="recipe lora: its adapter changes the features",
                fix="call predict with the texts",
            )
        return self._probabilities(features)

    def _probabilities(self, features: Floats) -> NDArray[np.float32]:
        return softmax(self.head.logits(features), self.temperature)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """A recipe's outcome: a student, and how likely it makes each held-out answer (m,)."""

    student: FittedStudent
    likelihoods: NDArray[np.float64]
    accuracy: float | None

    @property
    def mean(self) -> float | None:
        return float(self.likelihoods.mean()) if len(self.likelihoods) else None


def fit_student(
    texts: Sequence[str],
    targets: Floats,
    weights: Floats,
    label_names: Sequence[str],
    settings: Student,
    *,
    seed: int,
    base: Base | None = None,
    features: NDArray[np.float32] | None = None,
    held_out: HeldOut | None = None,
    recipe: Literal["auto", "head", "lora"] = "auto",
    progress: Progress | None = None,
) -> FittedStudent:
    """Teach a student `targets` (n, k; rows sum to 1) with `weights` (n,) >= 0.

    "head" is a logistic regression on the frozen base's features; "lora" adapts all linear layers from that head on.
    "auto" tries both and takes LoRA where it makes the held-out answers likelier by more than one standard error of
    the paired difference; without at least MIN_ANSWERS (50) held-out rows it cannot tell and takes the head, untried.
    The head's C is chosen likewise among CANDIDATE_C. Held-out rows teach neither trial. The temperature is fitted on them (1 with fewer than 50). A chosen head is then
    fitted again on all rows, the held-out ones with their given targets and weights, and its temperature is that of
    `settings.folds` heads that each left a share of the held-out rows out; a LoRA student keeps them all out, because
    training again costs as much as the first time.

    `features` (n, d) saves embedding the texts: they must come from `trainer.features.embed` with the same base and
    max_tokens. Raises InputError where shapes do not fit, ModelError where the base cannot be loaded.
    """
    clock = Clock()
    names = tuple(label_names)
    Y, w = np.asarray(targets, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    _check(len(texts), Y, w, names, held_out)
    base = base or load_base(settings.base)
    tokens = tokenise(base, texts, settings.max_tokens)
    how: dict[str, Any] = {"max_tokens": settings.max_tokens, "threads": settings.threads, "progress": progress}
    X = embed(base, texts, **how).vectors if features is None else features
    held = held_out or HeldOut(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    held_texts = [texts[row] for row in held.rows]
    seen = np.setdiff1d(np.arange(len(texts), dtype=np.int64), np.asarray(held.rows, dtype=np.int64))

    C, plain = _best_head(FittedStudent(names, base, _NO_HEAD, 1.0, settings), X, Y, w, seen, held)
    start = plain.student.head
    chosen, why = plain, f"recipe {recipe} was asked for"
    facts: dict[str, Any] = {"held_out": len(held.rows), "truncated": tokens.truncated, "C": C}
    if recipe == "auto" and len(held.rows) < MIN_ANSWERS:
        why = f"{len(held.rows)} held-out answers are too few to choose by ({MIN_ANSWERS} are needed)"
    elif recipe != "head":
        adapted = train_lora(base, tokens.take(seen), Y[seen], w[seen], start, settings, seed, progress=progress)
        adapter = adapter_of(adapted.model)
        changed = replace(base, encoder=merged(adapted.model))
        student = FittedStudent(names, changed, adapted.head, 1.0, settings, adapter)
        lora = _trial(student, embed(changed, held_texts, **how).vectors, held)
        facts |= _lora_facts(lora, adapted.tokens, adapted.seconds)
        if recipe == "lora":
            chosen = lora
        else:
            chosen, why = _choose(plain, lora)
    student = chosen.student
    if student.recipe == "head" and len(held.rows):
        temperature = _cross_fitted_temperature(X, Y, w, held, start, settings.folds, C)
        student = replace(student, head=fit_linear(X, Y, w, C=C, start=start), temperature=temperature)
    facts |= {"recipe": student.recipe, "why": why, "temperature": student.temperature, "seconds": clock.seconds()}
    facts |= {"held_out_log_likelihood_head": plain.mean, "held_out_accuracy_head": plain.accuracy}
    return replace(student, facts=facts)


def _best_head(
    student: FittedStudent, X: Floats, Y: Floats, w: Floats, seen: Ints, held: HeldOut
) -> tuple[float, _Trial]:
    """The head's penalty by held-out likelihood: strong where labels are noisy, weak where they are many and right."""
    candidates = CANDIDATE_C if len(held.rows) >= MIN_ANSWERS else (DEFAULT_C,)
    trials = []
    head = None
    for C in candidates:
        head = fit_linear(X[seen], Y[seen], w[seen], C=C, start=head)
        trials.append((C, _trial(replace(student, head=head), X[held.rows], held)))
    return max(trials, key=lambda trial: trial[1].mean or 0.0)


def _trial(student: FittedStudent, features: Floats, held: HeldOut) -> _Trial:
    """Fit the temperature and measure. One number fitted on 50 answers or more favours neither recipe noticeably."""
    wanted = _wanted(held, len(student.label_names))
    logits = student.head.logits(features)
    temperature = fit_temperature(logits, wanted)
    right = logits.argmax(axis=1) == held.labels
    likelihoods = -cross_entropy(logits, wanted, temperature)
    return _Trial(replace(student, temperature=temperature), likelihoods, float(right.mean()) if len(right) else None)


def _cross_fitted_temperature(
    X: Floats, Y: Floats, w: Floats, held: HeldOut, start: LinearHead, folds: int, C: float
) -> float:
    """The temperature of a head that sees nearly all rows: each fold of the held-out rows by a head that sees the rest.

    One fitted on fewer rows is less sure of itself, and its temperature would make the final head too sure.
    """
    rows = np.asarray(held.rows, dtype=np.int64)
    if len(rows) < MIN_ANSWERS:
        return 1.0
    logits = np.empty((len(rows), Y.shape[1]))
    for fold in range(folds):
        places = np.arange(fold, len(rows), folds)
        seen = np.setdiff1d(np.arange(len(X)), rows[places])
        logits[places] = fit_linear(X[seen], Y[seen], w[seen], C=C, start=start).logits(X[rows[places]])
    return fit_temperature(logits, _wanted(held, Y.shape[1]))


def _wanted(held: HeldOut, n_labels: int) -> Floats:
    return as_distributions(held.labels if held.targets is None else held.targets, n_labels)


def _choose(plain: _Trial, lora: _Trial) -> tuple[_Trial, str]:
    gain = lora.likelihoods - plain.likelihoods
    noise = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    taken = float(gain.mean()) > WORTH_STANDARD_ERRORS * noise
    said = f"LoRA changes the held-out log-likelihood by {gain.mean():+.3f} nats a text (standard error {noise:.3f})"
    return (lora if taken else plain), f"{said}: {'taken' if taken else 'not worth it'}"


def _lora_facts(lora: _Trial, tokens: int, seconds: float) -> dict[str, Any]:
    return {
        "held_out_log_likelihood_lora": lora.mean,
        "held_out_accuracy_lora": lora.accuracy,
        "tokens": tokens,
        "tokens_per_s": tokens / max(seconds, 1e-9),
        "training_seconds": seconds,
    }


def _check(n: int, targets: Floats, weights: Floats, names: tuple[str, ...], held: HeldOut | None) -> None:
    if n == 0 or targets.shape != (n, len(names)) or weights.shape != (n,):
        raise InputError(
            "the student cannot be taught",
            expected=f"texts (at least one), targets ({n}, {len(names)}) and weights ({n},)",
            found=f"{n} texts, targets {targets.shape}, weights {weights.shape}",
            fix="give one row of targets and one weight for each text",
        )
    if held is None:
        return
    rows, labels = np.asarray(held.rows), np.asarray(held.labels)
    within = rows.shape == labels.shape and (len(rows) == 0 or (rows.min() >= 0 and rows.max() < n))
    shaped = held.targets is None or np.shape(held.targets) == (len(rows), len(names))
    if not within or not shaped or len(np.unique(rows)) >= n:
        raise InputError(
            "the held-out rows do not fit the texts",
            expected=f"positions below {n}, one label and one row of targets for each, and texts left to learn from",
            found=f"{len(rows)} rows, {len(labels)} labels",
            fix="hold out fewer rows, each with what people answered",
        )
