"""When the loop stops, and what it says: a pure function at its boundaries."""

from typing import Any

import pytest

from loop.decide import Standing, decide
from stillhouse.records import Interval
from stillhouse.task import Task


def task(**tables: Any) -> Task:
    return Task.model_validate(
        {
            "name": "t",
            "labels": [{"name": "a"}, {"name": "b"}],
            "data": {"pool": "pool.jsonl"},
            "teachers": [{"name": "A", "model": "m"}],
            "stop": {"target_accuracy": 0.95, "min_gain": 0.01, "patience": 2, "max_rounds": 5},
            "budget": {"human_labels": 100},
            **tables,
        }
    )


def standing(*, lo: float = 0.8, **changes: Any) -> Standing:
    delivered = Interval(max(0.9, lo), lo, 1.0, 20, "20 blind answers", "exact binomial")
    usual = {"round": 1, "human_labels": 20, "unanswered": 500, "changed": 0.05}
    return Standing(**{**usual, **changes}, delivered=delivered)


def test_it_goes_on_while_answers_can_still_gain() -> None:
    """Nothing is reached: go on, and say how right the labels are."""
    decision = decide(task(), standing())
    assert not decision.stop
    assert decision.reason == "The delivered labels are 90.0 % [80.0, 100.0] right; more answers can still gain."


@pytest.mark.parametrize(("lo", "stops"), [(0.9499, False), (0.95, True), (1.0, True)])
def test_the_target_counts_by_its_lower_bound(lo: float, stops: bool) -> None:
    """The lower bound must be there, not the estimate."""
    decision = decide(task(), standing(lo=lo))
    assert decision.stop is stops
    assert decision.reason.startswith("The target is reached") is stops


def test_the_target_cannot_be_reached_before_anybody_has_answered() -> None:
    """Without one answer there is nothing that could vouch for it."""
    assert not decide(task(), standing(lo=1.0, human_labels=0, changed=None)).stop


@pytest.mark.parametrize(("changed", "stops"), [(None, False), (0.01, False), (0.0099, True), (0.0, True)])
def test_the_gain_is_used_up_below_min_gain(changed: float | None, stops: bool) -> None:
    """Labels that did not change cannot have become better; exactly min_gain is still worth it."""
    decision = decide(task(), standing(changed=changed))
    assert decision.stop is stops
    assert ("levelled off: the last 2 rounds changed" in decision.reason) is stops


def test_one_round_of_patience_is_named_in_the_singular() -> None:
    """The reason is a sentence for people."""
    decision = decide(task(stop={"patience": 1}), standing(changed=0.0))
    assert "the last round changed 0.0% of the delivered labels" in decision.reason


@pytest.mark.parametrize(("unanswered", "stops"), [(1, False), (0, True)])
def test_it_stops_when_the_pool_is_used_up(unanswered: int, stops: bool) -> None:
    """There is nobody left to ask about."""
    decision = decide(task(), standing(unanswered=unanswered))
    assert decision.stop is stops
    assert decision.reason.startswith("Every item of the pool") is stops


@pytest.mark.parametrize(("human_labels", "stops"), [(99, False), (100, True), (101, True)])
def test_it_stops_when_the_budget_is_used_up(human_labels: int, stops: bool) -> None:
    """The reason names both numbers."""
    decision = decide(task(), standing(human_labels=human_labels))
    assert decision.stop is stops
    assert (f"used up: {human_labels} of 100" in decision.reason) is stops


def test_without_a_budget_nobody_counts() -> None:
    """None means no cap."""
    assert not decide(task(budget={}), standing(human_labels=10_000)).stop


def test_a_budget_of_nothing_stops_at_once() -> None:
    """Zero is a budget, not the lack of one."""
    assert decide(task(budget={"human_labels": 0}), standing(human_labels=0, changed=None)).stop


@pytest.mark.parametrize(("number", "stops"), [(4, False), (5, True), (6, True)])
def test_it_stops_at_the_limit_of_rounds(number: int, stops: bool) -> None:
    """Rounds are counted from 0, which asks nobody: max_rounds batches are asked."""
    decision = decide(task(), standing(round=number))
    assert decision.stop is stops
    assert ("limit of 5 rounds" in decision.reason) is stops


def test_good_news_comes_before_exhaustion() -> None:
    """Where several reasons hold, the target is named first."""
    decision = decide(task(), standing(lo=0.99, changed=0.0, unanswered=0, human_labels=100, round=5))
    assert decision.reason.startswith("The target is reached")
