"""Backups of the embedded server's database: whole, without keys, put back over a stopped server only."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.backup import DATABASE, back_up, ready_to_start, restore, version_here
from argilla_setup.embedded import Connection
from argilla_setup.home import lock_home
from stillhouse.errors import DeskError
from tests.argilla_setup.people import Person, a_record


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute(query).fetchall()


def a_database(home: Path, version: str | None = None, *answers: str) -> Path:
    """What backups look at of a server's database: its tables, a user, who wrote it."""
    home.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(home / DATABASE)) as db, db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE records (id)")
        db.execute("CREATE TABLE responses (id)")
        db.execute("CREATE TABLE users (id, api_key)")
        db.execute("INSERT INTO users VALUES (1, 'the-key-of-ann')")
        db.executemany("INSERT INTO responses VALUES (?)", [(answer,) for answer in answers])
        if version is not None:
            db.execute("CREATE TABLE stillhouse_written_by (version)")
            db.execute("INSERT INTO stillhouse_written_by VALUES (?)", (version,))
    return home / DATABASE


def test_a_running_server_is_backed_up_without_its_keys(
    embedded: Connection, home: Path, embedded_desk: ArgillaDesk, tmp_path: Path
) -> None:
    """One private file with every answer, no key in it, and the version of the server that wrote it."""
    embedded_desk.publish([a_record("i")])
    person = Person.joins(embedded_desk)
    person.answers("i", "billing")
    back_up(home, tmp_path / "desk.db")
    copy = tmp_path / "desk.db"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["desk.db"]
    assert rows(copy, "SELECT version FROM stillhouse_written_by") == [("2.8.0",)]
    count = "SELECT count(*) FROM responses"
    assert rows(copy, count) == rows(home / DATABASE, count)
    assert not any(key.encode() in copy.read_bytes() for key in (embedded.api_key, person.api.api_key))
    with pytest.raises(DeskError, match="is running"):
        restore(home, copy)


def test_with_keys_they_are_kept(tmp_path: Path) -> None:
    """Who asks for it gets a copy that lets everybody in as before."""
    a_database(tmp_path / "home")
    back_up(tmp_path / "home", tmp_path / "desk.db", with_keys=True)
    assert rows(tmp_path / "desk.db", "SELECT api_key FROM users") == [("the-key-of-ann",)]


def test_restoring_keeps_the_old_data_and_the_keys_of_known_users(tmp_path: Path) -> None:
    """The backup's answers are there, the old ones in a folder beside, and known users' keys still open the door."""
    home = tmp_path / "home"
    a_database(home, version_here(), "first")
    back_up(home, tmp_path / "desk.db")
    with closing(sqlite3.connect(home / DATABASE)) as db, db:
        db.execute("INSERT INTO responses VALUES ('second')")
    kept = restore(home, tmp_path / "desk.db")
    assert kept is not None
    assert rows(home / DATABASE, "SELECT id FROM responses") == [("first",)]
    assert rows(kept / DATABASE, "SELECT id FROM responses") == [("first",), ("second",)]
    assert rows(home / DATABASE, "SELECT api_key FROM users") == [("the-key-of-ann",)]
    assert stat.S_IMODE((home / DATABASE).stat().st_mode) == 0o600


def test_a_backup_starts_a_home_that_never_was(tmp_path: Path) -> None:
    """On another machine there is nothing to keep, and the folder is made private."""
    a_database(tmp_path / "old", version_here(), "first")
    back_up(tmp_path / "old", tmp_path / "desk.db")
    assert restore(tmp_path / "new", tmp_path / "desk.db") is None
    assert rows(tmp_path / "new" / DATABASE, "SELECT id FROM responses") == [("first",)]
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_damaged_database_is_kept_when_a_backup_replaces_it(tmp_path: Path) -> None:
    """That is what backups are for; what is left of the damaged one stays for those who can read it."""
    home = tmp_path / "home"
    a_database(home, version_here(), "first")
    back_up(home, tmp_path / "desk.db")
    (home / DATABASE).write_bytes(b"not a database" * 500)
    with pytest.raises(DeskError, match="damaged"):
        ready_to_start(home)
    kept = restore(home, tmp_path / "desk.db")
    assert kept is not None
    assert (kept / DATABASE).read_bytes().startswith(b"not a database")
    ready_to_start(home)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_what_is_no_backup_is_refused_and_changes_nothing(tmp_path: Path, content: bytes) -> None:
    """The old database stays in its place, and no trace of the attempt is left."""
    home = tmp_path / "home"
    a_database(home, version_here(), "first")
    (tmp_path / "other.db").write_bytes(content)
    with pytest.raises(DeskError, match="no database of an embedded Argilla"):
        restore(home, tmp_path / "other.db")
    assert rows(home / DATABASE, "SELECT id FROM responses") == [("first",)]
    assert [path.name for path in home.iterdir()] == [DATABASE]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    """A backup is the last thing that should be lost by a slip of the fingers."""
    a_database(tmp_path / "home")
    (tmp_path / "desk.db").write_text("last week's")
    with pytest.raises(DeskError, match="is there already"):
        back_up(tmp_path / "home", tmp_path / "desk.db")
    with pytest.raises(DeskError, match="nothing to back up"):
        back_up(tmp_path / "nowhere", tmp_path / "new.db")


def test_a_newer_database_is_refused_and_an_older_one_copied_before_it_is_migrated(tmp_path: Path) -> None:
    """A server never opens what it would damage; before it migrates, all is copied once, keys included."""
    newer, older, same = tmp_path / "newer", tmp_path / "older", tmp_path / "same"
    a_database(newer, "99.0.0")
    with pytest.raises(DeskError, match="newer Argilla") as caught:
        ready_to_start(newer)
    assert "99.0.0" in caught.value.found
    for version in (None, "2.4.1"):
        home = older / str(version)
        a_database(home, version, "first")
        ready_to_start(home)
        ready_to_start(home)
        (copy,) = home.glob("before-*.db")
        assert (copy.name, rows(copy, "SELECT id FROM responses")) == (f"before-{version_here()}.db", [("first",)])
        assert rows(copy, "SELECT api_key FROM users") == [("the-key-of-ann",)]
    a_database(same, version_here())
    ready_to_start(same)
    assert not list(same.glob("before-*"))


def test_a_first_start_that_was_killed_starts_anew(tmp_path: Path) -> None:
    """Tables half made and nobody in them yet: there is nothing to lose, and half a schema cannot be migrated."""
    with closing(sqlite3.connect(tmp_path / DATABASE)) as db, db:
        db.execute("CREATE TABLE workspaces (id)")
    ready_to_start(tmp_path)
    assert not (tmp_path / DATABASE).exists()


def test_nothing_starts_while_a_backup_is_put_back(tmp_path: Path) -> None:
    """Restoring takes the lock of the home, as a server does."""
    a_database(tmp_path / "home", version_here())
    back_up(tmp_path / "home", tmp_path / "desk.db")
    lock = lock_home(tmp_path / "home")
    assert lock is not None
    with lock, pytest.raises(DeskError, match="is running"):
        restore(tmp_path / "home", tmp_path / "desk.db")
    assert restore(tmp_path / "home", tmp_path / "desk.db") is not None
