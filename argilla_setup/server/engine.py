"""A search engine for argilla-server without an index: every search is SQL on the server's own SQLite tables.

Nothing is copied, so nothing drifts and nothing is re-indexed: the hooks that would write to an index only tell the
reservations who has answered what.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from argilla_server.database import AsyncSessionLocal
from argilla_server.enums import MetadataPropertyType, ResponseStatus, SimilarityOrder
from argilla_server.models import Dataset, MetadataProperty, Record, Response, User, VectorSettings
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
from reservations import Reservations
from sqlalchemy import ColumnElement, UnaryExpression, case, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from statements import each, orders_of, text_condition, where, whose_queue
from vectors import nearest

PAGE_AT_MOST = 100  # of the page of Argilla; whoever asks for more is a program

_reservations = Reservations()
_one_at_a_time: defaultdict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)  # a dataset's queue is served to one by one


async def counts(column: Any, *conditions: Any) -> dict[str, int]:
    async with AsyncSessionLocal() as db:
        rows = (await db.execute(select(column, func.count()).where(*conditions).group_by(column))).all()
    by_status = {str(getattr(status, "value", status)): count for status, count in rows}
    return {"total": sum(by_status.values()), **by_status}


async def page_of(
    db: AsyncSession,
    conditions: Sequence[ColumnElement[bool]],
    orders: Sequence[UnaryExpression[Any]],
    offset: int,
    limit: int,
) -> tuple[list[UUID], int]:
    """The ids of one page, and how many records there are in all."""
    # One pass for both: the words of a text search are looked for in Python, record by record.
    statement = select(Record.id, func.count().over()).where(*conditions).order_by(*orders).offset(offset).limit(limit)
    rows = (await db.execute(statement)).all()
    if rows or offset == 0:
        return [record_id for record_id, _ in rows], rows[0][1] if rows else 0
    return [], await db.scalar(select(func.count()).select_from(Record).where(*conditions)) or 0


async def held_back(db: AsyncSession, dataset: Dataset, user_id: UUID) -> list[UUID]:
    """Records for which the people who hold them and those who have answered are enough."""
    people = _reservations.by_others(dataset.id, user_id)
    wanted = dataset.distribution["min_submitted"]
    if wanted > 1 and people:
        submitted = (Response.record_id.in_(list(people)), Response.status == ResponseStatus.submitted)
        for record_id, who in (await db.execute(select(Response.record_id, Response.user_id).where(*submitted))).all():
            people[record_id].add(who)  # a set: who has just answered may still hold it
    return [record_id for record_id, who in people.items() if len(who) >= wanted]


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

    async def partial_record_update(self, record: Record, **_update: Any) -> None:
        if record.is_completed():
            _reservations.closed(record.dataset_id, record.id)

    async def delete_records(self, dataset: Dataset, records: Any) -> None: ...

    async def update_record_response(self, response: Response) -> None:
        _reservations.answered(response.record.dataset_id, response.user_id, response.record_id)

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
        of_dataset = (Record.id == Response.record_id, Record.dataset_id == dataset.id)
        return await counts(Response.status, Response.user_id == user.id, *of_dataset)

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
        """Records in the order asked for. A person's queue leaves out what others are about to answer."""
        conditions = [Record.dataset_id == dataset.id, *text_condition(query, dataset)]
        if filter:
            conditions.append(where(filter))
        orders = [*orders_of(sort or []), Record.inserted_at.asc(), Record.id.asc()]
        person = whose_queue(filter) if limit <= PAGE_AT_MOST else None
        async with AsyncSessionLocal() as db:
            if person is None:
                ids, total = await page_of(db, conditions, orders, offset, limit)
            else:
                # Two people who ask at the same moment must not get the same records.
                async with _one_at_a_time[dataset.id]:
                    queue = repr((query, filter, sort))
                    barred = await held_back(db, dataset, person.id)
                    mine = _reservations.own(dataset.id, person.id, queue)
                    if barred:
                        conditions.append(Record.id.not_in(barred))
                    if mine:
                        # First what this person has before them already: the page asks for what follows that by number.
                        places = {record_id: place for place, record_id in enumerate(mine)}
                        orders.insert(0, case(places, value=Record.id, else_=len(places)).asc())
                    ids, total = await page_of(db, conditions, orders, offset, limit)
                    _reservations.hold(dataset.id, person.id, queue, ids, barred)
        items = [SearchResponseItem(record_id=record_id, score=1.0) for record_id in ids]
        return SearchResponses(items=items, total=total)

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
        conditions = [*text_condition(query, dataset), *([where(filter)] if filter else [])]
        if conditions:
            conditions.append(Record.dataset_id == dataset.id)
        person, barred = whose_queue(filter), list[UUID]()
        if person is not None:
            async with AsyncSessionLocal() as db:
                barred = await held_back(db, dataset, person.id)
            conditions.append(Record.id.not_in(barred))
        skipped = record.id if record is not None else None
        found = await asyncio.to_thread(
            nearest, vector_settings.id, vector_settings.dimensions, value, conditions, skipped, max_results
        )
        items = [
            SearchResponseItem(record_id=record_id, score=score)
            for record_id, score in found
            if threshold is None or score >= threshold
        ]
        if person is not None:
            served = [item.record_id for item in items]
            _reservations.hold(dataset.id, person.id, repr((value, query, filter)), served, barred)
        return SearchResponses(items=items, total=len(items))
