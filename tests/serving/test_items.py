"""Which items a table has: texts, pairs, tokens, focus, images; and what each bad row is told."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.items import ReadItems, read_items
from serving.tables import write_rows
from stillhouse.errors import TaskError
from stillhouse.settings import Data

SENTENCE = {"text": "We don't know.", "words": ["We", "do", "n't", "know", "."]}


def items_of(path: Path, **data: Any) -> ReadItems:
    return read_items(path, Data.model_validate({"pool": path.name, "max_chars": 50} | data), home=path.parent)


def jsonl(folder: Path, *rows: dict[str, Any], name: str = "a.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def problems_of(path: Path, **data: Any) -> tuple[str, ...]:
    with pytest.raises(TaskError) as caught:
        items_of(path, **data)
    return caught.value.problems


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
    read = items_of(path, duplicate_texts="drop")
    assert ([item.id for item in read.items], read.dropped, read.longest) == (["1", "3"], 1, 5)


def test_ids_are_made_only_for_the_default_column(tmp_path: Path) -> None:
    """The same text has the same id in every file; a column that was named must be there."""
    first = items_of(jsonl(tmp_path, {"text": "one"}, {"text": "two"}))
    second = items_of(jsonl(tmp_path, {"text": "two"}, name="b.jsonl"))
    assert first.items[1].id == second.items[0].id
    with pytest.raises(TaskError, match="no column 'key'; found: text"):
        items_of(tmp_path / "a.jsonl", id="key")


def test_a_wrong_delimiter_is_guessed(tmp_path: Path) -> None:
    """A CSV of a country whose comma is decimal."""
    (tmp_path / "a.csv").write_text("id;text\n1;x\n")
    with pytest.raises(TaskError, match="separated by ';'"):
        items_of(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_tokens_become_characters_of_the_text(tmp_path: Path, suffix: str) -> None:
    """A list of texts, in CSV and Parquet also as JSON; the focus is the token at a position."""
    path = tmp_path / f"a.{suffix}"
    write_rows(path, [{"id": "a", **SENTENCE, "at": 3}], ("id", "text", "words", "at"))
    item = items_of(path, tokens="words", focus="at").items[0]
    assert item.tokens is not None
    assert [item.text[a:b] for a, b in item.tokens] == SENTENCE["words"]
    assert item.focus == (9, 13)


def test_a_list_of_parquet_is_a_list(tmp_path: Path) -> None:
    """Not only JSON text."""
    table = pa.table({"id": ["a"], "text": ["a b"], "words": [["a", "b"]], "at": [1.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    item = items_of(tmp_path / "a.parquet", tokens="words", focus="at").items[0]
    assert (item.tokens, item.focus) == (((0, 1), (2, 3)), (2, 3))


def test_without_a_text_it_is_the_tokens_with_blanks(tmp_path: Path) -> None:
    """Where there is no column "text", and where data.text names the tokens; a text that was named must be there."""
    path = jsonl(tmp_path, {"id": "a", "words": ["We", "do", "n't"]})
    assert items_of(path, tokens="words").items[0].text == "We do n't"
    assert items_of(path, tokens="words", text="words").items[0].tokens == ((0, 2), (3, 5), (6, 9))
    assert problems_of(path, tokens="words", text="body")[0].startswith("no column 'body'")


def test_tokens_that_are_not_in_the_text_are_named(tmp_path: Path) -> None:
    """Row, token, place, what stands there, and the way out; nothing is looked for further on."""
    path = jsonl(tmp_path, {"id": "a", "text": "We dont know know", "words": ["We", "do", "n't", "know"]})
    assert problems_of(path, tokens="words")[0] == (
        "line 1: the words: token 2 (\"n't\") does not stand at character 5, found 'nt know know'; where tokens and "
        "texts are not of one source, set data.text = 'words': then the text is the tokens, joined by blanks"
    )


BAD_CELLS: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": ({"words": None}, "the words: expected a list of texts, found nothing"),
    "empty list": ({"words": []}, "the words: expected a list of texts, found []"),
    "not JSON": ({"words": "We do"}, "the words: expected a list of texts as JSON, found 'We do'"),
    "a number": ({"words": ["We", 5]}, "the words: expected texts, found 5 as token 1"),
    "uncovered": ({"words": ["We", "do"]}, 'no token covers "n\'t know." at character 5'),
    "behind the end": (
        {"words": [*SENTENCE["words"], "!"]},
        "token 5 ('!') does not stand at character 14, found the end",
    ),
    "focus beyond": ({"at": 5}, "the at: expected the position of a token, 0 to 4, found 5"),
    "focus below": ({"at": -1}, "found -1"),
    "focus half": ({"at": 1.5}, "found 1.5"),
    "focus truth": ({"at": True}, "found True"),
    "no focus": ({"at": None}, "found nothing"),
    "focus word": ({"at": "know"}, "found 'know'"),
    "no pair": ({"other": " "}, "the pair is empty"),
    "long pair": ({"other": "x" * 51}, "the pair has 51 characters; data.max_chars is 50"),
    "image": ({"pic": "C:/a.png"}, "the pic: expected an address that begins with https://"),
}


@pytest.mark.parametrize("case", BAD_CELLS)
def test_bad_cells_are_told_what_is_wrong(tmp_path: Path, case: str) -> None:
    """Expected and found."""
    change, wanted = BAD_CELLS[case]
    path = jsonl(tmp_path, {"id": "a", **SENTENCE, "at": 3, "other": "Who?", "pic": "https://x/a.png"} | change)
    problems = problems_of(path, tokens="words", focus="at", pair="other", image="pic")
    assert len(problems) == 1
    assert wanted in problems[0]


def test_every_problem_of_a_row_is_told(tmp_path: Path) -> None:
    """One bad cell does not hide the next."""
    path = jsonl(tmp_path, {"id": "a", "text": "", "other": 5})
    assert problems_of(path, pair="other") == ("line 1: the text is empty", "line 1: the pair is int and not a string")


def test_a_focus_without_tokens_is_a_mistake_of_the_task(tmp_path: Path) -> None:
    """It is a position among them."""
    path = jsonl(tmp_path, {"id": "a", "text": "x", "at": 0})
    assert "data.tokens must name a column" in problems_of(path, focus="at")[0]


def test_an_item_repeats_only_what_is_all_the_same(tmp_path: Path) -> None:
    """One sentence with two predicates is two items, as is a text with two pairs; the same again is not."""
    rows = [{**SENTENCE, "at": at, "other": pair} for at, pair in ((0, "a"), (1, "a"), (0, "b"), (0, "a"))]
    path = jsonl(tmp_path, *rows)
    read = items_of(path, tokens="words", focus="at", pair="other", duplicate_texts="drop")
    assert (len({item.id for item in read.items}), read.dropped) == (3, 1)
    assert (
        "has the text and pair and focus of"
        in problems_of(
            jsonl(tmp_path, *({**row, "id": n} for n, row in enumerate(rows))), tokens="words", focus="at", pair="other"
        )[0]
    )


def test_an_image_is_an_address(tmp_path: Path) -> None:
    """It is handed on as it is; a row without one has none."""
    rows = ({"id": n, "text": f"t{n}", "pic": pic} for n, pic in enumerate(("https://x/a.png", None)))
    assert [i.image for i in items_of(jsonl(tmp_path, *rows), image="pic").items] == ["https://x/a.png", ""]


def test_an_id_that_first_appears_late_is_no_made_id(tmp_path: Path) -> None:
    """Two hundred rows without one are two hundred mistakes."""
    path = jsonl(tmp_path, *({"text": f"t{n}"} for n in range(200)), {"id": "a", "text": "last"})
    assert problems_of(path)[-1] == "and 180 more"
