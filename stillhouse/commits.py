"""A commit outlives this process at once, and a power cut soon: one thread syncs the log to disk, a group at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GROUP_S = 0.01  # what is committed in this time is synced together
CHECKPOINT_S = 0.5  # how often the log is moved into the database
PAGES_BEFORE_RESTART = 4_000  # keys are hashes, so pages are written again and again: the log takes 16 MB of them

_to_disk = getattr(os, "fdatasync", os.fsync)  # macOS has the latter alone

# A connection to be followed by `LogSync`: commits are handed to the system and no more.
UNSYNCED = "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0"


class LogSync:
    """Syncs the write-ahead log of a store, so that whoever commits need not wait for the disk.

    What is committed is in the system's hands: the end of the process, however it comes, cannot lose it. The end of the
    machine can, until the log is synced. `soon` has that done within `GROUP_S` and the time a sync takes, `now` at once.
    `turn` is held by whoever is writing. A disk that fails to sync may have lost what came before: nothing is taken from
    then on, and every call raises what it said.
    """

    def __init__(self, store: Path, turn: threading.Lock) -> None:
        self._turn = turn
        self._log = os.open(f"{store}-wal", os.O_RDWR)  # no lock of SQLite's is on this file, so ours may be closed
        self._db = sqlite3.connect(store, isolation_level=None, check_same_thread=False)
        self._behind, self._closing = threading.Event(), threading.Event()
        self._failure: OSError | None = None
        _sync_folder(store.parent)
        self._thread = threading.Thread(target=self._run, name="store-sync", daemon=True)
        self._thread.start()

    def soon(self) -> None:
        """To be called after a commit."""
        if self._failure is not None:
            raise self._failure
        if not self._behind.is_set():
            self._behind.set()

    def now(self) -> None:
        """Everything committed so far is on disk once this returns."""
        self._sync()
        self.soon()

    def close(self) -> None:
        """What was committed is on disk, or this raises why not."""
        self._closing.set()
        self._behind.set()
        self._thread.join()
        self._db.close()
        os.close(self._log)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        waited_s, closing = 0.0, False
        while not closing and self._failure is None:
            self._behind.wait()
            self._behind.clear()  # before the sync: what is committed from here on asks for another
            closing = self._closing.wait(GROUP_S)
            self._sync()
            waited_s += GROUP_S
            if waited_s >= CHECKPOINT_S:
                waited_s = 0.0
                self._checkpoint()

    def _sync(self) -> None:
        try:
            _to_disk(self._log)
        except OSError as error:
            self._failure = error

    def _checkpoint(self) -> None:
        """Whatever stops it, a full disk or a reader: the log has it all, and the next one goes on."""
        with suppress(sqlite3.DatabaseError):
            _, pages, _ = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages >= PAGES_BEFORE_RESTART:
                with self._turn:  # a log starts anew only once all of it is in the database: now, the little since then
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")


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


def _sync_folder(folder: Path) -> None:
    """A new file is found again after a power cut only if its name is on disk too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
