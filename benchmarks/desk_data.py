"""What the benchmark of the desk works on: desks, records, datasets filled at once, five people, and what became of answers."""

import json
import os
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from argilla_setup.annotators import ensure_users
from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.argilla_dataset import LABEL
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.desk import DeskRecord
from argilla_setup.embedded import Connection
from benchmarks.annotating import Page
from kinds.single_label import QUESTION
from stillhouse.records import Item, Suggestion
from stillhouse.settings import Data, Desk, Teacher
from stillhouse.task import Label, Task

LABELS = ("billing", "delivery", "returns")
PEOPLE = tuple(f"person-{number}" for number in range(1, 6))
DIMENSIONS = 384
TEXT = "The parcel that I ordered three weeks ago has not come, and nobody answers the phone. " * 4


def a_desk(at: Connection, name: str, min_submitted: int = 1) -> ArgillaDesk:
    task = Task(
        name=name,
        labels=tuple(Label(name=label) for label in LABELS),
        data=Data(pool="pool.jsonl"),
        teachers=(Teacher(name="t", model="m"),),
        desk=Desk(min_submitted=min_submitted),
    )
    return ArgillaDesk(at.url, at.api_key, task)


def records(count: int, rng: np.random.Generator, *, vectors: bool = False) -> list[DeskRecord]:
    return [
        DeskRecord(
            Item(f"i{number:05d}", f"{TEXT} {number}"),
            round=0,
            reason="uncertain",
            uncertainty=float(rng.random()),
            blind=False,
            suggestion=Suggestion(LABELS[number % 3], 0.5, "teacher"),
            vector=tuple(rng.normal(size=DIMENSIONS).tolist()) if vectors else None,
        )
        for number in range(count)
    ]


def dataset_of(desk: ArgillaDesk) -> str:
    found = desk.queues[LABEL].ready()
    assert found is not None
    return str(found["id"])


def fill(home: Path, desk: ArgillaDesk, count: int, *, answered: bool) -> str:
    """A dataset of so many records like its first, written straight into the database: here it is not pushing that is timed."""
    desk.publish(records(1, np.random.default_rng(0)))
    dataset_id = dataset_of(desk)
    given = {
        "count": count - 1,
        "dataset": dataset_id.replace("-", ""),
        "status": "completed" if answered else "pending",
        "values": json.dumps({QUESTION: {"value": LABELS[0]}}),
    }
    with closing(sqlite3.connect(home / "argilla.db", timeout=30)) as db, db:
        db.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
            "INSERT INTO records (id, fields, metadata, status, external_id, dataset_id, inserted_at, updated_at) "
            "SELECT lower(hex(randomblob(16))), fields, json_set(metadata, '$.uncertainty', abs(random() / 9.3e18)), "
            ":status, external_id || '-' || i, dataset_id, inserted_at, updated_at "
            "FROM records, n WHERE dataset_id = :dataset",
            given,
        )
        if answered:
            db.execute("UPDATE records SET status = :status WHERE dataset_id = :dataset", given)
            db.execute(
                'INSERT INTO responses (id, "values", status, record_id, user_id, inserted_at, updated_at) '
                "SELECT lower(hex(randomblob(16))), :values, 'submitted', id, (SELECT id FROM users LIMIT 1), "
                "inserted_at, updated_at FROM records WHERE dataset_id = :dataset",
                given,
            )
    return dataset_id


def pages(desk: ArgillaDesk, dataset_id: str) -> list[Page]:
    """One for each of the five people; each answers by chance, and remembers what the server said it had."""
    users = ensure_users(desk, PEOPLE, lambda name: f"{name}-{os.urandom(8).hex()}")
    return [
        Page(ArgillaApi(desk.api.url, users[name]["api_key"]), dataset_id, by_chance(random.Random(name)))
        for name in PEOPLE
    ]


def by_chance(rng: random.Random) -> Callable[[str], dict[str, Any]]:
    return lambda _item_id: {QUESTION: {"value": rng.choice(LABELS)}}


def lost(home: Path, dataset_id: str, people: Sequence[Page]) -> int:
    """Acknowledged answers that are not in the database, or are not what was said."""
    with closing(sqlite3.connect(home / "argilla.db", timeout=30)) as db:
        rows = db.execute(
            'SELECT record_id, users.api_key, "values" FROM responses JOIN users ON users.id = user_id '
            "JOIN records ON records.id = record_id WHERE dataset_id = ? AND responses.status = 'submitted'",
            (dataset_id.replace("-", ""),),
        ).fetchall()
    kept = {(record_id, key): json.loads(values) for record_id, key, values in rows}
    return sum(
        kept.get((record_id.replace("-", ""), page.api.api_key)) != values
        for page in people
        for record_id, values in page.acknowledged.items()
    )
