"""The file of a store: who may open it, which version it is of, and what goes wrong with files."""

import fcntl
import importlib.resources
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stillhouse.commits import UNSYNCED
from stillhouse.errors import DiskFullError, StoreError, StoreLockedError, StoreTooNewError

STORE_FILE = "store.sqlite"
LOCK_FILE = "store.lock"


def opened(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """The database, brought up to date; what a writer commits is to be synced by `stillhouse.commits.LogSync`."""
    with storage_errors(path.parent):
        target = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        if read_only and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            target += "&immutable=1"  # an archive: a reader in WAL mode would have to write files beside it
        db = sqlite3.connect(target, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False)
        try:
            _migrate(db, path, read_only=read_only)
            if not read_only:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(UNSYNCED)  # the log is synced by itself
                # What was in flight when an earlier process died may have been paid for: say so, and never forget it.
                db.execute(
                    "UPDATE requests SET state = 'in_doubt', doubts = doubts + 1, doubt_usd = doubt_usd + worst_usd "
                    "WHERE state = 'in_flight'"
                )
        except BaseException:
            db.close()
            raise
        return db


def locked(folder: Path) -> IO[str]:
    """The lock of a folder, held until it is closed; StoreLockedError where another process has it."""
    lock = (folder / LOCK_FILE).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreLockedError(
            f"{folder} is in use",
            expected="one run on a project at a time",
            found=f"process {holder} holds it",
            fix="wait for it to end, or give this run another folder with --run",
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _migrate(db: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    scripts = sorted(
        (
            entry
            for entry in importlib.resources.files("stillhouse.migrations").iterdir()
            if entry.name.endswith(".sql")
        ),
        key=lambda entry: entry.name,
    )
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(scripts):
        raise StoreTooNewError(
            f"{path} was written by a newer Stillhouse",
            expected=f"a store of version {len(scripts)} or older",
            found=f"version {version}",
            fix="upgrade Stillhouse, or use the version that wrote it; nothing was changed",
        )
    if read_only and version < len(scripts):
        raise StoreError(
            f"{path} is of an older version",
            expected=f"version {len(scripts)}",
            found=f"version {version}",
            fix="repeat the run that wrote it: it brings the store up to date",
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        db.executescript(
            f"BEGIN IMMEDIATE;\n{script.read_text(encoding='utf-8')}\nPRAGMA user_version = {number};\nCOMMIT;"
        )


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into this project's errors."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        # Not every I/O error: a dying disk is not mended by making room on it.
        if getattr(error, "sqlite_errorname", "") in {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"}:
            raise _disk_full(folder, text) from error
        raise StoreError(
            f"the store in {folder} cannot be used",
            expected="a Stillhouse store that this process may read and write",
            found=text,
            fix="check the file and its permissions; a copy of the folder is the backup",
        ) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise StoreError(
            "a value cannot be kept, and nothing of its batch was",
            expected="text that is valid Unicode, whole numbers of at most 64 bits",
            found=str(error),
            fix="mend the item it came from",
        ) from error
    except OSError as error:
        if error.errno in {28, 122}:  # ENOSPC, EDQUOT
            raise _disk_full(folder, str(error)) from error
        raise StoreError(
            f"{folder} cannot be used", found=str(error), fix="check that the folder can be written"
        ) from error


def _disk_full(folder: Path, found: str) -> DiskFullError:
    return DiskFullError(
        f"no room left to write in {folder}",
        expected="free disk space",
        found=found,
        fix="make room and repeat the command: everything committed so far is safe",
    )
