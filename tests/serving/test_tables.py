"""Which rows and columns a table has, and what each bad table is told."""

import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.tables import columns_of, read_rows, write_rows
from stillhouse.errors import InputError


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


def test_a_column_that_first_appears_late_is_found_where_it_is_wanted(tmp_path: Path) -> None:
    """After a hundred rows without it; nobody is made to read on for a column that nobody wants."""
    path = jsonl(tmp_path, *({"text": "x"} for _ in range(300)), {"text": "x", "id": 1}, {"late": 2})
    assert columns_of(path) == ["text"]
    assert columns_of(path, ["id"]) == ["text", "id"]


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Root may read everything: for the time being this process is nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv.gz", "a.parquet"])
def test_a_file_without_permission_is_not_called_broken(name: str) -> None:
    """The fix is its permissions, not to write it again."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / name
        path.write_bytes(b"x")
        path.chmod(0)
        with as_somebody_else(), pytest.raises(InputError, match="cannot be read") as caught:
            columns_of(path)
    assert "Permission denied" in caught.value.found
    assert "permissions" in caught.value.fix
