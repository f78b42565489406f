"""How fast a teacher is asked: our process against a recorded server in another one, 50 ms away.

What is measured of us is everything an item costs: render, send, both notes in the ledger with fsync, read, vote. The
openai SDK, where an interpreter has it (--sdk-python), only sends and reads the same requests.
python -m benchmarks.teacher_throughput [--quick] [--profile] [--sdk-python PYTHON] --json OUT
"""

import argparse
import asyncio
import cProfile
import hashlib
import json
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import orjson

from benchmarks.figures import Figure, at_least, at_most, report
from benchmarks.throughput_server import Server, World, make_world, served
from kinds.registry import kind_of
from loop.cli import collect_rarely
from prompts.render import fill
from stillhouse.ledger import StoredReply
from stillhouse.records import Item
from stillhouse.store import Store
from teacher.capabilities import RECORDED, plan_of
from teacher.engine import ask_sync
from teacher.faults import Faults
from teacher.flow import Flow
from teacher.prices import BudgetGuard
from teacher.transport import connection, post
from teacher.wire import body_of, path_of

LATENCY_S = 0.05
LIMIT_PER_S = 800.0
ARM = Path(__file__).with_name("openai_arm.py")


@dataclass(frozen=True, slots=True)
class Took:
    """What asking about `count` items took."""

    count: int
    seconds: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / self.count

    def of_limit(self, in_flight: int) -> float:
        return self.per_s / (in_flight / LATENCY_S)


class FixedFlow(Flow):
    """All slots open at once and for ever; what the server asks us to wait is still waited."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.limit = float(most)

    def sped(self) -> None:
        self.accepted += 1

    def slowed(self, sent_at_s: float, wait_s: float | None) -> None:
        super().slowed(sent_at_s, wait_s)
        self.limit = float(self.most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller measurement, under 50 s")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--profile", action="store_true", help="only say where our time goes at 64 in flight")
    parser.add_argument("--sdk-python", default=sys.executable, help="an interpreter that has the openai SDK")
    given = parser.parse_args()
    collect_rarely()  # as every command does
    count = 3_000 if given.quick else 12_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = make_world(folder, count)
        figures: list[Figure] = []
        with served(world, Faults(latency_s=LATENCY_S)) as server:
            _ours(world, world.items[:600], server, 64, folder / "warm")
            if given.profile:
                _profiled(world, server, folder)
                return
            for in_flight in (64, 256):
                figures += _bare(world, server, in_flight)
                figures += _side_by_side(world, server, in_flight, folder, given.sdk_python)
        figures.append(at_least("ledger alone, replies/s with fsync", _ledger_alone(folder, count), 5_000))
        with served(world, Faults(latency_s=LATENCY_S, requests_per_s=LIMIT_PER_S)) as server:
            figures += _at_a_rate_limit(world, server, folder)
    report(figures, given.json)


def _ours(world: World, items: Sequence[Item], server: Server, in_flight: int, home: Path) -> Took:
    """One call of the engine with a store on disk, as a run makes it."""
    asked = world.teacher(server.url, in_flight)
    with Store(home) as store:
        started, cpu = time.monotonic(), time.process_time()
        votes = ask_sync(items, world.task, asked, store, budget=BudgetGuard(None))
        took = Took(len(items), time.monotonic() - started, time.process_time() - cpu)
        assert len(votes) == len(items) == sum(store.reply_counts().values())
        assert all(vote.usable for vote in votes)
    return took


def _bare(world: World, server: Server, in_flight: int) -> list[Figure]:
    """What this machine lets the HTTP client alone do just now: bodies made before, replies thrown away."""
    bodies, asked = _bodies(world, world.items), world.teacher(server.url, in_flight)

    async def ask_all() -> None:
        async with connection(asked) as session:
            waiting = iter(bodies)

            async def work() -> None:
                for body in waiting:
                    await post(session, server.url + path_of(asked), body)

            await asyncio.gather(*(work() for _ in range(in_flight)))

    started, cpu = time.monotonic(), time.process_time()
    asyncio.run(ask_all())
    took = Took(len(bodies), time.monotonic() - started, time.process_time() - cpu)
    return [
        Figure(
            f"HTTP client alone: share of in flight / latency at {in_flight}",
            round(took.of_limit(in_flight), 4),
            "",
            None,
        ),
        Figure(f"HTTP client alone: CPU ms a request at {in_flight}", round(took.cpu_ms, 4), "", None),
    ]


def _side_by_side(world: World, server: Server, in_flight: int, folder: Path, python: str) -> list[Figure]:
    ours = _ours(world, world.items, server, in_flight, folder / f"ours-{in_flight}")
    share = ours.of_limit(in_flight)
    named = f"at {in_flight} in flight"
    figures = [
        Figure(f"items/s {named}", round(ours.per_s, 1), "", None),
        at_least(f"share of in flight / latency {named}", share, 0.9)
        if in_flight == 64
        else Figure(f"share of in flight / latency {named}", round(share, 4), "", None),
        at_most(f"CPU ms a request, all in, {named}", ours.cpu_ms, 0.5),
        Figure(f"share of one core that we use {named}", round(ours.cpu_s / ours.seconds, 3), "", None),
    ]
    sdk = _sdk(world, server, in_flight, folder, python)
    if sdk is None:
        print(f"the openai SDK is not in {python}: left out")
        return figures
    return [
        *figures,
        Figure(f"openai SDK: items/s {named}", round(sdk.per_s, 1), "", None),
        Figure(f"openai SDK: CPU ms a request {named}", round(sdk.cpu_ms, 3), "", None),
        at_least(f"openai SDK's CPU over ours {named}", sdk.cpu_ms / ours.cpu_ms, 4),
    ]


def _sdk(world: World, server: Server, in_flight: int, folder: Path, python: str) -> Took | None:
    """The same requests, as many as take the SDK about as long; None where it is not installed."""
    items = world.items[: max(600, len(world.items) // 4)]
    bodies = folder / "bodies.jsonl"
    bodies.write_bytes(b"".join(body + b"\n" for body in _bodies(world, items)))
    command = [python, str(ARM), str(bodies), server.url, str(in_flight)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return None if said.get("missing") else Took(len(items), said["seconds"], said["cpu_s"])


def _bodies(world: World, items: Sequence[Item]) -> list[bytes]:
    asked, kind = world.teacher("http://127.0.0.1/v1", 1), kind_of(world.task)
    plan = plan_of(asked, RECORDED, kind.styles())
    common = kind.frame(asked, plan.style)
    return [body_of(asked, fill(common, item), plan.asking(common, item)) for item in items]


def _ledger_alone(folder: Path, count: int) -> float:
    """Both notes of a reply, nothing else: replies a second, until all are on disk."""
    body = orjson.dumps({"choices": [{"message": {"content": '{"label": "apps", "confidence": 0.9}'}}] * 4})
    started = time.monotonic()
    with Store(folder / "ledger") as store:
        for number in range(count):
            key = hashlib.sha256(b"%d" % number).hexdigest()
            store.sending(key, f"item-{number}", "A")
            store.arrived(StoredReply(key, f"item-{number}", "A", 200, body, 400, 20, 0.0))
    return count / (time.monotonic() - started)


def _at_a_rate_limit(world: World, server: Server, folder: Path) -> list[Figure]:
    """Our flow, and 256 in flight whatever happens, against a server that takes 800 requests a second."""
    shares, refusals = [], []
    for name, flow in (("aimd", Flow), ("fixed", FixedFlow)):
        server.statuses()
        with patch("teacher.engine.Flow", flow):  # the one thing that differs
            took = _ours(world, world.items, server, 256, folder / name)
        shares.append(took.per_s / LIMIT_PER_S)
        refusals.append(server.statuses().get(429, 0))
    print(f"fixed 256 in flight: {shares[1]:.1%} of the limit, {refusals[1]:,} refusals of {len(world.items):,} items")
    return [
        at_least(f"share of a limit of {LIMIT_PER_S:.0f} requests/s", shares[0], 0.92),
        Figure("refusals on the way there", refusals[0], "", None),
        at_most("refusals over those of a fixed 256 in flight", refusals[0] / max(refusals[1], 1), 1 / 3),
    ]


def _profiled(world: World, server: Server, folder: Path) -> None:
    profile = cProfile.Profile()
    profile.enable()
    took = _ours(world, world.items, server, 64, folder / "profiled")
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    print(took)


if __name__ == "__main__":
    main()
