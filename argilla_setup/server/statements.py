"""Turns the searches of Argilla's API and UI into SQL over the server's own SQLite tables: filters, orders, words."""

import datetime as dt
import html
import json
import re
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from argilla_server.models import Question, Record, Response, Suggestion
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    FilterScope,
    MetadataFilterScope,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
    TextQuery,
)
from sqlalchemy import ColumnElement, Select, String, and_, cast, exists, func, not_, or_, select, true
from sqlalchemy.sql.selectable import TableValuedAlias

MATCHES = "stillhouse_matches"  # the SQL name of `matches` below; launch.py registers it on every connection
_TOKEN = re.compile(r'(-?)"([^"]+)"|(\S+)')


def each(column: Any, *keys: str) -> TableValuedAlias:
    """One row a value of a JSON scalar or list, and none when it is missing."""
    path = "$" + "".join("." + json.dumps(key) for key in keys)
    return func.json_each(column, path).table_valued("value")


def holds(column: ColumnElement[Any], test: Filter) -> ColumnElement[bool]:
    """The condition of a terms or range filter on one column."""
    if isinstance(test, TermsFilter):
        return cast(column, String).in_([str(value) for value in test.values])
    bounds = [column.is_not(None)]
    if test.ge is not None:
        bounds.append(column >= test.ge)
    if test.le is not None:
        bounds.append(column <= test.le)
    return and_(*bounds)


def where(test: Filter) -> ColumnElement[bool]:
    """The condition on `records` that stands for one filter of the API."""
    if isinstance(test, AndFilter):
        return and_(true(), *[where(part) for part in test.filters or []])
    scope = test.scope
    if isinstance(scope, RecordFilterScope):
        return _record_condition(scope, test)
    if isinstance(scope, MetadataFilterScope):
        value = each(Record.metadata_, scope.metadata_property)
        return exists(select(1).select_from(value).where(holds(value.c.value, test)))
    if isinstance(scope, SuggestionFilterScope):
        statement, column = _suggestions(scope)
        return exists(statement.with_only_columns(column).where(holds(column, test)))
    if scope.question:
        statement, column = _response_values(scope)
        return exists(statement.with_only_columns(column).where(holds(column, test)))
    if scope.property == "status" and isinstance(test, TermsFilter):
        return _response_status(scope, {str(getattr(value, "value", value)) for value in test.values})
    raise ValueError(f"unsupported filter: {test}")


def _record_condition(scope: RecordFilterScope, test: Filter) -> ColumnElement[bool]:
    name = str(getattr(scope.property, "value", scope.property))
    column = getattr(Record, name)
    if name == "id" and isinstance(test, TermsFilter):
        return column.in_([uuid.UUID(str(value)) for value in test.values])
    if name in {"inserted_at", "updated_at"} and isinstance(test, RangeFilter):
        test = RangeFilter(scope, _naive_utc(test.ge), _naive_utc(test.le))
    return holds(column, test)


def _naive_utc(value: Any) -> Any:
    """Timestamps are stored without a zone, in UTC."""
    if not isinstance(value, str):
        return value
    moment = dt.datetime.fromisoformat(value)
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _suggestions(scope: SuggestionFilterScope) -> tuple[Select[Any], ColumnElement[Any]]:
    name = scope.property.rsplit(".", maxsplit=1)[-1]
    column = getattr(Suggestion, name)
    joined = (
        select(1)
        .select_from(Suggestion)
        .join(Question, and_(Question.id == Suggestion.question_id, Question.name == scope.question))
    )
    if name in {"value", "score"}:  # JSON columns: a scalar, or a list for questions with several labels
        value = each(column)
        joined, column = joined.join(value, true()), value.c.value
    return joined.where(Suggestion.record_id == Record.id).correlate(Record), column


def _response_values(scope: ResponseFilterScope) -> tuple[Select[Any], ColumnElement[Any]]:
    value = each(Response.values, str(scope.question), "value")
    joined = select(1).select_from(Response).join(value, true())
    return joined.where(*_responses_of(scope)).correlate(Record), value.c.value


def _responses_of(scope: ResponseFilterScope) -> list[ColumnElement[bool]]:
    conditions = [Response.record_id == Record.id]
    if scope.user is not None:
        conditions.append(Response.user_id == scope.user.id)
    return conditions


def _response_status(scope: ResponseFilterScope, wanted: set[str]) -> ColumnElement[bool]:
    """`pending` means: no response at all (of that person, where one is named)."""
    responses = select(1).select_from(Response).where(*_responses_of(scope)).correlate(Record)
    conditions = []
    if "pending" in wanted:
        conditions.append(not_(exists(responses)))
    if stated := wanted - {"pending"}:
        conditions.append(exists(responses.where(Response.status.in_(sorted(stated)))))
    return or_(*conditions)


def order_column(scope: FilterScope) -> Any:
    """What to sort by: a column, or a scalar subquery where a record has several values."""
    if isinstance(scope, RecordFilterScope):
        return getattr(Record, str(getattr(scope.property, "value", scope.property)))
    if isinstance(scope, MetadataFilterScope):
        return func.json_extract(Record.metadata_, "$." + json.dumps(scope.metadata_property))
    if isinstance(scope, SuggestionFilterScope):
        statement, column = _suggestions(scope)
        return statement.with_only_columns(func.max(column)).scalar_subquery()
    if scope.question:
        statement, column = _response_values(scope)
        first = func.min(column)  # labels sort by their first, ratings by their average
        chosen = func.iif(func.typeof(first) == "text", first, func.avg(column))
        return statement.with_only_columns(chosen).scalar_subquery()
    raise ValueError(f"unsupported sort: {scope}")


def text_condition(query: TextQuery | str | None) -> list[ColumnElement[bool]]:
    if not query:
        return []
    query = query if isinstance(query, TextQuery) else TextQuery(q=query)
    matched = getattr(func, MATCHES)(cast(Record.fields, String), query.field or "", query.q)
    return [matched == 1]


def matches(fields_json: str, field: str, query: str) -> int:
    """1 when the text holds every word of the query; `-word` excludes, quotes keep words together, `|` means or.

    A word matches anywhere and in any case, which is more than Elasticsearch finds and never less. SQLite's own
    `lower` knows ASCII only, hence a function in Python.
    """
    fields = json.loads(fields_json) or {}
    # Texts are sent as HTML, in which the page shows them; people look for what they see.
    text = html.unescape("\n".join(_strings(fields.get(field) if field else fields))).casefold()
    return int(any(_all_hold(text, group) for group in _parsed(query)))


def _all_hold(text: str, group: Sequence[tuple[bool, str]]) -> bool:
    return all((word in text) == wanted for wanted, word in group)


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return [value] if isinstance(value, str) else []


@lru_cache(maxsize=64)
def _parsed(query: str) -> tuple[tuple[tuple[bool, str], ...], ...]:
    """Groups of (wanted, word); one group must hold. A query of signs alone is looked for as it stands."""
    groups: list[list[tuple[bool, str]]] = [[]]
    for minus, phrase, word in _TOKEN.findall(query):
        if word == "|":
            groups.append([])
        elif phrase:
            groups[-1].append((not minus, phrase.casefold()))
        else:
            wanted = not (word.startswith("-") and len(word) > 1)
            bare = word if wanted else word[1:]
            groups[-1].append((wanted, (bare.strip('+*()"') or bare).casefold()))
    filled = tuple(tuple(group) for group in groups if group)
    return filled or (((True, query.casefold()),),)
