"""The helpdesk examples of every kind: each message has a reply, an expert and a value that the kind accepts."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.helpdesk import derive
from kinds.registry import kind_of
from stillhouse.records import Item
from stillhouse.task import Task
from stillhouse.task_file import load_task

HELPDESK = Path(__file__).resolve().parents[2] / "examples" / "helpdesk"
EXAMPLES = ("urgency", "topics", "entities", "fields")


def rows(name: str | None) -> list[dict[str, Any]]:
    assert name is not None
    return [json.loads(line) for line in (HELPDESK / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(params=EXAMPLES)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(HELPDESK / f"{request.param}.toml")


def test_each_message_has_a_recorded_reply(task: Task) -> None:
    """Every teacher's recording covers pool and gold."""
    ids = {row["id"] for name in (task.data.pool, task.data.gold) for row in rows(name)}
    for teacher in task.teachers:
        said = {row["id"] for row in rows(teacher.recording) if f"{row['task']}/{row['variant']}" == teacher.model}
        assert ids <= said


def test_known_values_are_ones_the_kind_accepts(task: Task) -> None:
    """Gold labels and the experts' answers have no problems, and every message of the pool has an expert."""
    kind = kind_of(task)
    pool = {row["id"]: row["text"] for row in rows(task.data.pool)}
    experts = {row["id"]: row[task.desk.rehearse_label] for row in rows(task.desk.rehearse) if row["id"] in pool}
    assert experts.keys() == pool.keys()
    gold = [(row["id"], row["text"], row[task.data.gold_label]) for row in rows(task.data.gold)]
    for item_id, text, value in (*gold, *((i, pool[i], value) for i, value in experts.items())):
        assert kind.problems(Item(item_id, text), value) == []


def test_people_are_asked_about_a_seventh_of_the_pool(task: Task) -> None:
    """The budget is 15 % of the pool, in whole batches."""
    assert task.budget.human_labels == round(0.15 * len(rows(task.data.pool)))
    assert task.budget.human_labels % task.selection.batch == 0


def test_examples_say_what_is_not_real(task: Task) -> None:
    """The first lines of a file name the messages as synthetic, the experts as rehearsed, the replies by origin."""
    head = (HELPDESK / f"{task.name}.toml").read_text(encoding="utf-8").split("name =")[0]
    derived = any(teacher.name.startswith("derived") for teacher in task.teachers)
    assert "synthetic" in head
    assert "rehearsed" in head
    assert ("derived (see derive.py)" in head) == derived


def test_derived_files_are_what_the_script_derives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running the script again changes nothing."""
    for name in ("replies.jsonl", "experts.jsonl", "pool_annotated.jsonl", "gold_annotated.jsonl"):
        (tmp_path / name).symlink_to(HELPDESK / name)
    monkeypatch.setattr(derive, "HERE", tmp_path)
    derive.main()
    for name in ("replies_derived.jsonl", "experts_annotated.jsonl", "gold_fields.jsonl"):
        assert (tmp_path / name).read_bytes() == (HELPDESK / name).read_bytes()


def test_a_line_break_in_a_tagged_surface_is_one_again() -> None:
    """The recording writes line breaks as " / "; a field has the text as the message has it."""
    fields = derive.fields_of_tagged("call [PERSON|Ana / Lima] and [PERSON|Ana / Lima] [TIME|now]")
    assert fields["person"] == ["Ana\nLima"]
    assert fields["time"] == ["now"]
