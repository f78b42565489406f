"""Similar records: all vectors of one setting in memory, compared by cosine in a thread, so that nobody waits for it."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
from argilla_server.database import sync_engine
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Record, Vector
from sqlalchemy import ColumnElement, String, func, select, type_coerce
from sqlalchemy.orm import Session

SETTINGS_KEPT = 4  # matrices in memory at once; the least recently used one goes
ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Vectors:
    """All vectors of one setting: n record ids as the table writes them, rows (n, dimensions) of length 1.

    `stamp` tells whether the table has changed since.
    """

    stamp: tuple[Any, ...]
    record_ids: list[str]
    matrix: np.ndarray


_kept: OrderedDict[UUID, Vectors] = OrderedDict()
_loading = threading.Lock()


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays, and is similar to nothing."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


def load(db: Session, setting_id: UUID, dimensions: int) -> Vectors:
    """Runs in a thread: reading and decoding 20k vectors takes seconds that the event loop does not have."""
    with _loading:
        of_setting = Vector.vector_settings_id == setting_id
        stamp = tuple(db.execute(select(func.count(), func.max(Vector.updated_at)).where(of_setting)).one())
        kept = _kept.get(setting_id)
        if kept is None or kept.stamp != stamp:
            kept = _read(db, of_setting, stamp, dimensions)
        _kept[setting_id] = kept
        _kept.move_to_end(setting_id)
        while len(_kept) > SETTINGS_KEPT:
            _kept.popitem(last=False)
    return kept


def _read(db: Session, of_setting: ColumnElement[bool], stamp: tuple[Any, ...], dimensions: int) -> Vectors:
    # As text, a row at a time: numpy reads numbers twice as fast as json does, and without a Python object for each.
    columns = type_coerce(Vector.record_id, String), type_coerce(Vector.value, String)
    record_ids, rows = list[str](), [np.empty((0, dimensions), dtype=np.float32)]
    for part in db.execute(select(*columns).where(of_setting)).partitions(ROWS_AT_ONCE):
        record_ids += [record_id for record_id, _ in part]
        rows.append(unit(np.array([np.fromstring(text[1:-1], sep=",", dtype=np.float32) for _, text in part])))
    return Vectors(stamp, record_ids, np.concatenate(rows))


def nearest(
    setting_id: UUID,
    dimensions: int,
    value: Sequence[float],
    conditions: Sequence[ColumnElement[bool]],
    skipped: UUID | None,
    count: int,
) -> list[tuple[UUID, float]]:
    """The records whose vectors lie closest by cosine, scored (1 + cosine) / 2 as Elasticsearch does.

    Only records that meet all conditions, where there are any; ties keep the order of the table. For a thread.
    """
    if len(value) != dimensions:
        raise UnprocessableEntityError(f"expected a vector of {dimensions} numbers, found {len(value)}")
    with Session(sync_engine) as db:
        vectors = load(db, setting_id, dimensions)
        scores = (1 + vectors.matrix @ unit(np.asarray(value, dtype=np.float32))) / 2
        allowed = set(vectors.record_ids)
        if conditions:
            allowed &= set(db.scalars(select(type_coerce(Record.id, String)).where(*conditions)))
    if skipped is not None:
        allowed.discard(skipped.hex)
    best = (row for row in np.argsort(-scores, kind="stable") if vectors.record_ids[row] in allowed)
    return [(UUID(vectors.record_ids[row]), float(scores[row])) for row in islice(best, count)]
