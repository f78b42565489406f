"""The command line: help with examples, documented exit codes, light to import, one JSON object where asked."""

import gc
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from loop.cli import app
from loop.cli_relabel import relabel
from loop.flags import OBJECTS_A_COLLECTION, clear_errors
from stillhouse import errors
from stillhouse.label_mapping import ASK_FROM
from tests.loop.world import write_world


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(group, TyperGroup):
        for name, command in sorted(group.commands.items()):
            yield from commands(command, (*path, name))
    else:
        yield path


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_the_help_of_every_command_has_an_example(command: tuple[str, ...]) -> None:
    """It says Example and shows the command as it is typed."""
    text = shown(*command, "--help")
    assert re.search(r"Examples?:", text)
    assert f"stillhouse {' '.join(command)} " in text.split("Example", 1)[1]


def test_exit_codes_are_documented() -> None:
    """Every code that an error has, and those of success, waiting and interrupts, stand in --help."""
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.StillhouseError)
    ]
    codes = {kind.exit_code for kind in kinds if kind is not errors.StillhouseError}
    text = shown("--help").split("Exit codes:", 1)[1]
    documented = {int(code) for code in re.findall(r"\b(\d+) [a-z]", text)}
    assert documented >= {0, errors.WAITING_EXIT_CODE, errors.INTERRUPTED_EXIT_CODE, *codes}


def test_the_command_line_is_light_to_import() -> None:
    """--help and mistakes in flags come before the heavy libraries."""
    heavy = "{'torch', 'argilla', 'transformers', 'peft', 'datasets', 'matplotlib', 'sklearn'}"
    script = f"import sys, loop.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["check", "plan"])
def test_json_is_one_object_on_standard_output(tmp_path: Path, command: str) -> None:
    """Nothing else is printed there, so a script can read it as it is."""
    world = write_world(tmp_path)
    result = world.stillhouse(command, world.task, "--json")
    assert result.exit_code == 0, result.stderr
    assert isinstance(json.loads(result.stdout), dict)


def test_an_unknown_option_is_bad_input() -> None:
    """A mistyped flag has the exit code of bad input."""
    assert CliRunner().invoke(app, ["run", "task.toml", "--wiat"]).exit_code == errors.InputError.exit_code


def test_a_disk_that_fills_up_anywhere_is_one_clear_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Also outside the store: the exit code of a full disk, three lines, no traceback."""
    with pytest.raises(typer.Exit) as ended, clear_errors():
        Path("/dev/full").write_text("a report", encoding="utf-8")
    assert ended.value.exit_code == errors.DiskFullError.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(":")[0].strip() for line in said.err.splitlines()[1:]] == ["expected", "found", "what to do"]


def test_another_error_of_the_system_is_not_hidden() -> None:
    """What nobody foresaw stays a traceback: it is a bug to be reported."""
    with pytest.raises(NotADirectoryError), clear_errors():
        Path("/dev/null/report.html").write_text("a report", encoding="utf-8")


def test_a_command_looks_for_cycles_rarely() -> None:
    """What it makes lives to its end, so each look would be in vain."""
    before = gc.get_threshold()
    try:
        with clear_errors():
            assert gc.get_threshold()[0] == OBJECTS_A_COLLECTION
    finally:
        gc.set_threshold(*before)


def test_the_flag_of_relabel_says_what_votes_are_carried_by() -> None:
    """The command line does not load numpy, so the default stands twice."""
    assert inspect.signature(relabel).parameters["ask_from"].default == ASK_FROM
