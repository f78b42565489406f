"""A tiny student, saved, and texts to label: what every engine gets, and what it must make of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine import Job, Outcome
from jobs.work import do
from kinds.registry import kind_of
from serving.student import labeller_of
from stillhouse.errors import StillhouseError
from stillhouse.settings import Data, Teacher
from stillhouse.task import Label, Task
from tests.trainer.conftest import taught
from tests.trainer.tiny import LABELS, messages, write_tiny_bert
from trainer.artifact import save_student
from trainer.base import Base, load_base

ROWS = 600


@dataclass(frozen=True)
class Texts:
    """A folder of Parquet and the student that labels it; `labels` is what it says of each, asked directly."""

    student: Path
    source: Path
    task: Task
    labels: dict[str, str]

    @property
    def data(self) -> Data:
        return self.task.data


@dataclass(frozen=True)
class Here:
    """An engine that is this very process: a worker of its own takes ten seconds to start."""

    name: str = "here"
    shares_files: bool = True

    def run(self, work: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
        for number, job in enumerate(jobs):
            try:
                yield Outcome(number, do(work, job))
            except StillhouseError as error:
                yield Outcome(number, None, f"{type(error).__name__}: {error}")

    def place(self, path: Path) -> str:
        return str(path)

    def root_for(self, source: Path, target: Path) -> str:
        return str(target)

    def fetch(self, place: str, target: Path) -> None:
        assert Path(place) == target


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load_base(str(write_tiny_bert(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    home = tmp_path_factory.mktemp("jobs")
    base = load_base(str(write_tiny_bert(home / "base")))
    data = Data(pool="pool.jsonl")
    task = Task(
        name="tiny",
        labels=tuple(Label(name=name) for name in LABELS),
        data=data,
        teachers=(Teacher(name="one", model="none"),),
    )
    save_student(taught(base), home / "student", task_json=task.model_dump_json(), metrics={}, card="")
    source = home / "source"
    source.mkdir()
    said, _ = messages(ROWS, seed=5)
    ids = [f"m{number:04d}" for number in range(ROWS)]
    for part in range(2):
        rows = slice(part * ROWS // 2, (part + 1) * ROWS // 2)
        pq.write_table(pa.table({"id": ids[rows], "text": said[rows]}), source / f"{part}.parquet")
    kind = kind_of(task)
    labeller = labeller_of(home / "student", kind)
    from stillhouse.records import Item

    probs = labeller.predict(labeller.prepare([Item(i, t) for i, t in zip(ids, said, strict=True)]))
    return Texts(
        home / "student", source, task, {i: LABELS[best] for i, best in zip(ids, probs.argmax(axis=1), strict=True)}
    )
