"""What a request asks about: texts as JSON, read into items with the same checks as the rows of a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serving.items import ItemTable
from stillhouse.records import Item
from stillhouse.settings import Data
from stillhouse.task import Task


class Asked(BaseModel):
    """One text, and what belongs to it where the task has it: a second text, tokens, the predicate, a picture."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(description="comes back with the answer; without it, the number of the text")] = ""
    text: Annotated[str | None, Field(description="without it, the tokens joined by blanks")] = None
    pair: Annotated[str | None, Field(description="the second text of a task about two")] = None
    tokens: Annotated[list[str] | None, Field(description="of tasks that tag given tokens")] = None
    focus: Annotated[int | None, Field(description="the position of the token asked about, from 0")] = None
    image: Annotated[str | None, Field(description="the address of a picture, for a teacher that sees")] = None


class Question(BaseModel):
    """One of the three: a text, texts, or items."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = None
    texts: Annotated[list[str] | None, Field(min_length=1)] = None
    items: Annotated[list[Asked] | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Question":
        given = [name for name in ("text", "texts", "items") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of text, texts and items, found {' and '.join(given) or 'none'}")
        return self

    @property
    def asked(self) -> list[Asked]:
        if self.items is not None:
            return self.items
        texts = [self.text] if self.texts is None else self.texts
        return [Asked(text=text) for text in texts]


def asked_items(asked: Sequence[Asked], task: Task) -> tuple[list[Item], list[str]]:
    """The items, and everything that is wrong with them, each by its position."""
    table = _table(task)
    items, problems = [], []
    for number, one in enumerate(asked):
        row = one.model_dump(exclude_none=True)
        row["id"] = one.id or str(number)
        item, wrong = (table if one.text is not None else _of_tokens(table)).item(row)
        wrong += [
            f"the task has no {name}" for name in ("pair", "tokens", "focus", "image") if _foreign(one, name, task)
        ]
        problems += [f"item {number}: {problem}" for problem in wrong]
        if item is not None:
            items.append(item)
    return items, problems


def _table(task: Task) -> ItemTable:
    """Columns are called what they are, whatever the task's files call them."""
    of_task = task.data
    parts = {name: name if getattr(of_task, name) else None for name in ("pair", "tokens", "focus", "image")}
    data = Data.model_validate({"pool": "a request", "max_chars": of_task.max_chars, **parts})
    return ItemTable(Path("a request"), data, (), made_ids=False, made_texts=False, convert=None)


def _of_tokens(table: ItemTable) -> ItemTable:
    if table.data.tokens is None:
        return table
    return ItemTable(table.path, table.data, (), made_ids=False, made_texts=True, convert=None)


def _foreign(one: Asked, name: str, task: Task) -> bool:
    return getattr(one, name) is not None and getattr(task.data, name) is None
