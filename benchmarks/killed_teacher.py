"""A teacher asked about 20,000 items and killed with -9 again and again at random moments: what is lost, what is paid twice.

The server is another process and counts what it has served, so that a reply asked for twice is seen from outside. After
each kill the store is looked at: whatever is in it must stay, and must never be asked for again.
python -m benchmarks.killed_teacher [--quick] [--kills 20] [--items 20000] --json OUT
"""

import argparse
import multiprocessing
import os
import signal
import sqlite3
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.figures import at_least, at_most, report
from benchmarks.throughput_server import Server, World, make_world, served
from stillhouse.store import STORE_FILE, Store
from teacher.engine import ask_sync
from teacher.faults import Faults
from teacher.prices import BudgetGuard

IN_FLIGHT = 64
LATENCY_S = 0.02
AFTER_FIRST_CALL = 0.9  # of the lives begin to count there; the others while they open the store and read it again
SETTLED_S = LATENCY_S + 0.1  # after a kill the server finishes what it was asked: quiet for that long


@dataclass(slots=True)
class Seen:
    """What was found after kills: replies in the store by key, how often the text of each had been served by then."""

    hits: int = 0
    stored: dict[str, str] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    unheard: list[int] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller measurement, under 50 s")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--items", type=int, default=20_000)
    given = parser.parse_args()
    kills, count = (5, 3_000) if given.quick else (given.kills, given.items)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = make_world(folder, count)
        text_of = {item.id: item.text for item in world.items}
        with served(world, Faults(latency_s=LATENCY_S)) as server:
            started = time.monotonic()
            _ask(world, server.url, folder / "calm")
            seconds = time.monotonic() - started
            port = int(server.url.rsplit(":", 1)[1].split("/")[0])  # the address is a part of a request's key
        with served(world, Faults(latency_s=LATENCY_S), port) as server:
            seen = _disturbed(world, server, folder / "killed", kills, seconds, text_of)
            times, twice = server.served(), server.requests() - count
        calm, killed = (_votes(folder / run) for run in ("calm", "killed"))
        asked_again = sum(times[text] - before for text, before in seen.served.items())
        with Store(folder / "killed", read_only=True) as store:
            replies, doubts = sum(store.reply_counts().values()), store.in_doubt()
        intact = _intact(folder / "killed")
    flying = [unheard for unheard in seen.unheard if unheard]
    print(
        f"{seen.hits} kills, {len(flying)} of them with requests in flight, {np.mean(flying or [0]):.0f} on average; "
        f"{twice} requests sent twice; {doubts} noted as in doubt"
    )
    report(
        [
            at_least("kills with -9 that hit a running process", seen.hits, kills),
            at_most("replies that had arrived and were lost", seen.lost + count - replies, 0),
            at_most("replies in the store that were asked for again", asked_again, 0),
            at_most("requests sent twice", twice, IN_FLIGHT * seen.hits),
            at_most("of those, beyond what was in flight at the kills", max(0, twice - sum(seen.unheard)), 0),
            at_most("most that was in flight at one kill", max(seen.unheard, default=0), IN_FLIGHT),
            at_most("votes that differ from the undisturbed run", sum(calm[i] != killed.get(i) for i in calm), 0),
            at_least("the store's own check of itself", intact, 1),
        ],
        given.json,
    )


def _ask(world: World, url: str, home: Path) -> None:
    """About what has no vote yet, as a run asks."""
    with Store(home) as store:
        voted = {vote.item_id for vote in store.votes()}
        items = [item for item in world.items if item.id not in voted]
        ask_sync(items, world.task, world.teacher(url, IN_FLIGHT), store, budget=BudgetGuard(None))


def _disturbed(world: World, server: Server, home: Path, kills: int, seconds: float, text_of: dict[str, str]) -> Seen:
    """Lives of random length, that add up to about an undisturbed run; then one to the end."""
    fork = multiprocessing.get_context("fork")  # a process of its own to kill, without its imports
    seen, rng = Seen(), np.random.default_rng(0)
    while seen.hits < kills:
        life = fork.Process(target=_ask, args=(world, server.url, home))
        before, late = server.requests(), rng.random() < AFTER_FIRST_CALL
        life.start()
        while late and life.is_alive() and server.requests() == before:
            time.sleep(0.005)
        life.join(timeout=float(rng.uniform(0, 1.4 * seconds / kills)))
        if life.pid is None or not life.is_alive():
            break  # it came to its end
        os.kill(life.pid, signal.SIGKILL)
        life.join()
        seen.hits += 1
        _settle(server)
        _look(home, seen, server, text_of)
    last = fork.Process(target=_ask, args=(world, server.url, home))
    last.start()
    last.join()
    return seen


def _settle(server: Server) -> None:
    """A busy machine may take long to hand the server what was sent before the kill."""
    before = -1
    while (now := server.requests()) != before:
        before = now
        time.sleep(SETTLED_S)


def _look(home: Path, seen: Seen, server: Server, text_of: dict[str, str]) -> None:
    """Compare the store with what was in it before, and what the server was asked with what arrived."""
    stored: dict[str, str] = {}
    if (home / STORE_FILE).exists():
        with suppress(sqlite3.OperationalError), sqlite3.connect(home / STORE_FILE) as db:  # killed while it was made
            stored = dict(db.execute("SELECT request_key, item_id FROM replies").fetchall())
    times = server.served()
    seen.lost += sum(key not in stored for key in seen.stored)
    for key, item_id in stored.items():
        if key not in seen.stored:
            seen.served[text_of[item_id]] = times[text_of[item_id]]
    seen.unheard.append(server.requests() - len(stored) - sum(seen.unheard))
    seen.stored = stored


def _votes(home: Path) -> dict[str, dict[str, object]]:
    with Store(home, read_only=True) as store:
        return {vote.item_id: asdict(vote) for vote in store.votes()}


def _intact(home: Path) -> bool:
    with sqlite3.connect(home / STORE_FILE) as db:
        return bool(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


if __name__ == "__main__":
    main()
