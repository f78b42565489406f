"""Values, votes and answers carried over to other labels: as they now are, or what of them somebody has to say again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stillhouse.field_values import normal_value
from stillhouse.label_changes import Migration, Moves
from stillhouse.records import Answer, Value, Vote
from stillhouse.task import FieldSpec

CARRIED = "labels_changed"  # a finding of a vote that was said of other labels than it now has
OPEN = "labels_open"  # a finding of a vote that has to be asked for again
# Probability of a label that is open now, from which a vote is asked for again; the flag of `relabel` has it too.
ASK_FROM = 0.1

OpenAs = Callable[[str], Any]  # what stands for an old label that is open now; None where nothing can


@dataclass(frozen=True, slots=True)
class Carried:
    """A value under the new labels. Where it is `open` it is only what is certain of it: instead of a label it has the
    list of those that it may be; of multi_label those are added as {"any_of"}; an open field is left out. None: nothing is.
    """

    value: Any
    open: bool


def carried(migration: Migration, value: Value) -> Carried:
    """An answer's value, or gold's."""
    moves = migration.moves
    found = _value(migration, value, lambda name: list(moves.may_be[name]) or None)
    return replace(found, open=found.open or migration.anywhere)


def answer_carried(migration: Migration, answer: Answer) -> Answer | None:
    """The answer under the new labels; None where it has to be given again: also a pass, where a new label might be what
    was missing.

    What was suggested is carried over where that can be said, and else forgotten.
    """
    suggested = None if answer.suggested is None else carried(migration, answer.suggested)
    shown = None if suggested is None or suggested.open else suggested.value
    if answer.label is None:
        return None if migration.anywhere else replace(answer, suggested=shown)
    label = carried(migration, answer.label)
    return None if label.open else replace(answer, label=label.value, suggested=shown)


def vote_carried(migration: Migration, vote: Vote, ask_from: float = ASK_FROM) -> Vote:
    """The vote under the new labels, with the finding OPEN where it has to be asked for again.

    One label an item: probabilities of labels that were renamed move, of merged ones are summed; that of a split one is
    spread evenly over its parts, that of a removed one is left open (`residual`). The vote is asked for again where the
    labels that are not certain now had `ask_from` or more together (and what fitted no label, if one is new). Many labels an item: the chance that any of the
    merged ones applies, as if they were independent; a removed one is dropped. Spans, roles and tags that are not certain
    now make the vote say nothing of the item, or of that token; fields are left out, which is to say nothing of them.
    """
    moves = migration.moves
    shown = tuple(dict.fromkeys(part for name in vote.candidates for part in moves.may_be.get(name, ())))
    if not vote.usable:
        # It may have named a label that was not there yet.
        asked = vote.status == "unreadable" and _added(migration)
        said = replace(vote, probs=(0.0,) * (len(moves.new) if vote.probs else 0))
    elif vote.probs:
        said, asked = _weighed(migration, vote, ask_from)
    elif vote.value is None:  # an earlier change has left nothing of it
        said, asked = vote, True
    else:
        said, asked = _worded(migration, vote, vote.value, ask_from)
    findings = {**vote.findings, CARRIED: 1, **({OPEN: 1} if asked else {})}
    return replace(said, candidates=shown, findings=findings)


def _weighed(migration: Migration, vote: Vote, ask_from: float) -> tuple[Vote, bool]:
    """A vote that is probabilities, and whether they leave too much open."""
    moves, one = migration.moves, migration.before.kind == "single_label"
    said = dict(zip(moves.old, vote.probs, strict=True))
    unsure = sum(p for name, p in said.items() if _unsure(migration, name))
    unsure += vote.residual if _added(migration) else 0.0  # none of those that were there
    gone = sum(p for name, p in said.items() if not moves.may_be[name])
    shares = np.asarray(vote.probs)[:, None] * moves.matrix
    probs = shares.sum(axis=0) if one else 1.0 - np.prod(1.0 - shares, axis=0)
    residual = vote.residual + (gone if one else 0.0)
    return replace(vote, probs=tuple(map(float, probs)), residual=residual), migration.anywhere or unsure >= ask_from


def _worded(migration: Migration, vote: Vote, value: Value, ask_from: float) -> tuple[Vote, bool]:
    """A vote that is a value, and whether it leaves anything open."""
    found = _value(migration, _without_unlikely(migration, value, ask_from), migration.moves.stays.get)
    said = found.value
    if migration.before.kind in {"spans", "roles"} and any(span["label"] is None for span in said):
        said = None
    return replace(vote, value=said), found.open or migration.anywhere


def is_open(vote: Vote) -> bool:
    """Whether labels have changed so that the teacher is to be asked again."""
    return OPEN in vote.findings


def _added(migration: Migration) -> bool:
    """Whether there is a label now that was in nobody's mind."""
    return migration.anywhere or any(map(migration.moves.open, migration.moves.stays))


def _unsure(migration: Migration, name: str) -> bool:
    """Removing one of many labels says nothing of the others; removing the one label does."""
    parts = migration.moves.may_be[name]
    return len(parts) > 1 or (not parts and migration.before.kind in {"single_label", "tokens"})


def _value(migration: Migration, value: Value, open_as: OpenAs) -> Carried:
    match migration.before.kind:
        case "single_label":
            (said,), found_open = _tags(migration, [value], open_as)
            return Carried(said, found_open)
        case "multi_label":
            return _labels(migration.moves, list(value))
        case "tokens":
            tags, found_open = _tags(migration, list(value), open_as)
            return Carried(tags, found_open)
        case "fields":
            assert isinstance(value, dict)
            return _fields(migration, value)
        case _:
            assert isinstance(value, list)
            return _spans(migration.moves, value, open_as)


def _tags(migration: Migration, tags: Sequence[Any], open_as: OpenAs) -> tuple[list[Any], bool]:
    """A tag is a name, {"label", "p"}, or None."""
    out: list[Any] = []
    found_open = False
    for tag in tags:
        name = tag.get("label") if isinstance(tag, Mapping) else tag
        if name is None:
            out.append(None)
            continue
        unsure = _unsure(migration, str(name))
        label = open_as(str(name)) if unsure else migration.moves.stays[str(name)]
        out.append({**tag, "label": label} if isinstance(tag, Mapping) and label is not None else label)
        found_open |= unsure
    return out, found_open


def _labels(moves: Moves, names: Sequence[str]) -> Carried:
    """In the order of the new labels."""
    sure = {moves.stays[name] for name in names if name in moves.stays}
    hidden = [list(moves.may_be[name]) for name in names if moves.open(name)]
    known: list[Any] = [name for name in moves.new if name in sure]
    return Carried([*known, *({"any_of": parts} for parts in hidden)], bool(hidden))


def _spans(moves: Moves, spans: Sequence[Mapping[str, Any]], open_as: OpenAs) -> Carried:
    """Of spans that became the same one stays; those of a label that is gone are left out."""
    out: list[dict[str, Any]] = []
    for span in spans:
        name = str(span["label"])
        if not moves.may_be[name]:
            continue
        changed = {**span, "label": open_as(name) if moves.open(name) else moves.stays[name]}
        if not any(_same_span(changed, other) for other in out):
            out.append(changed)
    return Carried(out, any(moves.open(str(span["label"])) for span in spans))


def _same_span(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(a[part] == b[part] for part in ("start", "end", "label"))


def _without_unlikely(migration: Migration, value: Value, ask_from: float) -> Value:
    """What a teacher found, without spans of labels that are open now and that it hardly believed in itself."""
    if migration.before.kind not in {"spans", "roles"} or not isinstance(value, list):
        return value
    return [s for s in value if not migration.moves.open(str(s["label"])) or float(s.get("p", 1.0)) >= ask_from]


# -- fields --------------------------------------------------------------------------------------------------------------


def _fields(migration: Migration, value: Mapping[str, Any]) -> Carried:
    moves, before = migration.moves, {spec.name: spec for spec in migration.before.fields}
    out: dict[str, Any] = {}
    found_open = False
    for spec in migration.after.fields:
        olds = [name for name in moves.old if spec.name in moves.may_be[name]]
        if spec.name in moves.anywhere:
            found_open = True
        elif any(name not in value for name in olds):
            continue  # a teacher left it out: nothing is known of it
        elif any(moves.open(name) and moves.stays.get(name) != spec.name and _listed(value[name]) for name in olds):
            found_open = True  # what the old field held may belong here
        else:
            said = [(before[name], one) for name in olds if name in moves.stays for one in _listed(value[name])]
            found = _filled(spec, said, migration.choices.get(spec.name))
            found_open |= found.open
            if not found.open:
                out[spec.name] = found.value
    return Carried(out, found_open)


def _filled(spec: FieldSpec, said: Sequence[tuple[FieldSpec, str]], choices: Moves | None) -> Carried:
    """What old fields held, as the new one writes it; open where it cannot."""
    values: dict[str, None] = {}
    for old, one in said:
        parts: Sequence[str] = (one,)
        if choices is not None and old.choices:
            parts = choices.may_be[one]
        value = normal_value(spec, parts[0]) if len(parts) == 1 else None
        if value is None:
            return Carried(None, True)
        values[value] = None
    if spec.many:
        return Carried(list(values), False)
    return Carried(next(iter(values), None), len(values) > 1)


def _listed(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [] if said is None else [said]
