"""Everything that can be wrong with a task, found at once, before anything is paid for."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from kinds.kind import Layout
from loop.privacy import check_privacy
from loop.project import Gold, Project, prices_of, read_gold, read_known_labels, read_pool_file
from loop.rules import rule_votes
from prompts.likelihood import choice_of, local_name
from prompts.render import question_of
from serving.items import ReadItems
from stillhouse.errors import StillhouseError, TaskError
from stillhouse.records import Item, Value
from stillhouse.settings import Teacher
from stillhouse.task import Task
from stillhouse.task_file import load_task
from teacher.addresses import check_address
from teacher.prices import BudgetGuard, check_price, price_of
from teacher.recorded import load_recording
from teacher.transport import check_key
from teacher.wire import tokens_about
from trainer.base import find_base, find_local

T = TypeVar("T")
NOTHING = ReadItems([], 0, 0)
NEEDED_COLUMNS = {"tokens": ("tokens",), "roles": ("tokens", "focus")}


def check_all(task_path: Path) -> dict[str, str]:
    """What was found, by name, where nothing is wrong. Calls nobody.

    Raises InputError where task.toml cannot be read at all, else one TaskError with every mistake. Where task.toml
    itself has mistakes, what it says rightly is checked all the same.
    """
    problems: list[str] = []
    broken: frozenset[str] = frozenset()
    try:
        task = load_task(task_path)
    except TaskError as error:
        problems += error.problems
        task, broken = _what_stands(task_path)
    project = Project(task, task_path.resolve(), Path())

    def tried(where: str, what: Callable[[], T], default: T) -> T:
        try:
            return what()
        except StillhouseError as error:
            problems.extend(_problems(where, error))
        return default

    pool = NOTHING
    gold = None
    if "data" not in broken:
        pool = tried(task.data.pool, lambda: read_pool_file(project), NOTHING)
    if _values_can_be_judged(task, broken):
        gold = tried(str(task.data.gold), lambda: read_gold(project, pool.items), None)
        known = tried(str(task.desk.rehearse), lambda: read_known_labels(project, pool.items), None)
        problems += _without_known_label(pool.items, known)
    voices = [
        tried(teacher.name, lambda teacher=teacher: _teacher(project, teacher, pool.items), "")  # type: ignore[misc]
        for teacher in task.teachers
    ]
    if "student" not in broken:
        tried("student.base", lambda: find_base(_base(project)), Path())
    fired: dict[str, str] = {}
    if _rules_can_run(task, broken):
        fired = tried("rules", lambda: _rules(project, pool.items), fired)
    hidden = tried("privacy", lambda: check_privacy(project), "")
    problems += _desk_problems(task)
    if problems:
        raise TaskError(problems, where=str(task_path))
    return {
        "items": f"{len(pool.items):,}",
        "repeated texts left out": f"{pool.dropped:,}",
        "longest text": _longest(pool, task.student.max_tokens),
        "gold items": f"{len(gold.items):,}" if gold else "none: figures come from the blind random share",
        **_labels(task, gold),
        "teachers": "; ".join(voices) or "none: rules alone label first",
        **fired,
        "privacy": hidden,
        "base": task.student.base,
        "desk": f"{task.desk.kind}{', rehearsed experts' if task.desk.rehearse else ''}",
    }


def _what_stands(path: Path) -> tuple[Task, frozenset[str]]:
    """The task without its unknown keys, and the names of the parts that cannot be read even so."""
    raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    raw = {name: value for name, value in raw.items() if name in Task.model_fields}
    try:
        Task.model_validate(raw)
    except ValidationError as error:
        for part in error.errors():
            if part["type"] == "extra_forbidden":
                _drop(raw, part["loc"])
    parts: dict[str, Any] = {"name": "task", "labels": (), "teachers": ()}
    broken = {name for name, field in Task.model_fields.items() if field.is_required() and name not in raw}
    for name, value in raw.items():
        try:
            kind: Any = Task.model_fields[name].annotation
            parts[name] = TypeAdapter(kind).validate_python(value)
        except ValidationError:
            broken.add(name)
    return Task.model_construct(**parts), frozenset(broken)


def _drop(raw: Any, location: tuple[int | str, ...]) -> None:
    for step in location[:-1]:
        raw = raw[step]
    raw.pop(location[-1])


def _problems(where: str, error: StillhouseError) -> list[str]:
    """Problems of rows say which file; others name it themselves."""
    if isinstance(error, TaskError):
        return [f"{where}: {problem}" for problem in error.problems]
    return [error.text().replace("\n", "\n    ")]


def _values_can_be_judged(task: Task, broken: frozenset[str]) -> bool:
    """Whether a mistake of task.toml would show up again in every value of gold and experts."""
    return (
        not broken & {"data", "kind", "labels", "fields"}
        and bool(task.fields if task.kind == "fields" else task.labels)
        and all(getattr(task.data, name) for name in NEEDED_COLUMNS.get(task.kind, ()))
    )


def _labels(task: Task, gold: Gold | None) -> dict[str, str]:
    """The kind, how many labels or fields there are, and of which of them gold says nothing."""
    names = [spec.name for spec in task.fields] or list(task.label_names)
    found = {"kind": task.kind, "fields" if task.fields else "labels": str(len(names))}
    if gold is not None:
        seen = {name for value in gold.values for name in _named(value)}
        unseen = [name for name in names if name not in seen]
        found["gold never says"] = ", ".join(unseen) or "nothing: it has each of them"
    return found


def _named(value: Value) -> list[str]:
    """The labels that a value has, or the fields that it fills."""
    if isinstance(value, dict):
        return [name for name, said in value.items() if said]
    parts = [value] if isinstance(value, str) else value
    return [str(part["label"]) if isinstance(part, dict) else str(part) for part in parts]


def _without_known_label(items: list[Item], known: dict[str, Value] | None) -> list[str]:
    unknown = [] if known is None else [item.id for item in items if item.id not in known]
    if not unknown:
        return []
    some = ", ".join(unknown[:5])
    return [
        f"desk.rehearse: expected a known label for every item of the pool, found none for {len(unknown):,} ({some})"
    ]


def _teacher(project: Project, teacher: Teacher, items: list[Item]) -> str:
    """The teacher in a few words."""
    if teacher.vllm is not None:
        return f"{teacher.name} ({teacher.local}, in vLLM in this process)"
    if teacher.local is not None:
        choice_of(project.task, teacher)
        find_local(local_name(teacher, project.home))
        return f"{teacher.name} ({teacher.local}, on this machine)"
    if teacher.recording is None:
        check_address(teacher)
        check_key(teacher)
        cap = project.task.budget.teacher_usd
        check_price(teacher, price_of(teacher, prices_of(project)), BudgetGuard(cap))
        return f"{teacher.name} ({teacher.model})"
    recording = load_recording(project.home / teacher.recording, items=items)
    if teacher.model not in recording.models:
        found = ", ".join(sorted(recording.models)) or "none"
        raise TaskError([f"expected a recording of {teacher.model!r}, found: {found}"], where=teacher.recording)
    said = recording.models[teacher.model]
    share = sum(question_of(item) in said for item in items) / len(items) if items else 0.0
    if items and not share:
        raise TaskError(
            [f"expected replies for items of the pool in {teacher.recording}, found none"], where=teacher.recording
        )
    return f"{teacher.name} (a recording that knows {share:.1%} of the pool)"


def _rules_can_run(task: Task, broken: frozenset[str]) -> bool:
    return bool(task.rules) and "rules" not in broken and _values_can_be_judged(task, broken)


def _rules(project: Project, items: list[Item]) -> dict[str, str]:
    """On how many items each rule fires. Raises TaskError where one fires on none: it is misspelt, or of no use."""
    kind = project.kind
    layout = Layout.of(kind, items)
    votes = rule_votes(project, kind, layout, items)
    if not items:
        return {}
    counts = {vote.name: len(np.unique(layout.item_of[vote.rows])) for vote in votes}
    if silent := [name for name, count in counts.items() if not count]:
        raise TaskError(
            [f"{name!r} fires on no item of the pool: mend it or take it out" for name in silent], where="rules"
        )
    found = {"rules": "; ".join(f"{name} on {count / len(items):.1%}" for name, count in counts.items())}
    everywhere = [name for name, count in counts.items() if count == len(items)]
    if everywhere:
        found["rules to look at"] = f"{', '.join(everywhere)}: on every item, which tells none from another"
    return found


def _desk_problems(task: Task) -> list[str]:
    desk = task.desk
    if desk.kind != "argilla":
        return []
    problems = []
    if not desk.url.startswith(("http://", "https://")):
        problems.append(f"desk.url: expected an address such as https://HOST, found {desk.url!r}")
    if not os.environ.get(desk.api_key_env):
        problems.append(
            f"desk: expected a key for {desk.url} in the environment variable {desk.api_key_env}, found none; "
            f"export {desk.api_key_env}=..."
        )
    return problems


def _longest(pool: ReadItems, max_tokens: int) -> str:
    tokens = max((tokens_about(len(item.text.encode())) for item in pool.items), default=0)
    cut = f"; the student reads it in windows of {max_tokens}" if tokens > max_tokens else ""
    return f"{pool.longest:,} characters, about {tokens:,} tokens{cut}"


def _base(project: Project) -> str:
    """A relative path starts at the folder of task.toml, if it exists there."""
    name = project.task.student.base
    here = project.home / name
    return str(here) if not name.startswith("package:") and here.exists() else name
