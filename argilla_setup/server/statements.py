"""Turns the searches of Argilla's API and UI into SQL over the server's own SQLite tables: filters, orders, words."""

import datetime as dt
import html
import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Dataset, Question, Record, Response, Suggestion, User
from argilla_server.search_engine.base import (
    AndFilter,
    Filter,
    FilterScope,
    MetadataFilterScope,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
    TextQuery,
)
from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    UnaryExpression,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.sql.selectable import TableValuedAlias

MATCHES = "stillhouse_matches"  # the SQL name of `matches` below; launch.py registers it on every connection
_TOKEN = re.compile(r'(-?)"([^"]+)"|(\S+)')


def each(column: Any, *keys: str) -> TableValuedAlias:
    """One row a value of a JSON scalar or list, and none when it is missing."""
    path = "$" + "".join("." + json.dumps(key) for key in keys)
    return func.json_each(column, path).table_valued("value")


def holds(column: ColumnElement[Any], test: Filter) -> ColumnElement[bool]:
    """The condition of a terms or range filter on one column. Terms arrive as text, also those that name numbers."""
    if isinstance(test, TermsFilter):
        terms = [str(getattr(value, "value", value)) for value in test.values]
        numbers = [number for number in map(_number, terms) if number is not None]
        return or_(cast(column, String).in_(terms), column.in_(numbers) if numbers else false())
    bounds = ((operator.ge, test.ge), (operator.le, test.le))
    return and_(*[_bounded(column, compare, bound) for compare, bound in bounds if bound is not None])


def _bounded(column: ColumnElement[Any], compare: Callable[..., Any], bound: Any) -> ColumnElement[bool]:
    """Numbers are compared with numbers and text with text: to SQLite any text is above any number."""
    is_text, number = func.typeof(column) == "text", _number(bound)
    as_number = and_(not_(is_text), compare(column, number)) if number is not None else false()
    return or_(as_number, and_(is_text, compare(column, bound))) if isinstance(bound, str) else as_number


def _number(term: Any) -> float | None:
    try:
        number = float(term)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


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
        return _response_status(scope, _statuses(test))
    raise UnprocessableEntityError("a filter of responses needs a question, or statuses as its values")


def whose_queue(test: Filter | None) -> User | None:
    """The person whose queue a search is: it asks for what this person has not answered yet."""
    parts = test.filters or [] if isinstance(test, AndFilter) else [test]
    people = (
        part.scope.user
        for part in parts
        if isinstance(part, TermsFilter) and isinstance(part.scope, ResponseFilterScope)
        if part.scope.question is None and _statuses(part) == {"pending"}
    )
    return next(people, None)


def _statuses(test: TermsFilter) -> set[str]:
    return {str(getattr(value, "value", value)) for value in test.values}


def _record_condition(scope: RecordFilterScope, test: Filter) -> ColumnElement[bool]:
    name = str(getattr(scope.property, "value", scope.property))
    column = getattr(Record, name)
    if name in {"inserted_at", "updated_at"} and isinstance(test, RangeFilter):
        bounds = ((operator.ge, test.ge), (operator.le, test.le))
        return and_(*[compare(column, _moment(bound)) for compare, bound in bounds if bound is not None])
    if name == "id" and isinstance(test, TermsFilter):
        return type_coerce(column, String).in_([str(value).replace("-", "").lower() for value in test.values])
    return holds(type_coerce(column, String), test)


def _moment(value: Any) -> dt.datetime:
    """A moment as ISO 8601 or as milliseconds since 1970, without its zone: timestamps are stored so, in UTC."""
    try:
        number = _number(value)
        if number is not None:
            return dt.datetime.fromtimestamp(number / 1000, dt.UTC).replace(tzinfo=None)
        moment = dt.datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError) as error:
        raise UnprocessableEntityError(f"expected a moment such as 2026-01-31T12:00:00Z, found {value!r}") from error
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _suggestions(scope: SuggestionFilterScope) -> tuple[Select[Any], ColumnElement[Any]]:
    name = scope.property.rsplit(".", maxsplit=1)[-1]
    name = "value" if name == "None" else name  # the server writes a missing one so
    column = getattr(Suggestion, name)
    joined = (
        select(1)
        .select_from(Suggestion)
        .join(Question, and_(Question.id == Suggestion.question_id, Question.name == scope.question))
    )
    if name in {"value", "score"}:  # JSON columns: a scalar, or a list for questions with several labels
        value = each(column)
        joined, column = joined.join(value, true()), value.c.value
    else:
        column = type_coerce(column, String)
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


def orders_of(sort: Sequence[Order]) -> list[UnaryExpression[Any]]:
    """What to sort by; records without the value come last, rising or falling."""
    orders = []
    for order in sort:
        falling = str(getattr(order.order, "value", order.order)) == "desc"
        column = _order_column(order.scope, func.max if falling else func.min)
        orders.append((column.desc() if falling else column.asc()).nulls_last())
    return orders


def _order_column(scope: FilterScope, chosen: Callable[..., Any]) -> Any:
    """A column, or a scalar subquery where a record has several values: the greatest of them falling, the least rising."""
    if isinstance(scope, RecordFilterScope):
        return getattr(Record, str(getattr(scope.property, "value", scope.property)))
    if isinstance(scope, MetadataFilterScope):
        path = "$." + json.dumps(scope.metadata_property)
        value = each(Record.metadata_, scope.metadata_property)
        of_list = select(chosen(value.c.value)).select_from(value).correlate(Record).scalar_subquery()
        is_list = func.json_type(Record.metadata_, path) == "array"
        return case((is_list, of_list), else_=func.json_extract(Record.metadata_, path))
    if isinstance(scope, SuggestionFilterScope):
        statement, column = _suggestions(scope)
        return statement.with_only_columns(chosen(column)).scalar_subquery()
    if scope.question:
        statement, column = _response_values(scope)
        first = func.min(column)  # labels sort by their first, ratings by their average
        averaged = func.iif(func.typeof(first) == "text", first, func.avg(column))
        return statement.with_only_columns(averaged).scalar_subquery()
    statement = select(chosen(type_coerce(Response.status, String))).where(*_responses_of(scope))
    return statement.correlate(Record).scalar_subquery()


def text_condition(query: TextQuery | str | None, dataset: Dataset) -> list[ColumnElement[bool]]:
    """Whether a text holds what is looked for: in the field that the query names, else in all that are not pictures."""
    if not query:
        return []
    query = query if isinstance(query, TextQuery) else TextQuery(q=query)
    names = [query.field] if query.field else [field.name for field in dataset.fields if not field.is_image]
    matched = getattr(func, MATCHES)(cast(Record.fields, String), json.dumps(names), query.q)
    return [matched == 1]


def matches(fields_json: str, names_json: str, query: str) -> int:
    """1 when the text holds every word of the query; `-word` excludes, quotes keep words together, `|` means or.

    A word matches anywhere and in any case: other than in Elasticsearch, `port` finds a report and `-port` leaves it out.
    SQLite's own `lower` knows ASCII only, hence a function in Python.
    """
    fields = json.loads(fields_json) or {}
    # Texts are sent as HTML, in which the page shows them; people look for what they see.
    shown = "\n".join(text for name in _names(names_json) for text in _strings(fields.get(name)))
    text = html.unescape(shown).casefold()
    return int(any(_all_hold(text, group) for group in _parsed(query)))


@lru_cache(maxsize=64)
def _names(names_json: str) -> tuple[str, ...]:
    return tuple(json.loads(names_json))


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
