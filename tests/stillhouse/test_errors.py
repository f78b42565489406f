"""What a person reads when something is wrong, and the exit code a script sees."""

import inspect
import re

import pytest

import stillhouse.errors
from stillhouse.errors import InputError, StillhouseError, TaskError


def _drawn() -> dict[str, tuple[str, int]]:
    """The tree of the module's docstring: name -> (parent, exit code)."""
    drawn: dict[str, tuple[str, int]] = {}
    path: list[str] = []
    for line in (stillhouse.errors.__doc__ or "").splitlines():
        found = re.match(r"^([│├└─ ]*)(\w+Error) +(\d+) ", line)
        if found:
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else "Exception", int(found[3]))
    return drawn


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    """Names, parents and exit codes: none more, none fewer."""
    classes = [
        kind for _, kind in inspect.getmembers(stillhouse.errors, inspect.isclass) if issubclass(kind, StillhouseError)
    ]
    assert {kind.__name__: (kind.__bases__[0].__name__, kind.exit_code) for kind in classes} == _drawn()


@pytest.mark.parametrize("kind", sorted(_drawn()))
def test_no_error_is_taken_for_success_or_waiting(kind: str) -> None:
    """A script tells mistakes from success (0), waiting for people (10) and an interrupt (130)."""
    taken = {0, stillhouse.errors.WAITING_EXIT_CODE, stillhouse.errors.INTERRUPTED_EXIT_CODE}
    assert getattr(stillhouse.errors, kind).exit_code not in taken


def test_the_codes_of_waiting_and_interrupt_are_those_documented() -> None:
    """The docstring promises 10 and 130."""
    text = " ".join((stillhouse.errors.__doc__ or "").split())
    assert f'{stillhouse.errors.WAITING_EXIT_CODE} is "waiting for people"' in text
    assert f"{stillhouse.errors.INTERRUPTED_EXIT_CODE} is an interrupt" in text


def test_the_text_says_expected_found_and_what_to_do() -> None:
    """Four lines, in the order a person needs them; str() shows the same."""
    error = InputError("no such label", expected="apps or soc", found="app", fix="write apps")
    assert str(error) == error.text()
    assert error.text() == "no such label\n  expected: apps or soc\n  found: app\n  what to do: write apps"


def test_what_is_not_known_is_left_out() -> None:
    """No empty 'expected:' line."""
    assert InputError("it is gone", fix="look for it").text() == "it is gone\n  what to do: look for it"
    assert InputError("it is gone").text() == "it is gone"


def test_a_task_error_lists_every_problem_and_counts_them() -> None:
    """One line a mistake, and the file they are in."""
    error = TaskError(["labels: one", "data: two"], where="task.toml")
    assert error.text() == "task.toml: 2 mistakes\n  - labels: one\n  - data: two"
    assert error.problems == ("labels: one", "data: two")
    assert TaskError(["only this"], where="task.toml").text().startswith("task.toml: 1 mistake\n")
