"""What a file says of its items (gold, or what rehearsed experts know) as values of the task's kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinds.kind import Kind
from serving.cells import json_of, shown
from serving.items import ItemTable, open_items
from serving.tables import Findings, Row, name_of
from stillhouse.records import CharSpan, Item, Value
from stillhouse.task import KindName, Task

OF_LABELS = ("single_label", "multi_label")  # their values can be checked without the text
PREDICATE = "V"  # the tag that PropBank gives the predicate itself
WANTED = {
    "single_label": "one name",
    "multi_label": "a list of names",
    "spans": "a list of spans or of tags",
    "roles": "a list of spans or of tags",
    "tokens": "a list of tags",
    "fields": "an object",
}


def read_values(
    path: Path, kind: Kind, items: Sequence[Item], label_column: str, *, home: Path | None = None
) -> dict[str, Value]:
    """The values of a column by item id, each checked and written as the kind has it (see `value_of`).

    A row is matched to `items` by its id; where ids are made, by what the id is made of. Rows of other items are
    checked too where the kind's values mean something without the text, or the file itself has the item, and else left
    out. Raises InputError, or one TaskError with every problem of every row, and each id that comes twice.
    """
    data = kind.task.data
    table = open_items(path, data, home=home or Path(), also=(label_column,), whole_items=False)
    known = {item.id: item for item in items}
    findings, found = Findings(), dict[str, Value]()
    place_of_id: dict[str, str] = {}
    for place, row, failed in table.rows():
        item_id, item, problems = ("", None, [failed]) if failed else _item(table, row, known, kind.task)
        value = None
        if item is not None:
            value, wrong = value_of(kind, item, row.get(label_column))
            problems = [*wrong, *problems]
        for problem in problems:
            findings.add(f"{place}: {problem}")
        if not item_id or (table.made_ids and value is not None and found.get(item_id) == value):
            continue  # the same text with the same value is no contradiction
        if item_id in place_of_id:
            what = "its text" if table.made_ids else f"the id {item_id!r}"
            findings.add(f"{place}: {what} stands in {place_of_id[item_id]} too")
            continue
        place_of_id[item_id] = place
        if value is not None:
            found[item_id] = value
    findings.raise_any(path)
    return found


def value_of(kind: Kind, item: Item, cell: object) -> tuple[Value | None, list[str]]:
    """A cell as the item's value, or all that is wrong with it.

    single_label: a name. multi_label: a list of names. spans and roles: a list of {start, end, label}, or BIO tags, one
    for each given token (of roles, the predicate's own V is left out). tokens: a list of tags. fields: an object. In
    CSV lists and objects are JSON.
    """
    if name_of(cell) == "":
        return None, ["no label"]
    try:
        said = _said(kind.task, item, cell)
    except ValueError as error:
        return None, [str(error)]
    if problems := kind.problems(item, said):
        return None, problems
    return kind.normal(item, said), []


def spans_of_tags(tags: Sequence[str], tokens: Sequence[CharSpan]) -> list[dict[str, Any]]:
    """BIO tags as spans in characters. An I- that continues nothing begins a span, as in IOB1 and in conlleval.

    Raises ValueError for another number of tags than tokens, and for a tag that is not O, B-NAME or I-NAME.
    """
    if len(tags) != len(tokens):
        raise ValueError(f"expected {len(tokens)} tags, one for each token, found {len(tags)}")
    spans: list[dict[str, Any]] = []
    inside = ""
    for number, (tag, (start, end)) in enumerate(zip(tags, tokens, strict=True)):
        mark, _, label = tag.partition("-")
        if tag != "O" and (mark not in {"B", "I"} or not label):
            raise ValueError(f"expected O, B-NAME or I-NAME, found {tag!r} as tag {number}")
        if mark == "I" and label == inside:
            spans[-1]["end"] = end
        elif label:
            spans.append({"start": start, "end": end, "label": label})
        inside = label
    return spans


def names_in(kind: KindName, cell: object) -> set[str]:
    """The labels (or fields) that a cell mentions, whether or not a task has them.

    Raises ValueError, with what the cell holds, where it has another form than the kind's.
    """
    if name_of(cell) == "":
        return set()
    said = _spelled(cell) if isinstance(cell, str) and kind != "single_label" else cell
    one = not isinstance(said, list | dict)
    if one != (kind == "single_label") or isinstance(said, dict) != (kind == "fields"):
        raise ValueError(type(said).__name__)
    if one:
        return {name_of(said)}
    assert isinstance(said, list | dict)
    names = {name_of(part["label"]) for part in said if isinstance(part, dict) and "label" in part}
    plain = [name_of(part) for part in said if not isinstance(part, dict)]
    names |= {name.partition("-")[2] for name in plain} if kind in {"spans", "roles"} else set(plain)
    return names - ({"", PREDICATE} if kind == "roles" else {""})


def _spelled(text: str) -> object:
    try:
        return json_of(text, "", "")
    except ValueError:
        return text


def _item(table: ItemTable, row: Row, known: dict[str, Item], task: Task) -> tuple[str, Item | None, list[str]]:
    """The row's id, the item it speaks of if there is one, and its problems."""
    if table.made_ids:
        item, problems = table.item(row)
        return item.id if item else "", item, problems
    item_id = name_of(row.get(table.data.id))
    stranger = Item(item_id, "") if task.kind in OF_LABELS else None
    return item_id, known.get(item_id, stranger), [] if item_id else [f"no {table.data.id}"]


def _said(task: Task, item: Item, cell: object) -> object:
    """A cell in the form that the kind checks. Raises ValueError."""
    if task.kind == "single_label":
        return name_of(cell)
    said = json_of(cell, "the label", WANTED[task.kind]) if isinstance(cell, str) else cell
    if task.kind not in {"spans", "roles"} or not isinstance(said, list):
        return said
    if said and all(isinstance(tag, str) for tag in said):
        if item.tokens is None:
            raise ValueError(f"expected spans, found tags ({shown(said)}), which need data.tokens")
        said = spans_of_tags(said, item.tokens)
    if task.kind == "roles" and PREDICATE not in task.label_names:
        return [span for span in said if not isinstance(span, dict) or span.get("label") != PREDICATE]
    return said
