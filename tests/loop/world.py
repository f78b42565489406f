"""A small helpdesk in a folder: a few messages, their recorded replies and rehearsed experts, a tiny base, files as desk."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from loop.cli import app
from stillhouse.store import STORE_FILE, Store
from stillhouse.task_file import load_task
from tests.trainer.tiny import write_tiny_bert

HELPDESK = Path(__file__).parents[2] / "examples" / "helpdesk"
POOL, GOLD, BATCH, HUMAN_LABELS = 120, 40, 20, 40
LABELS = tuple(load_task(HELPDESK / "team.toml").label_names)
Table = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """A task and where its run goes."""

    home: Path

    @property
    def task(self) -> Path:
        return self.home / "task.toml"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def pool(self) -> Path:
        return self.home / "pool.jsonl"

    @property
    def gold(self) -> Path:
        return self.home / "gold.jsonl"

    @property
    def experts(self) -> Path:
        return self.home / "experts.jsonl"

    @property
    def summary(self) -> Any:
        return json.loads((self.run / "summary.json").read_text(encoding="utf-8"))

    def store(self) -> Store:
        return Store(self.run, read_only=True)

    def stillhouse(self, *arguments: object) -> Result:
        """A command in this process, as a person types it."""
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def go(self, *options: object) -> Result:
        """`stillhouse run` of this task into this run."""
        return self.stillhouse("run", self.task, "--run", self.run, "--quiet", *options)


def write_world(
    home: Path,
    *,
    items: int = POOL,
    teacher: Table | None = None,
    rehearse: bool = True,
    gold: bool = True,
    labels: Sequence[str] = LABELS,
    **tables: Table,
) -> World:
    """`teacher` and `tables` (data, student, budget, selection, desk, stop) change what task.toml says by default."""
    world = World(home)
    home.mkdir(parents=True, exist_ok=True)
    pool = rows_of(HELPDESK / "pool.jsonl", items)
    gold_rows = rows_of(HELPDESK / "gold.jsonl", GOLD)
    write_rows(world.pool, pool)
    write_rows(world.gold, gold_rows)
    write_rows(world.experts, rows_of(HELPDESK / "experts.jsonl", items))
    wanted = {row["id"] for row in [*pool, *gold_rows]}
    replies = [row for row in rows_of(HELPDESK / "replies.jsonl") if row["id"] in wanted and row["task"] == "team"]
    write_rows(home / "replies.jsonl", replies)
    write_tiny_bert(home / "base")
    experts = {"rehearse": "experts.jsonl", "rehearse_label": "team"} if rehearse else {}
    defaults: dict[str, Table] = {
        "data": {"pool": "pool.jsonl", **({"gold": "gold.jsonl", "gold_label": "team"} if gold else {})},
        "student": {"base": "base", "recipe": "head", "max_tokens": 64, "threads": 1},
        "budget": {"human_labels": HUMAN_LABELS},
        "selection": {"batch": BATCH, "near_duplicate_cosine": 1.0},  # random weights see everything alike
        "desk": {"kind": "files", **experts},
        "stop": {"min_gain": 0.0, "target_accuracy": 1.0},  # only the budget ends it
    }
    named = {name: {**defaults.get(name, {}), **tables.get(name, {})} for name in (*defaults, *tables)}
    variants = [{"name": f"team-{v}", "model": f"team/{v}", "recording": "replies.jsonl"} for v in "AB"]
    if teacher is not None:
        variants = [{"name": "team-A", "model": "team/A", **teacher}]
    lines = ['name = "small"', 'question = "Which team should handle this message?"', "seed = 0"]
    lines += [f"\n[[labels]]\nname = {json.dumps(label)}" for label in labels]
    lines += ["\n[[teachers]]\n" + toml(variant) for variant in variants]
    lines += [f"\n[{name}]\n" + toml(table) for name, table in named.items()]
    world.task.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return world


def rows_of(path: Path, count: int | None = None) -> list[Row]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:count]]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def batches(world: World) -> list[Row]:
    """All that the file desk published."""
    return [row for path in sorted((world.run / "desk").glob("batch-*.jsonl")) for row in rows_of(path)]


def answer_by_hand(world: World, annotator: str = "pat") -> None:
    """A person answers everything published so far, in one file dropped beside the batches."""
    right = {row["id"]: row["team"] for row in rows_of(world.experts)}
    rows = [{"id": row["id"], "label": right[row["id"]], "annotator": annotator} for row in batches(world)]
    write_rows(world.run / "desk" / "answers" / f"{annotator}.jsonl", rows)


def stored(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Rows of a run's store as they are on disk now, also while another process writes; none before there is a store."""
    path = folder / STORE_FILE
    if not path.exists():
        return []
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
    try:
        return db.execute(query).fetchall()
    except sqlite3.OperationalError:  # not migrated yet
        return []
    finally:
        db.close()


def toml(table: Table) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items())
