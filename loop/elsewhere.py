"""What of a round is done on other machines: the model of a teacher asked, the student taught. The loop stays here."""

import shutil
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.costs import spent_usd
from jobs.engine import Engine
from jobs.lessons import Lesson
from jobs.students import taught_on
from jobs.teaching import nothing_but_replies, replies_of
from loop.engines import Where
from loop.learn import TRAINING
from loop.progress import Display
from loop.project import Project
from prompts.likelihood import local_name
from stillhouse.errors import InputError
from stillhouse.ledger import Ledger
from stillhouse.records import Item
from stillhouse.settings import Teacher
from teacher.ways import Shown
from trainer.base import Base
from trainer.student import FittedStudent

TEACHING = "teaching"  # the folder of replies that are fetched: deleted once they are in the store
KEYS_A_LOOK = 1_000
GPU = "H100"  # what Modal is asked for first


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An engine that is started when it is first needed, and the run whose work it does."""

    engine: Engine
    project: Project
    display: Display
    gpu: str = ""

    def taught(self, lesson: Lesson, base: Base) -> FittedStudent:
        """A round's student. Raises ModelError where training failed; a repeat goes on from its last checkpoint."""
        home = self.project.folder / TRAINING
        student = taught_on(self.engine, lesson, base, home, task_json=self.project.task.model_dump_json())
        self._tell_cost(float(student.facts["seconds"]))
        return student

    @contextmanager
    def replied(
        self,
        teacher: Teacher,
        items: Sequence[Item],
        more: Shown,
        ledger: Ledger,
        capabilities: MutableMapping[str, Any],
    ) -> Iterator[Teacher]:
        """The teacher's replies about the items, in the ledger: whoever asks it now finds them there.

        Raises TeacherError where shards have failed; a repeat goes on from there.
        """
        home = self.project.folder / TEACHING
        name = local_name(teacher, self.project.home)
        model = Path(name) if Path(name).is_dir() else name
        self.display.line(f"  teacher {teacher.name} is asked about {len(items):,} items on {self.engine.name}")
        found = replies_of(self.engine, items, self.project.task, teacher, model, home, more=more)
        for start in range(0, len(found.replies), KEYS_A_LOOK):
            some = found.replies[start : start + KEYS_A_LOOK]
            known = ledger.known([reply.request_key for reply in some])
            for reply in some:
                if reply.request_key not in known:
                    ledger.arrived(reply)
        capabilities.update(found.capabilities)
        self._tell_cost(found.worker_seconds)
        with nothing_but_replies(teacher) as address:
            yield address
        shutil.rmtree(home, ignore_errors=True)

    def _tell_cost(self, seconds: float) -> None:
        """Of what succeeded: starting containers, idle ones and lost attempts come on top."""
        if self.engine.name == "modal":
            gpu = self.gpu.partition(",")[0] or GPU
            self.display.line(f"  {seconds:,.0f} seconds of {gpu}, about ${spent_usd(gpu, seconds):.2f}")


@contextmanager
def elsewhere(where: Where | None, project: Project, display: Display) -> Iterator[Elsewhere | None]:
    """None for a run that does everything in this process.

    Raises InputError where texts would leave this machine that the task keeps here, or the student cannot be taught there.
    """
    if where is None:
        yield None
        return
    task = project.task
    kept = "[privacy]" if task.privacy is not None else ""
    kept = kept or next((f"local_only of teacher {one.name}" for one in task.teachers if one.local_only), "")
    if where.on != "local" and kept:
        raise InputError(
            f"--on {where.on} would send texts to other machines",
            expected="a task without [privacy] and local_only, or --on local",
            found=kept,
            fix="leave --on out, or take that out of task.toml if the texts may leave this machine",
        )
    if task.student.recipe == "generate":
        raise InputError(
            "a student that writes is taught where the run is",
            expected='another student.recipe than "generate", or no --on',
            found=f"--on {where.on}",
            fix="leave --on out and run on the machine that has the GPU",
        )
    with where.engine() as engine:
        yield Elsewhere(engine, project, display, where.gpu)
