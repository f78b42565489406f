"""The team's own function: where it is loaded from, and what its mistakes become."""

import sys
from pathlib import Path

import pytest

from serving.convert import load_convert
from serving.items import read_items
from stillhouse.errors import TaskError
from stillhouse.settings import Data


def home_with(folder: Path, code: str, rows: str = '{"id": "a", "raw": "one"}\n{"id": "b", "raw": "two"}\n') -> Path:
    (folder / "own.py").write_text(code)
    (folder / "pool.jsonl").write_text(rows)
    return folder


def problems_of(home: Path) -> tuple[str, ...]:
    with pytest.raises(TaskError) as caught:
        read_items(home / "pool.jsonl", Data(pool="pool.jsonl", convert="own:make"), home=home)
    return caught.value.problems


def test_the_function_gives_the_row_its_text(tmp_path: Path) -> None:
    """What it returns is added to the row, which keeps its other columns."""
    home = home_with(tmp_path, 'def make(row):\n    return {"text": row["raw"] * 2, "image": "https://x/y.png"}\n')
    data = Data(pool="pool.jsonl", convert="own:make", image="image", metadata=("raw",))
    item = read_items(home / "pool.jsonl", data, home=home).items[1]
    assert (item.id, item.text, item.image, item.metadata) == ("b", "twotwo", "https://x/y.png", {"raw": "two"})


def test_what_it_raises_names_the_row(tmp_path: Path) -> None:
    """One row's failure is that row's problem, beside those of the others."""
    code = 'def make(row):\n    if row["id"] == "b":\n        raise KeyError("page")\n    return {"text": ""}\n'
    assert problems_of(home_with(tmp_path, code)) == (
        "line 1: the text is empty",
        "line 2: data.convert: KeyError: 'page'",
    )


def test_what_is_no_row_is_refused(tmp_path: Path) -> None:
    """A text alone is not guessed to be the text."""
    found = problems_of(home_with(tmp_path, 'def make(row):\n    return row["raw"]\n'))
    assert found[0] == "line 1: data.convert: expected a row (a dict), found str"


def test_a_row_without_a_text_is_a_missing_column(tmp_path: Path) -> None:
    """The columns that are there are listed, the made ones too."""
    found = problems_of(home_with(tmp_path, 'def make(row):\n    return {"txt": row["raw"]}\n'))
    assert found == ("no column 'text' (did you mean 'txt'?); found: id, raw, txt",)


def test_it_cannot_change_the_row_of_the_file(tmp_path: Path) -> None:
    """It works on a copy: what it deletes is still there."""
    home = home_with(tmp_path, 'def make(row):\n    return {"text": row.pop("raw") + row.pop("id")}\n')
    items = read_items(home / "pool.jsonl", Data(pool="pool.jsonl", convert="own:make"), home=home).items
    assert [(item.id, item.text) for item in items] == [("a", "onea"), ("b", "twob")]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def other(row):\n    return row\n", "AttributeError"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("def make(row:\n", "SyntaxError"),
        ("make = 5\n", "expected a function, found 'own:make'"),
    ],
)
def test_code_that_cannot_be_loaded_is_a_mistake_of_the_task(tmp_path: Path, code: str, said: str) -> None:
    """No foreign error leaves; the cause is named."""
    found = problems_of(home_with(tmp_path, code))
    assert len(found) == 1
    assert found[0].startswith("data.convert:")
    assert said in found[0]


def test_a_file_beside_the_task_comes_before_an_installed_module(tmp_path: Path) -> None:
    """It may be called like one, does not take its place for others, and can import its neighbours."""
    (tmp_path / "json.py").write_text("import neighbour\n\ndef make(row):\n    return neighbour.ROW\n")
    (tmp_path / "neighbour.py").write_text('ROW = {"text": "ours"}\n')
    before = list(sys.path)
    assert load_convert("json:make", tmp_path)({}) == {"text": "ours"}
    assert not hasattr(sys.modules["json"], "make")
    assert sys.path == before


def test_an_installed_module_can_convert(tmp_path: Path) -> None:
    """Where no file of that name stands beside the task."""
    assert load_convert("copy:copy", tmp_path)({"a": 1}) == {"a": 1}
