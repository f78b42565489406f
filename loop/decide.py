"""Go on or stop, and why: a pure function of what the rounds have measured."""

from dataclasses import dataclass

from stillhouse.records import Interval
from stillhouse.task import Task


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the loop stands after a round. `changed` is the share of delivered labels that differ from those of
    `stop.patience` rounds ago, None before there are that many rounds with answers.
    """

    round: int
    human_labels: int
    unanswered: int
    delivered: Interval
    changed: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    stop: bool
    reason: str


def decide(task: Task, standing: Standing) -> Decision:
    """Stop at the target, where the gain is used up, or where budget, pool or rounds are; the reason is a sentence.

    The gain is bounded without any statistics: labels that did not change cannot have become better, so accuracy
    rose by at most the share of labels that did.
    """
    stop, budget = task.stop, task.budget.human_labels
    lower = standing.delivered.lo
    if standing.human_labels and lower >= stop.target_accuracy:
        return Decision(
            True,
            f"The target is reached: at least {lower:.1%} of the delivered labels are right "
            f"(with {stop.confidence:.0%} confidence, {standing.delivered.on}); the target is {stop.target_accuracy:.1%}.",
        )
    if standing.changed is not None and standing.changed < stop.min_gain:
        rounds = "round" if stop.patience == 1 else f"{stop.patience} rounds"
        return Decision(
            True,
            f"Quality has levelled off: the last {rounds} changed {standing.changed:.1%} of the delivered labels and so "
            f"gained at most {100 * standing.changed:.1f} points; a gain below {100 * stop.min_gain:.1f} points is not "
            f"worth people's time. The delivered labels are {standing.delivered.percent()} right.",
        )
    if standing.unanswered == 0:
        return Decision(True, "Every item of the pool has been answered by a person.")
    if budget is not None and standing.human_labels >= budget:
        return Decision(True, f"The budget of people's answers is used up: {standing.human_labels} of {budget}.")
    if standing.round >= stop.max_rounds:
        return Decision(True, f"The limit of {stop.max_rounds} rounds is reached.")
    return Decision(
        False,
        f"The delivered labels are {standing.delivered.percent()} right; more answers can still gain.",
    )
