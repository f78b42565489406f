"""The team's own function that turns a row into one with a text: loaded from beside task.toml, run on every row."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from serving.formats import Row
from stillhouse.errors import TaskError

Convert = Callable[[Row], Mapping[str, Any]]


def load_convert(name: str, home: Path) -> Convert:
    """The function MODULE:FUNCTION. A file MODULE.py in `home` comes before an installed module of that name.

    The name stands in task.toml, so it is code of the team; nothing is ever imported that data names.
    Raises TaskError where it cannot be loaded.
    """
    return load_function(name, home, "data.convert")


def load_function(name: str, home: Path, setting: str) -> Callable[..., Any]:
    """The function that a setting of task.toml names, as `load_convert` finds it. Raises TaskError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(_module(module, home), function)
    except Exception as error:  # the team's code may raise anything, and nothing foreign may leave a command
        raise TaskError([f"{setting}: {name!r} cannot be loaded: {said_by(error)}"], where=str(home)) from error
    if not callable(found):
        raise TaskError([f"{setting}: expected a function, found {name!r}, which is none"], where=str(home))
    return found  # type: ignore[no-any-return]


def converted(convert: Convert, row: Row) -> tuple[Row, str]:
    """The row with what the function made of it, and what went wrong ("" if nothing did)."""
    try:
        made = convert(dict(row))
    except Exception as error:  # noqa: BLE001 - the team's code may raise anything: a problem of this row
        return row, f"data.convert: {said_by(error)}"
    if not isinstance(made, Mapping):
        return row, f"data.convert: expected a row (a dict), found {type(made).__name__}"
    return {**row, **made}, ""


def _module(name: str, home: Path) -> ModuleType:
    file = home.joinpath(*name.split(".")).with_suffix(".py")
    sys.path.insert(0, str(home))  # so that it can import its neighbours
    try:
        if not file.is_file():
            return importlib.import_module(name)
        own = f"{name} in {home}"  # it may be called like an installed module, and must not take its place
        spec = importlib.util.spec_from_file_location(own, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is no Python module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[own] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(home))


def said_by(error: Exception) -> str:
    """An exception of the team's code in one line."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
