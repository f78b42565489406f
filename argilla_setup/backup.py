"""The embedded server's database as a file: whether it is whole, which server wrote it, copies, and a copy put back."""

import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from argilla_setup.environment import CONSTRAINTS
from argilla_setup.home import lock_home, make_private
from stillhouse.errors import DeskError

DATABASE = "argilla.db"
_WITH_ITS_LOG = ("", "-wal", "-shm")  # what SQLite keeps in each, without the others, is not all
_TIMEOUT_S = 30.0


def version_here() -> str:
    """The argilla-server that this checkout starts."""
    return next(
        line.partition("==")[2]
        for line in CONSTRAINTS.read_text("utf-8").splitlines()
        if line.startswith("argilla-server==")
    )


def back_up(home: Path, file: Path, *, with_keys: bool = False) -> None:
    """Copy the database as it stands at this moment; the server may run. The file appears whole or not at all.

    Users' API keys, which Argilla stores in the clear, and the secrets of webhooks are replaced in the copy by new random
    ones unless `with_keys`; passwords are hashes, and stay. Raises DeskError.
    """
    database = home / DATABASE
    if not database.exists():
        raise DeskError(
            f"there is nothing to back up in {home}",
            expected=f"{DATABASE}, the database of an embedded Argilla",
            found="no such file",
            fix="start it first: stillhouse argilla up RUN",
        )
    if file.exists():
        raise DeskError(
            f"{file} is there already",
            expected="the name of a new file",
            found="a folder" if file.is_dir() else "a file",
            fix="name another file, or remove this one",
        )
    _version_of(database)
    with _appearing_whole(file) as partial, closing(_connect(partial)) as copy:
        with closing(_connect(database)) as source:
            source.backup(
                copy
            )  # all pages in one step: what is answered meanwhile comes too late for it, and is not held up
        copy.execute("PRAGMA journal_mode=DELETE")
        if not with_keys:
            _forget_keys(copy)


def restore(home: Path, file: Path) -> Path | None:
    """Put a backup in the place of the database; returns the folder in which the old one is kept, or None without one.

    Users who are known to the old database keep their API keys. Raises DeskError: a server that runs, a file that is damaged,
    no database of Argilla, or one of a newer server.
    """
    version = _version_of(file)
    refuse_newer(version, file)
    home = home.resolve()
    make_private(home)
    lock = lock_home(home)
    if lock is None:
        raise DeskError(
            f"the embedded Argilla of {home} is running",
            expected="a server that is stopped, because its database is to be replaced",
            found="a running one",
            fix="stop it first: stillhouse argilla down RUN",
        )
    database, kept = home / DATABASE, None
    with lock, _appearing_whole(database) as partial:
        with closing(_connect(file)) as source, closing(_connect(partial)) as copy:
            source.backup(copy)
            if database.exists():
                _keep_known_keys(copy, database)
        if database.exists():
            kept = _put_aside(database)
    return kept


def _put_aside(database: Path) -> Path:
    kept = database.with_name(f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}")
    kept.mkdir(mode=0o700)
    try:
        with closing(_connect(database)) as old:
            old.execute("PRAGMA journal_mode=DELETE")  # all of it in one file, which the new one replaces in one step
        os.link(database, kept / DATABASE)
    except (OSError, sqlite3.Error):  # damaged, or a file system without links
        for ending in _WITH_ITS_LOG:
            if (part := database.with_name(f"{DATABASE}{ending}")).exists():
                part.replace(kept / part.name)
    return kept


def ready_to_start(home: Path) -> None:
    """Before a server opens the database: refuse what it would damage, and copy what it is going to migrate. Raises DeskError.

    A database that a server was killed over before it had its first user holds nothing, and is removed.
    """
    database = home / DATABASE
    if not database.exists():
        return
    if not _has_users(database):
        for ending in _WITH_ITS_LOG:
            (home / f"{DATABASE}{ending}").unlink(missing_ok=True)
        return
    version = _version_of(database)
    refuse_newer(version, database)
    copy = home / f"before-{version_here()}.db"
    if version != version_here() and not copy.exists():
        back_up(home, copy, with_keys=True)


def refuse_newer(version: str | None, file: Path) -> None:
    if version is not None and _parts(version) > _parts(version_here()):
        raise DeskError(
            f"{file} was written by a newer Argilla",
            expected=f"a database of argilla-server {version_here()} or older",
            found=f"one of {version}",
            fix="use the version of Stillhouse that wrote it, or restore an older backup: stillhouse argilla restore RUN FILE",
        )


def _parts(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=_TIMEOUT_S, isolation_level=None)


@contextmanager
def _appearing_whole(file: Path) -> Iterator[Path]:
    """A private file beside `file`, moved to its place when it is written to the disk and found to be whole."""
    partial = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield partial
        _version_of(partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    except (OSError, sqlite3.Error) as error:
        raise DeskError(
            f"{file} could not be written",
            expected="a folder that can be written, with room for a copy of the database",
            found=str(error),
            fix="make room or name another file, then repeat the command: the database itself is as it was",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _version_of(file: Path) -> str | None:
    """The server that wrote a database, None where it does not say. Raises DeskError where it is damaged or none of Argilla."""
    found = "no such file"
    try:
        if file.is_file():
            with closing(_connect(file)) as db:
                found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
                tables = _tables(db)
                if found == "ok" and {"records", "responses", "users"} <= tables:
                    noted = "stillhouse_written_by" in tables
                    row = db.execute("SELECT version FROM stillhouse_written_by").fetchone() if noted else None
                    return str(row[0]) if row else None
                found = "a database of something else" if found == "ok" else found
    except (OSError, sqlite3.Error) as error:
        found = str(error)
    raise DeskError(
        f"{file} is damaged, or no database of an embedded Argilla",
        expected="a whole SQLite database with the records and answers of Argilla",
        found=found,
        fix="take a backup: stillhouse argilla restore RUN FILE",
    )


def _has_users(database: Path) -> bool:
    """False only where it can be read and nobody is in it yet; a damaged one is left to the check that says so."""
    try:
        with closing(_connect(database)) as db:
            return "users" in _tables(db) and db.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return True


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _forget_keys(copy: sqlite3.Connection) -> None:
    columns = {"users": "api_key", "webhooks": "secret"}
    for table, column in ((table, columns[table]) for table in sorted(_tables(copy) & columns.keys())):
        for (row,) in copy.execute(f"SELECT id FROM {table}").fetchall():  # noqa: S608 — names written here
            copy.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (secrets.token_urlsafe(48), row))  # noqa: S608
    copy.execute("VACUUM")  # the old ones must not stay legible in freed pages


def _keep_known_keys(copy: sqlite3.Connection, database: Path) -> None:
    try:
        with closing(_connect(database)) as old:
            known = old.execute("SELECT api_key, id FROM users").fetchall()
    except sqlite3.Error:  # damaged, which may be why a backup is put back
        return
    copy.executemany("UPDATE users SET api_key = ? WHERE id = ?", known)
