"""The embedded Argilla at work: pushing, pulling, five annotators at once, kills in mid-submit, collisions on a shared queue.

python -m benchmarks.desk [--quick] [--minutes N] --json OUT
"""

import json
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
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
from argilla_setup.embedded import Connection, down, ensure_environment, status, up
from benchmarks.annotating import Page, at_once
from benchmarks.figures import Figure, arguments, at_least, at_most, report
from kinds.single_label import QUESTION
from stillhouse.records import Item, Suggestion
from stillhouse.settings import Data, Desk, Teacher
from stillhouse.task import Label, Task

VENV = Path(__file__).resolve().parents[1] / ".venv-argilla"
LABELS = ("billing", "delivery", "returns")
PEOPLE = tuple(f"person-{number}" for number in range(1, 6))
PUSHED, PULLED, KILLS = 500, 20_000, 10
BATCH, BATCHES = 76, 3
DIMENSIONS = 384
TEXT = "The parcel that I ordered three weeks ago has not come, and nobody answers the phone. " * 4
THINK_S, QUICK_THINK_S = 4.0, 0.4  # of a busy person, and of one who only presses keys
MOST_S = 120.0  # for a batch that does not end


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


def thinking(mean_s: float) -> Callable[[random.Random], float]:
    """Half of it at least, the rest by chance: people differ, and are never at once."""
    return lambda rng: mean_s / 2 + rng.expovariate(2 / mean_s)


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


def pushed(at: Connection, count: int) -> list[Figure]:
    batch = records(count, np.random.default_rng(0), vectors=True)
    desk = a_desk(at, "pushed")
    started = time.monotonic()
    assert desk.publish(batch) == count
    took_s = time.monotonic() - started
    return [at_most(f"seconds to push {count} records with {DIMENSIONS} numbers each", took_s, 10)]


def pulled(at: Connection, home: Path, count: int) -> list[Figure]:
    desk = a_desk(at, "pulled")
    fill(home, desk, count, answered=True)
    started = time.monotonic()
    assert len(desk.collect()) == count
    took_s = time.monotonic() - started
    return [at_most(f"seconds to pull {count:,} records with an answer each", took_s, 30)]


def busy(at: Connection, home: Path, minutes: float) -> list[Figure]:
    """Five people on one sorted queue of 20,000 records."""
    desk = a_desk(at, "busy")
    dataset_id = fill(home, desk, PULLED, answered=False)
    people = pages(desk, dataset_id)
    ends_at = time.monotonic() + 60 * minutes
    at_once(people, thinking(THINK_S), 1, lambda: time.monotonic() > ends_at)
    submits = sum(len(page.acknowledged) for page in people)
    p95_s = {
        what: float(np.quantile([s for page in people for s in page.seconds[what]], 0.95))
        for what in ("submit", "page")
    }
    answers = Counter(record_id for page in people for record_id in page.acknowledged)
    more = sum(count > 1 for count in answers.values())
    errors = sum(len(page.errors) for page in people) + _log(home).count("database is locked")
    return [
        Figure(f"answers a minute of five people, {minutes:g} minutes", round(submits / minutes, 1), "", None),
        at_most("of them refused, or met a locked database", errors, 0),
        at_most("acknowledged answers that are not there afterwards", lost(home, dataset_id, people), 0),
        at_most("seconds a submit takes, 95th percentile", p95_s["submit"], 1),
        at_most("seconds the next ten records take, 95th percentile", p95_s["page"], 1),
        at_most("share of records answered more often than asked", more / max(1, len(answers)), 0.05),
    ]


def collided(at: Connection, batches: int, min_submitted: int) -> Figure:
    """Whole batches, to the last record, by five people at once who hardly think."""
    over = asked = 0
    for number in range(batches):
        desk = a_desk(at, f"shared-{min_submitted}-{number}", min_submitted)
        desk.publish(records(BATCH, np.random.default_rng(number)))
        dataset_id, done = dataset_of(desk), threading.Event()
        people = pages(desk, dataset_id)

        def until_done(desk: ArgillaDesk = desk, dataset_id: str = dataset_id, done: threading.Event = done) -> None:
            ends_at = time.monotonic() + MOST_S
            while time.monotonic() < ends_at:
                progress = desk.api.call("GET", f"/datasets/{dataset_id}/progress", doing="watching")
                if progress["completed"] == progress["total"]:
                    break
                time.sleep(0.3)
            done.set()

        threading.Thread(target=until_done, daemon=True).start()
        at_once(people, thinking(QUICK_THINK_S), number, done.is_set)
        given = Counter(record_id for page in people for record_id in page.acknowledged)
        assert len(given) == BATCH
        over += sum(count > min_submitted for count in given.values())
        asked += BATCH
    what = (
        f"batches of {BATCH} to the end, {min_submitted} answer{'s' if min_submitted > 1 else ''} asked of five people"
    )
    return at_most(f"{batches} {what}: share answered more often", over / asked, 0.05)


def killed(at: Connection, home: Path, kills: int) -> list[Figure]:
    """kill -9 while five people submit as fast as they can."""
    desk = a_desk(at, "killed")
    dataset_id = fill(home, desk, PULLED // 4, answered=False)
    rng, everybody, hit = random.Random(0), list[Page](), 0
    for number in range(kills):
        people = pages(desk, dataset_id)
        work = threading.Thread(target=at_once, args=(people, lambda _rng: 0.01, number, lambda: False))
        work.start()
        while sum(len(page.acknowledged) for page in people) < 10:
            time.sleep(0.01)
        time.sleep(rng.random())
        pid = status(home).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        work.join()
        hit += any(page.errors for page in people)
        everybody += people
        up(home, VENV)
    acknowledged = sum(len(page.acknowledged) for page in everybody)
    return [
        at_least("kills with -9 in mid-submit", hit, kills),
        Figure("answers acknowledged around them", acknowledged, "", None),
        at_most("of them not there afterwards", lost(home, dataset_id, everybody), 0),
    ]


def _log(home: Path) -> str:
    return (home / "server.log").read_text(encoding="utf-8", errors="replace")


def main() -> None:
    given = arguments(__doc__ or "")
    minutes = given.minutes or (0.2 if given.quick else 10)
    ensure_environment(VENV, print)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        at = up(home, VENV)
        try:
            figures = [
                *pushed(at, PUSHED // 5 if given.quick else PUSHED),
                *pulled(at, home, PULLED // 10 if given.quick else PULLED),
                *(collided(at, 1 if given.quick else BATCHES, wanted) for wanted in ((1,) if given.quick else (1, 2))),
                *busy(at, home, minutes),
                *killed(at, home, 1 if given.quick else KILLS),
            ]
        finally:
            down(home)
    report(figures, given.json)


if __name__ == "__main__":
    main()
