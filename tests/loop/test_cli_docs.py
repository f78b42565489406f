"""docs/reference/cli.md is what the commands say of themselves."""

import os
import subprocess
import sys
from pathlib import Path

from loop.cli_docs import PAGE, page

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "init",
    "check",
    "plan",
    "trial",
    "run",
    "round",
    "status",
    "report",
    "reparse",
    "label",
    "serve",
    "export labels",
)
DESK_COMMANDS = tuple(f"argilla {name}" for name in ("up", "down", "status", "open", "logs", "backup", "restore"))


def checked(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "40"}
    command = [sys.executable, "-m", "loop.cli_docs", "--check"]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_every_command_has_its_section() -> None:
    """No command is missing, in groups or not."""
    lines = page().splitlines()
    assert [name for name in (*COMMANDS, *DESK_COMMANDS) if f"## stillhouse {name}" not in lines] == []


def test_the_page_in_the_checkout_is_current_whatever_the_terminals_width() -> None:
    """--check ends with 0; when it fails, `make docs` was forgotten."""
    result = checked(ROOT)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_stale_page_says_to_run_make_docs(tmp_path: Path) -> None:
    """--check ends with 1 and one line, and changes nothing."""
    (tmp_path / "loop").mkdir()
    (tmp_path / "stillhouse").symlink_to(ROOT / "stillhouse")
    for path in (ROOT / "loop").glob("*.py"):
        (tmp_path / "loop" / path.name).write_bytes(path.read_bytes())
    stale = tmp_path / PAGE.relative_to(ROOT)
    stale.parent.mkdir(parents=True)
    stale.write_text("old\n", encoding="utf-8")
    result = checked(tmp_path)
    assert result.returncode == 1
    assert result.stderr == "cli.md is not what the commands say: run `make docs`\n"
    assert stale.read_text(encoding="utf-8") == "old\n"


def test_examples_are_set_apart_for_markdown() -> None:
    """Each example is a code block: indented, with a blank line before."""
    lines = page().splitlines()
    examples = [at for at, line in enumerate(lines) if line.startswith("    stillhouse ")]
    assert len(examples) >= len(COMMANDS)
    assert all(lines[at - 1] == "" for at in examples)
