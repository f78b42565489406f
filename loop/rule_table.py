"""The table of a task's rules: coverage, overlaps, conflicts, and how right each is, as far as it can be known."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consensus.rule_figures import covered, reach_of, right_of
from consensus.rules import RuleVotes, accuracies
from kinds.kind import Layout
from loop.asked import asked_of
from loop.kept import kept
from loop.project import Project, open_project, project_of, read_pool
from loop.rule_examples import Example, examples_of
from loop.rules import rule_votes
from loop.view import agreed, votes_of
from stillhouse.errors import InputError
from stillhouse.measures import accuracy_interval
from stillhouse.probabilities import Bools, Floats
from stillhouse.records import Answer, Interval, Item, Pick, Value, Vote
from stillhouse.settings import Rule
from stillhouse.store import Store

START_STRENGTH = 10.0  # how many answers the estimate without answers counts for


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule. `says` are the labels it says. `coverage`, `overlaps` and `conflicts` are shares of all items. `right` and
    `wrong` count answered items; `answered` is its accuracy there, which is that of items people were asked for being
    hard, `blind` that on the blind random share, which is that of the pool. `estimated` is what its claims are worth by the
    teachers' opinion (or, without teachers, by the other rules) and the blind answers.
    """

    name: str
    says: tuple[str, ...]
    fires: int
    coverage: float
    overlaps: float
    conflicts: float
    right: int
    wrong: int
    answered: Interval | None
    blind: Interval | None
    estimated: float | None


@dataclass(frozen=True, slots=True)
class RuleTable:
    """All rules of a task; `covered` is the share of items on which any fires, `estimate` what the estimates rest on."""

    items: int
    covered: float
    answers: int
    estimate: str
    rows: tuple[RuleRow, ...]
    examples: tuple[Example, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Known:
    """What a run knows beside the rules; all empty before there is one."""

    votes: Sequence[Vote] = ()
    answers: Sequence[Answer] = ()
    picks: Sequence[Pick] = ()
    belief: Floats | None = None


def rule_table(path: Path, show: str | None = None) -> RuleTable:
    """Of a run's folder, with all that is known there, or of a task.toml, from the pool alone.

    `show` names a rule of which examples are wanted. Raises InputError where there is no such rule or no rules at all.
    """
    project = project_of(path) if path.is_dir() else open_project(path, None)
    if not project.task.rules:
        raise InputError(
            f"{project.task_path} has no rules",
            expected="at least one [[rules]] table",
            found="none",
            fix="write one (docs/how-to/rules.md)",
        )
    if show is not None and show not in {rule.name for rule in project.task.rules}:
        names = ", ".join(rule.name for rule in project.task.rules)
        raise InputError(f"no rule {show!r}", expected=f"one of {names}", found=show)
    if not path.is_dir():
        return table_with(project, read_pool(project), Known(), show)
    with Store(project.folder, read_only=True) as store:
        rounds = len(store.rounds())
        known = Known(
            tuple(store.votes()),
            tuple(store.answers()),
            asked_of(store, project.task.desk.min_submitted).for_figures(),
            kept(project, f"belief-{rounds - 1:02d}") if rounds else None,
        )
    return table_with(project, read_pool(project), known, show)


def table_with(project: Project, items: Sequence[Item], known: Known, show: str | None = None) -> RuleTable:
    """The table of rules on items of the pool, given what is known of them."""
    kind, task = project.kind, project.task
    layout = Layout.of(kind, items)
    rules = rule_votes(project, kind, layout, items)
    labels, _ = agreed(known.answers)
    truth = _truth(project, layout, items, labels)
    drawn = {pick.item_id for pick in known.picks if pick.inclusion_probability is not None}
    blind = np.array([item.id in drawn and item.id in labels for item in items], dtype=bool)
    said = votes_of(project, kind, layout, items, known.votes)
    told = bool(said.usable.any())
    worth = accuracies(rules, said) if told or not task.teachers else None
    reach = reach_of(rules, layout.item_of, kind.width)
    rows = []
    for number, (rule, votes, found) in enumerate(zip(task.rules, rules, reach, strict=True)):
        at, right = right_of(votes, truth, layout.item_of, kind.width)
        of_blind = right[blind[at]]
        rows.append(
            RuleRow(
                name=rule.name,
                says=_says(rule, votes, kind.columns),
                fires=found.fires,
                coverage=found.fires / max(len(items), 1),
                overlaps=found.overlaps / max(len(items), 1),
                conflicts=found.conflicts / max(len(items), 1),
                right=int(right.sum()),
                wrong=int((~right).sum()),
                answered=_interval(right, task.stop.confidence, "answered items, most of them picked for being hard"),
                blind=_interval(of_blind, task.stop.confidence, "the blind random share"),
                estimated=None if worth is None else _with_answers(float(worth[number]), of_blind),
            )
        )
    chosen = [number for number, rule in enumerate(task.rules) if rule.name == show]
    return RuleTable(
        items=len(items),
        covered=covered(rules, layout.item_of) / max(len(items), 1),
        answers=len(labels),
        estimate=_rests_on(told=told, teachers=bool(task.teachers), blind=int(blind.sum())),
        rows=tuple(rows),
        examples=examples_of(project, layout, items, rules[chosen[0]], known.belief, labels) if chosen else (),
    )


def _truth(project: Project, layout: Layout, items: Sequence[Item], labels: Mapping[str, Value]) -> Floats:
    """(u, k): people's answers, nan where there are none."""
    kind = project.kind
    truth = np.full((len(layout.item_of), len(kind.columns)), np.nan)
    for number, item in enumerate(items):
        if item.id in labels:
            rows = layout.rows(number)
            truth[rows] = kind.encode(item, layout.spans[rows], labels[item.id])
    return truth


def _says(rule: Rule, votes: RuleVotes, columns: Sequence[str]) -> tuple[str, ...]:
    if rule.names:
        return tuple(f"not {name}" if rule.against else name for name in rule.names)
    said = [columns[at] for at in np.flatnonzero(np.any(votes.said, axis=0)).tolist()]
    return tuple(dict.fromkeys(name.removeprefix("B-").removeprefix("I-") for name in said))


def _interval(right: Bools, confidence: float, on: str) -> Interval | None:
    return accuracy_interval(right, confidence, f"{len(right)} items of {on}") if len(right) else None


def _with_answers(start: float, right: Bools) -> float:
    """The start value counts as START_STRENGTH answers beside those of the blind random share: others were picked for
    being hard, and say of a rule that it is worse than it is.
    """
    return (START_STRENGTH * start + float(right.sum())) / (START_STRENGTH + len(right))


def _rests_on(*, told: bool, teachers: bool, blind: int) -> str:
    if teachers and not told:
        return "; not known before the teachers have voted"
    return f", by {'the opinion of the teachers' if told else 'how the rules agree'} and {blind} blind answers"
