"""Belief in units and blocks: many labels at once, tokens with neighbours, folds by item, anchors for thousands."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus import correction
from consensus.correction import Coordinates, coordinates_of, fit_weight
from consensus.evidence import Evidence, evidence_of
from consensus.posterior import Answers, Belief, believe
from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, blocks, one_hot, softmax
from tests.consensus.worlds import belief_of, drawn, world

LABELS = 6
O, B, I = range(3)  # noqa: E741  the tags' own names


def pairs(present: NDArray[np.bool_] | Floats) -> NDArray[np.float64]:
    """(n, l) -> (n, 2l): each label as (absent, present)."""
    chance = np.asarray(present, dtype=np.float64)
    return np.stack([1 - chance, chance], axis=2).reshape(len(chance), -1)


@dataclass(frozen=True)
class Labels:
    """Texts with several labels each, and a teacher that always says label 0 with label 1 and never sees label 2."""

    votes: VoteTable
    text: NDArray[np.float64]
    truth: NDArray[np.bool_]

    def belief(self, rows: NDArray[np.intp]) -> Belief:
        answers = Answers(rows, pairs(self.truth[rows]))
        return believe(self.votes, self.text, None, answers, rng=np.random.default_rng(5))


def labels(seed: int, n: int = 600) -> Labels:
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    cluster = rng.integers(0, 12, n)
    text = centres[cluster] + 0.1 * rng.normal(size=(n, 12))
    truth = (rng.random((12, LABELS)) < 0.3)[cluster]
    truth[:, 2] = cluster < 4
    said = truth ^ (rng.random(truth.shape) < 0.05)
    said[:, 0] |= said[:, 1]
    said[:, 2] = False
    votes = VoteTable(("teacher",), pairs(np.where(said, 0.85, 0.1))[None], np.ones((1, n), dtype=bool), 2)
    return Labels(votes, text / np.linalg.norm(text, axis=1, keepdims=True), truth)


@pytest.mark.parametrize("seed", [0, 1])
def test_each_labels_own_systematic_error_is_learned(seed: int) -> None:
    """A label that the teacher says too often and one it never says: eighty answers mend both, and harm no other."""
    w = labels(seed)
    belief = w.belief(drawn(seed, 600, 80))
    rest = belief.folds < 0
    wrong = ((belief.probs[:, 1::2] > 0.5) != w.truth)[rest].mean(axis=0)
    before = ((w.votes.pooled()[:, 1::2] > 0.5) != w.truth)[rest].mean(axis=0)
    assert before[2] > 0.25
    assert wrong[2] < 0.05
    assert wrong[0] <= before[0] / 2
    assert (wrong <= before + 0.02).all()


def test_every_block_is_a_distribution_and_answers_stand() -> None:
    """Belief of many labels is one distribution for each, and an answer is taken whole."""
    w = labels(2)
    rows = drawn(2, 600, 40)
    belief = w.belief(rows)
    np.testing.assert_allclose(blocks(belief.out_of_fold, 2).sum(axis=1), 1.0)
    np.testing.assert_array_equal(belief.probs[rows], pairs(w.truth[rows]))
    np.testing.assert_allclose(belief.without(1)[belief.folds == 1], belief.out_of_fold[belief.folds == 1])


def test_one_block_is_the_whole_row() -> None:
    """Naming the width of a single label, or giving each item a group of its own, changes nothing but the folds."""
    w = world(0)
    answers = w.answers(np.sort(drawn(0, 400, 60)))
    plain = belief_of(w, answers)
    grouped = believe(w.votes, w.text, None, answers, width=3, groups=np.arange(400), rng=np.random.default_rng(5))
    np.testing.assert_array_equal(plain.folds, grouped.folds)
    np.testing.assert_allclose(plain.out_of_fold, grouped.out_of_fold, atol=1e-9)


def test_a_single_labels_belief_is_what_it_always_was() -> None:
    """Figures of one world, recorded before rows could have blocks."""
    w = world(0, noise=0.4)
    belief = belief_of(w, w.answers(drawn(0, 400, 40)))
    sure = np.sort(belief.out_of_fold.max(axis=1))[[0, 50, 100, 200]]
    np.testing.assert_allclose(sure, [0.58285927, 0.96416537, 0.9854945, 0.99577921], atol=1e-5)


def test_a_two_column_fit_is_the_general_one() -> None:
    """Pairs are fitted with half the unknowns; the optimum is that of both columns."""
    rng = np.random.default_rng(0)
    X, offset = rng.normal(size=(80, 20)), rng.normal(size=(80, 8))
    targets = pairs(rng.random((80, 4)) < 0.3)
    W = fit_weight(X, offset, targets, 2.0, 2)
    slope = X.T @ (softmax(X @ W + offset, 2) - targets) + 2.0 * W
    assert np.abs(slope).max() < 0.02


@dataclass(frozen=True)
class Sentences:
    """Tokens of which a name is sometimes led by an article. People count the article in; the teacher does not."""

    votes: VoteTable
    text: NDArray[np.float64]
    truth: NDArray[np.int64]
    groups: NDArray[np.int64]
    article: NDArray[np.bool_]

    def answers(self, items: NDArray[np.intp]) -> Answers:
        rows = np.flatnonzero(np.isin(self.groups, items))
        return Answers(rows, one_hot(self.truth[rows], 3))

    def belief(self, answers: Answers) -> Belief:
        return believe(self.votes, self.text, None, answers, groups=self.groups, rng=np.random.default_rng(3))


def sentences(seed: int, items: int = 150, length: int = 10) -> Sentences:
    """Words are an article, one of ten others, or one of five that are names; names follow an article half the time."""
    rng = np.random.default_rng(seed)
    n = items * length
    groups, place = np.repeat(np.arange(items), length), np.tile(np.arange(length), items)
    word = rng.integers(1, 11, n)
    named = np.flatnonzero((place == 3) | (place == 7))
    word[named] = rng.integers(11, 16, len(named))
    word[named[rng.random(len(named)) < 0.5] - 1] = 0
    word[(place == 0) | ((place == 5) & (rng.random(n) < 0.5))] = 0  # articles of no name
    name = word > 10
    led = np.append(name[1:], False) & (word == 0)
    truth = np.where(led, B, np.where(name, np.where(np.insert(word[:-1] == 0, 0, False), I, B), O))
    said = np.where(name, B, O)
    said = np.where(rng.random(n) < 0.03, O, said)
    probs = 0.9 * one_hot(said, 3) + 0.1 / 3
    vectors = np.linalg.qr(rng.normal(size=(20, 16)))[0].T[word]
    text = vectors + 0.4 * (np.roll(vectors, 1, axis=0) + np.roll(vectors, -1, axis=0))  # as an encoder's token vectors
    text += 0.05 * rng.normal(size=(n, 20))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return Sentences(VoteTable(("teacher",), probs[None], np.ones((1, n), dtype=bool)), text, truth, groups, word == 0)


def test_a_convention_about_neighbours_is_learned() -> None:
    """An article belongs to the name after it, and to nothing else: twenty sentences teach what the next vote means."""
    w = sentences(7)
    belief = w.belief(w.answers(drawn(7, 150, 20)))
    rest = (belief.folds < 0) & w.article
    believed, said = belief.probs[rest].argmax(axis=1), w.votes.pooled()[rest].argmax(axis=1)
    assert (said == w.truth[rest]).mean() < 0.7
    assert (believed == w.truth[rest]).mean() > 0.95  # .87 without neighbours


def test_neighbours_are_of_the_same_item_only() -> None:
    """What was said at the end of one text is no evidence at the start of the next."""
    votes = VoteTable(("a",), one_hot(np.array([O, B, I, B]), 3)[None], np.ones((1, 4), dtype=bool))
    said = evidence_of(votes, None, np.array([0, 0, 1, 1])).said
    before, after = said[:, 6:9] > 0, said[:, 9:12] > 0
    np.testing.assert_array_equal(before, one_hot(np.array([O, O, O, I]), 3) * [[0], [1], [0], [1]])
    np.testing.assert_array_equal(after, one_hot(np.array([B, O, B, O]), 3) * [[1], [0], [1], [0]])


def test_the_units_of_an_item_share_a_fold() -> None:
    """Answered items have one fold each, all five are used, and the rest have none."""
    w = sentences(1)
    items = drawn(1, 150, 25)
    folds = w.belief(w.answers(items)).folds.reshape(150, 10)
    assert (folds == folds[:, :1]).all()
    assert set(np.flatnonzero(folds[:, 0] >= 0)) == set(items)
    assert set(folds[items, 0]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("most_exact", [1_000, 50])
def test_an_item_is_predicted_without_its_own_units(most_exact: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other answers to all units of an item change none of its out-of-fold rows, with anchors or without."""
    monkeypatch.setattr(correction, "MOST_EXACT", most_exact)
    monkeypatch.setattr(correction, "ANCHORS", 80)
    w = sentences(2)
    answers = w.answers(drawn(2, 150, 20))
    before = w.belief(answers)
    item = w.groups[answers.rows[0]]
    targets = answers.targets.copy()
    targets[w.groups[answers.rows] == item] = one_hot(np.array([I]), 3)
    after = w.belief(Answers(answers.rows, targets))
    np.testing.assert_array_equal(before.out_of_fold[w.groups == item], after.out_of_fold[w.groups == item])
    assert np.abs(before.out_of_fold - after.out_of_fold)[before.folds < 0].max() > 1e-3


def test_units_that_an_answer_leaves_open_are_out_of_fold_too() -> None:
    """A row of nan is not learned from, and is predicted without what was said of the rest of its item."""
    w = sentences(3)
    answers = w.answers(drawn(3, 150, 20))
    item = w.groups[answers.rows[0]]
    targets = answers.targets.copy()
    targets[0] = np.nan
    belief = w.belief(Answers(answers.rows, targets))
    row = answers.rows[0]
    assert row not in belief.answers.rows
    assert belief.folds[row] == belief.folds[w.groups == item].max() >= 0
    assert belief.sources()[row] == "corrected"
    assert np.isfinite(belief.probs).all()


def test_elsewhere_sees_neighbours_too() -> None:
    """Sentences outside the pool get what they would have got inside, had nobody answered them."""
    w = sentences(4)
    belief = w.belief(w.answers(drawn(4, 150, 20)))
    there = belief.elsewhere(w.votes, w.text, None, w.groups)
    np.testing.assert_allclose(there[belief.folds < 0], belief.probs[belief.folds < 0], atol=1e-8)


def test_elsewhere_refuses_tokens_without_their_items() -> None:
    """A belief that was learned with neighbours does not guess without them."""
    w = sentences(4)
    belief = w.belief(w.answers(drawn(4, 150, 5)))
    with pytest.raises(ValueError, match="groups as the pool"):
        belief.elsewhere(w.votes, w.text, None)


def test_with_every_row_an_anchor_the_kernel_is_exact() -> None:
    """Nyström coordinates around all rows give the same kernel as the exact ones."""
    w = sentences(5, items=12)
    evidence = evidence_of(w.votes, w.text, w.groups)
    exact, around = Coordinates.of(evidence), Coordinates.around(evidence, np.arange(len(evidence)))
    np.testing.assert_allclose(around.matrix @ around.matrix.T, exact.matrix @ exact.matrix.T, atol=1e-3)
    np.testing.assert_allclose(exact.matrix @ exact.matrix.T, evidence.kernel(evidence), atol=1e-3)
    np.testing.assert_allclose(np.diagonal(evidence.kernel(evidence)), evidence.diagonal())


def test_anchors_are_distinct_and_explain_more_the_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few anchors leave a part of the kernel unexplained; twice as many leave less."""
    monkeypatch.setattr(correction, "MOST_EXACT", 10)
    monkeypatch.setattr(correction, "ANCHORS_A_STEP", 10)
    w = sentences(6, items=40)
    evidence = evidence_of(w.votes, w.text, w.groups)
    left = []
    for count in (20, 40):
        monkeypatch.setattr(correction, "ANCHORS", count)
        found = coordinates_of(evidence, np.random.default_rng(0))
        assert found.matrix.shape == (400, count)
        assert found.anchors.text is not None
        assert len(np.unique(found.anchors.text, axis=0)) == count
        left.append(float((evidence.diagonal() - (found.matrix**2).sum(axis=1)).sum()))
    assert 0 < left[1] < left[0] / 2


def test_few_anchors_believe_nearly_as_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the answered tokens as anchors agree with the exact belief on nearly every token."""
    w = sentences(7)
    answers = w.answers(drawn(7, 150, 40))
    exact = w.belief(answers)
    monkeypatch.setattr(correction, "MOST_EXACT", 100)
    monkeypatch.setattr(correction, "ANCHORS", 80)
    monkeypatch.setattr(correction, "ANCHORS_A_STEP", 40)
    near = w.belief(answers)
    rest = exact.folds < 0
    assert (near.probs.argmax(axis=1) == exact.probs.argmax(axis=1))[rest].mean() > 0.98


def test_hundreds_of_rows_that_are_nearly_alike_can_be_told_apart() -> None:
    """Single precision leaves their kernel slightly indefinite (the same words, all over again): it is mended."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=32) + 0.01 * rng.normal(size=(600, 32))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    alike = Evidence(np.ones((600, 6)), np.full((600, 4), 0.5), text.astype(np.float32))
    kernel = alike.kernel(alike)
    assert np.linalg.eigvalsh(kernel)[0] < -correction.JITTER * kernel[0, 0]
    root = Coordinates.of(alike).root
    np.testing.assert_allclose(root @ root.T, kernel, atol=1e-3 * kernel[0, 0])
