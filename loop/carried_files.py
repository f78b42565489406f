"""Files of known labels (gold, or what rehearsed experts know) in a run's new labels, as far as they can be carried over."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinds.registry import kind_of
from loop.project import Project
from serving.items import ItemTable, open_items
from serving.tables import Row, name_of, write_rows
from serving.values import value_of
from stillhouse.label_changes import Migration
from stillhouse.label_mapping import carried
from stillhouse.records import Item

WAS = "was"  # a column with the old value, where a person has to say the new one


@dataclass(frozen=True, slots=True)
class CarriedFile:
    """One file: `rows` in the new labels, without a label where `open_ids` say that a person has to give one."""

    what: str
    path: Path
    column: str
    rows: tuple[Row, ...]
    changed: int
    open_ids: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the file as it is can be read with the new labels."""
        return not self.changed and not self.open_ids

    @property
    def name(self) -> str:
        return f"{self.path.stem}.jsonl"

    def text(self) -> str:
        some = ", ".join(self.open_ids[:5]) + (" ..." if len(self.open_ids) > 5 else "")
        asked = f"; a person has to give {len(self.open_ids):,}: {some}" if self.open_ids else ""
        return f"{self.what} in {self.path}: {self.changed:,} of {len(self.rows):,} carried over{asked}"

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.path), "carried": self.changed, "open": list(self.open_ids)}

    def write(self, folder: Path) -> None:
        columns = dict.fromkeys(name for row in self.rows for name in row)
        write_rows(folder / self.name, self.rows, tuple(columns))


def carried_file(
    what: str,
    project: Project,
    name: str,
    column: str,
    moved: Migration,
    known: Mapping[str, Item],
    *,
    whole: bool,
) -> CarriedFile:
    """`whole` files have their items themselves; others are about those that are `known`. Values that are written in the
    new labels already, or cannot be read, stay as they are.
    """
    path = project.home / name
    table = open_items(path, project.task.data, home=project.home, also=(column,), whole_items=whole)
    before = kind_of(moved.before.in_task(project.task))
    rows: list[Row] = []
    open_ids: list[str] = []
    changed = 0
    for _, row, _ in table.rows():
        item = _item(table, row, known, whole=whole)
        value = value_of(before, item, row.get(column))[0]
        if value is None:
            rows.append(dict(row))
            continue
        now = carried(moved, value)
        rows.append({**row, column: None, WAS: row[column]} if now.open else {**row, column: now.value})
        changed += not now.open and now.value != value
        if now.open:
            open_ids.append(item.id)
    return CarriedFile(what, path, column, tuple(rows), changed, tuple(open_ids))


def _item(table: ItemTable, row: Row, known: Mapping[str, Item], *, whole: bool) -> Item:
    if whole or table.made_ids:
        return table.item(row)[0] or Item("", "")
    item_id = name_of(row.get(table.data.id))
    return known.get(item_id, Item(item_id, ""))
