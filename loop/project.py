"""One run of one task: its folder, its texts, its store's neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.tables import read_items, read_labels
from stillhouse.errors import TaskError
from stillhouse.records import Item
from stillhouse.task import Task, load_task


@dataclass(frozen=True, slots=True)
class Project:
    """`folder` holds all that the run writes; deleting it forgets the run."""

    task: Task
    task_path: Path
    folder: Path

    @property
    def home(self) -> Path:
        """Where the paths of task.toml start."""
        return self.task_path.parent

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def argilla_home(self) -> Path:
        return self.folder / "argilla"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    def student(self, round_number: int) -> Path:
        return self.folder / "students" / f"round-{round_number:02d}"

    def rng(self, purpose: str, round_number: int = 0) -> np.random.Generator:
        """A stream of its own for each purpose and round: repeating a killed step draws the same numbers."""
        return np.random.default_rng([self.task.seed, round_number, *purpose.encode()])


@dataclass(frozen=True, slots=True)
class Gold:
    """Items that never enter training, with their labels as indices of the task's labels."""

    items: tuple[Item, ...]
    labels: tuple[int, ...]


def open_project(task_path: Path, folder: Path | None) -> Project:
    """The run of a task; without a folder it is runs/<name of the task>."""
    task = load_task(task_path)
    return Project(task, task_path.resolve(), (folder or Path("runs") / task.name).resolve())


def read_pool(project: Project) -> list[Item]:
    """Raises InputError or TaskError with every problem of the file."""
    data = project.task.data
    return read_items(
        project.home / data.pool,
        id_column=data.id,
        text_column=data.text,
        metadata_columns=data.metadata,
        max_chars=data.max_chars,
        duplicate_texts=data.duplicate_texts,
    ).items


def read_gold(project: Project, pool: Sequence[Item]) -> Gold | None:
    """The gold file if the task names one; none of its items may be in the pool."""
    data, labels = project.task.data, project.task.label_names
    if data.gold is None:
        return None
    path = project.home / data.gold
    items = read_items(
        path, id_column=data.id, text_column=data.text, max_chars=data.max_chars, duplicate_texts="drop"
    ).items
    known = read_labels(path, id_column=data.id, label_column=data.gold_label, allowed=labels, text_column=data.text)
    shared = {item.id for item in pool} & {item.id for item in items}
    same_text = {item.text for item in pool} & {item.text for item in items}
    if shared:
        some = ", ".join(sorted(shared)[:5])
        raise TaskError(
            [f"gold: {len(shared)} ids are in the pool too ({some}): gold must never be trained on"], where=str(path)
        )
    items = [item for item in items if item.text not in same_text]  # a text of the pool measures nothing
    index = {name: number for number, name in enumerate(labels)}
    return Gold(tuple(items), tuple(index[known[item.id]] for item in items))


def read_known_labels(project: Project) -> dict[str, str] | None:
    """What the rehearsed experts know, if the task rehearses."""
    desk = project.task.desk
    if desk.rehearse is None:
        return None
    return read_labels(
        project.home / desk.rehearse,
        id_column=project.task.data.id,
        label_column=desk.rehearse_label,
        allowed=project.task.label_names,
    )
