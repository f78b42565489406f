"""What `stillhouse init` writes for somebody's data."""

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loop.cli import app
from loop.init import MOST_LABELS, write_task
from stillhouse.errors import InputError
from stillhouse.settings import Desk, Selection
from stillhouse.task_file import load_task

AWKWARD = ["1.0", 'say "hi"', "back\\slash", "no", "on", "über # 日本", "two\nlines"]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def init(data: Path | str, out: Path, *, name: str = "mine", text: str = "", label: str = "", **more: Any) -> Path:
    return write_task(str(data), out, name=name, text=text, label=label, split="train", **more)


def labelled(path: Path, labels: list[str], column: str = "label") -> Path:
    return written(path, [{"id": str(n), "text": f"message {n}", column: name} for n, name in enumerate(labels)])


def test_awkward_labels_come_back_as_they_were(tmp_path: Path) -> None:
    """Labels such as no, on, 1.0, or with quotes and line breaks, are read back as the same strings, sorted."""
    task = load_task(init(labelled(tmp_path / "data.jsonl", AWKWARD), tmp_path / "out"))
    assert list(task.label_names) == sorted(AWKWARD)


def test_the_text_column_is_guessed_by_name_whatever_its_case(tmp_path: Path) -> None:
    """A column called Body is taken before a longer one, and task.toml says that it was guessed."""
    path = init(written(tmp_path / "d.jsonl", [{"Body": "short", "trace": "x" * 99}]), tmp_path / "out")
    assert load_task(path).data.text == "Body"
    assert "guessed by its name" in path.read_text(encoding="utf-8")


def test_without_a_usual_name_the_longest_strings_are_taken(tmp_path: Path) -> None:
    """The column with the longest strings is the text, and task.toml says so."""
    path = init(written(tmp_path / "d.jsonl", [{"a": "short", "b": "a long sentence"}]), tmp_path / "out")
    assert load_task(path).data.text == "b"
    assert "longest strings" in path.read_text(encoding="utf-8")


def test_without_labels_two_placeholders_ask_to_be_replaced(tmp_path: Path) -> None:
    """Data without a column of labels gives a task that loads, with a remark to replace its two labels."""
    path = init(written(tmp_path / "d.jsonl", [{"text": "hello"}]), tmp_path / "out")
    assert load_task(path).label_names == ("first", "second")
    assert "replace these two by your labels" in path.read_text(encoding="utf-8")


def test_a_guessed_column_with_too_many_values_is_left_out_and_this_is_said(tmp_path: Path) -> None:
    """A column called label that nobody asked for does not stop init, but task.toml says why it was not taken."""
    data = labelled(tmp_path / "d.jsonl", [f"l{n}" for n in range(MOST_LABELS + 1)])
    assert "'label' has 201 different values" in init(data, tmp_path / "out").read_text(encoding="utf-8")


def test_too_many_values_of_a_named_column_are_an_error(tmp_path: Path) -> None:
    """More than 200 labels: expected, found, what to do; no task is written."""
    data = labelled(tmp_path / "d.jsonl", [f"l{n}" for n in range(MOST_LABELS + 1)])
    with pytest.raises(InputError, match=r"expected: 2 to 200 different names\n  found: 201"):
        init(data, tmp_path / "out", label="label")
    assert not list((tmp_path / "out").iterdir())


def test_lists_are_no_labels(tmp_path: Path) -> None:
    """A named column of lists is refused with its line; a guessed one is left out."""
    data = written(tmp_path / "d.jsonl", [{"text": "x", "label": ["a"]}, {"text": "y", "label": ["b"]}])
    assert load_task(init(data, tmp_path / "guessed")).label_names == ("first", "second")
    with pytest.raises(InputError, match=r"expected: one name a row\n  found: list in line 1"):
        init(data, tmp_path / "named", label="label")


def test_labels_that_differ_only_by_case_leave_no_file_behind(tmp_path: Path) -> None:
    """What load_task would refuse is an error of init, and nothing half is left in the folder."""
    with pytest.raises(InputError, match="cannot be used as they are"):
        init(labelled(tmp_path / "d.jsonl", ["Yes", "yes", "no"]), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("flag", ["text", "label"])
def test_a_slip_in_a_column_is_guessed(tmp_path: Path, flag: str) -> None:
    """--text or --label with a name that is not there names the columns and the likely one."""
    data = labelled(tmp_path / "d.jsonl", ["a", "b"], column="team")
    with pytest.raises(
        InputError, match=r"no column 'tean' \(did you mean 'team'\?\).*\n  what to do: correct --" + flag
    ):
        init(data, tmp_path / "out", **{flag: "tean"})


def test_an_existing_task_is_never_overwritten(tmp_path: Path) -> None:
    """A second init into the same folder is refused and the first file stays byte for byte."""
    data = labelled(tmp_path / "d.jsonl", ["a", "b"])
    path = init(data, tmp_path / "out")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"task\.toml exists"):
        init(data, tmp_path / "out", name="other")
    assert path.read_bytes() == before


def test_the_path_of_the_data_is_relative_to_the_task(tmp_path: Path) -> None:
    """The two folders can be moved together."""
    path = init(labelled(tmp_path / "d.jsonl", ["a", "b"]), tmp_path / "deep" / "out")
    assert load_task(path).data.pool == "../../d.jsonl"


def test_every_default_shown_is_the_models_default(tmp_path: Path) -> None:
    """A commented default, once uncommented, is what the task has without it."""
    path = init(labelled(tmp_path / "d.jsonl", ["a", "b"]), tmp_path / "out")
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [line.removeprefix("# ") if " = " in line and "= ..." not in line else line for line in lines]
    found = tomllib.loads("\n".join(bare))
    assert Selection(**found["selection"]) == Selection()
    assert Desk(**found["desk"]) == Desk()
    path.write_text("\n".join(bare), encoding="utf-8")
    assert load_task(path).stop == type(load_task(path).stop)()


def test_a_csv_file_goes_through_the_command(tmp_path: Path) -> None:
    """`stillhouse init` on CSV ends with where the task is and the next command."""
    with (tmp_path / "m.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["body", "team"], ["printer on fire", "onsite"], ["vpn, down", "netops"]])
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["init", str(tmp_path / "m.csv"), "--label", "team", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert f"stillhouse check {out / 'task.toml'}" in result.stdout
    assert load_task(out / "task.toml").label_names == ("netops", "onsite")


def test_a_local_dataset_folder_is_saved_as_the_pool(tmp_path: Path) -> None:
    """hub:FOLDER is loaded by the datasets library and written to pool.jsonl beside the task."""
    (tmp_path / "set").mkdir()
    labelled(tmp_path / "set" / "train.jsonl", ["a", "b", "a"])
    task = load_task(init(f"hub:{tmp_path / 'set'}", tmp_path / "out"))
    assert (task.data.pool, task.label_names) == ("pool.jsonl", ("a", "b"))
    assert len((tmp_path / "out" / "pool.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_a_dataset_that_cannot_be_had_is_one_clear_error(tmp_path: Path) -> None:
    """Without network (tests are offline) the error says what to do; no foreign exception, no task."""
    with pytest.raises(InputError, match="what to do: check name, split and network"):
        init("hub:nobody/nothing-of-this-name", tmp_path / "out")
    assert not (tmp_path / "out" / "task.toml").exists()


WORDS = {"tokens": ["Ada", "met", "Bob"], "predicate_index": 1}
KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "multi_label": ({"labels": ["joy", "fear"]}, ("fear", "joy")),
    "spans": ({"entities": [{"start": 0, "end": 3, "label": "PER"}]}, ("PER",)),
    "tokens": ({**WORDS, "tags": ["N", "V", "N"]}, ("N", "V")),
    "roles": ({**WORDS, "tags": ["B-A0", "B-V", "B-A1"]}, ("A0", "A1")),
    "fields": ({"fields": {"who": ["Ada"], "day": None}}, ("day", "who")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_found_in_the_column_of_every_kind(tmp_path: Path, kind: str) -> None:
    """Lists, spans, tags and objects; columns of tokens and focus are guessed where the kind needs them."""
    row, wanted = KINDS[kind]
    task = load_task(init(written(tmp_path / "d.jsonl", [{"text": "Ada met Bob", **row}]), tmp_path / "out", kind=kind))
    assert task.kind == kind
    assert tuple(f.name for f in task.fields) + task.label_names == wanted
    assert (task.data.tokens, task.data.focus) == (
        "tokens" if "tokens" in row else None,
        "predicate_index" if kind == "roles" else None,
    )


def test_a_column_the_kind_needs_is_asked_for(tmp_path: Path) -> None:
    """The task can be read, and says which column it has not found."""
    path = init(written(tmp_path / "d.jsonl", [{"text": "hello"}]), tmp_path / "out", kind="roles")
    assert (load_task(path).data.tokens, load_task(path).data.focus) == ("tokens", "focus")
    assert path.read_text(encoding="utf-8").count("no such column was found") == 2


def test_a_named_column_of_another_form_is_an_error(tmp_path: Path) -> None:
    """A name where lists are expected is not cut into letters."""
    data = written(tmp_path / "d.jsonl", [{"text": "hello", "label": "joy"}])
    with pytest.raises(InputError, match="expected: a list of names a row"):
        init(data, tmp_path / "out", kind="multi_label", label="label")


def test_the_command_takes_the_kind_and_shows_its_question(tmp_path: Path) -> None:
    """`stillhouse init --kind fields` asks to describe fields; the question shown is the one the task has."""
    data = written(tmp_path / "d.jsonl", [{"text": "Ada met Bob", "fields": {"who": "Ada"}}])
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["init", str(data), "--kind", "fields", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "next: describe the fields in it" in result.stdout
    task = load_task(out / "task.toml")
    assert task.kind == "fields"
    assert f'# question = "{task.question}"' in (out / "task.toml").read_text(encoding="utf-8").splitlines()
    assert CliRunner().invoke(app, ["init", str(data), "--kind", "field", "-o", str(tmp_path / "no")]).exit_code == 2
