"""What the pool's labels are believed to be, from all that is known, calibrated; each answered item also seen as if it
had not been answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from consensus.correction import Coordinates, Correction, blended, fit_exponents, fit_weight
from consensus.evidence import Evidence, evidence_of
from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, Ints, softmax

Source = Literal["person", "corrected", "teacher"]

TEACHER_EXPONENT, STUDENT_EXPONENT = 1.0, 0.25  # where belief starts before anybody has answered
VOTE_FLOOR, STUDENT_FLOOR = 1e-4, 1e-3
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FEWEST_ANSWERS_TO_CORRECT = 10
FEWEST_ANSWERS_TO_CALIBRATE = 100


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """People's answers as the posterior takes them: `rows` (a,) of the table, and `labels` (a,) as indices."""

    rows: NDArray[np.intp]
    labels: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """`probs` (n, k) is the posterior with an answered item's answer taken as it is. `out_of_fold` (n, k) is the
    posterior that has not seen the item's own answer, nor a penalty, exponent or temperature that has: equal to
    `probs` where nobody answered. `folds` (n,) is -1 where nobody answered. `without` gives the whole pool's posterior
    with one fold of the answers left out.
    """

    probs: Floats
    out_of_fold: Floats
    folds: Ints
    answers: Answers
    penalty: float | None
    exponents: tuple[float, ...]
    temperature: float
    _evidence: Evidence
    _opinions: tuple[Floats, ...]
    _final: Correction | None
    _held: tuple[tuple[Correction | None, float], ...]

    def sources(self) -> list[Source]:
        """Where each item's label comes from: a person, the teacher as corrected by people, or the teacher alone."""
        source: Source = "teacher" if self._final is None else "corrected"
        names: list[Source] = [source] * len(self.probs)
        for row in self.answers.rows:
            names[row] = "person"
        return names

    def without(self, fold: int) -> NDArray[np.float64]:
        """(n, k): what would be believed if the answers of this fold had never been given."""
        correction, temperature = self._held[fold]
        probs = _posterior(correction, self._evidence, self._opinions, np.arange(len(self.probs)), temperature)
        kept = self.folds[self.answers.rows] != fold
        probs[self.answers.rows[kept]] = np.eye(probs.shape[1])[self.answers.labels[kept]]
        return probs

    def elsewhere(self, votes: VoteTable, text: Floats | None, student: Floats | None) -> NDArray[np.float64]:
        """The posterior (m, k) of items outside the pool (gold, say), from their votes and texts alone."""
        pool = self._evidence
        if pool.text is not None and text is None:
            raise ValueError("Expected embeddings, as the pool had them; found None. Embed these texts as the pool's.")
        there = evidence_of(votes, text)
        rows = np.arange(len(self.probs), len(self.probs) + there.said.shape[0])
        joined = Evidence(
            np.vstack([pool.said, there.said]),
            np.vstack([pool.shape, there.shape]),
            None if pool.text is None or text is None else np.vstack([pool.text, text]),
        )
        opinions = [np.vstack([a, b]) for a, b in zip(self._opinions, _opinions(votes, student), strict=True)]
        return _posterior(self._final, joined, opinions, rows, self.temperature, self.exponents)


def believe(
    votes: VoteTable,
    text: Floats | None,
    student: Floats | None,
    answers: Answers,
    *,
    folds: int = 5,
    rng: np.random.Generator,
) -> Belief:
    """Combine votes (s, n, k), unit embeddings (n, d), a student's cross-fitted predictions (n, k) and answers.

    `student` must come from a model that saw no answers (teach it by votes alone): then nothing that predicts an
    item has seen its answer. Penalty and exponents are chosen by held-out likelihood; for each outer fold they are
    chosen inside the other folds (nested cross-validation, Varma & Simon 2006), so `out_of_fold` is honest.
    """
    opinions = _opinions(votes, student)
    evidence = evidence_of(votes, text)
    n = votes.probs.shape[1]
    everything = np.arange(n)
    fold_of = np.full(n, -1, dtype=np.int64)
    count = min(folds, len(answers.rows))
    if len(answers.rows) < FEWEST_ANSWERS_TO_CORRECT:
        if count:
            fold_of[answers.rows] = rng.permutation(len(answers.rows)) % count
        probs = _posterior(None, evidence, opinions, everything, 1.0)
        held: tuple[tuple[Correction | None, float], ...] = ((None, 1.0),) * max(count, 1)
        return _belief(probs, fold_of, answers, None, _prior(opinions), 1.0, evidence, opinions, None, held)
    split = rng.permutation(len(answers.rows)) % count
    fold_of[answers.rows] = split
    search = _Search(evidence, opinions, answers, split)
    scores, corrections = search.held_out()
    raw = np.empty((len(answers.rows), votes.probs.shape[2]))
    for fold, correction in enumerate(corrections):
        raw[split == fold] = correction.posterior(evidence, opinions, answers.rows[split == fold])
    temperatures = [search.temperature_without(fold, search.best([scores[fold]])) for fold in range(count)]
    penalty = search.best(scores)
    final = search.fit(np.ones(len(split), dtype=bool), penalty)
    temperature = _temperature(raw, answers.labels)
    probs = _posterior(final, evidence, opinions, everything, temperature)
    for fold in range(count):
        rows = answers.rows[split == fold]
        probs[rows] = _cooled(raw[split == fold], temperatures[fold])
    held = tuple(zip(corrections, temperatures, strict=True))
    return _belief(probs, fold_of, answers, penalty, final.exponents, temperature, evidence, opinions, final, held)


class _Search:
    """Fits of one set of answers with different penalties and folds; the kernel's root is taken once."""

    def __init__(self, evidence: Evidence, opinions: Sequence[Floats], answers: Answers, split: Ints) -> None:
        self.opinions, self.answers, self.split = opinions, answers, split
        self.folds = int(split.max()) + 1
        self.coordinates = Coordinates.of(evidence, answers.rows)

    def fit(self, taught: NDArray[np.bool_], penalty: float, start: Floats | None = None) -> Correction:
        rows, labels = self.answers.rows[taught], self.answers.labels[taught]
        exponents = fit_exponents(self.opinions, rows, labels, _prior(self.opinions))
        offset = blended(self.opinions, exponents, rows)
        weight = fit_weight(self.coordinates.matrix[taught], offset, labels, penalty, start)
        return Correction(self.answers.rows, self.coordinates.root, weight, exponents)

    def held_out(self) -> tuple[list[dict[float, float]], list[Correction]]:
        """For each outer fold: the likelihood of every penalty on one inner fold, and the fit with the best."""
        scores, corrections = [], []
        for outer in range(self.folds):
            inner = (outer + 1) % self.folds
            taught = (self.split != outer) & (self.split != inner)
            judged = self.split == inner
            score: dict[float, float] = {}
            start = None
            for penalty in sorted(PENALTIES, reverse=True):
                correction = self.fit(taught, penalty, start)
                start = correction.weight
                score[penalty] = self._likelihood(correction, judged)
            scores.append(score)
            corrections.append(self.fit(self.split != outer, self.best([score])))
        return scores, corrections

    def best(self, scores: Sequence[dict[float, float]]) -> float:
        """The penalty with the largest summed likelihood; ties go to the larger penalty."""
        return max(PENALTIES, key=lambda penalty: (sum(score[penalty] for score in scores), penalty))

    def temperature_without(self, outer: int, penalty: float) -> float:
        """The temperature as if the outer fold had no answers: the other folds' own predictions have seen them, so
        each of these is predicted once more, without the outer fold and without itself.
        """
        others = self.split != outer
        if others.sum() < FEWEST_ANSWERS_TO_CALIBRATE:
            return 1.0
        probs = np.empty((len(self.split), self.opinions[0].shape[1]))
        for inner in set(range(self.folds)) - {outer}:
            judged = self.split == inner
            probs[judged] = self._predicted(self.fit(others & ~judged, penalty), judged)
        return _temperature(probs[others], self.answers.labels[others])

    def _likelihood(self, correction: Correction, judged: NDArray[np.bool_]) -> float:
        said = self._predicted(correction, judged)[np.arange(judged.sum()), self.answers.labels[judged]]
        return float(np.log(said + 1e-9).sum())

    def _predicted(self, correction: Correction, judged: NDArray[np.bool_]) -> NDArray[np.float64]:
        opinion = blended(self.opinions, correction.exponents, self.answers.rows[judged])
        return softmax(opinion + self.coordinates.matrix[judged] @ correction.weight)


def _opinions(votes: VoteTable, student: Floats | None) -> tuple[Floats, ...]:
    said = np.log(votes.pooled() + VOTE_FLOOR)
    return (said,) if student is None else (said, np.log(np.asarray(student, dtype=np.float64) + STUDENT_FLOOR))


def _prior(opinions: Sequence[Floats]) -> tuple[float, ...]:
    return (TEACHER_EXPONENT, STUDENT_EXPONENT)[: len(opinions)]


def _posterior(
    correction: Correction | None,
    evidence: Evidence,
    opinions: Sequence[Floats],
    rows: NDArray[np.intp],
    temperature: float,
    exponents: tuple[float, ...] | None = None,
) -> NDArray[np.float64]:
    if correction is None:
        return _cooled(softmax(blended(opinions, exponents or _prior(opinions), rows)), temperature)
    return _cooled(correction.posterior(evidence, opinions, rows), temperature)


def _cooled(probs: Floats, temperature: float) -> NDArray[np.float64]:
    return softmax(np.log(probs + 1e-12) / temperature)


def _temperature(probs: Floats, labels: Ints) -> float:
    """By held-out likelihood (Guo et al. 2017, section 4); 1 with too few answers to tell."""
    if len(labels) < FEWEST_ANSWERS_TO_CALIBRATE:
        return 1.0
    logs = np.log(probs + 1e-12)

    def loss(log_temperature: float) -> float:
        cooled = softmax(logs / np.exp(log_temperature))
        return float(-np.log(cooled[np.arange(len(labels)), labels] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-1.0, 1.5), method="bounded").x))


def _belief(
    out_of_fold: Floats,
    folds: Ints,
    answers: Answers,
    penalty: float | None,
    exponents: tuple[float, ...],
    temperature: float,
    evidence: Evidence,
    opinions: tuple[Floats, ...],
    final: Correction | None,
    held: tuple[tuple[Correction | None, float], ...],
) -> Belief:
    probs = out_of_fold.copy()
    probs[answers.rows] = np.eye(probs.shape[1])[answers.labels]
    return Belief(probs, out_of_fold, folds, answers, penalty, exponents, temperature, evidence, opinions, final, held)
