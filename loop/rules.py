"""The task's labelling rules, run over items: what each says of which unit. Computed when needed, never stored."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import regex  # type: ignore[import-untyped]
from numpy.typing import NDArray

from consensus.phrases import Phrases
from consensus.rules import RuleVotes, with_rules
from consensus.votes import VoteTable
from kinds.fields import Fields
from kinds.kind import Kind, Layout, Spans
from kinds.span_values import parts_of, tags_in
from kinds.tagged import Tagged
from loop.project import Project
from loop.view import votes_of
from serving.convert import load_function, said_by
from stillhouse.errors import TaskError
from stillhouse.field_values import normal_value
from stillhouse.records import CharSpan, Item, Value, Vote
from stillhouse.settings import Rule
from stillhouse.task import Task

REGEX_TIMEOUT_S = 1.0  # of one item: a sane pattern needs microseconds, and is done before it first looks at the clock
MOST_PROBLEMS = 3  # told of one rule

Say = Callable[[Item], Value | list[CharSpan] | None]  # a value of the kind; or where in the text; or nothing


@dataclass(slots=True)
class Findings:
    """What went wrong with rules, the first few of each."""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, rule: Rule, problem: str) -> None:
        self.counts[rule.name] = self.counts.get(rule.name, 0) + 1
        if self.counts[rule.name] <= MOST_PROBLEMS:
            self.problems.append(f"rules: {rule.name!r}: {problem}")


def table_of(project: Project, kind: Kind, layout: Layout, items: Sequence[Item], votes: Iterable[Vote]) -> VoteTable:
    """The teachers' votes as arrays, and the rules as one source more where the task has any. Raises as `rule_votes`."""
    table = votes_of(project, kind, layout, items, votes)
    return with_rules(table, rule_votes(project, kind, layout, items)) if project.task.rules else table


def rule_votes(project: Project, kind: Kind, layout: Layout, items: Sequence[Item]) -> tuple[RuleVotes, ...]:
    """What each rule says, in the order of the task. Raises TaskError with what is wrong with all of them: a function
    that cannot be loaded or fails, a value that is none of the task, an expression that takes too long.
    """
    rules, findings = project.task.rules, Findings()
    found = [_of_phrases(project, kind, layout, items, findings)]
    for number, rule in enumerate(rules):
        say = None if _phrases_of(rule) else _say(project, kind, rule, findings)
        if say is not None:
            found.append({number: _claims(rule, kind, layout, items, _told(rule, say, findings))})
    if findings.problems:
        raise TaskError(findings.problems, where=str(project.task_path))
    claims = {number: claim for each in found for number, claim in each.items()}
    return tuple(RuleVotes(rule.name, *claims[number]) for number, rule in enumerate(rules))


def _phrases_of(rule: Rule) -> bool:
    return bool(rule.keywords or rule.keywords_file)


Claims = tuple[NDArray[np.intp], NDArray[np.bool_]]


def _of_phrases(
    project: Project, kind: Kind, layout: Layout, items: Sequence[Item], findings: Findings
) -> dict[int, Claims]:
    """What all rules with keywords say, from one pass over the texts."""
    rules = [(number, rule) for number, rule in enumerate(project.task.rules) if _phrases_of(rule)]
    phrases = Phrases.of(
        (phrase, number, rule.match_case) for number, rule in rules for phrase in _listed(rule, project.home, findings)
    )
    places: dict[int, dict[str, list[CharSpan]]] = {number: {} for number, _ in rules}
    for item in items if rules else ():
        for number, span in phrases.find(searched(kind, item)):
            places[number].setdefault(item.id, []).append(span)
    return {number: _claims(rule, kind, layout, items, _placed(places[number])) for number, rule in rules}


def _placed(places: Mapping[str, list[CharSpan]]) -> Say:
    return lambda item: places.get(item.id)


def searched(kind: Kind, item: Item) -> str:
    """The text that rules search: with its pair, where a label is of the whole."""
    return f"{item.text}\n{item.pair}" if kind.per_text and item.pair else item.text


def _listed(rule: Rule, home: Path, findings: Findings) -> list[str]:
    if rule.keywords_file is None:
        return list(rule.keywords)
    try:
        lines = (home / rule.keywords_file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        findings.add(rule, f"keywords_file: expected a text file at {rule.keywords_file!r}, found: {error}")
        return []
    found = [line for line in lines if line.strip()]
    if not found:
        findings.add(rule, f"keywords_file: expected one phrase a line in {rule.keywords_file!r}, found none")
    return found


def _say(project: Project, kind: Kind, rule: Rule, findings: Findings) -> Say | None:
    """The rule as a function of an item; None where it cannot be had."""
    if rule.python is not None:
        try:
            return _checked(kind, load_function(rule.python, project.home, f"rules: {rule.name!r}: python"))
        except TaskError as error:
            findings.problems += error.problems
            return None
    if rule.column is not None:
        return _from_column(project.task, rule.column, rule.label)
    try:
        pattern = regex.compile(str(rule.regex), 0 if rule.match_case else regex.IGNORECASE)
    except regex.error as error:
        findings.add(rule, f"expected a regular expression, found {rule.regex!r}: {error}")
        return None
    group = 1 if pattern.groups else 0

    def find(item: Item) -> list[CharSpan]:
        return [
            match.span(group)
            for match in pattern.finditer(searched(kind, item), timeout=REGEX_TIMEOUT_S)
            if match.start(group) < match.end(group)
        ]

    return find


def _checked(kind: Kind, function: Callable[..., Any]) -> Say:
    def say(item: Item) -> Value | None:
        value = function(item)
        if value is None:
            return None
        if problems := kind.problems(item, value):
            raise ValueError("; ".join(problems))
        return kind.normal(item, value)

    return say


def _from_column(task: Task, column: str, label: str) -> Say:
    names = {spelling.casefold().strip(): one.name for one in task.labels for spelling in (one.name, *one.aliases)}
    specs = {spec.name: spec for spec in task.fields}

    def say(item: Item) -> Value | None:
        held = str(item.metadata.get(column, "")).strip()
        if not held:
            return None
        if task.fields:
            value = normal_value(specs[label], held)
            if value is None:
                raise ValueError(f"expected a {specs[label].type} in the column {column!r}, found {held!r}")
            return {label: [value] if specs[label].many else value}
        if held.casefold() not in names:
            raise ValueError(f"expected a label of the task in the column {column!r}, or nothing, found {held!r}")
        name = names[held.casefold()]
        return name if task.kind == "single_label" else [name]

    return say


def _told(rule: Rule, say: Say, findings: Findings) -> Say:
    """What the rule says; what it fails with is a finding, and the rule is not asked again once there are enough."""

    def told(item: Item) -> Value | list[CharSpan] | None:
        if findings.counts.get(rule.name, 0) >= MOST_PROBLEMS:
            return None
        try:
            return say(item)
        except TimeoutError:
            findings.add(
                rule,
                f"the expression took longer than {REGEX_TIMEOUT_S:g} s on item {item.id!r}: expected one that does not try "
                "the same text in many ways; take nested or neighbouring * and + out of it",
            )
            findings.counts[rule.name] = MOST_PROBLEMS
        except Exception as error:  # noqa: BLE001 - the team's code may raise anything
            findings.add(rule, f"item {item.id!r}: {said_by(error)}")
        return None

    return told


def _claims(rule: Rule, kind: Kind, layout: Layout, items: Sequence[Item], told: Say) -> Claims:
    """The units of which the rule says something (m,), and what (m, k)."""
    if kind.per_text and rule.names:  # it says the same wherever it fires
        fired = np.flatnonzero([bool(told(item)) for item in items]).astype(np.intp)
        return fired, np.repeat(_of_text(kind, rule.names, against=rule.against), len(fired), axis=0)
    rows, said = [], []
    for number, item in enumerate(items):
        value = told(item)
        if not value:
            continue
        of_item = layout.rows(number)
        claimed = _claimed(rule, kind, item, layout.spans[of_item], value)
        units = np.flatnonzero(claimed.any(axis=1))
        rows.append(units + of_item.start)
        said.append(claimed[units])
    if not rows:
        return np.empty(0, dtype=np.intp), np.empty((0, len(kind.columns)), dtype=bool)
    return np.concatenate(rows).astype(np.intp), np.concatenate(said)


def _claimed(rule: Rule, kind: Kind, item: Item, spans: Spans, value: Any) -> NDArray[np.bool_]:
    """(u, k): the columns among which the truth is, in the blocks of which the rule says something."""
    if kind.per_text:
        return _of_text(kind, (value,) if isinstance(value, str) else tuple(value), against=rule.against)
    if rule.searches and isinstance(kind, Tagged | Fields):
        return _of_marks(kind, item, spans, rule.label, value)
    if rule.searches:
        marks = [{"start": start, "end": end, "label": rule.label} for start, end in value]
        tags = tags_in(spans, marks, kind.columns)
        value = [None if tag < 0 else kind.columns[tag] for tag in tags]
    said: NDArray[np.bool_] = np.nan_to_num(kind.encode(item, spans, value)) > 0
    if isinstance(kind, Tagged | Fields):
        said[:, :: kind.width] = False  # what a rule leaves unmarked it says nothing of
    return said


def _of_text(kind: Kind, names: Sequence[str], *, against: bool) -> NDArray[np.bool_]:
    named = np.array([name in names for name in kind.task.label_names])
    if kind.task.kind == "single_label":
        return (~named if against else named)[None]
    nothing = np.zeros_like(named)
    pairs = (named, nothing) if against else (nothing, named)  # absent, present
    return np.stack(pairs, axis=1).reshape(1, -1)


def _of_marks(
    kind: Tagged | Fields, item: Item, spans: Spans, label: str, places: Sequence[CharSpan]
) -> NDArray[np.bool_]:
    """Marked where it was found; as a field only what is a value of that field."""
    specs = {spec.name: spec for spec in kind.task.fields}
    marks: list[Mapping[str, Any]] = [
        {"start": start, "end": end, "label": label}
        for start, end in places
        if label not in specs or normal_value(specs[label], item.text[start:end]) is not None
    ]
    said: NDArray[np.bool_] = kind.bio.encode(len(spans), parts_of(marks, spans, kind.bio.labels, p=1.0)) > 0
    said[:, :: kind.width] = False
    return said
