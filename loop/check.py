"""Everything that can be wrong with a task, found at once, before anything is paid for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from loop.project import Project, open_project, read_gold, read_known_labels, read_pool
from stillhouse.errors import StillhouseError, TaskError
from stillhouse.records import Item
from stillhouse.task import Teacher
from teacher.recorded import load_recording
from teacher.transport import check_address, check_key
from trainer.base import find_base

T = TypeVar("T")


def check_all(task_path: Path) -> dict[str, str]:
    """What was found, by name, where nothing is wrong. Calls nobody. Raises TaskError with every mistake."""
    project = open_project(task_path, None)
    problems: list[str] = []

    def tried(what: Callable[[], T], default: T) -> T:
        try:
            return what()
        except TaskError as error:
            problems.extend(error.problems)
        except StillhouseError as error:
            problems.append(error.text().replace("\n", "\n    "))
        return default

    nothing: list[Item] = []
    items = tried(lambda: read_pool(project), nothing)
    gold = tried(lambda: read_gold(project, items), None)
    known = tried(lambda: read_known_labels(project), None)
    if known is not None and (unknown := [item.id for item in items if item.id not in known]):
        problems.append(
            f"desk.rehearse: {len(unknown)} items of the pool have no known label ({', '.join(unknown[:5])})"
        )
    for teacher in project.task.teachers:
        tried(lambda teacher=teacher: _teacher(project, teacher, items), None)  # type: ignore[misc]
    tried(lambda: find_base(_base(project)), Path())
    desk = project.task.desk
    if desk.kind == "argilla" and not os.environ.get(desk.api_key_env):
        problems.append(
            f"desk: expected a key for {desk.url} in the environment variable {desk.api_key_env}, found none"
        )
    if problems:
        raise TaskError(problems, where=str(task_path))
    return {
        "items": f"{len(items):,}",
        "longest text": f"{max((len(item.text) for item in items), default=0):,} characters",
        "gold items": f"{len(gold.items):,}" if gold else "none: figures come from the blind random share",
        "labels": str(len(project.task.labels)),
        "teachers": ", ".join(teacher.name for teacher in project.task.teachers),
        "base": project.task.student.base,
        "desk": f"{desk.kind}{', rehearsed experts' if desk.rehearse else ''}",
    }


def _teacher(project: Project, teacher: Teacher, items: list[Item]) -> None:
    if teacher.recording is None:
        check_address(teacher)
        check_key(teacher)
        return
    recording = load_recording(project.home / teacher.recording, (), items=items)
    if teacher.model not in recording.models:
        raise TaskError(
            [
                f"teacher {teacher.name}: no recording of {teacher.model!r}; found: {', '.join(sorted(recording.models))}"
            ],
            where=teacher.recording,
        )


def _base(project: Project) -> str:
    name = project.task.student.base
    here = project.home / name
    return str(here) if not name.startswith("package:") and here.exists() else name
