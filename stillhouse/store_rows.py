"""Records as the rows of a store, and back."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from stillhouse.records import Item, Vote

VOTE_FIELDS = tuple(each.name for each in fields(Vote))


def parts_of(item: Item) -> dict[str, Any]:
    """What most items do not have, and only what this one has."""
    parts = {"pair": item.pair, "tokens": item.tokens, "focus": item.focus, "image": item.image}
    return {name: part for name, part in parts.items() if part}


def item_of(item_id: str, text: str, metadata: str, parts: str) -> Item:
    """Most items have neither metadata nor parts, and are many."""
    known = json.loads(metadata) if metadata != "{}" else {}
    return Item(item_id, text, known, **(_given_parts(json.loads(parts)) if parts != "{}" else {}))


def _given_parts(parts: dict[str, Any]) -> dict[str, Any]:
    if "tokens" in parts:
        parts["tokens"] = tuple((start, end) for start, end in parts["tokens"])
    if "focus" in parts:
        parts["focus"] = tuple(parts["focus"])
    return parts


def vote_json(vote: Vote) -> str:
    """`asdict` would copy every number of it, at several times the price; no field holds another record."""
    return json.dumps({name: getattr(vote, name) for name in VOTE_FIELDS}, default=dict)


def vote_of(record: str) -> Vote:
    said = json.loads(record)
    listed = ("probs", "demonstrations", "candidates")
    return Vote(**{**said, **{name: tuple(said[name]) for name in listed if name in said}})


def first(rows: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    return (row[0] for row in rows)
