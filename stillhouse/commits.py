"""Group commit: many tasks wait for one fsync."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

Statement = tuple[str, tuple[Any, ...]]
MOST_A_GROUP = 512


class GroupCommitter:
    """One thread that writes what many tasks hand in, a group to a transaction.

    While one group is being synced to disk the next one gathers, so the group grows with the load and a lone write
    waits for nobody. `turn` is held for the length of a transaction: the connection is shared with its owner.
    """

    def __init__(self, db: sqlite3.Connection, turn: threading.Lock) -> None:
        self._db, self._turn = db, turn
        self._queue: queue.SimpleQueue[tuple[Sequence[Statement], asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def commit(self, statements: Sequence[Statement]) -> None:
        """Returns once the statements are on disk; raises why they, and nobody else's, could not be written."""
        if self._closed:
            raise sqlite3.ProgrammingError("the store is closed")  # nobody would ever answer
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((statements, done))
        await done  # a caller that is cancelled only stops waiting: nothing here looks at `done` before it is written

    def close(self) -> None:
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            last = False
            while len(group) < MOST_A_GROUP and not self._queue.empty():
                entry = self._queue.get()
                if entry is None:
                    last = True
                    break
                group.append(entry)
            self._write(group)
            if last:
                return

    def _write(self, group: list[tuple[Sequence[Statement], asyncio.Future[None]]]) -> None:
        failure: Exception | None = None
        try:
            with self._turn, transaction(self._db):
                for statements, _ in group:
                    for statement, row in statements:
                        self._db.execute(statement, row)
        except Exception as error:  # noqa: BLE001  # whatever it is goes to the callers: without this thread they hang
            failure = error
        if failure is not None and len(group) > 1:
            for entry in group:  # a row that cannot be kept must not take its neighbours' paid replies with it
                self._write([entry])
            return
        # A loop is woken once for a whole group: each time costs it a system call and a turn.
        waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for _, done in group:
            waiting.setdefault(done.get_loop(), []).append(done)
        for loop, all_done in waiting.items():
            with suppress(RuntimeError):  # the callers' event loop is gone: it was written all the same
                loop.call_soon_threadsafe(_settle, all_done, failure)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _settle(all_done: "Sequence[asyncio.Future[None]]", failure: Exception | None) -> None:
    for done in all_done:
        if done.cancelled():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)
