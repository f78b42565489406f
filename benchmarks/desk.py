"""The embedded Argilla at work: pushing, pulling, five annotators at once, kills in mid-submit, collisions on a shared queue.

python -m benchmarks.desk [--quick] [--minutes N] --json OUT
"""

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from argilla_setup.argilla_api import ArgillaApi
from argilla_setup.embedded import Connection, down, ensure_environment, status, up
from benchmarks.annotating import HARDEST_FIRST, PENDING, Page, at_once
from benchmarks.desk_data import DIMENSIONS, a_desk, dataset_of, fill, lost, pages, records
from benchmarks.figures import Figure, arguments, at_least, at_most, report

VENV = Path(__file__).resolve().parents[1] / ".venv-argilla"
PUSHED, PULLED, KILLS = 500, 20_000, 10
BATCH, BATCHES = 76, 3
THINK_S, QUICK_THINK_S = 4.0, 0.4  # of a busy person, and of one who only presses keys
MOST_S = 120.0  # for a batch that does not end


def thinking(mean_s: float) -> Callable[[random.Random], float]:
    """Half of it at least, the rest by chance: people differ, and are never at once."""
    return lambda rng: mean_s / 2 + rng.expovariate(2 / mean_s)


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


def searched(at: Connection, home: Path) -> list[Figure]:
    """Words looked for in 20,000 texts, sorted by doubt, while somebody else asks for next to nothing all the time."""
    desk = a_desk(at, "searched")
    dataset_id = fill(home, desk, PULLED, answered=False)
    other = ArgillaApi(at.url, at.api_key)
    took_s, waits_s = list[float](), list[float]()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            started = time.monotonic()
            other.call("GET", "/version", doing="waiting")
            waits_s.append(time.monotonic() - started)
            time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    for word in ("parcel", "nobody -phone", "1234"):
        started = time.monotonic()
        body = {"query": {"text": {"q": word}}, "filters": {"and": PENDING}, "sort": HARDEST_FIRST}
        path = f"/me/datasets/{dataset_id}/records/search"
        desk.api.call("POST", path, doing="searching", body=body, include="responses,suggestions", limit=10)
        took_s.append(time.monotonic() - started)
    done.set()
    asking.join()
    return [
        at_most(f"seconds a search for words in {PULLED:,} texts takes, the longest of three", max(took_s), 2),
        at_most("seconds a request of somebody else waits meanwhile, at most", max(waits_s), 0.25),
    ]


def watch(api: ArgillaApi, dataset_id: str, done: threading.Event) -> None:
    """Until all records are answered, or two minutes are over."""
    ends_at = time.monotonic() + MOST_S
    while time.monotonic() < ends_at:
        progress = api.call("GET", f"/datasets/{dataset_id}/progress", doing="watching")
        if progress["completed"] == progress["total"]:
            break
        time.sleep(0.3)
    done.set()


def collided(at: Connection, batches: int, min_submitted: int) -> Figure:
    """Whole batches, to the last record, by five people at once who hardly think."""
    over = asked = 0
    for number in range(batches):
        desk = a_desk(at, f"shared-{min_submitted}-{number}", min_submitted)
        desk.publish(records(BATCH, np.random.default_rng(number)))
        dataset_id, done = dataset_of(desk), threading.Event()
        people = pages(desk, dataset_id)

        threading.Thread(target=watch, args=(desk.api, dataset_id, done), daemon=True).start()
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
                *searched(at, home),
                *(collided(at, 1 if given.quick else BATCHES, wanted) for wanted in ((1,) if given.quick else (1, 2))),
                *busy(at, home, minutes),
                *killed(at, home, 1 if given.quick else KILLS),
            ]
        finally:
            down(home)
    report(figures, given.json)


if __name__ == "__main__":
    main()
