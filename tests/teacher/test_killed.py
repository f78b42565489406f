"""Stopped in the middle and repeated: nothing that arrived is asked for again, nothing is lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stillhouse.ledger import MemoryLedger
from teacher.engine import ask
from teacher.faults import Faults, RequestLog
from teacher.prices import BudgetGuard
from tests.teacher.fakes import FileLedger
from tests.teacher.helpdesk import SOON, TASK, ask_about, helpdesk_teacher, items, same_as_recorded, teacher_at

ROOT = Path(__file__).parents[2]


def cancelled_after(count: int, url: str, ledger: MemoryLedger) -> None:
    """Ask about 100 items and cancel as soon as `count` of them are done, as Ctrl-C does."""

    async def run() -> None:
        enough = asyncio.Event()

        def progress(done: int, *_: object) -> None:
            if done >= count:
                enough.set()

        asking = asyncio.ensure_future(
            ask(items(100), TASK, teacher_at(url), ledger, budget=BudgetGuard(None), progress=progress, patience=SOON)
        )
        await asyncio.wait({asking, asyncio.ensure_future(enough.wait())}, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(run())


def test_a_cancelled_run_goes_on_where_it_stopped() -> None:
    """Only what was in flight is asked for twice, and it was named in doubt."""
    ledger, log = MemoryLedger(), RequestLog()
    with helpdesk_teacher(100, Faults(latency_s=0.01), log) as url:
        cancelled_after(40, url, ledger)
        arrived, in_doubt = set(ledger.replies), set(ledger.in_doubt)
        assert 40 <= len(arrived) < 100
        assert len(ledger.votes) >= 40
        assert len(in_doubt) <= 32
        votes = ask_about(100, teacher_at(url), ledger)
    assert len(votes) == 100
    assert same_as_recorded(votes)
    assert log.requests <= 100 + len(in_doubt)
    asked_twice = {item.id for item in items(100) if log.served[item.text] > 1}
    assert not asked_twice & {ledger.replies[key].item_id for key in arrived}
    assert not ledger.in_doubt


class WatchedLedger(MemoryLedger):
    """Knows the most requests that a kill at any moment would have left without their replies."""

    most_in_doubt = 0

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        super().sending(request_key, item_id, source, worst_usd)
        self.most_in_doubt = max(self.most_in_doubt, len(self.in_doubt))


def test_a_kill_costs_no_more_than_may_be_in_flight() -> None:
    """A slot sends its next request once the reply to the last is kept, so that no more are open at any moment."""
    ledger = WatchedLedger()
    with helpdesk_teacher(100, Faults(latency_s=0.01)) as url:
        ask_about(100, teacher_at(url, max_in_flight=7), ledger)
    assert ledger.most_in_doubt == 7


def asked_by_another_process(url: str, path: Path) -> "subprocess.Popen[str]":
    script = (
        "import sys; from tests.teacher.fakes import FileLedger; from pathlib import Path;"
        "from tests.teacher.helpdesk import ask_about, teacher_at;"
        "show = lambda done, *_: print(done, flush=True);"
        "ask_about(300, teacher_at(sys.argv[1]), FileLedger(Path(sys.argv[2])), progress=show)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, url, str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_run_killed_with_9_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was on disk at the kill is not asked for again; at most what was in flight is."""
    path, log = tmp_path / "replies.jsonl", RequestLog()
    with helpdesk_teacher(300, Faults(latency_s=0.02), log) as url:
        process = asked_by_another_process(url, path)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 80:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kept = {json.loads(line)["item_id"] for line in path.read_text().splitlines()}
        assert 80 <= len(kept) < 300
        votes = ask_about(300, teacher_at(url), FileLedger(path))
    assert len(votes) == 300
    assert same_as_recorded(votes)
    twice = {item.id for item in items(300) if log.served[item.text] > 1}
    assert not twice & kept
    assert len(twice) <= 32
