"""What is read, and what each bad table is told."""

import gzip
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from serving.tables import ReadItems, columns_of, read_items, read_labels, read_rows, write_rows
from stillhouse.errors import InputError, TaskError


def items_of(path: Path, duplicate_texts: Literal["error", "drop"] = "error", **more: Any) -> ReadItems:
    columns: dict[str, Any] = {"id_column": "id", "text_column": "text", "max_chars": 50} | more
    return read_items(path, duplicate_texts=duplicate_texts, **columns)


def jsonl(folder: Path, *rows: dict[str, Any], name: str = "a.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


BAD: dict[str, tuple[str, bytes, str]] = {
    "unknown suffix": ("a.xlsx", b"x", "unknown kind of file"),
    "zipped Parquet": ("a.parquet.gz", b"x", "unknown kind of file"),
    "0 bytes": ("a.csv", b"", "0 bytes"),
    "header only": ("a.csv", b"id,text\n", "no rows"),
    "blank lines only": ("a.jsonl", b"\n\n", "no rows"),
    "Windows-1252": ("a.csv", b"id,text\n1,ok\n2,caf\xe9 noir\n", r"0xe9 at line 3, byte 6 .*WINDOWS-1252"),
    "Windows-1251": ("a.csv", "id,text\n1,привет мир\n".encode("cp1251"), "line 2.*WINDOWS-1251"),
    "Shift JIS": ("a.csv", "id,text\n1,こんにちは、ありがとう\n".encode("shift_jis"), "SHIFT_JIS"),
    "UTF-16": ("a.csv", "id,text\n1,x\n".encode("utf-16"), "UTF-16"),
    "UTF-16 without mark": ("a.csv", "id,text\n1,hello\n".encode("utf-16-le"), "UTF-16LE"),
    "not JSON": ("a.jsonl", b'{"id": 1}\n{"id": \n', "line 2: not JSON"),
    "JSON array": ("a.json", b'[{"id": 1}]', r"jq -c"),
    "JSON number": ("a.jsonl", b"5\n", "not a JSON object\n.*\n  found: a value of type int"),
    "ragged": ("a.csv", b'id,text\n1,"x\ny"\n2,a,b\n', "line 4: a row of another width"),
    "open quote": ("a.csv", b'id,text\n1,"x\n2,y\n', "line 2: the row that begins here is not CSV"),
    "column twice": ("a.csv", b"id,id\n1,2\n", "stands twice in the header"),
    "broken Parquet": ("a.parquet", b"PAR1 nonsense PAR1", "not Parquet, or is broken"),
    "broken gzip": ("a.csv.gz", b"nonsense", "cannot be read"),
    "cut gzip": ("a.csv.gz", gzip.compress(b"id,text\n1,x\n" * 99)[:-9], "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_told_what_is_wrong(tmp_path: Path, case: str) -> None:
    """Expected, found, what to do, and the line where there is one."""
    name, content, message = BAD[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(read_rows(tmp_path / name))
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.fix


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A folder is not a file either."""
    with pytest.raises(InputError, match="no file"):
        columns_of(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        columns_of(tmp_path / "b.csv")


def test_parquet_without_rows_is_empty(tmp_path: Path) -> None:
    """Its schema alone is no pool."""
    write_rows(tmp_path / "a.parquet", [], ("id",))
    with pytest.raises(InputError, match="no rows"):
        columns_of(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "jsonl.gz", "tsv.gz"])
def test_odd_texts_survive_every_format(tmp_path: Path, suffix: str) -> None:
    """Quotes, delimiters, CRLF, line separators, right-to-left and joined emoji come back as they were."""
    texts = ['a "b", c\td', "x\r\ny\nz", "\u2028 \u0085", "שלום عربى", "👩‍👩‍👧 e\u0301", "﷽ 漢字"]
    path = tmp_path / f"a.{suffix}"
    write_rows(path, [{"text": text} for text in texts], ("text",))
    assert [row["text"] for _, row in read_rows(path)] == texts


def test_crlf_and_a_byte_order_mark_are_no_part_of_the_data(tmp_path: Path) -> None:
    """As Excel writes CSV."""
    (tmp_path / "a.csv").write_bytes("id,text\r\n1,é\r\n".encode("utf-8-sig"))
    assert list(read_rows(tmp_path / "a.csv")) == [("line 2", {"id": "1", "text": "é"})]


def test_a_row_is_placed_where_it_begins(tmp_path: Path) -> None:
    """A quoted cell goes over several lines."""
    (tmp_path / "a.csv").write_text('id\n"1\n2"\n3\n')
    assert [place for place, _ in read_rows(tmp_path / "a.csv")] == ["line 2", "line 4"]


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """With both lines, both ids and the remedy."""
    path = jsonl(
        tmp_path,
        {"id": "a", "text": "one"},
        {"id": "a", "text": "two"},
        {"id": "b", "text": " "},
        {"id": "c", "text": "one"},
        {"id": "d", "text": 5},
        {"id": "e", "text": "x" * 51},
        {"text": "no id"},
    )
    with pytest.raises(TaskError) as caught:
        items_of(path)
    assert caught.value.problems == (
        "line 2: the id 'a' stands in line 1 too; ids must differ",
        "line 3: the text is empty",
        "line 4: 'c' has the text of 'a' (line 1) again; remove one, or set data.duplicate_texts = \"drop\"",
        "line 5: the text is int and not a string",
        "line 6: the text has 51 characters; data.max_chars is 50",
        "line 7: no id",
    )


def test_problems_are_capped(tmp_path: Path) -> None:
    """Twenty, and how many more."""
    with pytest.raises(TaskError) as caught:
        items_of(jsonl(tmp_path, *({"id": n, "text": ""} for n in range(45))))
    assert caught.value.problems[-1] == "and 25 more"
    assert len(caught.value.problems) == 21


def test_repeated_texts_are_dropped_on_demand(tmp_path: Path) -> None:
    """The first stays; how many went is told, and how long the longest is."""
    path = jsonl(tmp_path, {"id": 1, "text": "one"}, {"id": 2, "text": "one"}, {"id": 3, "text": "three"})
    read = items_of(path, "drop")
    assert ([item.id for item in read.items], read.dropped, read.longest) == (["1", "3"], 1, 5)


def test_ids_are_made_only_for_the_default_column(tmp_path: Path) -> None:
    """The same text has the same id in every file; a column that was named must be there."""
    first = items_of(jsonl(tmp_path, {"text": "one"}, {"text": "two"}))
    second = items_of(jsonl(tmp_path, {"text": "two"}, name="b.jsonl"))
    assert first.items[1].id == second.items[0].id
    with pytest.raises(TaskError, match="no column 'key'; found: text"):
        items_of(tmp_path / "a.jsonl", id_column="key")


def test_a_wrong_delimiter_is_guessed(tmp_path: Path) -> None:
    """A CSV of a country whose comma is decimal."""
    (tmp_path / "a.csv").write_text("id;text\n1;x\n")
    with pytest.raises(TaskError, match="separated by ';'"):
        items_of(tmp_path / "a.csv")


def test_labels_outside_the_task_are_guessed(tmp_path: Path) -> None:
    """As are repeated ids and rows without a label."""
    rows = [("a", "yes"), ("b", "YES"), ("c", "maybe"), ("a", "no"), ("d", None)]
    path = jsonl(tmp_path, *({"id": i, "label": la} for i, la in rows))
    with pytest.raises(TaskError) as caught:
        read_labels(path, id_column="id", label_column="label", allowed=("yes", "no"))
    assert caught.value.problems == (
        "line 2: 'YES' is not a label of the task (did you mean 'yes'?)",
        "line 3: 'maybe' is not a label of the task (it has yes, no)",
        "line 4: the id 'a' stands in line 1 too",
        "line 5: no label",
    )


def test_labels_follow_made_ids(tmp_path: Path) -> None:
    """A gold file without ids has the ids that its items have."""
    path = jsonl(tmp_path, {"text": "one", "label": "yes"}, {"text": "one", "label": "yes"})
    known = read_labels(path, id_column="id", label_column="label", allowed=("yes",), text_column="text")
    assert known == {items_of(path, "drop").items[0].id: "yes"}
