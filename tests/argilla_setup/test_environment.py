"""The server's environment: built once, rebuilt when half built, and never over somebody's own files."""

from pathlib import Path

import pytest

from argilla_setup.environment import CONSTRAINTS, MARKER, SERVER, ensure_environment, python_of
from stillhouse.errors import DeskError


def test_it_is_built_once_and_again_when_it_was_half_built(tmp_path: Path) -> None:
    """A failing pip is quoted and leaves an environment that does not count; the next try starts anew, a third skips."""
    pins, venv, lines = tmp_path / "pins.txt", tmp_path / "venv", list[str]()
    pins.write_text("this is no requirement\n")
    with pytest.raises(DeskError, match="Invalid requirement") as caught:
        ensure_environment(venv, lines.append, constraints=pins)
    assert "exit code 1" in caught.value.found
    assert "building the environment" in lines[0]
    assert (venv / MARKER).read_text() == "building"

    (venv / "left").touch()
    pins.write_text("# nothing\n")
    assert ensure_environment(venv, lines.append, constraints=pins) == venv
    assert python_of(venv).exists()
    assert not (venv / "left").exists()

    lines.clear()
    (venv / "kept").touch()
    ensure_environment(venv, lines.append, constraints=pins)
    assert (lines, (venv / "kept").exists()) == ([], True)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """A folder with files and without the marker is not ours to remove."""
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(DeskError, match="not an environment of Stillhouse"):
        ensure_environment(tmp_path, lambda line: None)
    assert (tmp_path / "thesis.txt").exists()


def test_every_package_is_pinned_and_comes_from_no_named_place() -> None:
    """One exact version a line; no address of an index or of a file."""
    lines = CONSTRAINTS.read_text().splitlines()
    assert "argilla-server==2.8.0" in lines
    assert all(line.count("==") == 1 and "://" not in line and "@" not in line for line in lines)
    assert (SERVER / "launch.py").exists()
