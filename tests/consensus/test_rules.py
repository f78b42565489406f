"""What rules are worth, and how they stand beside the teachers."""

import numpy as np
import pytest

from consensus.posterior import Answers, believe
from consensus.rule_figures import Reach, covered, reach_of, right_of
from consensus.rules import PRIOR_ACCURACY, PRIOR_STRENGTH, RuleVotes, accuracies, joined, with_rules
from consensus.votes import VoteTable
from stillhouse.probabilities import Floats, one_hot
from stillhouse.task import RULES_SOURCE


def rule(rows: list[int], said: list[int], k: int = 3, name: str = "rule") -> RuleVotes:
    """On each of the rows the truth is among the columns `said`."""
    mask = np.zeros((len(rows), k), dtype=bool)
    mask[:, said] = True
    return RuleVotes(name, np.array(rows, dtype=np.intp), mask)


def table(probs: Floats, width: int | None = None) -> VoteTable:
    """One teacher."""
    return VoteTable(("teacher",), np.asarray(probs)[None], np.ones((1, len(probs)), dtype=bool), width)


def no_teacher(n: int, k: int = 3) -> VoteTable:
    return VoteTable((), np.zeros((0, n, k)), np.zeros((0, n), dtype=bool))


def sure(labels: list[int], p: float = 0.9, k: int = 3) -> Floats:
    hot = one_hot(np.array(labels), k)
    return hot * p + (1 - hot) * (1 - p) / (k - 1)


def test_a_rule_is_worth_what_the_teachers_make_likely() -> None:
    """The mean of their opinion where it fires, drawn to the prior by its strength."""
    found = accuracies([rule([0, 1, 2, 3], [0])], table(sure([0, 0, 0, 1, 2])))
    mean = (3 * 0.9 + 0.05) / 4
    assert found[0] == pytest.approx((PRIOR_STRENGTH * PRIOR_ACCURACY + 4 * mean) / (PRIOR_STRENGTH + 4))


def test_where_no_teacher_has_voted_a_rule_keeps_its_prior() -> None:
    """What is not known is not taken for wrong."""
    silent = VoteTable(("teacher",), np.full((1, 2, 3), 1 / 3), np.zeros((1, 2), dtype=bool))
    assert accuracies([rule([0, 1], [0])], silent)[0] == pytest.approx(PRIOR_ACCURACY)


def test_without_teachers_rules_that_others_contradict_are_worth_less() -> None:
    """Two that agree outvote the third, on all items of which they speak."""
    rows = list(range(40))
    rules = [rule(rows, [0]), rule(rows, [0]), rule(rows, [1])]
    found = accuracies(rules, no_teacher(50))
    assert found[0] > 0.9
    assert found[2] < 0.2


def test_a_rule_is_not_judged_by_the_few_items_where_rules_meet() -> None:
    """Rules of different labels meet only where they differ: that one which is mostly alone was outvoted says little."""
    meeting = list(range(95, 105))
    rules = [rule(list(range(100)), [0]), rule(meeting, [1]), rule(meeting, [1])]
    assert accuracies(rules, no_teacher(105))[0] > 0.7


def test_without_teachers_accuracies_of_simulated_rules_are_found() -> None:
    """The label model recovers what the rules were made with, drawn a little to the prior (simulated, seeded)."""
    rng, n, true = np.random.default_rng(0), 4000, np.array([0.9, 0.75, 0.6, 0.8])
    truth = rng.integers(0, 3, n)
    rules = []
    for number, p in enumerate(true):
        rows = np.flatnonzero(rng.random(n) < 0.5)
        wrong = (truth[rows] + rng.integers(1, 3, len(rows))) % 3
        said = np.where(rng.random(len(rows)) < p, truth[rows], wrong)
        rules.append(RuleVotes(str(number), rows, one_hot(said, 3).astype(bool)))
    np.testing.assert_allclose(accuracies(rules, no_teacher(n)), true, atol=0.06)


def test_rules_are_one_source_that_is_silent_where_none_fires() -> None:
    """The teachers' own rows stay as they are, and the pool of an item without rules is theirs."""
    teachers = table(sure([0, 1, 2]))
    both = with_rules(teachers, [rule([1], [1]), rule([1], [1])])
    assert both.sources == ("teacher", RULES_SOURCE)
    np.testing.assert_array_equal(both.usable[1], [False, True, False])
    np.testing.assert_array_equal(both.probs[0], teachers.probs[0])
    np.testing.assert_array_equal(both.pooled()[[0, 2]], teachers.pooled()[[0, 2]])


def test_rules_multiply_the_odds() -> None:
    """Two claims of .8 of one label of three: (.8 / (1/3)) squared against (.2 / (2/3)) squared."""
    both = joined(no_teacher(1), [rule([0], [0]), rule([0], [0])], np.array([0.8, 0.8]))
    for_it, against = (0.8 * 3) ** 2, (0.2 * 1.5) ** 2
    np.testing.assert_allclose(both.probs[0, 0, 0], for_it / (for_it + 2 * against))


def test_one_claim_of_several_labels_leaves_open_which() -> None:
    """One of two: they share what the claim is worth, by their frequency."""
    both = joined(no_teacher(1), [rule([0], [0, 1])], np.array([0.8]))
    np.testing.assert_allclose(both.probs[0, 0], [0.4, 0.4, 0.2])


def test_a_claim_against_a_label_spreads_over_the_others() -> None:
    """Not the first: its complement is claimed."""
    both = joined(no_teacher(1), [rule([0], [1, 2])], np.array([0.9]))
    np.testing.assert_allclose(both.probs[0, 0], [0.1, 0.45, 0.45])


def test_conflicting_rules_of_equal_worth_cancel() -> None:
    """Both are heard, and neither wins."""
    both = joined(no_teacher(1), [rule([0], [0]), rule([0], [1])], np.array([0.8, 0.8]))
    assert both.probs[0, 0, 0] == pytest.approx(both.probs[0, 0, 1])


def test_blocks_of_which_no_rule_speaks_repeat_the_teachers() -> None:
    """A rule about one of many labels leaves the pool of the others alone."""
    teachers = table(np.array([[0.98, 0.02, 0.3, 0.7]]), width=2)
    both = with_rules(teachers, [rule([0], [3], k=4)])
    np.testing.assert_allclose(both.pooled()[0, :2], [0.98, 0.02])
    assert both.probs[1, 0, 3] > 0.5


def test_a_rule_that_fires_on_nothing_changes_nothing() -> None:
    """It has no rows."""
    teachers = table(sure([0, 1]))
    np.testing.assert_array_equal(with_rules(teachers, [rule([], [0])]).pooled(), teachers.pooled())


def test_a_rule_of_little_coverage_leaves_the_belief_elsewhere_as_it_was() -> None:
    """Two items of a hundred: without answers the belief in the others does not move at all."""
    labels = [number % 3 for number in range(100)]
    teachers = table(sure(labels, 0.7))
    nobody = Answers(np.empty(0, dtype=np.intp), np.empty((0, 3)))
    both = with_rules(teachers, [rule([4, 7], [2])])
    before, after = (believe(t, None, None, nobody, rng=np.random.default_rng(0)).probs for t in (teachers, both))
    others = np.setdiff1d(np.arange(100), [4, 7])
    np.testing.assert_array_equal(before[others], after[others])
    assert (after[[4, 7], 2] > before[[4, 7], 2]).all()


def test_people_teach_the_belief_to_follow_a_rule_that_the_teacher_contradicts() -> None:
    """Where the rule fires people say what it says: the belief follows it on items nobody answered."""
    n, fired = 300, np.arange(0, 300, 6)
    teachers = table(sure([0] * n, 0.9))
    truth = np.zeros(n, dtype=int)
    truth[fired] = 1
    both = with_rules(teachers, [RuleVotes("r", fired, np.tile([False, True, False], (len(fired), 1)))])
    answered = np.arange(0, 180)
    answers = Answers(answered, one_hot(truth[answered], 3))
    probs = believe(both, None, None, answers, rng=np.random.default_rng(0)).probs
    open_rows = np.arange(180, n)
    assert (probs[open_rows].argmax(axis=1) == truth[open_rows]).all()


def test_a_table_without_rules_is_its_own_table_of_teachers() -> None:
    """And rules alone stand for the teachers."""
    teachers = table(sure([0, 1]))
    assert teachers.of_teachers() is teachers
    both = with_rules(teachers, [rule([0], [0])])
    assert both.of_teachers().sources == ("teacher",)
    alone = with_rules(no_teacher(2), [rule([0], [0])])
    assert alone.of_teachers() is alone
    assert (both.voice, alone.voice) == ("teacher", RULES_SOURCE)


def test_reach_counts_items_by_hand() -> None:
    """Three rules on five units of four items (the first has two): fires, overlaps, conflicts."""
    item_of = np.array([0, 0, 1, 2, 3])
    rules = [rule([0, 1, 2], [0]), rule([2, 3], [0]), rule([1, 3], [1])]
    assert reach_of(rules, item_of, 3) == [Reach(2, 2, 1), Reach(2, 2, 1), Reach(2, 2, 2)]
    assert covered(rules, item_of) == 3


def test_rules_of_different_labels_of_many_do_not_meet() -> None:
    """Each label is a decision of its own."""
    rules = [rule([0], [1], k=4), rule([0], [3], k=4), rule([0], [2], k=4)]
    assert reach_of(rules, np.array([0]), 2) == [Reach(1, 0, 0), Reach(1, 1, 1), Reach(1, 1, 1)]


def test_an_item_is_right_where_all_that_is_said_of_it_is() -> None:
    """Items without an answer are not counted, and units of which the answer says nothing neither."""
    item_of, truth = np.array([0, 0, 1, 2]), one_hot(np.array([0, 1, 0, 0]), 3)
    truth[3] = np.nan
    items, right = right_of(rule([0, 1, 2, 3], [0]), truth, item_of, 3)
    np.testing.assert_array_equal(items, [0, 1])
    np.testing.assert_array_equal(right, [False, True])
