"""A student taught on any engine: its lesson is written down, carried there, learned, and the student fetched."""

from pathlib import Path

from jobs.content import content_of
from jobs.engine import Engine
from jobs.lessons import Lesson, write_lesson
from stillhouse.errors import ModelError
from trainer.artifact import load_student
from trainer.base import PACKAGE_PREFIX, Base
from trainer.student import FittedStudent


def taught_on(
    engine: Engine, lesson: Lesson, base: Base, home: Path, *, task_json: str, processes: int = 0
) -> FittedStudent:
    """The student that the lesson makes of the base, taught by the engine; what was begun is gone on with.

    Files are kept in the folder `home`, which may be deleted once the student is saved elsewhere. A base that is a folder
    or in a package is carried, one of the Hub is fetched where it is needed. Raises ModelError where training failed.
    """
    folder = home / "lesson"
    write_lesson(lesson, folder)
    key = f"{content_of(folder)}-{base.sha256[:8]}"
    target = home / f"student-{key}"
    root = engine.root_for(folder, target)
    carried = not engine.shares_files and (base.name.startswith(PACKAGE_PREFIX) or Path(base.name).is_dir())
    job = {
        "lesson": engine.place(folder),
        "student": f"{root}/student",
        "checkpoints": f"{root}/checkpoints",
        "task": task_json,
        "key": key,
        "base": engine.place(base.folder) if carried else "",
        "base_name": base.name,
        "processes": processes,
    }
    (outcome,) = engine.run("train", [job])
    if outcome.result is None:
        raise ModelError(
            f"the student could not be taught on {engine.name}",
            expected="a student",
            found=outcome.failure,
            fix="mend that and repeat the command: training goes on from its last checkpoint",
        )
    engine.fetch(f"{root}/student", target / "student")
    return load_student(target / "student", base=base)
