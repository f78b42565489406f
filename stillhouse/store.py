"""The project's memory: one SQLite file in WAL mode, one writer, nothing paid for ever lost."""

import fcntl
import importlib.resources
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, Self

import zstandard

from stillhouse.commits import GroupCommitter, transaction
from stillhouse.errors import DiskFullError, StoreError, StoreLockedError, StoreTooNewError
from stillhouse.ledger import BatchNote, StoredReply
from stillhouse.records import Answer, Item, Pick, RoundRecord, Vote

STORE_FILE = "store.sqlite"
LOCK_FILE = "store.lock"
KEYS_A_QUERY = 500
VOTES_A_QUERY = 2_000
PAGES_A_CHECKPOINT = 4_000  # keys are hashes, so pages are written again and again: the log takes 16 MB of them
VOTE_FIELDS = tuple(each.name for each in fields(Vote))
_READ_VOTES = """
SELECT votes.item_id, votes.record, items.text, items.metadata, items.parts, replies.*
FROM votes
LEFT JOIN items ON items.id = votes.item_id
LEFT JOIN replies ON replies.request_key = json_extract(votes.record, '$.request_key')
WHERE votes.source = ? AND votes.item_id > ? ORDER BY votes.item_id LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class ReadVote:
    """A vote, the item it is about, and the last reply it was read from; None where the store does not have it."""

    vote: Vote
    item: Item | None
    reply: StoredReply | None


class Store:
    """Opened by one process at a time (a lock says who holds it); readable by others through `read_only`.

    Every method commits before it returns. `sending`, `arrived` and `failed` are awaited by many tasks at once and
    committed in groups by one thread. Raises StoreError and its kinds.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.path = folder / STORE_FILE
        self._lock: IO[str] | None = None
        self._turn = threading.Lock()
        if read_only:
            with _storage_errors(folder):
                there = self.path.exists()
            if not there:
                raise StoreError(
                    f"no store in {folder}",
                    expected=f"{STORE_FILE}, written by an earlier run",
                    found="nothing",
                    fix="start with: stillhouse run TASK --run " + str(folder),
                )
        else:
            with _storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = _locked(folder)
        try:
            self._db = _opened(self.path, read_only=read_only)
        except BaseException:
            if self._lock is not None:
                self._lock.close()  # a store that did not open holds nobody up
            raise
        self._pack = zstandard.ZstdCompressor(level=3)  # one for all: to set one up costs more than to pack a reply
        self._committer = None if read_only else GroupCommitter(self._db, self._turn)

    def close(self) -> None:
        if self._committer is not None:
            self._committer.close()
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what was paid for (stillhouse.ledger.Ledger) ---------------------------------------------------------------

    def known(self, request_keys: Sequence[str]) -> dict[str, StoredReply]:
        found: dict[str, StoredReply] = {}
        unpack = zstandard.ZstdDecompressor()
        for start in range(0, len(request_keys), KEYS_A_QUERY):
            part = request_keys[start : start + KEYS_A_QUERY]
            marks = ",".join("?" * len(part))
            for row in self._rows(f"SELECT * FROM replies WHERE request_key IN ({marks})", part):  # noqa: S608
                found[row[0]] = StoredReply(row[0], row[1], row[2], row[3], unpack.decompress(row[4]), *row[5:])
        return found

    async def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        # Still in flight from an earlier try: nobody heard what became of that one, and now nobody will.
        await self._grouped(
            "INSERT INTO requests (request_key, item_id, source, state, worst_usd) VALUES (?, ?, ?, 'in_flight', ?) "
            "ON CONFLICT (request_key) DO UPDATE SET doubts = doubts + (state = 'in_flight'), "
            "doubt_usd = doubt_usd + (state = 'in_flight') * worst_usd, "
            "state = 'in_flight', worst_usd = excluded.worst_usd",
            (request_key, item_id, source, worst_usd),
        )

    async def arrived(self, reply: StoredReply) -> None:
        body = self._pack.compress(reply.body)
        row = (reply.request_key, reply.item_id, reply.source, reply.status, body)
        await self._grouped(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, reply.input_tokens, reply.output_tokens, reply.cost_usd),
            then=("UPDATE requests SET state = 'arrived' WHERE request_key = ?", (reply.request_key,)),
        )

    async def failed(self, request_key: str) -> None:
        await self._grouped("UPDATE requests SET state = 'failed' WHERE request_key = ?", (request_key,))

    def record_votes(self, votes: Iterable[Vote]) -> None:
        # Taken one by one: votes made while they are written are never all in memory.
        self._write(
            "INSERT OR REPLACE INTO votes VALUES (?, ?, ?)",
            ((vote.item_id, vote.source, _vote_json(vote)) for vote in votes),
        )

    def read_votes(self, source: str) -> Iterator[ReadVote]:
        """A source's votes by item id, each with its item and the last reply it was read from, where they are known.

        Taken a block at a time, so that memory does not grow with the run.
        """
        unpack, after = zstandard.ZstdDecompressor(), ""
        while rows := self._rows(_READ_VOTES, (source, after, VOTES_A_QUERY)):
            for row in rows:
                item, reply = None, None
                if row[2] is not None:
                    item = _item(row[0], *row[2:5])
                if row[5] is not None:
                    reply = StoredReply(row[5], row[6], row[7], row[8], unpack.decompress(row[9]), *row[10:])
                yield ReadVote(_vote(row[1]), item, reply)
            after = rows[-1][0]

    def vote_counts(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._rows("SELECT source, count(*) FROM votes GROUP BY source")}

    def asked_often(self, source: str) -> frozenset[str]:
        """Ids of items with more than one reply from a source: samples, windows, repairs, other prompts."""
        query = "SELECT item_id FROM replies WHERE source = ? GROUP BY item_id HAVING count(*) > 1"
        return frozenset(str(item_id) for item_id in _first(self._rows(query, (source,))))

    def note_batch(self, note: BatchNote) -> None:
        self._write(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?)", [(note.name, note.source, json.dumps(asdict(note)))]
        )

    def batches(self, source: str) -> list[BatchNote]:
        rows = self._rows("SELECT record FROM batches WHERE source = ?", (source,))
        notes = [
            BatchNote(**{**record, "asked": tuple((key, item_id) for key, item_id in record["asked"])})
            for record in map(json.loads, _first(rows))
        ]
        return sorted(notes, key=lambda note: (note.noted_at_s, note.name))

    def in_doubt(self) -> int:
        """How often a request was sent and its reply never heard, at a crash or a timeout: it may have been paid for.

        One that was sent again, and answered, stays counted.
        """
        return int(self._rows("SELECT coalesce(sum(doubts), 0) FROM requests")[0][0])

    def in_doubt_usd(self) -> float:
        """The most that those may have cost, beside what is spent."""
        return float(self._rows("SELECT coalesce(sum(doubt_usd), 0) FROM requests")[0][0])

    def spent_usd(self) -> float:
        return float(self._rows("SELECT coalesce(sum(cost_usd), 0) FROM replies")[0][0])

    def reply_counts(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._rows("SELECT source, count(*) FROM replies GROUP BY source")}

    # -- the pool ---------------------------------------------------------------------------------------------------

    def add_items(self, items: Iterable[Item]) -> None:
        """Items that are not known yet are added at the end; the text of a known id must not have changed."""
        known = {item.id: item.text for item in self.items()}
        fresh = []
        for item in items:
            if item.id not in known:
                metadata = json.dumps(dict(item.metadata), ensure_ascii=False)
                fresh.append((item.id, item.text, metadata, json.dumps(_parts(item), ensure_ascii=False)))
                known[item.id] = item.text
            elif known[item.id] != item.text:
                common = len(os.path.commonprefix([known[item.id], item.text]))  # noqa: RUF071  # texts, not paths
                shown = slice(max(0, common - 40), common + 40)  # where they differ, however long they are
                raise StoreError(
                    f"the text of item {item.id!r} has changed since this run began",
                    expected=known[item.id][shown],
                    found=item.text[shown],
                    fix="give the changed text a new id, or start a new run",
                )
        self._write("INSERT INTO items (id, text, metadata, parts) VALUES (?, ?, ?, ?)", fresh)

    def items(self) -> list[Item]:
        return [_item(*row) for row in self._rows("SELECT id, text, metadata, parts FROM items ORDER BY position")]

    # -- what was said ----------------------------------------------------------------------------------------------

    def votes(self) -> list[Vote]:
        rows = self._rows("SELECT record FROM votes ORDER BY source, item_id")
        return [_vote(record) for record in _first(rows)]

    def add_picks(self, picks: Sequence[Pick]) -> None:
        """A whole batch at once: a crash leaves all of it or nothing."""
        self._write(
            "INSERT OR IGNORE INTO picks VALUES (?, ?, ?, ?)",
            [(pick.item_id, pick.round, place, json.dumps(asdict(pick))) for place, pick in enumerate(picks)],
        )

    def picks(self, round_number: int | None = None) -> list[Pick]:
        where, values = ("", ()) if round_number is None else ("WHERE round = ?", (round_number,))
        rows = self._rows(f"SELECT record FROM picks {where} ORDER BY round, position", values)  # noqa: S608
        return [Pick(**json.loads(record)) for record in _first(rows)]

    def add_answers(self, answers: Iterable[Answer]) -> None:
        """An answer of the same item and annotator replaces the older one: people may change their mind."""
        self._write(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
            [(answer.item_id, answer.annotator, json.dumps(asdict(answer))) for answer in answers],
        )

    def answers(self) -> list[Answer]:
        rows = self._rows("SELECT record FROM answers ORDER BY item_id, annotator")
        return [Answer(**json.loads(record)) for record in _first(rows)]

    # -- what was done ----------------------------------------------------------------------------------------------

    def add_round(self, record: RoundRecord) -> None:
        self._write("INSERT OR REPLACE INTO rounds VALUES (?, ?)", [(record.round, json.dumps(asdict(record)))])

    def rounds(self) -> list[RoundRecord]:
        return [RoundRecord(**json.loads(r)) for r in _first(self._rows("SELECT record FROM rounds ORDER BY round"))]

    def note(self, name: str, default: Any = None) -> Any:
        rows = self._rows("SELECT value FROM notes WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else default

    def write_note(self, name: str, value: Any) -> None:
        self._write("INSERT OR REPLACE INTO notes VALUES (?, ?)", [(name, json.dumps(value))])

    # -- underneath -------------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _storage_errors(self.folder), self._turn:
            return self._db.execute(query, tuple(values)).fetchall()

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with _storage_errors(self.folder), self._turn, transaction(self._db):
            self._db.executemany(statement, rows)

    async def _grouped(
        self, statement: str, row: tuple[Any, ...], then: tuple[str, tuple[Any, ...]] | None = None
    ) -> None:
        assert self._committer is not None, "a store that is open for reading only pays for nothing"
        with _storage_errors(self.folder):
            await self._committer.commit([(statement, row), *([then] if then else [])])


def _parts(item: Item) -> dict[str, Any]:
    """What most items do not have, and only what this one has."""
    parts = {"pair": item.pair, "tokens": item.tokens, "focus": item.focus, "image": item.image}
    return {name: part for name, part in parts.items() if part}


def _item(item_id: str, text: str, metadata: str, parts: str) -> Item:
    """Most items have neither metadata nor parts, and are many."""
    known = json.loads(metadata) if metadata != "{}" else {}
    return Item(item_id, text, known, **(_of_parts(json.loads(parts)) if parts != "{}" else {}))


def _of_parts(parts: dict[str, Any]) -> dict[str, Any]:
    if "tokens" in parts:
        parts["tokens"] = tuple((start, end) for start, end in parts["tokens"])
    if "focus" in parts:
        parts["focus"] = tuple(parts["focus"])
    return parts


def _vote_json(vote: Vote) -> str:
    """`asdict` would copy every number of it, at several times the price; no field holds another record."""
    return json.dumps({name: getattr(vote, name) for name in VOTE_FIELDS}, default=dict)


def _vote(record: str) -> Vote:
    said = json.loads(record)
    listed = ("probs", "demonstrations", "candidates")
    return Vote(**{**said, **{name: tuple(said[name]) for name in listed if name in said}})


def _first(rows: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    return (row[0] for row in rows)


def _opened(path: Path, *, read_only: bool) -> sqlite3.Connection:
    with _storage_errors(path.parent):
        target = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        if read_only and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
            target += "&immutable=1"  # an archive: a reader in WAL mode would have to write files beside it
        db = sqlite3.connect(target, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False)
        try:
            _migrate(db, path, read_only=read_only)
            if not read_only:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute(f"PRAGMA wal_autocheckpoint = {PAGES_A_CHECKPOINT}")
                # What was in flight when an earlier process died may have been paid for: say so, and never forget it.
                db.execute(
                    "UPDATE requests SET state = 'in_doubt', doubts = doubts + 1, doubt_usd = doubt_usd + worst_usd "
                    "WHERE state = 'in_flight'"
                )
        except BaseException:
            db.close()
            raise
        return db


def _locked(folder: Path) -> IO[str]:
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
def _storage_errors(folder: Path) -> Iterator[None]:
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
