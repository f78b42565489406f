"""Nothing paid for is lost: kill -9, a full disk, a folder that cannot be written, many tasks at once."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.commits import GroupCommitter
from stillhouse.errors import DiskFullError, StoreError
from stillhouse.ledger import StoredReply
from stillhouse.records import Item, Vote
from stillhouse.store import STORE_FILE, Store

WRITER = """
import asyncio, os, random, sys
from pathlib import Path
from stillhouse.ledger import StoredReply
from stillhouse.store import Store

async def pay(store, name, noise):
    for number in range(10_000):
        key = f"{name}-{number}"
        await store.sending(key, "item", "s")
        os.write(1, f"sent {key}\\n".encode())
        if number == 0 and name % 10 == 0:
            return # a request that is never answered
        await store.arrived(StoredReply(key, "item", "s", 200, noise.randbytes(300), 1, 1, 0.5))
        os.write(1, f"kept {key}\\n".encode())

async def main():
    store = Store(Path(sys.argv[1]))
    await asyncio.gather(*(pay(store, name, random.Random(name)) for name in range(40)))

asyncio.run(main())
"""

LOOK = """
import sys
from pathlib import Path
from stillhouse.errors import StillhouseError
from stillhouse.store import Store
try:
    with Store(Path(sys.argv[1]), read_only=sys.argv[2] == "read") as store:
        print(len(store.items()), "items")
except StillhouseError as error:
    print(type(error).__name__, error)
"""
# Root may write everywhere, unless it gives that right up for good.
WITHOUT_ROOTS_RIGHTS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def _reply(key: str, size: int = 100) -> StoredReply:
    return StoredReply(key, "item", "s", 200, random.Random(key).randbytes(size), 1, 1, 0.5)


def _intact(folder: Path) -> bool:
    db = sqlite3.connect(folder / STORE_FILE)
    try:
        return bool(db.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    finally:
        db.close()


# -- many at once -------------------------------------------------------------------------------------------------------


def test_many_tasks_write_while_votes_are_recorded(tmp_path: Path) -> None:
    """200 tasks send and receive, votes are kept between them: all of it is there, nothing is in doubt."""

    async def one(store: Store, number: int) -> None:
        await store.sending(f"k{number}", f"i{number}", "s")
        await store.arrived(_reply(f"k{number}"))
        store.record_votes([Vote(f"i{number}", "s", (1.0, 0.0), 0.0, "sample", "ok", "p", f"k{number}", 0.5)])

    async def run(store: Store) -> None:
        await asyncio.gather(*(one(store, number) for number in range(200)))

    with Store(tmp_path) as store:
        asyncio.run(asyncio.wait_for(run(store), 60.0))
    with Store(tmp_path) as store:
        keys = [f"k{number}" for number in range(200)]
        assert store.known(keys) == {key: _reply(key) for key in keys}
        assert len(store.votes()) == 200
        assert store.in_doubt() == 0
        assert store.spent_usd() == 100.0


def test_votes_are_recorded_from_another_thread_meanwhile(tmp_path: Path) -> None:
    """The connection is shared safely: neither a deadlock nor a vote inside another's transaction."""

    def votes(store: Store) -> None:
        for number in range(100):
            store.record_votes([Vote(f"i{number}", "s", (1.0, 0.0), 0.0, "sample", "ok", "p", "k", 0.0)])

    async def run(store: Store) -> None:
        replies = (store.arrived(_reply(f"k{number}")) for number in range(200))
        await asyncio.gather(asyncio.to_thread(votes, store), *replies)

    with Store(tmp_path) as store:
        asyncio.run(asyncio.wait_for(run(store), 60.0))
        assert len(store.votes()) == 100
        assert store.reply_counts() == {"s": 200}


# -- one group ----------------------------------------------------------------------------------------------------------

INSERT = "INSERT INTO kept VALUES (?)"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """One table whose values must not be NULL."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE kept (value NOT NULL)")
    yield connection
    connection.close()


def _kept(db: sqlite3.Connection) -> list[object]:
    return [row[0] for row in db.execute("SELECT value FROM kept ORDER BY value")]


def test_a_failure_reaches_exactly_whose_row_it_was(db: sqlite3.Connection) -> None:
    """Callers before, in and after the group of a bad row are told that theirs is written, and it is."""
    turn = threading.Lock()
    committer = GroupCommitter(db, turn)

    async def run() -> list[BaseException | None]:
        await committer.commit([(INSERT, (0,))])
        with turn:  # the writer waits, so that these gather to one group
            waiting = [asyncio.ensure_future(committer.commit([(INSERT, (v,))])) for v in (1, 2, None, 3)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await committer.commit([(INSERT, (4,))])
        return results

    results = asyncio.run(asyncio.wait_for(run(), 30.0))
    committer.close()
    assert [type(result) for result in results] == [type(None), type(None), sqlite3.IntegrityError, type(None)]
    assert _kept(db) == [0, 1, 2, 3, 4]


def test_the_statements_of_one_caller_stand_or_fall_together(db: sqlite3.Connection) -> None:
    """A reply without the note that it arrived would be in doubt for ever."""
    committer = GroupCommitter(db, threading.Lock())
    with pytest.raises(sqlite3.IntegrityError):
        asyncio.run(committer.commit([(INSERT, (1,)), (INSERT, (None,))]))
    committer.close()
    assert _kept(db) == []


def test_a_group_fails_only_for_those_who_waited_for_it(db: sqlite3.Connection) -> None:
    """A disk that is full and then is not: the callers in between are told, the others never hear of it."""
    turn = threading.Lock()
    committer = GroupCommitter(db, turn)
    large = b"x" * 20_000

    async def run() -> list[BaseException | None]:
        await committer.commit([(INSERT, (b"first",))])
        with turn:
            db.execute("PRAGMA max_page_count = 3")
            waiting = [asyncio.ensure_future(committer.commit([(INSERT, (large,))])) for _ in range(5)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        with turn:
            db.execute("PRAGMA max_page_count = 1000")
        await committer.commit([(INSERT, (b"last",))])
        return results

    results = asyncio.run(asyncio.wait_for(run(), 30.0))
    committer.close()
    assert [str(result) for result in results] == ["database or disk is full"] * 5
    assert _kept(db) == [b"first", b"last"]


def test_a_cancelled_caller_undoes_nothing_and_stops_nobody(db: sqlite3.Connection) -> None:
    """Ctrl-C ends the event loop while a reply is being written: it is kept, and the next loop is served."""
    turn = threading.Lock()
    committer = GroupCommitter(db, turn)

    async def abandoned() -> None:
        asyncio.ensure_future(committer.commit([(INSERT, (1,))])).add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    with turn:
        asyncio.run(abandoned())
    asyncio.run(asyncio.wait_for(committer.commit([(INSERT, (2,))]), 30.0))
    committer.close()
    assert _kept(db) == [1, 2]


def test_closing_writes_what_was_handed_in(db: sqlite3.Connection) -> None:
    """Closing waits for the queue: what was handed in before it is on disk."""
    committer = GroupCommitter(db, threading.Lock())

    async def run() -> None:
        waiting = [asyncio.ensure_future(committer.commit([(INSERT, (v,))])) for v in range(1000)]
        await asyncio.sleep(0)
        committer.close()
        await asyncio.gather(*waiting)

    asyncio.run(asyncio.wait_for(run(), 30.0))
    assert len(_kept(db)) == 1000


# -- kill -9 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_every_reply_reported_before_a_kill_is_kept(tmp_path: Path, seed: int) -> None:
    """Killed at a random moment: what was reported as kept is there, what was in flight is in doubt, the file is whole."""
    lines_before_the_kill = random.Random(seed).randrange(1, 4000)
    reported: list[str] = []
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            reported.append(line)
            if len(reported) == lines_before_the_kill:
                writer.kill()  # what it had already written to the pipe is still read
    assert writer.returncode == -signal.SIGKILL
    complete = [line.split() for line in reported if line.endswith("\n")]
    kept = {key for word, key in complete if word == "kept"}
    sent = {key for word, key in complete if word == "sent"}
    with Store(tmp_path) as store:
        found = store.known(sorted(sent))
        assert kept <= set(found)
        assert all(len(reply.body) == 300 for reply in found.values())
        assert store.in_doubt() >= len(sent - set(found))
    db = sqlite3.connect(tmp_path / STORE_FILE)
    states = dict(db.execute("SELECT request_key, state FROM requests"))
    replies = {row[0] for row in db.execute("SELECT request_key FROM replies")}
    db.close()
    assert sent <= set(states)
    assert states == {key: "arrived" if key in replies else "in_doubt" for key in states}
    assert _intact(tmp_path)


# -- no room, no right --------------------------------------------------------------------------------------------------


def _fill(store: Store) -> tuple[list[str], StoreError]:
    """Replies until one cannot be kept: the keys of those that were, and the error."""

    async def run() -> tuple[list[str], StoreError]:
        kept: list[str] = []
        while True:
            key = f"k{len(kept)}"
            try:
                await store.sending(key, "item", "s")
                await store.arrived(_reply(key, 5000))
            except StoreError as error:
                return kept, error
            kept.append(key)

    return asyncio.run(asyncio.wait_for(run(), 60.0))


def test_a_store_that_may_not_grow_loses_nothing_and_goes_on_later(tmp_path: Path) -> None:
    """DiskFullError says what to do; all that was committed is there, and with room again the same store writes on."""
    with Store(tmp_path) as store:
        store._db.execute("PRAGMA max_page_count = 100")
        kept, error = _fill(store)
        assert isinstance(error, DiskFullError)
        assert "make room" in error.fix
        assert len(kept) > 10
        with pytest.raises(DiskFullError):
            store.add_items([Item(f"i{n}", "text " * 100) for n in range(500)])
        assert store.items() == []
        assert store.known(kept) == {key: _reply(key, 5000) for key in kept}
        store._db.execute("PRAGMA max_page_count = 100000")
        asyncio.run(store.arrived(_reply("later", 5000)))
        assert store.known(["later"])
    assert _intact(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a tmpfs of 1 MiB")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    """The file system itself is full: DiskFullError, and all that was committed is there once there is room again."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    with Store(small_disk / "run") as store:
        kept, error = _fill(store)
        assert isinstance(error, DiskFullError), error
        assert len(kept) > 10
    ballast.unlink()
    with Store(small_disk / "run") as store:
        assert store.known(kept) == {key: _reply(key, 5000) for key in kept}
        asyncio.run(store.arrived(_reply("later", 5000)))
    assert _intact(small_disk / "run")


def test_a_store_cannot_be_begun_on_a_full_disk(small_disk: Path) -> None:
    """Not even the lock can be written: DiskFullError."""
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * 2_000_000)
    with pytest.raises(DiskFullError):
        Store(small_disk / "run")


def _look(folder: Path, how: str) -> str:
    command = [sys.executable, "-c", LOOK, str(folder), how]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv may write everywhere")
        command = [*WITHOUT_ROOTS_RIGHTS, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    """A finished store in a folder that may be read and not written."""
    folder = tmp_path / "archive"
    with Store(folder) as store:
        store.add_items([Item("a", "x")])
    _protect(folder)
    yield folder
    folder.chmod(0o755)


def _protect(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def test_a_folder_that_cannot_be_written_is_a_store_error(archive: Path) -> None:
    """A run on it is refused with the reason."""
    said = _look(archive, "write")
    assert said.startswith("StoreError")
    assert "Permission denied" in said
    assert "what to do" in said


def test_a_store_in_a_folder_that_cannot_be_written_can_be_read(archive: Path) -> None:
    """An archive on read-only media is still looked at."""
    assert _look(archive, "read") == "1 items\n"


def test_a_reader_without_write_rights_sees_what_a_running_writer_committed(tmp_path: Path) -> None:
    """A colleague looks on while the run goes on: not the state of the last checkpoint."""
    folder = tmp_path / "run"
    with Store(folder) as store:
        store.add_items([Item("a", "x")])
        _protect(folder)
        store.add_items([Item("b", "y")])
        assert _look(folder, "read") == "2 items\n"
        folder.chmod(0o755)


@pytest.mark.parametrize("how", ["read", "write"])
def test_a_folder_that_cannot_be_entered_is_a_store_error(archive: Path, how: str) -> None:
    """No foreign exception leaks."""
    archive.chmod(0o000)
    said = _look(archive, how)
    assert said.startswith("StoreError")
    assert "Permission denied" in said
