"""What the pool's labels are believed to be, from all that is known, calibrated; each answered item also seen as if it
had not been answered.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from consensus.answers import Answers
from consensus.correction import Correction, coordinates_of
from consensus.evidence import Evidence, evidence_of
from consensus.opinions import Blend, Opinions
from consensus.search import Held, Search, cooled, temperature_of
from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, Ints, softmax

__all__ = ["Answers", "Belief", "Source", "believe"]

Source = Literal["person", "corrected", "teacher"]

FEWEST_ANSWERS_TO_CORRECT = 10


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """`probs` (n, k) is the posterior with an answered row's answer taken as it is. `out_of_fold` (n, k) is the
    posterior that has not seen the answer to the row's own item, nor a penalty, exponent or temperature that has: equal
    to `probs` where nobody answered. `folds` (n,) is that of the row's item, -1 where nobody answered. `without` gives
    the whole pool's posterior with one fold of the answers left out. `answers` are those that say something.
    """

    probs: Floats
    out_of_fold: Floats
    folds: Ints
    answers: Answers
    width: int
    penalty: float | None
    blend: Blend
    temperature: float
    _evidence: Evidence
    _opinions: Opinions
    _final: Correction | None
    _held: tuple[Held, ...]

    @property
    def exponents(self) -> tuple[float, ...]:
        return self.blend.exponents

    def sources(self) -> list[Source]:
        """Where each row comes from: a person, the teacher as corrected by people, or the teacher alone."""
        source: Source = "teacher" if self._final is None else "corrected"
        names: list[Source] = [source] * len(self.probs)
        for row in self.answers.rows:
            names[row] = "person"
        return names

    def without(self, fold: int) -> NDArray[np.float64]:
        """(n, k): what would be believed if the answers of this fold had never been given."""
        everything = np.arange(len(self.probs))
        probs = _posterior(self._held[fold], self._evidence, self._opinions, everything)
        kept = self.folds[self.answers.rows] != fold
        probs[self.answers.rows[kept]] = self.answers.targets[kept]
        return probs

    def elsewhere(
        self, votes: VoteTable, text: Floats | None, student: Floats | None, groups: Ints | None = None
    ) -> NDArray[np.float64]:
        """The posterior (m, k) of rows outside the pool (gold, say), from their votes and texts alone.

        Raises ValueError where the pool had embeddings or groups and these have none, or other sources or columns.
        """
        votes = _blocked(votes, self.width)
        evidence, opinions = evidence_of(votes, text, groups), Opinions.of(votes, student)
        if self._evidence.text is not None and text is None:
            raise ValueError("Expected embeddings, as the pool had them; found None. Embed these texts as the pool's.")
        if evidence.said.shape[1] != self._evidence.said.shape[1]:
            raise ValueError("Expected sources, columns and groups as the pool had them; found others.")
        return _posterior(Held(self._final, self.temperature), evidence, opinions, np.arange(len(opinions)))


def believe(
    votes: VoteTable,
    text: Floats | None,
    student: Floats | None,
    answers: Answers,
    *,
    width: int | None = None,
    groups: Ints | None = None,
    folds: int = 5,
    correct: bool = True,
    rng: np.random.Generator,
) -> Belief:
    """Combine votes (s, n, k), unit embeddings (n, d), a student's cross-fitted predictions (n, k) and answers.

    Each block of `width` columns (the table's own unless given) is one distribution; all blocks share kernel, penalty, exponents and
    temperature. `groups` (n,) are the rows' items, if an item has several: its rows stand together, are neighbours to
    each other, and share a fold. `student` must come from a model that saw no answers (teach it by votes alone): then
    nothing that predicts an item has seen its answer. Penalty and exponents are chosen by held-out likelihood; for each
    outer fold they are chosen inside the other folds (nested cross-validation, Varma & Simon 2006), so `out_of_fold` is
    honest. With `correct` false answers correct nothing but themselves.
    """
    answers, votes = answers.known(), _blocked(votes, width)
    opinions, evidence = Opinions.of(votes, student, trusts=not _several(groups)), evidence_of(votes, text, groups)
    fold_of, count, items = _folds(len(opinions), answers, groups, folds, rng)
    everything = np.arange(len(opinions))
    if items < FEWEST_ANSWERS_TO_CORRECT or not correct:
        bare = Held(None, 1.0)
        probs = _posterior(bare, evidence, opinions, everything)
        return _belief(probs, fold_of, answers, None, 1.0, evidence, opinions, None, (bare,) * max(count, 1))
    coordinates = coordinates_of(evidence.rows(answers.rows), rng)
    search = Search(coordinates, opinions, answers, fold_of[answers.rows])
    penalty, final, held = search.chosen()
    raw = np.empty(opinions.pool.shape)
    for fold, one in enumerate(held):
        rows = np.flatnonzero(fold_of == fold)
        raw[rows] = _posterior(Held(one.correction, 1.0), evidence, opinions, rows)
    temperature = temperature_of(raw[answers.rows], answers.targets, votes.block)
    probs = _posterior(Held(final, temperature), evidence, opinions, everything)
    for fold, one in enumerate(held):
        rows = np.flatnonzero(fold_of == fold)
        probs[rows] = cooled(raw[rows], one.temperature, votes.block)
    return _belief(probs, fold_of, answers, penalty, temperature, evidence, opinions, final, tuple(held))


def _several(groups: Ints | None) -> bool:
    """Whether some item has more rows than one."""
    return groups is not None and bool((np.diff(groups) == 0).any())


def _blocked(votes: VoteTable, width: int | None) -> VoteTable:
    return votes if width is None else replace(votes, width=width)


def _folds(
    n: int, answers: Answers, groups: Ints | None, folds: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int, int]:
    """The fold of each row, -1 in items that nobody answered; how many folds there are; how many answered items."""
    fold_of = np.full(n, -1, dtype=np.int64)
    if groups is None:
        items = len(answers.rows)
        count = min(folds, items)
        fold_of[answers.rows] = rng.permutation(items) % max(count, 1)
        return fold_of, count, items
    names = np.unique(groups[answers.rows])
    count = min(folds, len(names))
    each = rng.permutation(len(names)) % max(count, 1)
    at = np.searchsorted(names, groups)
    theirs = np.isin(groups, names)
    fold_of[theirs] = each[at[theirs]]
    return fold_of, count, len(names)


def _posterior(held: Held, evidence: Evidence, opinions: Opinions, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    width = opinions.votes.block
    if held.correction is None:
        probs = softmax(opinions.logits(rows, opinions.prior()), width)
    else:
        probs = held.correction.posterior(evidence, opinions, rows)
    return cooled(probs, held.temperature, width)


def _belief(
    out_of_fold: Floats,
    folds: Ints,
    answers: Answers,
    penalty: float | None,
    temperature: float,
    evidence: Evidence,
    opinions: Opinions,
    final: Correction | None,
    held: tuple[Held, ...],
) -> Belief:
    probs = out_of_fold.copy()
    probs[answers.rows] = answers.targets
    blend = opinions.prior() if final is None else final.blend
    width = opinions.votes.block
    return Belief(
        probs, out_of_fold, folds, answers, width, penalty, blend, temperature, evidence, opinions, final, held
    )
