"""One run of one task: its folder, its texts, its store's neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinds.kind import Kind
from kinds.registry import kind_of
from serving.items import ReadItems, read_items, same
from serving.values import read_values
from stillhouse.errors import InputError, StoreError, TaskError
from stillhouse.label_changes import LabelSet
from stillhouse.records import Item, Value
from stillhouse.schemas import Schema
from stillhouse.store import SCHEMA_HASH, Store
from stillhouse.task import Task
from stillhouse.task_file import load_task
from teacher.prices import PriceTable, load_prices

TASK_PATH = "task_path"


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
    def kind(self) -> Kind:
        return kind_of(self.task)

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def file_desk(self) -> Path:
        return self._of_labels("desk")

    @property
    def beliefs(self) -> Path:
        return self._of_labels("beliefs")

    def in_folder_of_labels(self, name: str) -> Path:
        """Labels that changed have folders of their own, as they have a dataset of their own in Argilla."""
        return self.folder / f"{name}-{self.task.schema_hash()}"

    def _of_labels(self, name: str) -> Path:
        own = self.in_folder_of_labels(name)
        return own if own.exists() else self.folder / name

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
    """Items that never enter training, each with its value."""

    items: tuple[Item, ...]
    values: tuple[Value, ...]


def open_project(task_path: Path, folder: Path | None) -> Project:
    """The run of a task; without a folder it is runs/<name of the task>."""
    task = load_task(task_path)
    return Project(task, task_path.resolve(), (folder or Path("runs") / task.name).resolve())


def project_of(folder: Path) -> Project:
    """The project a run's folder belongs to. Raises StoreError where there is no run."""
    with Store(folder, read_only=True) as store:
        path = store.note(TASK_PATH)
    if path is None:
        raise InputError(
            f"{folder} is not a run", expected="a folder that `stillhouse run` wrote", found="no task in it"
        )
    return open_project(Path(path), folder)


def same_task(project: Project, store: Store) -> None:
    """The labels' order is the order of every number in the store: under a run they change by `stillhouse relabel` alone."""
    check_labels(project, store)
    wanted = project.task.schema_hash()
    if not store.schemas():
        store.add_first_schema(Schema(wanted, LabelSet.of(project.task)))
    store.write_note(SCHEMA_HASH, wanted)


def check_labels(project: Project, store: Store) -> None:
    """Raises StoreError where task.toml has other labels than its run."""
    wanted = project.task.schema_hash()
    if store.note(SCHEMA_HASH, wanted) != wanted:
        raise StoreError(
            f"the run in {project.folder} has other labels than its task",
            expected="the labels of task.toml as they were",
            found="labels were added, removed, renamed or reordered",
            fix=f"say what became of them: stillhouse relabel {project.folder} --help; or start a new run: "
            "stillhouse run TASK --run NEW_FOLDER",
        )


def rounds_before(store: Store) -> int:
    """How many rounds were finished before the labels became what they are: what those rounds left has other columns."""
    schemas = store.schemas()
    return schemas[-1].rounds if schemas else 0


def same_meaning_since(store: Store) -> int:
    """The first round whose labels mean what they mean now: to rename and to merge them changes no meaning."""
    changed = [s.rounds for s in store.schemas() if s.changes is not None and not s.changes.exact]
    return max(changed, default=0)


def prices_of(project: Project) -> PriceTable:
    """The price table, with the task's own prices over it. Raises InputError where they cannot be read."""
    own = project.task.budget.prices
    return load_prices(project.home / own if own else None)


def read_pool(project: Project) -> list[Item]:
    """Raises InputError or TaskError with every problem of the file."""
    return read_pool_file(project).items


def read_pool_file(project: Project) -> ReadItems:
    """The pool, and what reading it found out. Raises InputError or TaskError with every problem of the file."""
    data = project.task.data
    return read_items(project.home / data.pool, data, home=project.home)


def read_gold(project: Project, pool: Sequence[Item]) -> Gold | None:
    """The gold file if the task names one. Raises TaskError where one of its ids is in the pool.

    An item of another id that is the same as one of the pool is left out: it would measure nothing.
    """
    data = project.task.data
    if data.gold is None:
        return None
    path = project.home / data.gold
    # Metadata is for people, who never see gold; but names in it must not leave this machine with the texts.
    named = project.task.privacy.name_columns if project.task.privacy else ()
    items = read_items(
        path, data.model_copy(update={"metadata": named, "duplicate_texts": "drop"}), home=project.home
    ).items
    values = read_values(path, project.kind, items, data.gold_label, home=project.home)
    shared = {item.id for item in pool} & {item.id for item in items}
    if shared:
        some = ", ".join(sorted(shared)[:5])
        raise TaskError(
            [f"gold: {len(shared)} ids are in the pool too ({some}): gold must never be trained on"], where=str(path)
        )
    in_pool = {same(item) for item in pool}
    items = [item for item in items if same(item) not in in_pool]
    return Gold(tuple(items), tuple(values[item.id] for item in items))


def read_known_labels(project: Project, pool: Sequence[Item] | None = None) -> dict[str, Value] | None:
    """What the rehearsed experts know, by item id, if the task rehearses. The pool is read unless it is given.

    Raises InputError or TaskError with every problem of the file.
    """
    desk = project.task.desk
    if desk.rehearse is None:
        return None
    items = read_pool(project) if pool is None else pool
    return read_values(project.home / desk.rehearse, project.kind, items, desk.rehearse_label, home=project.home)
