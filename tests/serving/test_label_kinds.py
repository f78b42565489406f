"""Labelling a file whose labels are lists, spans, tags or objects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinds.kind import Kind
from serving import label_shard
from serving.label import LabelCounts, label_file
from serving.label_shard import Labelling
from serving.tables import read_rows, write_rows
from serving.verdicts import Predicts
from tests.serving.keywords import WordStudent, kind_for

TEXT = "Ada met Bob in Rome"
SUFFIXES = ("jsonl", "csv", "parquet")


def run(student: Predicts, kind: Kind, target: Path, *rows: dict[str, Any], **more: Any) -> LabelCounts:
    source = target.with_name("in.jsonl")
    write_rows(source, rows, list(rows[0]))
    how = Labelling(student=student, kind=kind, data=kind.task.data, home=target.parent, model_id="m", **more)
    return label_file(how, source, target)


def read(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_spans_are_json_with_their_probability(tmp_path: Path, suffix: str) -> None:
    """A list in JSONL; in CSV and Parquet the text of one. The row's probability is the expected score."""
    kind = kind_for("PER", "LOC", kind="spans")
    student = WordStudent(kind, {"Ada": "B-PER", "Rome": "B-LOC"})
    target = tmp_path / f"out.{suffix}"
    run(student, kind, target, {"id": "a", "text": TEXT})
    row = read(target)[0]
    spans = row["label"] if suffix == "jsonl" else json.loads(row["label"])
    assert spans == [
        {"start": 0, "end": 3, "label": "PER", "p": 0.8},
        {"start": 15, "end": 19, "label": "LOC", "p": 0.8},
    ]
    assert 0.5 < float(row["probability"]) < 0.9


def test_tags_are_a_list_as_long_as_the_tokens(tmp_path: Path) -> None:
    """A row whose tokens are not in its text has no label, abstains, and is named."""
    kind = kind_for("X", "NAME", kind="tokens", data={"tokens": "words"})
    rows = ({"id": n, "text": TEXT, "words": words} for n, words in enumerate((TEXT.split(), ["Eve"])))
    counts = run(WordStudent(kind, {"Ada": "NAME", "Bob": "NAME"}), kind, tmp_path / "out.jsonl", *rows)
    first, second = read(tmp_path / "out.jsonl")
    assert first["label"] == ["NAME", "X", "NAME", "X", "X"]
    assert (second["label"], second["probability"], second["abstained"]) == (None, None, True)
    assert (counts.rows, counts.unreadable) == (2, 1)
    assert counts.problem.startswith("line 2: the words: token 0 ('Eve') does not stand")


def test_thresholds_of_the_student_decide_many_labels(tmp_path: Path) -> None:
    """A label applies beyond its own threshold; none may apply."""
    kind = kind_for("a", "b", kind="multi_label")

    class Three(WordStudent):
        def predict(self, items: Any) -> Any:
            return np.tile([0.7, 0.3, 0.2, 0.8], (len(items), 1))

    for thresholds, wanted in ((None, ["b"]), (np.array([0.2, 0.5]), ["a", "b"]), (np.array([0.5, 0.9]), [])):
        run(Three(kind, {}, thresholds), kind, tmp_path / "out.jsonl", {"id": "1", "text": "x"})
        assert read(tmp_path / "out.jsonl")[0]["label"] == wanted


def test_roles_are_told_by_their_predicate(tmp_path: Path) -> None:
    """Two rows of one sentence are two items; a position beyond the tokens cannot be read."""
    kind = kind_for("A0", "A1", kind="roles", data={"tokens": "words", "focus": "at"})
    rows = ({"text": TEXT, "words": TEXT.split(), "at": at} for at in (1, 3, 9))
    student = WordStudent(kind, {"Ada": "B-A0"})
    counts = run(student, kind, tmp_path / "out.csv", *rows)
    assert (counts.rows, counts.unreadable) == (3, 1)
    assert [row["id"] for row in read(tmp_path / "out.csv")] == ["0", "1", "2"]
    assert json.loads(read(tmp_path / "out.csv")[1]["label"])[0]["label"] == "A0"


def test_fields_are_an_object(tmp_path: Path) -> None:
    """Every field is there; one that the text does not fill is null."""
    fields = [{"name": "who"}, {"name": "where"}]
    kind = kind_for(kind="fields", fields=fields)
    run(WordStudent(kind, {"Rome": "B-where"}), kind, tmp_path / "out.jsonl", {"id": "a", "text": TEXT})
    assert read(tmp_path / "out.jsonl")[0]["label"] == {"who": None, "where": "Rome"}


def test_long_texts_make_chunks_of_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the rows but their words times the columns fill the memory."""
    kind = kind_for("PER", "LOC", kind="spans")
    monkeypatch.setattr(label_shard, "MOST_CELLS", 30 * len(kind.columns))
    student = WordStudent(kind, {})
    rows = ({"id": n, "text": "word " * words} for n, words in enumerate((10, 10, 10, 50, 1)))
    run(student, kind, tmp_path / "out.jsonl", *rows)
    assert student.units == [30, 50, 1]
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == list("01234")


def test_a_file_without_ids_is_numbered_whatever_converts_it(tmp_path: Path) -> None:
    """The task's converter makes the text here too; a row it cannot convert abstains."""
    (tmp_path / "up.py").write_text('def up(row):\n    return {"text": row["raw"].upper()}\n')
    kind = kind_for("PER", "LOC", kind="spans", data={"convert": "up:up"})
    student = WordStudent(kind, {"ADA": "B-PER"})
    counts = run(student, kind, tmp_path / "out.jsonl", {"raw": "ada"}, {"raw": None})
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == ["0", "1"]
    assert read(tmp_path / "out.jsonl")[0]["label"] == [{"start": 0, "end": 3, "label": "PER", "p": 0.8}]
    assert counts.problem.startswith("line 2: data.convert: AttributeError")
