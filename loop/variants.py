"""One teacher in several settings, to be tried side by side: every combination of what is listed, each with a name of its own."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from loop.costs import ToAsk, check_cost
from loop.progress import Display
from loop.project import Project
from loop.teach import waits_for
from prompts.candidates import few_of_many
from stillhouse.errors import InputError
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.store import Store

if TYPE_CHECKING:
    from loop.library import Library

SUFFIX = {"demonstrations": "demonstrations-", "temperature": "temperature-", "label_order": "", "ask": ""}


@dataclass(frozen=True, slots=True)
class Grid:
    """The values to try of each setting; nothing listed leaves every teacher as it is."""

    demonstrations: tuple[int, ...] = ()
    temperature: tuple[float, ...] = ()
    label_order: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()

    def axes(self) -> dict[str, tuple[Any, ...]]:
        return {name: values for name in SUFFIX if (values := getattr(self, name))}


AS_THEY_ARE = Grid()


def grid_of(texts: Mapping[str, str | None]) -> Grid:
    """From the commas of a command line. Raises InputError where a value is none of its setting."""
    make = {"demonstrations": int, "temperature": float, "label_order": str, "ask": str}
    found: dict[str, tuple[Any, ...]] = {}
    for name, text in texts.items():
        parts = [part.strip() for part in (text or "").split(",") if part.strip()]
        try:
            found[name] = tuple(dict.fromkeys(make[name](part) for part in parts))
        except ValueError as error:
            raise InputError(
                f"--{name.replace('_', '-')}: no list of values",
                expected="values with commas between them, such as 0,8",
                found=repr(text),
                fix="correct the list",
            ) from error
    return Grid(**found)


def varied(teachers: Sequence[Teacher], grid: Grid) -> tuple[Teacher, ...]:
    """Every teacher in every combination. One with its own settings keeps its name; the others say in theirs what is different.

    A recording says the same whatever it is asked, and a model that is read by likelihood writes nothing: they stay as they
    are. Raises InputError where a combination is no teacher.
    """
    axes = grid.axes()
    found: dict[str, Teacher] = {}
    for teacher in teachers:
        fixed = teacher.recording is not None or teacher.by_likelihood
        for values in itertools.product(*axes.values()) if not fixed else [()]:
            changes = {
                name: value for name, value in zip(axes, values, strict=not fixed) if value != getattr(teacher, name)
            }
            one = _changed(teacher, changes)
            found.setdefault(one.name, one)
    return tuple(found.values())


def _changed(teacher: Teacher, changes: Mapping[str, Any]) -> Teacher:
    if not changes:
        return teacher
    said = [f"{SUFFIX[name]}{value:g}" if not isinstance(value, str) else value for name, value in changes.items()]
    try:
        return Teacher.model_validate({**teacher.model_dump(), **changes, "name": ".".join([teacher.name, *said])})
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(
            f"teacher {teacher.name} cannot be tried with {', '.join(f'{name} = {value}' for name, value in changes.items())}",
            found=str(problem["msg"]).removeprefix("Value error, "),
            fix="leave this value out",
        ) from error


def settled(
    project: Project, grid: Grid, store: Store, pool: Sequence[Item], display: Display
) -> tuple[Project, "Library | None", tuple[str, ...]]:
    """The project with its teachers varied, without those that wait for examples; what the others are shown; and why those
    were left out. Raises InputError where nobody is left.
    """
    task = project.task
    teachers = varied(task.teachers, grid)
    if not any(teacher.demonstrations for teacher in teachers) and not few_of_many(task):
        return replace(project, task=task.model_copy(update={"teachers": teachers})), None, ()
    from loop.learn import base_of  # the base of a student is heavy, and not needed where nothing is looked up by it
    from loop.library import library_of

    library = library_of(project, base_of(project), display, pool, store.picks(), store.answers())
    waiting = {each.name: waits_for(each, library) for each in teachers if each.demonstrations}
    asked = tuple(each for each in teachers if not waiting.get(each.name))
    left_out = tuple(why for why in waiting.values() if why)
    if not asked:
        raise InputError(
            f"{task.name}: nobody to try",
            expected="answers of people to show as examples",
            found="; ".join(left_out),
            fix="answer a batch first, or try demonstrations = 0 beside it",
        )
    return replace(project, task=task.model_copy(update={"teachers": asked})), library, left_out


def check_money(project: Project, store: Store, items: Sequence[Item], display: Display) -> None:
    """What asking will cost is said first; BudgetError where even the least of it is more than there is."""
    voted = {(vote.item_id, vote.source) for vote in store.votes()}
    wanted = [
        ToAsk(f"teacher {teacher.name}", project.task, teacher, missing)
        for teacher in project.task.teachers
        if (missing := [item for item in items if (item.id, teacher.name) not in voted])
    ]
    check_cost(project, store, wanted, display, "the trial", "try fewer settings")
