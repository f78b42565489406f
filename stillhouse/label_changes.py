"""How the labels of a run became others: changes as a person states them, and whether they explain all of the difference."""

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillhouse.errors import InputError
from stillhouse.task import FieldSpec, Label, Task


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of labels. A name that is not in it stayed what it was.

    `rename` and `split` are by old name, `merge` and `add` by new name; `add` says which old labels a new one may be hidden
    in, none if any item may be it. Of the kind "fields" names are those of fields, and FIELD.CHOICE is a choice of one.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    add: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remove: frozenset[str] = frozenset()

    @property
    def exact(self) -> bool:
        """Whether each label of before is one label now, and no other is there."""
        return not (self.split or self.add or self.remove)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "remove": sorted(self.remove)}

    @staticmethod
    def of_json(said: Mapping[str, Any]) -> "Changes":
        lists = {name: {key: tuple(names) for key, names in said[name].items()} for name in ("merge", "split", "add")}
        return Changes(rename=said["rename"], remove=frozenset(said["remove"]), **lists)

    def words(self) -> list[str]:
        """Each change as a line that a person reads."""
        lines = [f"{old!r} is called {new!r}" for old, new in sorted(self.rename.items())]
        lines += [f"{_listed(olds)} are one: {new!r}" for new, olds in sorted(self.merge.items())]
        lines += [f"{old!r} is split into {_listed(news)}" for old, news in sorted(self.split.items())]
        lines += [
            f"{new!r} is new" + (f", in what was {_listed(olds)}" if olds else ", in any item")
            for new, olds in sorted(self.add.items())
        ]
        return lines + [f"{old!r} is gone" for old in sorted(self.remove)]

    def called(self, name_of: Callable[[str], str | None]) -> "Changes":
        """The changes with other names; those whose name is then None are left out."""

        def each(said: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
            called = {name_of(key): tuple(filter(None, map(name_of, names))) for key, names in said.items()}
            return {key: names for key, names in called.items() if key is not None}

        pairs = ((name_of(old), name_of(new)) for old, new in self.rename.items())
        return Changes(
            {old: new for old, new in pairs if old is not None and new is not None},
            each(self.merge),
            each(self.split),
            each(self.add),
            frozenset(filter(None, map(name_of, self.remove))),
        )


@dataclass(frozen=True)
class Moves:
    """What each old label may be now. `stays` names the one new label that an old one is unless somebody says otherwise;
    a label that is split has none. `anywhere` are new labels that any item may have.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    may_be: Mapping[str, tuple[str, ...]]
    stays: Mapping[str, str]
    anywhere: frozenset[str] = frozenset()

    def open(self, name: str) -> bool:
        """Whether somebody has to say what an old label is now."""
        return len(self.may_be[name]) > 1

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(old, new): which share of an old label's probability each new one gets; a row of zeros where it is gone."""
        out = np.zeros((len(self.old), len(self.new)))
        for row, name in enumerate(self.old):
            parts = (self.stays[name],) if name in self.stays else self.may_be[name]
            for part in parts:
                out[row, self.new.index(part)] = 1.0 / len(parts)
        return out


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels, or the fields, that votes and answers are written in; in the order of every number in the store."""

    kind: str
    labels: tuple[Label, ...]
    fields: tuple[FieldSpec, ...] = ()
    overlapping: bool = False

    @staticmethod
    def of(task: Task) -> "LabelSet":
        return LabelSet(task.kind, task.labels, task.fields, task.overlapping)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(each.name for each in (self.fields or self.labels))

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "labels": [label.model_dump() for label in self.labels],
            "fields": [spec.model_dump() for spec in self.fields],
            "overlapping": self.overlapping,
        }

    @staticmethod
    def of_json(said: Mapping[str, Any]) -> "LabelSet":
        labels = tuple(Label.model_validate(label) for label in said["labels"])
        fields = tuple(FieldSpec.model_validate(spec) for spec in said["fields"])
        return LabelSet(said["kind"], labels, fields, bool(said["overlapping"]))

    def in_task(self, task: Task) -> Task:
        """The task as it was with these labels."""
        return task.model_copy(update={"labels": self.labels, "fields": self.fields})


@dataclass(frozen=True, slots=True)
class Migration:
    """From one set of labels to the next: `moves` of labels or fields, `choices` by the new name of a field of choices."""

    before: LabelSet
    after: LabelSet
    moves: Moves
    choices: Mapping[str, Moves] = field(default_factory=dict)

    @property
    def anywhere(self) -> bool:
        """Whether there is something new that any item may have."""
        return any(moves.anywhere for moves in (self.moves, *self.choices.values()))


def migration(before: LabelSet, after: LabelSet, changes: Changes) -> Migration:
    """Raises InputError with everything that the changes leave unexplained, or name wrongly."""
    if (before.kind, before.overlapping) != (after.kind, after.overlapping):
        raise InputError(
            "the task is of another kind than its run",
            expected=f"kind {before.kind!r}, overlapping {str(before.overlapping).lower()}",
            found=f"kind {after.kind!r}, overlapping {str(after.overlapping).lower()}",
            fix="start a new run: only labels, fields and choices can change in one",
        )
    choosable = {spec.name for spec in (*before.fields, *after.fields) if spec.choices}
    top = changes.called(lambda name: None if _choice_of(choosable, name) else name)
    moves, problems = moves_of(before.names, after.names, top)
    choices: dict[str, Moves] = {}
    for now in after.fields:
        olds = [spec for spec in before.fields if spec.choices and now.name in moves.may_be.get(spec.name, ())]
        if not now.choices or not olds:
            continue
        known = tuple(dict.fromkeys(choice for spec in olds for choice in spec.choices))
        own = partial(_choice_of, {now.name, *(spec.name for spec in olds)})
        choices[now.name], found = moves_of(known, now.choices, changes.called(own), f"{now.name}.")
        problems += found
    if problems:
        raise InputError(
            "the changes do not explain how the labels became what they are",
            expected="each label of before kept, renamed, merged, split or removed; each other one of now added",
            found="\n".join(["", *(f"    {problem}" for problem in problems)]),
            fix="say what became of them, or mend task.toml",
        )
    return Migration(before, after, moves, choices)


def moves_of(old: Sequence[str], new: Sequence[str], changes: Changes, where: str = "") -> tuple[Moves, list[str]]:
    """What became of each old name, and what is wrong or unexplained, a sentence each. `where` stands before each name."""
    gone = [*changes.rename, *changes.split, *changes.remove, *(n for olds in changes.merge.values() for n in olds)]
    problems = [
        f"{where + name!r} is said to have become two things" for name, times in Counter(gone).items() if times > 1
    ]
    named = [*gone, *(name for olds in changes.add.values() for name in olds)]
    problems += [
        f"{where + name!r} was not there before{_guess(name, old)}" for name in dict.fromkeys(named) if name not in old
    ]
    parts = [name for news in changes.split.values() for name in news]
    made = [*changes.rename.values(), *changes.merge, *parts, *changes.add]
    problems += [
        f"{where + name!r} is not in the task now{_guess(name, new)}" for name in dict.fromkeys(made) if name not in new
    ]
    kept = [name for name in old if name not in gone]
    several = Counter(changes.rename.values())
    for name, became in changes.rename.items():
        if several[became] > 1 or became in kept:
            problems.append(f"{where + became!r} comes of more than {where + name!r}: say --merge instead of --rename")
    problems += [f"{where + name!r} was there before: it is not new" for name in changes.add if name in kept]
    problems += [f"{where + name!r} is split into one" for name, news in changes.split.items() if len(news) < 2]
    lost = [name for name in kept if name not in new]
    fresh = [name for name in new if name not in kept and name not in made]
    problems += [f"{where + name!r} is gone{_suggestion(where, name, fresh)}" for name in lost]
    problems += [
        f"{where + name!r} is new: --add {where}{name}, or --add {where}{name}:from=OLD,OLD if only those may be it"
        for name in fresh
        if not any(_close(name, other) for other in lost)
    ]
    return _moves(old, new, changes), problems


def _moves(old: Sequence[str], new: Sequence[str], changes: Changes) -> Moves:
    stays = {name: name for name in old if name in new}
    stays |= {**changes.rename, **{name: into for into, olds in changes.merge.items() for name in olds}}
    stays = {n: to for n, to in stays.items() if to in new and n not in changes.split and n not in changes.remove}
    may_be = {name: changes.split.get(name, (stays[name],) if name in stays else ()) for name in old}
    for fresh, olds in changes.add.items():
        for name in olds:
            if name in may_be:
                may_be[name] = (*may_be[name], fresh)
    may_be = {name: tuple(dict.fromkeys(part for part in parts if part in new)) for name, parts in may_be.items()}
    anywhere = frozenset(name for name, olds in changes.add.items() if not olds)
    return Moves(tuple(old), tuple(new), may_be, stays, anywhere)


def _choice_of(fields: Collection[str], name: str) -> str | None:
    """The choice, where the name is FIELD.CHOICE of one of the fields."""
    before, _, choice = name.partition(".")
    return choice if before in fields and choice else None


def _close(name: str, other: str) -> bool:
    return bool(difflib.get_close_matches(name.casefold(), [other.casefold()], n=1))


def _guess(name: str, known: Sequence[str]) -> str:
    close = next((other for other in known if _close(name, other)), None)
    return f": did you mean {close!r}?" if close else f" (there are {', '.join(known)})"


def _suggestion(where: str, name: str, fresh: Sequence[str]) -> str:
    close = next((other for other in fresh if _close(name, other)), None)
    if close:
        return f", and {where + close!r} is new: was it renamed? --rename {where}{name}={where}{close}"
    return f": --rename {where}{name}=NEW, --merge {where}{name},OTHER=NEW, --split {where}{name}=NEW,NEW or --remove {where}{name}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
