"""The helpdesk's items, its recording, and a teacher at a given address that loses no time between tries."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stillhouse.ledger import Ledger, MemoryLedger
from stillhouse.records import Item, Vote
from stillhouse.settings import Teacher
from stillhouse.task_file import load_task
from teacher.engine import ask_sync
from teacher.faults import Faults, RequestLog
from teacher.flow import Patience
from teacher.prices import BudgetGuard
from teacher.recorded import recorded_teacher

HELPDESK = Path(__file__).parents[2] / "examples" / "helpdesk"
REPLIES = HELPDESK / "replies.jsonl"
TASK = load_task(HELPDESK / "team.toml")
Memory = dict[str, Any]
SOON = Patience(first_backoff_s=0.005, most_backoff_s=0.02, longest_wait_s=5.0)


@cache
def items(count: int) -> tuple[Item, ...]:
    with (HELPDESK / "pool.jsonl").open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line, _ in zip(lines, range(count), strict=False))
        return tuple(Item(row["id"], row["text"]) for row in rows)


@cache
def recorded(variant: str) -> dict[str, dict[str, Any]]:
    with REPLIES.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return {row["id"]: row for row in rows if (row["task"], row["variant"]) == ("team", variant)}


def teacher_at(url: str, **changes: Any) -> Teacher:
    return Teacher(**{"name": "A", "model": "team/A", "base_url": url, "timeout_s": 5.0, "max_tries": 4, **changes})


@contextmanager
def helpdesk_teacher(count: int, faults: Faults | None = None, log: RequestLog | None = None) -> Iterator[str]:
    with recorded_teacher(REPLIES, items=items(count), faults=faults, log=log) as url:
        yield url


def ask_about(count: int, teacher: Teacher, ledger: Ledger | None = None, **options: Any) -> list[Vote]:
    options = {"budget": BudgetGuard(None), "patience": SOON, **options}
    return ask_sync(items(count), TASK, teacher, ledger if ledger is not None else MemoryLedger(), **options)


def same_as_recorded(votes: list[Vote], variant: str = "A") -> bool:
    said = recorded(variant)
    at = TASK.label_names.index
    return all(
        vote.probs[at(said[vote.item_id]["label"])] == said[vote.item_id]["confidence"]
        and vote.probs[at(said[vote.item_id]["second"])] > 0
        for vote in votes
    )
