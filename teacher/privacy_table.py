"""Who got which surrogate, and how each item was sent: a file beside the store that only its owner may read."""

import json
import os
import sqlite3
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
    item_id TEXT, source TEXT, rules TEXT, pieces TEXT, PRIMARY KEY (item_id, source)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Form:
    """How an item was rewritten: its text, and its pair. `rules` names what it was found by."""

    text: Rewritten
    pair: Rewritten
    rules: str


class PseudonymTable:
    """Written in one transaction before the texts are sent: a text that is sent again has the same bytes.

    Without a path it is kept in memory. Raises StoreError where the file cannot be used.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self.path = path
        with self._errors():
            if path is None:
                self._db = sqlite3.connect(":memory:")
            elif read_only:
                self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            else:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
                path.chmod(0o600)
                self._db = sqlite3.connect(path)
                self._db.execute("PRAGMA synchronous = FULL")
            if not read_only:
                self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    def surrogates(self) -> dict[tuple[str, str], str]:
        """By what it is and its key."""
        with self._errors():
            rows = self._db.execute("SELECT what, key, surrogate FROM surrogates").fetchall()
        return {(what, key): surrogate for what, key, surrogate in rows}

    def forms(self, items: Sequence[Item]) -> dict[tuple[str, str], Form]:
        """The forms of items by item id and source; one of another text than the item's is none."""
        by_id = {item.id: item for item in items}
        found: dict[tuple[str, str], Form] = {}
        ids = list(by_id)
        for start in range(0, len(ids), IDS_A_QUERY):
            part = ids[start : start + IDS_A_QUERY]
            query = f"SELECT * FROM forms WHERE item_id IN ({','.join('?' * len(part))})"  # noqa: S608
            with self._errors():
                rows = self._db.execute(query, part).fetchall()
            for item_id, source, rules, pieces in rows:
                form = _form(by_id[item_id], rules, json.loads(pieces))
                if form is not None:
                    found[item_id, source] = form
        return found

    def keep(self, surrogates: Mapping[tuple[str, str], str], forms: Mapping[tuple[str, str], Form]) -> None:
        """All of it, or nothing."""
        with self._errors(), self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO surrogates VALUES (?, ?, ?)",
                [(what, key, surrogate) for (what, key), surrogate in surrogates.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO forms VALUES (?, ?, ?, ?)",
                [(item_id, source, form.rules, _json(form)) for (item_id, source), form in forms.items()],
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


def _json(form: Form) -> str:
    return json.dumps([_parts(form.text), _parts(form.pair)], ensure_ascii=False)


def _parts(text: Rewritten) -> list[Any]:
    return [len(text.original), [[p.start, p.end, p.surrogate] for p in text.pieces], text.entities]


def _form(item: Item, rules: str, parts: list[Any]) -> Form | None:
    said, pair = (_rewritten(text, part) for text, part in zip((item.text, item.pair), parts, strict=True))
    return None if said is None or pair is None else Form(said, pair, rules)


def _rewritten(text: str, part: list[Any]) -> Rewritten | None:
    length, pieces, entities = part
    if length != len(text):
        return None
    return Rewritten(text, tuple(Piece(*piece) for piece in pieces), tuple((a, b) for a, b in entities))
