"""Several sources, one posterior: properties that hold for any, and simulated ones whose errors are known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consensus.annotators import BLIND, UNKNOWN, Consensus, Judgements, consensus_of
from stillhouse.probabilities import Floats, one_hot

N, K = 300, 3


def judgements(rows: NDArray[np.intp], sources: NDArray[np.intp], labels: NDArray[np.intp], names: int) -> Judgements:
    return Judgements(
        tuple(f"p{number}" for number in range(names)),
        rows,
        sources,
        labels,
        np.full(len(rows), BLIND),
        np.arange(names),
    )


def crowd(seed: int, rights: tuple[float, ...], *, n: int = N, k: int = K) -> tuple[NDArray[np.intp], Judgements]:
    """Truths, and what each of the simulated annotators says of every item; errors prefer no label."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    said = [np.where(rng.random(n) < right, truth, (truth + rng.integers(1, k, n)) % k) for right in rights]
    sources = np.repeat(np.arange(len(rights)), n)
    return truth, judgements(np.tile(np.arange(n), len(rights)), sources, np.concatenate(said), len(rights))


def unthought(n: int = N, k: int = K) -> Floats:
    return np.full((n, k), np.nan)


def accuracy(found: Consensus, truth: NDArray[np.intp]) -> float:
    return float((found.probs.argmax(axis=1) == truth).mean())


def test_how_good_each_is_is_recovered_without_any_truth() -> None:
    """Agreement alone tells the careful from the careless, within the interval."""
    rights = (0.95, 0.9, 0.8, 0.6, 0.4)
    _, said = crowd(0, rights)
    for one, right in zip(consensus_of(unthought(), said).qualities, rights, strict=True):
        assert one.accuracy == pytest.approx(right, abs=0.09)
        assert one.lo - 0.03 < right < one.hi + 0.03


def test_the_careless_are_outvoted_by_fewer_who_are_careful() -> None:
    """Better than the majority, in which all count the same."""
    truth, said = crowd(1, (0.95, 0.9, 0.4, 0.4, 0.4))
    counts = np.zeros((N, K))
    np.add.at(counts, (said.rows, said.labels), 1)
    assert accuracy(consensus_of(unthought(), said), truth) > (counts.argmax(axis=1) == truth).mean() + 0.03


def test_what_each_confuses_is_recovered() -> None:
    """One who takes every second 0 for a 1 is known by it: the row of 0 has it, the others do not."""
    truth, said = crowd(2, (0.95, 0.95, 0.95))
    labels = said.labels.copy()
    theirs = np.flatnonzero((said.sources == 2) & (truth[said.rows] == 0))
    labels[theirs[::2]] = 1
    found = consensus_of(unthought(), replace(said, labels=labels)).confusions[2]
    assert found[0, 1] > 0.3
    assert found[1, 1] > 0.8
    assert found[2, 2] > 0.8


def test_who_copies_suggestions_is_found_and_is_not_taken_for_careless() -> None:
    """Two say what a wrong suggestion said; one of them does so four times in five, and looks well otherwise."""
    truth, said = crowd(3, (0.9, 0.9, 0.9))
    rng = np.random.default_rng(4)
    shown = np.where(rng.random(N) < 0.6, truth, (truth + 1) % K)
    copies = (said.sources == 2) & (rng.random(len(said)) < 0.8)
    seen = np.where(rng.random(len(said)) < 0.2, BLIND, shown[said.rows])
    labels = np.where(copies & (seen != BLIND), seen, said.labels)
    found = consensus_of(unthought(), replace(said, labels=labels, suggested=seen)).qualities
    assert found[2].copying == pytest.approx(0.8, abs=0.1)
    assert max(one.copying for one in found[:2]) < 0.2
    assert found[2].accuracy == pytest.approx(0.9, abs=0.1)


def test_an_opinion_that_knows_more_than_people_is_trusted_more() -> None:
    """How far it is trusted is learned from how well it foretells answers."""
    truth, said = crowd(5, (0.7, 0.7))
    rng = np.random.default_rng(6)
    good = 0.1 / 2 + 0.85 * one_hot(truth, K)
    bad = good[rng.permutation(N)]
    trusted, not_trusted = consensus_of(good, said), consensus_of(bad, said)
    assert trusted.trust.opinion > 3 * not_trusted.trust.opinion
    assert accuracy(trusted, truth) > 0.95


def test_a_group_has_one_voice_however_often_it_is_asked() -> None:
    """Every source of a model twice: the same posterior."""
    _, said = crowd(7, (0.8, 0.7, 0.9, 0.9))
    groups = np.array([0, 0, 1, 2])
    once = replace(said, groups=groups)
    of_model = said.sources < 2
    twice = Judgements(
        (*said.names, "again 0", "again 1"),
        np.concatenate([said.rows, said.rows[of_model]]),
        np.concatenate([said.sources, said.sources[of_model] + 4]),
        np.concatenate([said.labels, said.labels[of_model]]),
        np.full(len(said) + int(of_model.sum()), BLIND),
        np.concatenate([groups, [0, 0]]),
    )
    np.testing.assert_allclose(consensus_of(unthought(), once).probs, consensus_of(unthought(), twice).probs, atol=0.01)


def test_the_last_word_on_a_decision_is_not_judged() -> None:
    """It stands whatever others say, and says how good they are."""
    truth, said = crowd(9, (0.9, 0.3, 0.3))
    known = np.where(np.arange(N) < 150, truth, UNKNOWN)
    found = consensus_of(unthought(), said, known=known)
    assert (found.probs[:150].argmax(axis=1) == truth[:150]).all()
    assert found.probs[:150].max(axis=1).min() > 0.999
    assert [one.accuracy for one in found.qualities] == pytest.approx([0.9, 0.3, 0.3], abs=0.1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(K)))
def test_labels_have_no_order(seed: int, order: list[int]) -> None:
    """Renamed labels give the renamed posterior."""
    _, said = crowd(seed, (0.9, 0.6, 0.5), n=40)
    opinion = np.random.default_rng(seed).dirichlet(np.ones(K), 40)
    to = np.array(order)
    renamed = np.empty_like(opinion)
    renamed[:, to] = opinion
    plain = consensus_of(opinion, said).probs
    np.testing.assert_allclose(
        consensus_of(renamed, replace(said, labels=to[said.labels])).probs[:, to], plain, atol=0.01
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_who_is_asked_first_makes_no_difference(seed: int) -> None:
    """The order of judgements plays no part."""
    _, said = crowd(seed, (0.9, 0.6), n=40)
    order = np.random.default_rng(seed).permutation(len(said))
    mixed = replace(said, rows=said.rows[order], sources=said.sources[order], labels=said.labels[order])
    np.testing.assert_allclose(
        consensus_of(unthought(40), said).probs, consensus_of(unthought(40), mixed).probs, atol=1e-3
    )


def test_without_answers_the_opinion_stands_and_nobody_is_known() -> None:
    """Its likeliest label stays so, and a source that said nothing is an ordinary one."""
    opinion = np.random.default_rng(0).dirichlet(np.ones(K), 20)
    nothing = np.empty(0, dtype=np.intp)
    found = consensus_of(opinion, judgements(nothing, nothing, nothing, 2))
    np.testing.assert_array_equal(found.probs.argmax(axis=1), opinion.argmax(axis=1))
    assert [(one.answers, one.shown) for one in found.qualities] == [(0, 0), (0, 0)]
    assert found.qualities[0].accuracy == found.qualities[1].accuracy
    assert found.qualities[0].hi - found.qualities[0].lo > 0.15


@pytest.mark.parametrize(
    ("sources", "labels"),
    [([0] * 6, [0, 1, 2, 0, 1, 2]), ([0, 1] * 3, [0] * 6), ([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2])],
    ids=["one annotator", "one label used", "all agree"],
)
def test_little_to_go_by_gives_finite_numbers_that_follow_the_answers(sources: list[int], labels: list[int]) -> None:
    """No division by nothing; what people say leads where nobody says otherwise."""
    rows = np.arange(6) if len(set(sources)) == 1 else np.repeat(np.arange(3), 2)
    found = consensus_of(unthought(6), judgements(rows, np.array(sources), np.array(labels), 2))
    assert np.isfinite(found.probs).all()
    assert np.isfinite(found.confusions).all()
    np.testing.assert_allclose(found.probs.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found.probs[rows].argmax(axis=1), labels)
    assert all(0.0 <= one.lo <= one.accuracy <= one.hi <= 1.0 for one in found.qualities)
