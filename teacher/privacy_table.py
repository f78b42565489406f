"""Who got which surrogate, and how each item was sent: a file beside the store that only its owner may read."""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.errors import StoreError
from stillhouse.records import Item
from teacher.privacy_text import Piece, Rewritten

FILE = "pseudonyms.sqlite"
IDS_A_QUERY = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS surrogates (what TEXT, key TEXT, surrogate TEXT, PRIMARY KEY (what, key));
CREATE TABLE IF NOT EXISTS forms (
    item_id TEXT, source TEXT, rules TEXT, texts TEXT, pieces TEXT, PRIMARY KEY (item_id, source)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Form:
    """How an item was rewritten: its text, and its pair. `rules` names what it was found by."""

    text: Rewritten
    pair: Rewritten
    rules: str


class PseudonymTable:
    """Written before the texts are sent: a text that is sent again has the same bytes. May be used by many threads.

    Without a path it is kept in memory. Raises StoreError where the file cannot be used.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._known: dict[tuple[str, str], str] | None = None
        self._version = 0
        with self._errors():
            if path is not None and not read_only:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                path.chmod(0o600)
            where = "file::memory:" if path is None else f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}"
            how: dict[str, Any] = {"timeout": 30.0, "isolation_level": None, "check_same_thread": False}
            self._db = sqlite3.connect(where, uri=True, **how)
            if not read_only:
                self._db.executescript(f"PRAGMA synchronous = FULL; {_TABLES}")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """All that is kept within it is there at its end, or nothing; and nobody else, in no other process, keeps anything
        meanwhile: two who met a name at once would give it two surrogates.
        """
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._known = None
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def surrogates(self) -> dict[tuple[str, str], str]:
        """By what it is and its key. The same object, until somebody else has kept more."""
        with self._lock, self._errors():
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if self._known is None or version != self._version:
                rows = self._db.execute("SELECT what, key, surrogate FROM surrogates").fetchall()
                self._known = {(what, key): surrogate for what, key, surrogate in rows}
                self._version = version
            return self._known

    def forms(self, items: Sequence[Item]) -> dict[tuple[str, str], Form]:
        """The forms of items by item id and source; one of another text than the item's is none."""
        by_id = {item.id: item for item in items}
        found: dict[tuple[str, str], Form] = {}
        ids = list(by_id)
        for start in range(0, len(ids), IDS_A_QUERY):
            part = ids[start : start + IDS_A_QUERY]
            query = f"SELECT * FROM forms WHERE item_id IN ({','.join('?' * len(part))})"  # noqa: S608
            with self._lock, self._errors():
                rows = self._db.execute(query, part).fetchall()
            for item_id, source, rules, texts, pieces in rows:
                if texts == _texts(by_id[item_id].text, by_id[item_id].pair):
                    found[item_id, source] = _form(by_id[item_id], rules, json.loads(pieces))
        return found

    def keep(self, surrogates: Mapping[tuple[str, str], str], forms: Mapping[tuple[str, str], Form]) -> None:
        """To be called within a `turn`."""
        with self._lock, self._errors():
            self._db.executemany(
                "INSERT INTO surrogates VALUES (?, ?, ?)",
                [(what, key, surrogate) for (what, key), surrogate in surrogates.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO forms VALUES (?, ?, ?, ?, ?)",
                [
                    (item_id, source, form.rules, _texts(form.text.original, form.pair.original), _json(form))
                    for (item_id, source), form in forms.items()
                ],
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the pseudonyms in {self.path} cannot be used",
                expected=f"{FILE}, readable and writable, in the run's folder",
                found=str(error),
                fix="check the folder's permissions and free space; nothing was sent",
            ) from error


def _texts(text: str, pair: str) -> str:
    """Which texts a form is of: ids may be given again."""
    return hashlib.sha256(f"{len(text)} {text} {pair}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _json(form: Form) -> str:
    return json.dumps([_parts(form.text), _parts(form.pair)])


def _parts(text: Rewritten) -> list[Any]:
    return [[[piece.start, piece.end, piece.surrogate] for piece in text.pieces], text.entities]


def _form(item: Item, rules: str, parts: list[Any]) -> Form:
    text, pair = (_rewritten(of, part) for of, part in zip((item.text, item.pair), parts, strict=True))
    return Form(text, pair, rules)


def _rewritten(text: str, part: list[Any]) -> Rewritten:
    pieces, entities = part
    return Rewritten(text, tuple(Piece(*piece) for piece in pieces), tuple((a, b) for a, b in entities))
