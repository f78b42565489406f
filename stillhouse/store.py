"""The project's memory: one SQLite file in WAL mode, one writer, nothing paid for ever lost."""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

import zstandard

from stillhouse.commits import LogSync, transaction
from stillhouse.errors import StoreError
from stillhouse.guidelines import Version
from stillhouse.ledger import BatchNote, StoredReply
from stillhouse.records import Answer, Asking, Item, Pick, RoundRecord, Vote
from stillhouse.schemas import Schema
from stillhouse.store_file import STORE_FILE, locked, opened, storage_errors
from stillhouse.store_rows import first, item_of, parts_of, vote_json, vote_of

__all__ = ["STORE_FILE", "ReadVote", "Store"]

KEYS_A_QUERY = 500
SCHEMA_HASH = "schema"  # the note with the hash of the labels now
VOTES_A_QUERY = 2_000
_READ_VOTES = """
SELECT votes.item_id, votes.record, items.text, items.metadata, items.parts, replies.*
FROM votes
LEFT JOIN items ON items.id = votes.item_id
LEFT JOIN replies ON replies.request_key = json_extract(votes.record, '$.request_key')
WHERE votes.source = ? AND votes.item_id > ? ORDER BY votes.item_id LIMIT ?
"""
# Still in flight from an earlier try: nobody heard what became of that one, and now nobody will.
_SENDING = """
INSERT INTO requests (request_key, item_id, source, state, worst_usd) VALUES (?, ?, ?, 'in_flight', ?)
ON CONFLICT (request_key) DO UPDATE SET doubts = doubts + (state = 'in_flight'),
doubt_usd = doubt_usd + (state = 'in_flight') * worst_usd, state = 'in_flight', worst_usd = excluded.worst_usd
"""
_FORGET_ASKINGS = "DELETE FROM askings WHERE item_id = ? AND NOT EXISTS (SELECT 1 FROM answers WHERE item_id = ?)"
_ARRIVED = "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class ReadVote:
    """A vote, the item it is about, and the last reply it was read from; None where the store does not have it."""

    vote: Vote
    item: Item | None
    reply: StoredReply | None


class Store:
    """Opened by one process at a time (a lock says who holds it); readable by others through `read_only`.

    Every method commits before it returns, so that no end of this process can lose what it wrote. All but the notes about
    requests and the votes are on disk by then too; those follow in groups, within some hundredths of a second
    (`stillhouse.commits`), and only a power cut can lose the last of them. Raises StoreError and its kinds.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self.path = folder / STORE_FILE
        self._lock: IO[str] | None = None
        self._log: LogSync | None = None
        self._turn = threading.Lock()
        if read_only:
            with storage_errors(folder):
                there = self.path.exists()
            if not there:
                raise StoreError(
                    f"no store in {folder}",
                    expected=f"{STORE_FILE}, written by an earlier run",
                    found="nothing",
                    fix="start with: stillhouse run TASK --run " + str(folder),
                )
        else:
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = locked(folder)
        try:
            self._db = opened(self.path, read_only=read_only)
            if not read_only:
                with storage_errors(folder):
                    self._log = LogSync(self.path, self._turn)
        except BaseException:
            if self._lock is not None:
                self._lock.close()  # a store that did not open holds nobody up
            raise
        self._pack = zstandard.ZstdCompressor(level=3)  # one for all: to set one up costs more than to pack a reply

    def close(self) -> None:
        with storage_errors(self.folder):
            log, self._log = self._log, None
            try:
                if log is not None:
                    log.close()
            finally:
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

    def sending(self, request_key: str, item_id: str, source: str, worst_usd: float = 0.0) -> None:
        self._keep((_SENDING, (request_key, item_id, source, worst_usd)))

    def arrived(self, reply: StoredReply) -> None:
        body = self._pack.compress(reply.body)
        row = (reply.request_key, reply.item_id, reply.source, reply.status, body)
        self._keep(
            (_ARRIVED, (*row, reply.input_tokens, reply.output_tokens, reply.cost_usd)),
            ("UPDATE requests SET state = 'arrived' WHERE request_key = ?", (reply.request_key,)),
        )

    def failed(self, request_key: str) -> None:
        self._keep(("UPDATE requests SET state = 'failed' WHERE request_key = ?", (request_key,)))

    def record_votes(self, votes: Iterable[Vote]) -> None:
        # Taken one by one: votes made while they are written are never all in memory.
        self._write(
            "INSERT OR REPLACE INTO votes VALUES (?, ?, ?)",
            ((vote.item_id, vote.source, vote_json(vote)) for vote in votes),
            synced=False,  # they can be read again from the replies
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
                    item = item_of(row[0], *row[2:5])
                if row[5] is not None:
                    reply = StoredReply(row[5], row[6], row[7], row[8], unpack.decompress(row[9]), *row[10:])
                yield ReadVote(vote_of(row[1]), item, reply)
            after = rows[-1][0]

    def vote_counts(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._rows("SELECT source, count(*) FROM votes GROUP BY source")}

    def asked_often(self, source: str) -> frozenset[str]:
        """Ids of items with more than one reply from a source: samples, windows, repairs, other prompts."""
        query = "SELECT item_id FROM replies WHERE source = ? GROUP BY item_id HAVING count(*) > 1"
        return frozenset(str(item_id) for item_id in first(self._rows(query, (source,))))

    def note_batch(self, note: BatchNote) -> None:
        self._write(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?)", [(note.name, note.source, json.dumps(asdict(note)))]
        )

    def batches(self, source: str) -> list[BatchNote]:
        rows = self._rows("SELECT record FROM batches WHERE source = ?", (source,))
        notes = [
            BatchNote(**{**record, "asked": tuple((key, item_id) for key, item_id in record["asked"])})
            for record in map(json.loads, first(rows))
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
                fresh.append((item.id, item.text, metadata, json.dumps(parts_of(item), ensure_ascii=False)))
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
        return [item_of(*row) for row in self._rows("SELECT id, text, metadata, parts FROM items ORDER BY position")]

    # -- what was said ----------------------------------------------------------------------------------------------

    def votes(self) -> list[Vote]:
        rows = self._rows("SELECT record FROM votes ORDER BY source, item_id")
        return [vote_of(record) for record in first(rows)]

    def add_picks(self, picks: Sequence[Pick]) -> None:
        """A whole batch at once: a crash leaves all of it or nothing."""
        self._write(
            "INSERT OR IGNORE INTO picks VALUES (?, ?, ?, ?)",
            [(pick.item_id, pick.round, place, json.dumps(asdict(pick))) for place, pick in enumerate(picks)],
        )

    def picks(self, round_number: int | None = None) -> list[Pick]:
        where, values = ("", ()) if round_number is None else ("WHERE round = ?", (round_number,))
        rows = self._rows(f"SELECT record FROM picks {where} ORDER BY round, position", values)  # noqa: S608
        return [Pick(**json.loads(record)) for record in first(rows)]

    def add_askings(self, askings: Sequence[Asking]) -> None:
        """All of them or none; what is asked already stays as it was."""
        self._write(
            "INSERT OR IGNORE INTO askings VALUES (?, ?, ?, ?)",
            [(asking.item_id, asking.way, asking.round, json.dumps(asdict(asking))) for asking in askings],
        )

    def askings(self, round_number: int | None = None) -> list[Asking]:
        """By round, way and item."""
        where, values = ("", ()) if round_number is None else ("WHERE round = ?", (round_number,))
        rows = self._rows(f"SELECT record FROM askings {where} ORDER BY round, way, item_id", values)  # noqa: S608
        found = map(json.loads, first(rows))
        return [
            Asking(**{**each, "assigned": tuple(each["assigned"]), "not_by": tuple(each["not_by"])}) for each in found
        ]

    def add_answers(self, answers: Iterable[Answer]) -> None:
        """An answer of the same item and annotator replaces the older one: people may change their mind."""
        self._write(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
            [(answer.item_id, answer.annotator, json.dumps(asdict(answer))) for answer in answers],
        )

    def answers(self) -> list[Answer]:
        rows = self._rows("SELECT record FROM answers ORDER BY item_id, annotator")
        return [Answer(**json.loads(record)) for record in first(rows)]

    # -- what was done ----------------------------------------------------------------------------------------------

    def add_round(self, record: RoundRecord) -> None:
        self._write("INSERT OR REPLACE INTO rounds VALUES (?, ?)", [(record.round, json.dumps(asdict(record)))])

    def rounds(self) -> list[RoundRecord]:
        return [RoundRecord(**json.loads(r)) for r in first(self._rows("SELECT record FROM rounds ORDER BY round"))]

    def versions(self) -> list[Version]:
        """All versions of the guidelines, in the order in which they were first seen."""
        return [
            Version(**json.loads(record))
            for record in first(self._rows("SELECT record FROM guidelines ORDER BY number"))
        ]

    def keep_version(self, version: Version) -> None:
        """Replaces what was known of it."""
        keeping = (
            "INSERT INTO guidelines (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record"
        )
        self._write(keeping, [(version.id, json.dumps(asdict(version)))])

    # -- labels that change (stillhouse.schemas) ----------------------------------------------------------------------

    def schemas(self) -> list[Schema]:
        """Each set of labels that the run has had, the last one now; none in a store of before they were kept."""
        return [Schema.of_json(json.loads(r)) for r in first(self._rows("SELECT record FROM schemas ORDER BY number"))]

    def add_first_schema(self, schema: Schema) -> None:
        self._write("INSERT OR IGNORE INTO schemas VALUES (1, ?)", [(json.dumps(schema.to_json()),)])

    def set_aside(self) -> list[tuple[int, Answer]]:
        """Answers that a change of labels left open, as they were, with the number (from 1) of the labels they were given in."""
        rows = self._rows("SELECT number, record FROM set_aside ORDER BY number, item_id, annotator")
        return [(number, Answer(**json.loads(record))) for number, record in rows]

    def change_labels(
        self,
        schema: Schema,
        *,
        votes: Iterable[Vote],
        answers: Iterable[Answer],
        aside: Sequence[Answer],
        rounds: Iterable[RoundRecord],
    ) -> None:
        """From here on the run has these labels; all of it is written or nothing.

        `votes`, `answers` and `rounds` take the place of what there was. `aside` are answers that count no longer, as they
        were; how an item was followed up that has no answer left is forgotten. There must be a first schema.
        """
        number = len(self.schemas())
        keys = [(answer.item_id, answer.annotator) for answer in aside]
        kept_aside = [(number, *key, json.dumps(asdict(answer))) for key, answer in zip(keys, aside, strict=True)]
        kept = [(answer.item_id, answer.annotator, json.dumps(asdict(answer))) for answer in answers]
        statements: tuple[tuple[str, Iterable[tuple[Any, ...]]], ...] = (
            ("INSERT INTO schemas VALUES (?, ?)", [(number + 1, json.dumps(schema.to_json()))]),
            ("INSERT OR REPLACE INTO notes VALUES (?, ?)", [(SCHEMA_HASH, json.dumps(schema.hash))]),
            ("INSERT INTO set_aside VALUES (?, ?, ?, ?)", kept_aside),
            ("DELETE FROM answers WHERE item_id = ? AND annotator = ?", keys),
            ("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", kept),
            (_FORGET_ASKINGS, [(item_id, item_id) for item_id in dict(keys)]),
            ("INSERT OR REPLACE INTO votes VALUES (?, ?, ?)", ((v.item_id, v.source, vote_json(v)) for v in votes)),
            ("INSERT OR REPLACE INTO rounds VALUES (?, ?)", [(r.round, json.dumps(asdict(r))) for r in rounds]),
        )
        with storage_errors(self.folder):
            with self._turn, transaction(self._db):
                for statement, rows in statements:
                    self._db.executemany(statement, rows)
            if self._log is not None:
                self._log.now()

    def copy_to(self, path: Path) -> None:
        """The whole store as it stands, as a file of its own, which is there whole or not at all."""
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.unlink(missing_ok=True)
            copy = sqlite3.connect(part)
            try:
                self._db.backup(copy)
            finally:
                copy.close()
            shutil.copymode(self.path, part)
            part.replace(path)

    # -- small facts ------------------------------------------------------------------------------------------------

    def note(self, name: str, default: Any = None) -> Any:
        rows = self._rows("SELECT value FROM notes WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else default

    def write_note(self, name: str, value: Any) -> None:
        self._write("INSERT OR REPLACE INTO notes VALUES (?, ?)", [(name, json.dumps(value))])

    # -- underneath -------------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with storage_errors(self.folder), self._turn:
            return self._db.execute(query, tuple(values)).fetchall()

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]], *, synced: bool = True) -> None:
        with storage_errors(self.folder):
            with self._turn, transaction(self._db):
                self._db.executemany(statement, rows)
            if self._log is not None:
                (self._log.now if synced else self._log.soon)()

    def _keep(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """All of them or none. One alone is a transaction by itself, at two thirds of the price."""
        with storage_errors(self.folder):
            with self._turn, transaction(self._db) if len(statements) > 1 else nullcontext():
                for statement, row in statements:
                    self._db.execute(statement, row)
            if self._log is not None:
                self._log.soon()
