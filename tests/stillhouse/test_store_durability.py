"""Nothing paid for is lost: kill -9, a full disk, a folder that cannot be written, many tasks at once."""

import errno
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stillhouse.commits import GROUP_S, PAGES_BEFORE_RESTART
from stillhouse.errors import DiskFullError, StoreError
from stillhouse.ledger import BatchNote, StoredReply
from stillhouse.records import Item, Vote
from stillhouse.store import STORE_FILE, Store

WRITER = """
import os, random, sys
from pathlib import Path
from stillhouse.ledger import StoredReply
from stillhouse.store import Store

store, noise = Store(Path(sys.argv[1])), random.Random(0)
for number in range(10_000):
    for name in range(40):
        store.sending(f"{name}-{number}", "item", "s")
        os.write(1, f"sent {name}-{number}\\n".encode())
    for name in range(40):
        if name % 10:  # the others are never answered
            store.arrived(StoredReply(f"{name}-{number}", "item", "s", 200, noise.randbytes(300), 1, 1, 0.5))
            os.write(1, f"kept {name}-{number}\\n".encode())
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


def test_votes_are_recorded_between_replies(tmp_path: Path) -> None:
    """200 requests and replies with votes between them: all of it is there, nothing is in doubt."""
    with Store(tmp_path) as store:
        for number in range(200):
            store.sending(f"k{number}", f"i{number}", "s")
            store.arrived(_reply(f"k{number}"))
            store.record_votes([Vote(f"i{number}", "s", (1.0, 0.0), 0.0, "sample", "ok", "p", f"k{number}", 0.5)])
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

    with Store(tmp_path) as store:
        other = threading.Thread(target=votes, args=(store,))
        other.start()
        for number in range(200):
            store.arrived(_reply(f"k{number}"))
        other.join()
        assert len(store.votes()) == 100
        assert store.reply_counts() == {"s": 200}


# -- the disk -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> "Disk":
    """What the disk has been asked for, and what it says."""
    disk = Disk()
    monkeypatch.setattr("stillhouse.commits._to_disk", disk)
    return disk


class Disk:
    """Stands for fdatasync: counts, and fails when it is told to."""

    def __init__(self) -> None:
        self.syncs = 0
        self.broken = False

    def __call__(self, file: int) -> None:
        self.syncs += 1
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(file)


def _wait_for(what: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 30.0
    while not what():
        assert time.monotonic() < ends_s, "it does not happen"
        time.sleep(0.001)


def test_a_reply_is_synced_without_anybody_waiting(tmp_path: Path, synced: Disk) -> None:
    """What arrives while nothing else is done is on its way to the disk by itself, and then there is quiet."""
    with Store(tmp_path) as store:
        store.arrived(_reply("k"))
        _wait_for(lambda: synced.syncs > 0)
        time.sleep(5 * GROUP_S)
        quiet = synced.syncs
        time.sleep(5 * GROUP_S)
        assert synced.syncs == quiet


def test_many_replies_share_a_sync(tmp_path: Path, synced: Disk) -> None:
    """A thousand replies in a row wait for far fewer than a thousand syncs."""
    with Store(tmp_path) as store:
        for number in range(1000):
            store.arrived(_reply(f"k{number}"))
    assert 1 <= synced.syncs < 500


def test_answers_and_batches_are_on_disk_when_they_are_kept(tmp_path: Path, synced: Disk) -> None:
    """People's time and a batch handed in cost more than a moment of waiting."""
    with Store(tmp_path) as store:
        before = synced.syncs
        store.note_batch(BatchNote("b", "s", "http://x", (), 0.5, 100))
        assert synced.syncs > before


def test_closing_syncs_what_was_kept(tmp_path: Path, synced: Disk) -> None:
    """Also what arrived a moment before."""
    store = Store(tmp_path)
    store.arrived(_reply("k"))
    before = synced.syncs
    store.close()
    assert synced.syncs > before


def test_a_disk_that_fails_takes_no_more(tmp_path: Path, synced: Disk) -> None:
    """What came before may be lost, and no later sync would say so: the next reply is refused, and so is closing."""
    store = Store(tmp_path)
    synced.broken = True

    def refused() -> bool:
        try:
            store.arrived(_reply("k"))
        except StoreError as error:
            return "Input/output error" in str(error)
        return False

    _wait_for(refused)
    with pytest.raises(StoreError, match="Input/output error"):
        store.close()
    synced.broken = False
    Store(tmp_path).close()  # the lock is free all the same


def test_the_log_does_not_grow_with_the_run(tmp_path: Path) -> None:
    """It is moved into the database while replies go on coming, and then starts anew, under another salt."""
    numbers = itertools.count()
    with Store(tmp_path) as store:

        def salt() -> bytes:
            store.arrived(_reply(f"k{next(numbers)}"))
            with (tmp_path / f"{STORE_FILE}-wal").open("rb") as log:
                return log.read(24)[16:]

        first = salt()
        store.add_items([Item(f"i{number}", "x" * 40_000) for number in range(PAGES_BEFORE_RESTART // 10)])
        _wait_for(lambda: salt() != first)


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

    kept: list[str] = []
    while True:
        key = f"k{len(kept)}"
        try:
            store.sending(key, "item", "s")
            store.arrived(_reply(key, 5000))
        except StoreError as error:
            return kept, error
        kept.append(key)


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
        store.arrived(_reply("later", 5000))
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
        store.arrived(_reply("later", 5000))
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
