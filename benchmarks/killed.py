"""`stillhouse run` killed with -9 at ten places and repeated: the records of an undisturbed run, nothing asked twice.

python -m benchmarks.killed [--quick] --json OUT
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures import arguments, at_least, at_most, report
from benchmarks.helpdesk import EXAMPLE, task_for
from stillhouse.store import STORE_FILE, Store

IN_FLIGHT = 32  # stillhouse.settings.Teacher.max_in_flight, of one teacher at a time


def _rows(folder: Path, query: str) -> int:
    """A count in the store while a run writes it; 0 where there is no store yet."""
    try:
        with sqlite3.connect(f"{(folder / STORE_FILE).as_uri()}?mode=ro", uri=True) as db:
            return int(db.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0


def _there(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: any(folder.glob(pattern))


def _counted(query: str, least: int) -> Callable[[Path], bool]:
    return lambda folder: _rows(folder, f"SELECT count(*) FROM {query}") >= least  # noqa: S608 - names written above


# Ten places in the order a run passes them.
PLACES: tuple[Callable[[Path], bool], ...] = (
    _counted("replies", 20),
    _counted("votes", 250),
    _there("features/*.npy"),
    _there("beliefs/belief-00.npy"),
    _there("students/round-00"),
    _counted("picks", 1),
    _there("desk/batch-*.jsonl"),
    _counted("answers", 1),
    _there("beliefs/belief-01.npy"),
    _counted("rounds", 3),
)


def _killed_at(place: Callable[[Path], bool], task: Path, folder: Path) -> bool:
    """Start the run, kill it as soon as it has come to the place; False if it ended before."""
    run = _start(task, folder)
    while run.poll() is None:
        if place(folder):
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
            return True
        time.sleep(0.005)
    return False


def main() -> None:
    given = arguments(__doc__ or "")
    items = 150 if given.quick else 600
    places = PLACES[::5] if given.quick else PLACES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = _small(folder, items)
        _start(task, folder / "calm").wait()
        killed = sum(_killed_at(place, task, folder / "killed") for place in places)
        _start(task, folder / "killed").wait()
        calm, disturbed = _records(folder / "calm"), _records(folder / "killed")
    same = [name for name in calm if name != "doubt" and calm[name] == disturbed[name]]
    differing = sorted(set(calm) - set(same) - {"doubt"})
    print(f"differing: {', '.join(differing) or 'nothing'}")
    report(
        [
            at_least("kills with -9 that hit a running process", killed, len(places)),
            at_most("kinds of records that differ from the undisturbed run", len(differing), 0),
            at_most("replies stored beyond those of the undisturbed run", disturbed["replies"] - calm["replies"], 0),
            at_most(
                "requests in doubt at the end (at most what was in flight)", disturbed["doubt"], IN_FLIGHT * len(places)
            ),
        ],
        given.json,
    )


def _small(folder: Path, items: int) -> Path:
    task = task_for("team", 0, folder, quick=True)
    lines = (EXAMPLE / "pool.jsonl").read_text(encoding="utf-8").splitlines()[:items]
    (folder / "small.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = task.read_text(encoding="utf-8").replace('pool = "pool.jsonl"', 'pool = "small.jsonl"')
    text = text.replace("batch = 76", "batch = 20").replace("human_labels = 380", "human_labels = 60")
    task.write_text(text, encoding="utf-8")
    return task


def _start(task: Path, folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "loop.cli", "run", str(task), "--run", str(folder), "--quiet"], stdout=subprocess.DEVNULL
    )


def _records(folder: Path) -> dict[str, Any]:
    """Everything a run leaves but times: votes, picks, answers, decisions, the number of replies, the delivered labels."""
    with Store(folder, read_only=True) as store:
        rounds = [
            (
                r.round,
                r.human_labels,
                r.decision,
                r.reason,
                json.dumps(r.metrics["delivered"]),
                json.dumps(r.metrics["student"]),
            )
            for r in store.rounds()
        ]
        last = folder / "beliefs" / f"belief-{len(rounds) - 1:02d}.npy"
        return {
            "votes": [asdict(vote) for vote in store.votes()],
            "picks": [asdict(pick) for pick in store.picks()],
            "answers": [(a.item_id, a.annotator, a.label, a.blind, a.rehearsed) for a in store.answers()],
            "rounds": rounds,
            "beliefs": last.read_bytes(),
            "replies": sum(store.reply_counts().values()),
            "doubt": store.in_doubt(),
        }


if __name__ == "__main__":
    main()
