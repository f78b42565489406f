"""A batch: a uniformly random share first and blind, then targeted picks that are distinct, each with its reason."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from selector.batch import choose_batch, with_hidden
from selector.uncertainty import Signals, signals
from stillhouse.records import Pick


def ids_of(n: int) -> list[str]:
    return [f"item {row:05d}" for row in range(n)]


def scores_of(uncertain: NDArray[np.float64], **others: NDArray[np.float64]) -> Signals:
    return Signals({"uncertain": uncertain, **others})


def points(n: int, d: int = 12, seed: int = 0) -> NDArray[np.float64]:
    raw = np.random.default_rng(seed).normal(size=(n, d))
    out: NDArray[np.float64] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return out


def batch(
    scores: Signals,
    embeddings: NDArray[np.float64],
    *,
    ids: list[str] | None = None,
    unanswered: NDArray[np.bool_] | None = None,
    size: int = 20,
    random_share: float = 0.3,
    cosine: float = 0.99,
    seed: int = 0,
) -> list[Pick]:
    n = len(embeddings)
    return choose_batch(
        ids_of(n) if ids is None else ids,
        np.ones(n, dtype=bool) if unanswered is None else unanswered,
        scores,
        embeddings,
        size=size,
        random_share=random_share,
        near_duplicate_cosine=cosine,
        round_number=3,
        rng=np.random.default_rng(seed),
    )


def uniform_scores(n: int, seed: int = 1) -> Signals:
    return scores_of(np.random.default_rng(seed).random(n))


def test_the_random_share_is_uniform() -> None:
    """Over many seeds each unanswered item is drawn as often as any other, whatever its score."""
    waiting = np.arange(30) < 25
    drawn = Counter(
        pick.item_id
        for seed in range(1500)
        for pick in batch(uniform_scores(30), points(30), unanswered=waiting, size=5, random_share=1.0, seed=seed)
    )
    counts = [drawn[name] for name in ids_of(30)]
    assert sum(counts[25:]) == 0
    assert chisquare(counts[:25]).pvalue > 0.001


def test_the_random_share_is_drawn_before_anything_is_targeted() -> None:
    """Scores, embeddings and near-duplicates do not touch the draw: other scores, the same random picks."""
    one = batch(uniform_scores(60, seed=1), points(60, seed=1))
    two = batch(uniform_scores(60, seed=2), np.repeat(points(1), 60, axis=0))
    assert [p.item_id for p in one if p.reason == "random"] == [p.item_id for p in two if p.reason == "random"]


def test_the_most_uncertain_can_be_drawn_at_random() -> None:
    """The random share is of everything: sometimes it holds the item that would have been targeted first."""
    uncertain = np.linspace(0, 0.9, 20)
    draws = [batch(scores_of(uncertain), points(20), size=10, random_share=0.5, seed=seed) for seed in range(20)]
    reasons = {pick.reason for picks in draws for pick in picks if pick.item_id == ids_of(20)[-1]}
    assert "random" in reasons


def test_random_picks_carry_their_chance_and_are_blind() -> None:
    """Six of fifty unanswered: 12 % each, no suggestion; a targeted pick has no chance and a suggestion."""
    picks = batch(uniform_scores(60), points(60), unanswered=np.arange(60) < 50)
    random, targeted = picks[:6], picks[6:]
    assert all((p.reason, p.inclusion_probability, p.blind) == ("random", 6 / 50, True) for p in random)
    assert all((p.inclusion_probability, p.blind) == (None, False) for p in targeted)
    assert len(targeted) == 14


@pytest.mark.parametrize(("size", "share", "expected"), [(10, 0.3, 3), (10, 0.31, 4), (10, 0.0, 0), (10, 1.0, 10)])
def test_the_random_share_is_rounded_up(size: int, share: float, expected: int) -> None:
    """Rather one more than one less; floating point does not make 3 of 10 into 4."""
    picks = batch(uniform_scores(60), points(60), size=size, random_share=share)
    assert sum(p.reason == "random" for p in picks) == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_file_does_not_matter(seed: int) -> None:
    """The same items in another order give the same picks in the same order."""
    n = 120
    order = np.random.default_rng(seed + 100).permutation(n)
    uncertain, student, apart, variants = np.random.default_rng(1).random((4, n))
    where = points(n)
    straight = batch(signals(uncertain, student, apart, variants), where, seed=seed)
    shuffled = batch(
        signals(uncertain[order], student[order], apart[order], variants[order]),
        where[order],
        ids=[ids_of(n)[row] for row in order],
        seed=seed,
    )
    assert [(p.item_id, p.reason) for p in straight] == [(p.item_id, p.reason) for p in shuffled]


def test_ties_break_by_id() -> None:
    """All equally uncertain: three times the batch are candidates, the smallest ids."""
    picks = batch(scores_of(np.full(60, 0.5)), points(60), size=5, random_share=0.0)
    assert {p.item_id for p in picks} <= set(ids_of(60)[:15])


def test_nothing_is_picked_twice_nor_again() -> None:
    """Only unanswered items, each once."""
    waiting = np.arange(60) % 2 == 0
    names = [p.item_id for p in batch(uniform_scores(60), points(60), unanswered=waiting)]
    assert len(set(names)) == len(names) == 20
    assert {int(name[-5:]) % 2 for name in names} == {0}


def test_targeted_picks_are_the_uncertain_ones() -> None:
    """No targeted pick is outside the most uncertain three times the share."""
    uncertain = np.linspace(0, 1, 200)
    picks = batch(scores_of(uncertain), points(200), size=20, random_share=0.0)
    assert min(p.score for p in picks) >= uncertain[-60]


def test_near_duplicates_are_not_both_targeted() -> None:
    """Pairs of the same text, all uncertain: one of each pair at most, over all reasons."""
    where = np.repeat(points(40), 2, axis=0)
    other = np.random.default_rng(2).random(80)
    scores = scores_of(np.random.default_rng(1).random(80), teacher_student=other, variants=other[::-1].copy())
    picks = batch(scores, where, size=40, random_share=0.0)
    pairs = [int(p.item_id[-5:]) // 2 for p in picks]
    assert len(set(pairs)) == len(pairs) == 40


def test_filling_up_does_not_bring_near_duplicates_back() -> None:
    """Ten distinct texts of sixty: the targeted batch is ten, not twenty."""
    where = np.tile(points(10), (6, 1))
    picks = batch(uniform_scores(60), where, random_share=0.0)
    assert sorted(int(p.item_id[-5:]) % 10 for p in picks) == list(range(10))


def test_quotas_by_reason() -> None:
    """Of a hundred targeted picks 85 are uncertain, 10 where student and belief differ, 5 where variants do."""
    rng = np.random.default_rng(3)
    scores = scores_of(rng.random(600), teacher_student=rng.random(600), variants=rng.random(600))
    reasons = Counter(p.reason for p in batch(scores, points(600), size=100, random_share=0.0))
    assert reasons == {"uncertain": 85, "teacher_student": 10, "variants": 5}


def test_what_a_reason_does_not_use_falls_to_uncertain() -> None:
    """No disagreement anywhere: the whole targeted share is uncertain."""
    scores = scores_of(np.random.default_rng(3).random(300), teacher_student=np.zeros(300))
    assert Counter(p.reason for p in batch(scores, points(300), size=100, random_share=0.0)) == {"uncertain": 100}


def test_picks_of_a_reason_carry_that_reasons_score() -> None:
    """A score has the unit of its reason."""
    rng = np.random.default_rng(4)
    scores = scores_of(rng.random(300), teacher_student=5 + rng.random(300))
    for pick in batch(scores, points(300), size=60):
        if pick.reason == "teacher_student":
            assert pick.score == scores.by_reason["teacher_student"][int(pick.item_id[-5:])]
            assert pick.score >= 5


def test_a_batch_larger_than_what_is_left_is_all_of_it() -> None:
    """Eight are left: eight are picked, each with its true chance of having been in the random share."""
    picks = batch(uniform_scores(30), points(30), unanswered=np.arange(30) < 8)
    assert sorted(p.item_id for p in picks) == ids_of(8)
    assert {p.inclusion_probability for p in picks} == {3 / 8, None}


def test_all_answered_is_an_empty_batch() -> None:
    """Nothing to ask."""
    assert batch(uniform_scores(30), points(30), unanswered=np.zeros(30, dtype=bool)) == []


def test_an_empty_batch_is_empty() -> None:
    """Nothing asked for."""
    assert batch(uniform_scores(30), points(30), size=0) == []


def test_same_seed_same_batch() -> None:
    """Nothing but the generator decides."""
    assert batch(uniform_scores(90), points(90), seed=4) == batch(uniform_scores(90), points(90), seed=4)


def test_ids_are_plain_strings() -> None:
    """Picks are written to the store: no numpy strings."""
    assert {type(p.item_id) for p in batch(uniform_scores(60), points(60))} == {str}


def test_twenty_thousand_items_take_seconds() -> None:
    """A batch of a hundred from a real pool's size, in less time than it takes to get a coffee."""
    uncertain, apart = np.random.default_rng(1).random((2, 20_000))
    begun = time.monotonic()
    picks = batch(signals(uncertain, teacher_student=apart), points(20_000, d=64), size=100)
    assert len(picks) == 100
    assert time.monotonic() - begun < 15


def test_suggestions_are_hidden_by_lot_among_targeted_picks() -> None:
    """The random share stays what it is, no figure rests on what is hidden, and nothing else of a pick changes."""
    picks = [
        Pick(f"i{n}", 1, "random" if n < 4 else "uncertain", 0.5, 0.1 if n < 4 else None, n < 4) for n in range(24)
    ]
    hidden = with_hidden(picks, 0.25, np.random.default_rng(0))
    assert [replace(pick, blind=before.blind) for pick, before in zip(hidden, picks, strict=True)] == picks
    assert sum(pick.blind for pick in hidden) == 4 + 5
    assert with_hidden(picks, 0.0, np.random.default_rng(0)) == picks
