"""The recorded teacher in a process of its own, with its log: so that a benchmark measures the asking side alone."""

import json
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.helpdesk import EXAMPLE
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.task import Task
from stillhouse.task_file import load_task
from teacher.faults import Faults, RequestLog
from teacher.recorded import recorded_teacher


@dataclass(frozen=True, slots=True)
class World:
    """A task, items with texts of their own, and the recording of what a teacher says of them."""

    task: Task
    items: tuple[Item, ...]
    replies: Path
    texts: Path

    def teacher(self, url: str, in_flight: int) -> Teacher:
        return Teacher(name="A", model="team/A", base_url=url, max_in_flight=in_flight, timeout_s=30.0)


def make_world(folder: Path, count: int) -> World:
    """The helpdesk's messages, numbered until there are enough of them."""
    rows = _rows(EXAMPLE / "pool.jsonl")
    said = {
        row["id"]: row for row in _rows(EXAMPLE / "replies.jsonl") if (row["task"], row["variant"]) == ("team", "A")
    }
    items, replies = [], []
    for number in range(count):
        row, copy = rows[number % len(rows)], number // len(rows)
        items.append(Item(f"{row['id']}/{copy}", f"{row['text']} ({copy})"))
        replies.append({**said[row["id"]], "id": items[-1].id})
    world = World(load_task(EXAMPLE / "team.toml"), tuple(items), folder / "replies.jsonl", folder / "texts.jsonl")
    _write(world.replies, replies)
    _write(world.texts, [{"id": item.id, "text": item.text} for item in items])
    return world


class Server:
    """A running server: its address, and what it has answered so far."""

    def __init__(self, url: str, pipe: "Connection[str, dict[str, int]]") -> None:
        self.url, self._pipe = url, pipe

    def statuses(self) -> dict[int, int]:
        """How often it answered with each HTTP status since the last time it was asked."""
        self._pipe.send("statuses")
        return {int(status): count for status, count in self._pipe.recv().items()}

    def served(self) -> dict[str, int]:
        """How often it gave a whole reply, by text; of those that are still being asked too, once it is done with them."""
        self._pipe.send("served")
        return self._pipe.recv()

    def requests(self) -> int:
        """How many have come in, answered or not."""
        self._pipe.send("requests")
        return self._pipe.recv()["requests"]


@contextmanager
def served(world: World, faults: Faults, port: int = 0) -> Iterator[Server]:
    """`port` 0 is any that is free."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, world.replies, world.texts, faults, port), daemon=True)
    process.start()
    try:
        yield Server(ours.recv(), ours)
    finally:
        ours.send("end")
        process.join()


def _serve(pipe: "Connection[object, str]", replies: Path, texts: Path, faults: Faults, port: int) -> None:
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # clients that are killed are planned
    log = RequestLog()
    with recorded_teacher(replies, [texts], faults=faults, log=log, port=port) as url:
        pipe.send(url)
        while (wanted := pipe.recv()) != "end":
            if wanted == "served":
                pipe.send(dict(log.served))
            elif wanted == "requests":
                pipe.send({"requests": log.requests})
            else:
                pipe.send({str(status): count for status, count in log.statuses.items()})
                log.statuses.clear()


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
