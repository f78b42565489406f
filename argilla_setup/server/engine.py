"""A search engine for argilla-server without an index: every search is SQL on the server's own SQLite tables.

Nothing is copied, so nothing drifts and nothing is re-indexed: every hook that would write to an index does nothing.
"""

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from argilla_server.database import AsyncSessionLocal, sync_engine
from argilla_server.enums import MetadataPropertyType, SimilarityOrder
from argilla_server.models import Dataset, MetadataProperty, Record, Response, User, Vector, VectorSettings
from argilla_server.search_engine.base import (
    Filter,
    FloatMetadataMetrics,
    IntegerMetadataMetrics,
    MetadataMetrics,
    Order,
    SearchEngine,
    SearchResponseItem,
    SearchResponses,
    TermsMetrics,
    TextQuery,
)
from sqlalchemy import func, select, true
from sqlalchemy.orm import Session
from statements import each, order_column, text_condition, where

VECTOR_SETTINGS_KEPT = 4  # matrices in memory at once; the least recently used one goes


@dataclass(frozen=True)
class Vectors:
    """All vectors of one setting as rows of length 1; `stamp` tells whether the table has changed since."""

    stamp: tuple[Any, ...]
    record_ids: list[UUID]
    matrix: np.ndarray


_kept: OrderedDict[UUID, Vectors] = OrderedDict()
_loading = threading.Lock()


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays, and is similar to nothing."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


def load_vectors(setting_id: UUID) -> Vectors:
    """Runs in a thread: reading and decoding 20k vectors takes seconds that the event loop does not have."""
    with _loading, Session(sync_engine) as db:
        of_setting = Vector.vector_settings_id == setting_id
        stamp = tuple(db.execute(select(func.count(), func.max(Vector.updated_at)).where(of_setting)).one())
        kept = _kept.get(setting_id)
        if kept is None or kept.stamp != stamp:
            rows = db.execute(select(Vector.record_id, Vector.value).where(of_setting)).all()
            matrix = unit(np.asarray([value for _, value in rows], dtype=np.float32))
            kept = Vectors(stamp, [record_id for record_id, _ in rows], matrix)
        _kept[setting_id] = kept
        _kept.move_to_end(setting_id)
        while len(_kept) > VECTOR_SETTINGS_KEPT:
            _kept.popitem(last=False)
    return kept


def nearest(
    setting_id: UUID, value: list[float], allowed: set[UUID] | None, skipped: UUID | None, count: int
) -> list[tuple[UUID, float]]:
    """The records whose vectors lie closest by cosine, scored (1 + cosine) / 2 as Elasticsearch does."""
    vectors = load_vectors(setting_id)
    if not vectors.record_ids:
        return []
    scores = (1 + vectors.matrix @ unit(np.asarray(value, dtype=np.float32))) / 2
    found: list[tuple[UUID, float]] = []
    for row in np.argsort(-scores, kind="stable"):
        record_id = vectors.record_ids[row]
        if record_id != skipped and (allowed is None or record_id in allowed):
            found.append((record_id, float(scores[row])))
            if len(found) == count:
                break
    return found


async def counts(column: Any, *conditions: Any) -> dict[str, int]:
    async with AsyncSessionLocal() as db:
        rows = (await db.execute(select(column, func.count()).where(*conditions).group_by(column))).all()
    by_status = {str(getattr(status, "value", status)): count for status, count in rows}
    return {"total": sum(by_status.values()), **by_status}


@SearchEngine.register("database")
class DatabaseSearchEngine(SearchEngine):
    @classmethod
    async def new_instance(cls) -> "DatabaseSearchEngine":
        return cls()

    async def close(self) -> None: ...

    async def ping(self) -> bool:
        return True

    async def info(self) -> dict[str, str]:
        return {"engine": "database"}

    async def create_index(self, dataset: Dataset) -> None: ...

    async def delete_index(self, dataset: Dataset) -> None: ...

    async def configure_metadata_property(self, dataset: Dataset, metadata_property: MetadataProperty) -> None: ...

    async def index_records(self, dataset: Dataset, records: Any) -> None: ...

    async def partial_record_update(self, record: Record, **update: Any) -> None: ...

    async def delete_records(self, dataset: Dataset, records: Any) -> None: ...

    async def update_record_response(self, response: Response) -> None: ...

    async def delete_record_response(self, response: Response) -> None: ...

    async def update_record_suggestion(self, suggestion: Any) -> None: ...

    async def delete_record_suggestion(self, suggestion: Any) -> None: ...

    async def get_dataset_progress(self, dataset: Dataset) -> dict[str, int]:
        if dataset.is_draft:
            return {}
        return await counts(Record.status, Record.dataset_id == dataset.id)

    async def get_dataset_user_progress(self, dataset: Dataset, user: User) -> dict[str, int]:
        if dataset.is_draft:
            return {}
        of_dataset = Response.record_id.in_(select(Record.id).where(Record.dataset_id == dataset.id))
        return await counts(Response.status, Response.user_id == user.id, of_dataset)

    async def search(
        self,
        dataset: Dataset,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,  # noqa: A002 — the server passes it by this name
        sort: list[Order] | None = None,
        offset: int = 0,
        limit: int = 100,
        user_id: UUID | None = None,  # noqa: ARG002 — Elasticsearch shuffles by it; people here ask for an order
    ) -> SearchResponses:
        conditions = [Record.dataset_id == dataset.id, *text_condition(query)]
        if filter:
            conditions.append(where(filter))
        orders = []
        for order in sort or []:
            column = order_column(order.scope)
            descending = str(getattr(order.order, "value", order.order)) == "desc"
            orders.append((column.desc() if descending else column.asc()).nulls_last())
        orders += [Record.inserted_at.asc(), Record.id.asc()]
        page = select(Record.id).where(*conditions).order_by(*orders).offset(offset).limit(limit)
        async with AsyncSessionLocal() as db:
            total = await db.scalar(select(func.count()).select_from(Record).where(*conditions))
            ids = (await db.scalars(page)).all()
        items = [SearchResponseItem(record_id=record_id, score=1.0) for record_id in ids]
        return SearchResponses(items=items, total=total or 0)

    async def compute_metrics_for(self, metadata_property: MetadataProperty) -> MetadataMetrics:
        value = each(Record.metadata_, metadata_property.name)
        of_dataset = Record.dataset_id == metadata_property.dataset_id
        found = select(value.c.value).select_from(Record).join(value, true()).where(of_dataset)
        async with AsyncSessionLocal() as db:
            if metadata_property.type == MetadataPropertyType.terms:
                count = func.count().label("count")
                grouped = found.add_columns(count).group_by(value.c.value).order_by(count.desc(), value.c.value)
                rows = (await db.execute(grouped)).all()
                terms = [TermsMetrics.TermCount(term=str(term), count=times) for term, times in rows]
                return TermsMetrics(total=sum(term.count for term in terms), values=terms)
            extremes = found.with_only_columns(func.min(value.c.value), func.max(value.c.value))
            lowest, highest = (await db.execute(extremes)).one()
        if metadata_property.type == MetadataPropertyType.integer:
            return IntegerMetadataMetrics(min=lowest, max=highest)
        return FloatMetadataMetrics(min=lowest, max=highest)

    async def similarity_search(
        self,
        dataset: Dataset,
        vector_settings: VectorSettings,
        value: list[float] | None = None,
        record: Record | None = None,
        query: TextQuery | str | None = None,
        filter: Filter | None = None,  # noqa: A002 — the server passes it by this name
        max_results: int = 100,
        order: SimilarityOrder = SimilarityOrder.most_similar,
        threshold: float | None = None,
    ) -> SearchResponses:
        if record is not None:
            value = record.vector_value_by_vector_settings(vector_settings)
        if not value:
            raise ValueError("a similarity search needs a vector or a record that has one")
        if order == SimilarityOrder.least_similar:
            value = [-number for number in value]
        allowed = None
        if query or filter:
            conditions = [Record.dataset_id == dataset.id, *text_condition(query), *([where(filter)] if filter else [])]
            async with AsyncSessionLocal() as db:
                allowed = set((await db.scalars(select(Record.id).where(*conditions))).all())
        skipped = record.id if record is not None else None
        found = await asyncio.to_thread(nearest, vector_settings.id, value, allowed, skipped, max_results)
        items = [
            SearchResponseItem(record_id=record_id, score=score)
            for record_id, score in found
            if threshold is None or score >= threshold
        ]
        return SearchResponses(items=items, total=len(items))
