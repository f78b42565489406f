"""How fast a teacher is asked: our process on one core against a server of little cost on another, 50 ms away.

What is measured of us is everything an item costs: render, send, both notes in the ledger, what syncs them, read, vote.
The HTTP client alone is asked in between, which shows what the machine allows just then. Client libraries, where an
interpreter has them (--sdk-python), only send and read the same requests, on our core. Each repetition says how many
cores others have used meanwhile: a machine that is not free measures that, and not us.
python -m benchmarks.teacher_throughput [--quick] [--repeats 3] [--profile] [--sdk-python PYTHON] --json OUT
"""

import argparse
import asyncio
import cProfile
import hashlib
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import orjson

from benchmarks.figures import Figure, at_least, at_most, report
from benchmarks.lean_server import Lean, lean_server
from benchmarks.throughput_server import Server, World, make_world, served
from kinds.registry import kind_of
from loop.flags import collect_rarely
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
ARM = Path(__file__).with_name("sdk_arm.py")
LIBRARIES = ("openai", "litellm")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Took:
    """What `count` items took: CPU seconds of ours and of the server, and the cores that others used meanwhile."""

    count: int
    seconds: float
    cpu_s: float
    server_cpu_s: float = 0.0
    others: float = 0.0

    @property
    def per_s(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / self.count

    @property
    def server_cpu_ms(self) -> float:
        return 1000 * self.server_cpu_s / self.count

    def of_limit(self, in_flight: int) -> float:
        return self.per_s / (in_flight / LATENCY_S)


class Watch:
    """Started when it is made; `took` reads it."""

    def __init__(self, server: Lean | None) -> None:
        self._server = server
        self._then = self._now()

    def took(self, count: int) -> Took:
        seconds, cpu_s, server_s, all_s = (now - then for now, then in zip(self._now(), self._then, strict=True))
        return Took(count, seconds, cpu_s, server_s, max(0.0, all_s - cpu_s - server_s) / seconds)

    def _now(self) -> tuple[float, float, float, float]:
        server_s = self._server.cpu_s() if self._server is not None else 0.0
        return time.monotonic(), time.process_time(), server_s, _busy_s()


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
    parser.add_argument("--repeats", type=int, default=3, help="of what is timed")
    parser.add_argument("--profile", action="store_true", help="only say where our time goes at 64 in flight")
    parser.add_argument("--sdk-python", default=sys.executable, help="an interpreter that has the client libraries")
    given = parser.parse_args()
    collect_rarely()  # as every command does
    count, repeats = (2_000, 1) if given.quick else (6_000, given.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = make_world(folder, count)
        figures: list[Figure] = []
        ours, theirs = _two_cores()
        with lean_server(world, LATENCY_S, theirs) as server, _on_core(ours):
            _ours(world, world.items[:600], server.url, 64, folder / "warm")
            if given.profile:
                _profiled(world, server, folder)
                return
            for in_flight in (64, 256):
                figures += _repeated(world, server, in_flight, folder, repeats)
                figures += _libraries(world, server, in_flight, folder, given.sdk_python)
        figures.append(at_least("ledger alone, replies/s, all on disk", _ledger_alone(folder, count), 5_000))
        with served(world, Faults(latency_s=LATENCY_S, requests_per_s=LIMIT_PER_S)) as limited:
            figures += _at_a_rate_limit(world, limited, folder)
    report(figures, given.json)


def _two_cores() -> tuple[int | None, int | None]:
    """One for us and one for the server; None twice where there is only one, or where nobody says."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cores[0], cores[-1]) if len(cores) > 1 else (None, None)


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _busy_s() -> float:
    """Core seconds used by anybody since the machine started; 0 where there is no /proc."""
    try:
        user, nice, system, _idle, _wait, *interrupts = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    return sum(map(int, (user, nice, system, *interrupts))) / TICKS_PER_S


def _ours(
    world: World, items: Sequence[Item], url: str, in_flight: int, home: Path, server: Lean | None = None
) -> Took:
    """One call of the engine with a store on disk, as a run makes it, until all of it is on disk."""
    asked = world.teacher(url, in_flight)
    watch = Watch(server)
    with Store(home) as store:
        votes = ask_sync(items, world.task, asked, store, budget=BudgetGuard(None))
    took = watch.took(len(items))
    with Store(home, read_only=True) as store:
        assert len(votes) == len(items) == sum(store.reply_counts().values())
    assert all(vote.usable for vote in votes)
    return took


def _bare(bodies: Sequence[bytes], world: World, server: Lean, in_flight: int) -> Took:
    """What this machine lets the HTTP client alone do just now: bodies made before, replies thrown away."""
    asked = world.teacher(server.url, in_flight)

    async def ask_all() -> None:
        async with connection(asked) as session:
            waiting = iter(bodies)

            async def work() -> None:
                for body in waiting:
                    await post(session, server.url + path_of(asked), body)

            await asyncio.gather(*(work() for _ in range(in_flight)))

    watch = Watch(server)
    asyncio.run(ask_all())
    return watch.took(len(bodies))


def _repeated(world: World, server: Lean, in_flight: int, folder: Path, repeats: int) -> list[Figure]:
    """Ours and the client alone by turns: the median of all repetitions, and the best of them."""
    bodies = _bodies(world, world.items)
    ours, bare = [], []
    for number in range(repeats):
        ours.append(_ours(world, world.items, server.url, in_flight, folder / f"ours-{in_flight}-{number}", server))
        bare.append(_bare(bodies, world, server, in_flight))
        for name, took in (("all in", ours[-1]), ("client alone", bare[-1])):
            print(
                f"{in_flight} in flight, {name}: {took.of_limit(in_flight):.3f} of the limit, {took.per_s:,.0f}/s, CPU "
                f"{took.cpu_ms:.3f} ms and {took.server_cpu_ms:.3f} of the server; others used {took.others:.2f} cores"
            )
    share, cpu_ms = (statistics.median(v) for v in ([t.of_limit(in_flight) for t in ours], [t.cpu_ms for t in ours]))
    best = max(ours, key=lambda took: took.per_s)
    named = f"at {in_flight} in flight"
    free = f"share of in flight / latency {named}"
    return [
        at_least(free, share, 0.9) if in_flight == 64 else Figure(free, round(share, 4), "", None),
        Figure(f"best {free}", round(best.of_limit(in_flight), 4), "", None),
        Figure(f"items/s {named}", round(statistics.median(took.per_s for took in ours), 1), "", None),
        at_most(f"CPU ms a request, all in, {named}", cpu_ms, 0.5),
        Figure(f"least CPU ms a request, all in, {named}", round(min(took.cpu_ms for took in ours), 4), "", None),
        Figure(f"share of its core that we use at best {named}", round(best.cpu_s / best.seconds, 3), "", None),
        Figure(f"server's CPU ms a request {named}", round(best.server_cpu_ms, 4), "", None),
        Figure(f"cores that others used at best {named}", round(best.others, 2), "", None),
        *(
            Figure(f"HTTP client alone: {what} {named}", round(statistics.median(values), 4), "", None)
            for what, values in (
                ("share of in flight / latency", [took.of_limit(in_flight) for took in bare]),
                ("CPU ms a request", [took.cpu_ms for took in bare]),
            )
        ),
    ]


def _libraries(world: World, server: Lean, in_flight: int, folder: Path, python: str) -> list[Figure]:
    """Each library on some of the same requests, with ours on just those before it."""
    items, figures = world.items[: len(world.items) // 4], []
    bodies = folder / "bodies.jsonl"
    bodies.write_bytes(b"".join(body + b"\n" for body in _bodies(world, items)))
    for library in LIBRARIES:
        ours = _ours(world, items, server.url, in_flight, folder / f"beside-{library}-{in_flight}", server)
        command = [python, str(ARM), library, str(bodies), server.url, str(in_flight)]
        said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        if said.get("missing"):
            print(f"{library} is not in {python}: left out")
            continue
        took = Took(len(items), said["seconds"], said["cpu_s"])
        figures += [
            Figure(f"{library}: items/s at {in_flight} in flight", round(took.per_s, 1), "", None),
            Figure(f"{library}: CPU ms a request at {in_flight} in flight", round(took.cpu_ms, 3), "", None),
            at_least(f"{library}'s CPU over ours at {in_flight} in flight", took.cpu_ms / ours.cpu_ms, 4),
        ]
    return figures


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
            took = _ours(world, world.items, server.url, 256, folder / name)
        shares.append(took.per_s / LIMIT_PER_S)
        refusals.append(server.statuses().get(429, 0))
    print(f"fixed 256 in flight: {shares[1]:.1%} of the limit, {refusals[1]:,} refusals of {len(world.items):,} items")
    return [
        at_least(f"share of a limit of {LIMIT_PER_S:.0f} requests/s", shares[0], 0.92),
        Figure("refusals on the way there", refusals[0], "", None),
        at_most("refusals over those of a fixed 256 in flight", refusals[0] / max(refusals[1], 1), 1 / 3),
    ]


def _profiled(world: World, server: Lean, folder: Path) -> None:
    profile = cProfile.Profile()
    profile.enable()
    took = _ours(world, world.items, server.url, 64, folder / "profiled", server)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    print(took)


if __name__ == "__main__":
    main()
