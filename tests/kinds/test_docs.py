"""What the pages on kinds show is true: each task is valid, each value is accepted, the new kind keeps the contract."""

import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinds.kind import Kind
from kinds.registry import KINDS, kind_of
from serving.items import read_items
from serving.label_shard import COLUMNS, OF_CASCADES
from serving.values import read_values
from stillhouse.records import Item, Value
from stillhouse.task_file import load_task
from tests.kinds import test_contract
from tests.kinds.examples import TEXT, task
from tests.project.checkout import ROOT

HOW_TO = ROOT / "docs" / "how-to"
PAGE = (HOW_TO / "kinds.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Each task with the row under it and, if the page shows one, the labelled row.
EXAMPLES = [
    (toml, *re.findall(r"^```json\n(.*?)^```$", rest, re.MULTILINE | re.DOTALL))
    for toml, rest in re.findall(r"^```toml\n(.*?)^```$(.*?)(?=^```toml|\Z)", PAGE, re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: re.search(r'name = "(.*)"', example[0])[1])  # type: ignore[index]
def test_every_task_on_the_page_takes_its_row_and_its_values(example: tuple[str, ...], tmp_path: Path) -> None:
    """task.toml is valid, its row an item, the gold value one of the kind, and so is the label of the labelled row."""
    toml, row, *labelled = example
    (tmp_path / "task.toml").write_text(toml, encoding="utf-8")
    pool = tmp_path / "pool.jsonl"
    pool.write_text(row, encoding="utf-8")
    shown = load_task(tmp_path / "task.toml")
    kind, items = kind_of(shown), read_items(pool, shown.data, home=tmp_path).items
    values = read_values(pool, kind, items, shown.data.gold_label, home=tmp_path)
    assert list(values) == [json.loads(row)["id"]]
    for line in labelled:
        written: dict[str, Any] = json.loads(line)
        assert tuple(written) == tuple(name for name in COLUMNS if name not in OF_CASCADES)
        assert kind.problems(items[0], written["label"]) == []


def test_the_page_shows_every_kind() -> None:
    """A kind that is not explained does not exist for a reader."""
    named = {
        found[1] if (found := re.search(r'^kind = "(\w+)"', toml, re.MULTILINE)) else "single_label"
        for toml, *_ in EXAMPLES
    }
    assert named == set(KINDS)


@pytest.mark.parametrize(
    "document", ["README.md", "docs/how-to/kinds.md", "docs/architecture.md", "docs/how-to/gold.md"]
)
def test_tables_of_kinds_have_all_of_them(document: str) -> None:
    """Where kinds are listed, each has a row."""
    rows = re.findall(r"^\|.*$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert {kind for row in rows for kind in KINDS if f"`{kind}`" in row} == set(KINDS)


def new_kind(folder: Path) -> Any:
    """The module that docs/how-to/add-a-kind.md walks through."""
    page = (HOW_TO / "add-a-kind.md").read_text(encoding="utf-8")
    code = "\n\n".join(body for language, body in BLOCK.findall(page) if language == "python")
    (folder / "passages.py").write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("passages", folder / "passages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = [
    test
    for name, test in vars(test_contract).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["example"]
]


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
def test_the_kind_that_the_page_adds_keeps_the_contract(
    test: Callable[[tuple[Kind, Item, Value]], None], tmp_path: Path
) -> None:
    """The code on the page is a whole kind: it passes what every kind of the house must pass."""
    passages = new_kind(tmp_path)
    text = f"Hello.\n{TEXT}! Thanks in advance. Bye"
    start = text.index("José")
    value: Value = [{"start": start, "end": text.index("!") + 1, "label": "request"}]
    test((passages.Passages(task("spans", ("request", "thanks"))), Item("1", text), value))
