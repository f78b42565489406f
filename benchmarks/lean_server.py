"""A recorded teacher that costs a few dozen microseconds a request, so that what asks is measured and not what answers.

HTTP/1.1 without faults: chat completions after a fixed latency, and the page that says it is a recording. The product's
recorded teacher takes some 0.5 ms a request, and 64 requests that come together wait for each other there.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import orjson

from benchmarks.throughput_server import World
from teacher.playback import question_in, recorded_reply
from teacher.playback_replies import reply_of
from teacher.recorded import load_recording

Models = Mapping[str, Mapping[str, str]]
MOST_CPU = 1.0


@dataclass(frozen=True, slots=True)
class Lean:
    """A running server: its address, and how to ask what share of a core it has used."""

    url: str
    pipe: "Connection[str, float]"

    def cpu_s(self) -> float:
        """CPU seconds it has used since it began."""
        self.pipe.send("cpu")
        return self.pipe.recv()


class _Answering(asyncio.Protocol):
    """One connection. Each answer leaves `latency_s` after its request was complete, however long it took to make."""

    def __init__(self, models: Models, latency_s: float) -> None:
        self._models, self._latency_s = models, latency_s
        self._loop = asyncio.get_running_loop()
        self._got = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        due_s = self._loop.time() + self._latency_s
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._got) < end + 4 + size:
                return
            body, self._got = self._got[end + 4 : end + 4 + size], self._got[end + 4 + size :]
            if head.startswith(b"get"):
                self._send(_listed(self._models))
            else:
                reply = reply_of(
                    question := question_in("openai_chat", body, self._models), recorded_reply(question, self._models)
                )
                self._loop.call_at(due_s, self._send, reply)

    def _send(self, body: bytes) -> None:
        assert self._transport is not None
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


def _listed(models: Models) -> bytes:
    return orjson.dumps({"data": [{"id": name, "stillhouse": {"recorded": True}} for name in models]})


@contextmanager
def lean_server(world: World, latency_s: float, core: int | None) -> Iterator[Lean]:
    """In a process of its own, on `core` alone where one is given."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, world.replies, world.texts, latency_s, core), daemon=True)
    process.start()
    theirs.close()  # so that its death is the end of the pipe, not silence
    try:
        yield Lean(ours.recv(), ours)
    finally:
        ours.send("end")
        process.join()


def _serve(pipe: "Connection[object, str]", replies: Path, texts: Path, latency_s: float, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    models = load_recording(replies, [texts]).models

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Answering(models, latency_s), "127.0.0.1", 0)
        pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        while (await loop.run_in_executor(None, pipe.recv)) != "end":
            pipe.send(time.process_time())

    asyncio.run(serve())
