"""A smoke test against `transformers serve`, a server that nobody here wrote: what it ignores is found out, and it labels."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.ledger import MemoryLedger
from stillhouse.records import Vote
from stillhouse.settings import Teacher
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from tests.teacher.helpdesk import SOON, Memory
from tests.teacher.talker import TASK, items, talker

START_TIMEOUT_S = 120.0
NEEDED = ("openai", "fastapi", "uvicorn", "pydantic")  # transformers[serving]


def _missing() -> list[str]:
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


pytestmark = pytest.mark.skipif(bool(_missing()), reason=f"transformers serve needs {', '.join(_missing())}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The base_url of the server, and the name of its model: the tiny talker, saved to disk."""
    home = tmp_path_factory.mktemp("served")
    model = str(talker().write(home / "talker"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "from transformers.cli.transformers import main; main()"
    options = ["serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = home / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *options],
            stdout=out,
            stderr=out,
            env={**os.environ, "HF_HOME": str(home), "OMP_NUM_THREADS": "1"},
        )
    try:
        _wait_until_healthy(process, port, log)
        yield f"http://127.0.0.1:{port}/v1", model
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_healthy(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text(errors='replace')[-2000:]}")


def asked(served: tuple[str, str], count: int, **changes: Any) -> tuple[list[Vote], dict[str, Any], MemoryLedger]:
    url, model = served
    ledger, memory = MemoryLedger(), Memory()
    teacher = Teacher(**{"name": "t", "model": model, "base_url": url, **changes})
    votes = ask_sync(items(count), TASK, teacher, ledger, budget=BudgetGuard(None), patience=SOON, capabilities=memory)
    (capabilities,) = memory.values()
    return votes, dict(capabilities), ledger


def test_what_it_silently_ignores_is_found_out_and_it_labels(served: tuple[str, str]) -> None:
    """HTTP 200 to logprobs, n and response_format, and nothing of them in the reply: asked in words, it answers."""
    votes, capabilities, ledger = asked(served, 4)
    assert {capabilities[name] for name in ("logprobs", "n", "response_format")} == {"ignored"}
    assert [vote.item_id for vote in votes] == [item.id for item in items(4)]
    assert {vote.origin for vote in votes} <= {"verbalised", "sample"}
    assert all(vote.usable for vote in votes)
    assert not ledger.in_doubt


def test_its_decisions_are_whole_distributions(served: tuple[str, str]) -> None:
    """/v1/systemone gives every label its probability in one call."""
    votes, _, ledger = asked(served, 3, api="systemone")
    assert {(vote.status, vote.origin) for vote in votes} == {("ok", "decision")}
    for vote in votes:
        assert all(p > 0 for p in vote.probs)
        assert abs(sum(vote.probs) + vote.residual - 1.0) < 1e-6
    assert len(ledger.replies) == 3
