"""Gold and known values of every kind, and what each bad one is told."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kinds.kind import Kind
from serving.items import read_items
from serving.values import read_values
from stillhouse.errors import TaskError
from stillhouse.records import Value
from tests.serving.keywords import kind_for

TEXT = "Ada met Bob in Rome"
ADA, ROME = {"start": 0, "end": 3, "label": "PER"}, {"start": 15, "end": 19, "label": "LOC"}
TOKENS: dict[str, Any] = {"data": {"tokens": "words"}}
ROLES: dict[str, Any] = {"kind": "roles", "data": {"tokens": "words", "focus": "at"}}
FIELDS: dict[str, Any] = {
    "kind": "fields",
    "fields": [{"name": "who", "many": True}, {"name": "day", "type": "date"}, {"name": "n", "type": "number"}],
}


def kind_named(name: str) -> Kind:
    return {
        "single_label": lambda: kind_for("yes", "no"),
        "multi_label": lambda: kind_for("joy", "fear", kind="multi_label"),
        "spans": lambda: kind_for("PER", "LOC", kind="spans", **TOKENS),
        "tokens": lambda: kind_for("X", "N", kind="tokens", **TOKENS),
        "roles": lambda: kind_for("A0", "A1", **ROLES),
        "fields": lambda: kind_for(**FIELDS),
    }[name]()


def file_of(folder: Path, *labels: Any, suffix: str = "jsonl", **row: Any) -> Path:
    """A row for each label, of one sentence; in CSV lists and objects are JSON."""
    path = folder / f"gold.{suffix}"
    rows = [
        {"id": f"i{n}", "text": f"{TEXT} {n}", "words": [*TEXT.split(), str(n)], "at": 1, "label": label, **row}
        for n, label in enumerate(labels)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(r) + "\n" for r in rows)
        else:
            writer = csv.writer(file)
            writer.writerow(rows[0])
            writer.writerows([v if isinstance(v, str) else json.dumps(v) for v in r.values()] for r in rows)
    return path


def values_of(path: Path, kind: Kind) -> dict[str, Value]:
    items = read_items(path, kind.task.data, home=path.parent).items
    return read_values(path, kind, items, "label", home=path.parent)


GOOD: dict[str, tuple[str, Any, Value]] = {
    "single label": ("single_label", "yes", "yes"),
    "many labels, in another order": ("multi_label", ["fear", "joy"], ["joy", "fear"]),
    "no label at all": ("multi_label", [], []),
    "spans, in another order": ("spans", [ROME, ADA], [ADA, ROME]),
    "no spans": ("spans", [], []),
    "spans as tags": ("spans", ["B-PER", "O", "O", "O", "B-LOC", "O"], [ADA, ROME]),
    "tags that begin with I": ("spans", ["I-PER", "O", "O", "O", "I-LOC", "O"], [ADA, ROME]),
    "tags of a longer span": ("spans", ["B-PER", "I-PER", "O", "O", "O", "O"], [{**ADA, "end": 7}]),
    "two neighbours": ("spans", ["B-PER", "B-PER", "O", "O", "O", "O"], [ADA, {**ADA, "start": 4, "end": 7}]),
    "another label inside": ("spans", ["B-PER", "I-LOC", "O", "O", "O", "O"], [ADA, {**ROME, "start": 4, "end": 7}]),
    "tags of tokens": ("tokens", list("NXNXNX"), list("NXNXNX")),
    "roles as tags": (
        "roles",
        ["B-A0", "B-V", "B-A1", "O", "O", "O"],
        [{"start": 0, "end": 3, "label": "A0"}, {"start": 8, "end": 11, "label": "A1"}],
    ),
    "roles as spans": (
        "roles",
        [{**ADA, "label": "A0"}, {"start": 4, "end": 7, "label": "V"}],
        [{**ADA, "label": "A0"}],
    ),
    "fields": (
        "fields",
        {"who": ["Ada", "Bob"], "day": "2024-05-06"},
        {"who": ["Ada", "Bob"], "day": "2024-05-06", "n": None},
    ),
}


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("case", GOOD)
def test_every_convenient_form_becomes_the_one_of_the_kind(tmp_path: Path, case: str, suffix: str) -> None:
    """Lists, spans, tags and objects, in CSV as JSON."""
    name, said, wanted = GOOD[case]
    assert values_of(file_of(tmp_path, said, suffix=suffix), kind_named(name)) == {"i0": wanted}


BAD: dict[str, tuple[str, Any, str]] = {
    "no label": ("single_label", None, "no label"),
    "a slip": ("single_label", "YES", "'YES' is not a label of the task (did you mean 'yes'?)"),
    "a name where a list should be": ("multi_label", "joy", "the label: expected a list of names as JSON, found 'joy'"),
    "null is not an empty list": ("multi_label", None, "no label"),
    "one name of a list": ("multi_label", ["joy", "feer"], "'feer' is not a label of the task (did you mean 'fear'?)"),
    "too few tags": ("spans", ["O"], "expected 6 tags, one for each token, found 1"),
    "no BIO": ("spans", ["PER", "O", "O", "O", "O", "O"], "expected O, B-NAME or I-NAME, found 'PER' as tag 0"),
    "an unknown tag": ("spans", ["B-ORG", "O", "O", "O", "O", "O"], "'ORG' is not a label of the task"),
    "beyond the text": ("spans", [{**ADA, "end": 99}], "expected a span within"),
    "tags of another length": ("tokens", ["N"], "expected 6 tags"),
    "not an object": ("fields", ["Ada"], "expected"),
    "broken JSON": ("fields", "{who: Ada}", "the label: expected an object as JSON, found '{who: Ada}'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_told_what_is_wrong(tmp_path: Path, case: str) -> None:
    """The line first, then expected and found."""
    name, said, wanted = BAD[case]
    with pytest.raises(TaskError) as caught:
        values_of(file_of(tmp_path, said), kind_named(name))
    assert caught.value.problems[0].startswith("line 1: ")
    assert wanted in caught.value.problems[0]


def test_tags_need_tokens(tmp_path: Path) -> None:
    """Without them nobody knows which characters they mean."""
    with pytest.raises(TaskError, match=r"expected spans, found tags .* need data\.tokens"):
        values_of(file_of(tmp_path, ["O"]), kind_for("PER", "LOC", kind="spans"))


def test_every_problem_of_every_row_is_told(tmp_path: Path) -> None:
    """With repeated ids and rows without one."""
    path = tmp_path / "known.jsonl"
    rows = [("a", "yes"), ("b", "YES"), ("c", "maybe"), ("a", "no"), ("d", None), (None, "no")]
    path.write_text("".join(json.dumps({"id": i, "label": la}) + "\n" for i, la in rows))
    with pytest.raises(TaskError) as caught:
        read_values(path, kind_for("yes", "no"), [], "label")
    assert caught.value.problems == (
        "line 2: 'YES' is not a label of the task (did you mean 'yes'?)",
        "line 3: 'maybe' is not a label of the task (it has yes, no)",
        "line 4: the id 'a' stands in line 1 too",
        "line 5: no label",
        "line 6: no id",
    )


def test_made_ids_are_those_of_the_items(tmp_path: Path) -> None:
    """The same text with the same label again is no contradiction; with another it is."""
    kind = kind_for("yes", "no", data={"duplicate_texts": "drop"})
    path = tmp_path / "gold.jsonl"
    row = {"text": "one", "label": "yes"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    assert list(values_of(path, kind).values()) == ["yes"]
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "label": "no"}) + "\n")
    with pytest.raises(TaskError, match="line 2: its text stands in line 1 too"):
        values_of(path, kind)


def test_made_ids_of_roles_know_the_predicate(tmp_path: Path) -> None:
    """One sentence, two predicates: each keeps its own roles."""
    kind = kind_named("roles")
    path = tmp_path / "gold.jsonl"
    tags = (["B-A0", "B-V", "O", "O", "O"], ["O", "O", "B-A1", "B-V", "O"])
    rows = [{"text": TEXT, "words": TEXT.split(), "at": at, "label": t} for at, t in zip((1, 3), tags, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sorted(str(value[0]["label"]) for value in values_of(path, kind).values()) == ["A0", "A1"]  # type: ignore[index]


def test_spans_of_other_items_are_left_out(tmp_path: Path) -> None:
    """A file of known values may have more rows than the pool: without the text nothing can be said of them."""
    kind = kind_named("spans")
    path = file_of(tmp_path, [ADA], ["B-PER"])
    first = read_items(path, kind.task.data, home=tmp_path).items[:1]
    assert read_values(path, kind, first, "label", home=tmp_path) == {"i0": [ADA]}
