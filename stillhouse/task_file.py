"""The one file a team writes, task.toml: read, with every mistake in it reported at once."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from stillhouse.errors import InputError, TaskError
from stillhouse.settings import Budget, Data, Desk, Privacy, Rule, Selection, Stop, Student, Teacher
from stillhouse.task import FieldSpec, Label, Task, label_problems


def load_task(path: Path) -> Task:
    """Read and validate task.toml; `guidelines` and `people_guidelines` may name a .md or .txt file beside it.

    Raises InputError if the file cannot be read or is not TOML, TaskError with every mistake otherwise.
    """
    try:
        raw = tomllib.loads(_text(path))
    except FileNotFoundError as error:
        raise InputError(
            f"no task at {path}", expected="a task.toml", found="nothing", fix="write one with: stillhouse init DATA"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read", expected="a task.toml", found=str(error), fix="check the path and its permissions"
        ) from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise InputError(
            f"{path} cannot be read", expected="TOML in UTF-8", found=str(error), fix="mend that line"
        ) from error
    missing = _inline_texts(raw, path.parent)
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        raise TaskError([*missing, *_problems(error), *_masked_label_problems(raw, error)], where=str(path)) from error
    if missing:
        raise TaskError(missing, where=str(path))
    return task


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")  # Windows editors write a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"the byte 0x{content[error.start]:02x}, which is not UTF-8 (at line {line})") from error


def names_file(value: str) -> bool:
    """Whether a text of task.toml is the name of the file that has it."""
    return "\n" not in value and value.endswith((".md", ".txt"))


def _inline_texts(raw: dict[str, object], folder: Path) -> list[str]:
    problems = []
    for key in ("guidelines", "people_guidelines"):
        value = raw.get(key)
        if isinstance(value, str) and names_file(value):
            try:
                raw[key] = (folder / value).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{key}: expected a text file at {value!r}, found: {error}")
    return problems


def _problems(error: ValidationError) -> list[str]:
    problems: list[str] = []
    for part in error.errors():
        where = ".".join(str(step) for step in part["loc"])
        message = part["msg"].removeprefix("Value error, ")
        if part["type"] == "extra_forbidden":
            problems.append(f"{where}: unknown key{_guess(part['loc'])}")
        elif part["type"] == "value_error":
            problems += message.splitlines()
        else:
            found = "" if part["type"] == "missing" else f", found {part['input']!r}"
            problems.append(f"{where}: {message}{found}")
    return problems


def _masked_label_problems(raw: dict[str, object], error: ValidationError) -> list[str]:
    """Labels are compared with each other even where one of them has a mistake of its own."""
    labels = raw.get("labels")
    if not isinstance(labels, list) or not any(p["loc"][0] == "labels" and len(p["loc"]) > 1 for p in error.errors()):
        return []
    readable = [
        Label.model_construct(
            name=label["name"],
            aliases=tuple(a for a in label["aliases"] if isinstance(a, str))
            if isinstance(label.get("aliases"), list)
            else (),
        )
        for label in labels
        if isinstance(label, dict) and isinstance(label.get("name"), str)
    ]
    return [p for p in label_problems(tuple(readable)) if "expected at least" not in p or len(labels) < 2]


def _guess(location: tuple[int | str, ...]) -> str:
    import difflib

    tables: dict[int | str, type[BaseModel]] = {
        "labels": Label,
        "fields": FieldSpec,
        "data": Data,
        "rules": Rule,
        "teachers": Teacher,
        "budget": Budget,
        "student": Student,
        "selection": Selection,
        "desk": Desk,
        "stop": Stop,
        "privacy": Privacy,
    }
    table = Task if len(location) == 1 else tables[location[0]]
    close = difflib.get_close_matches(str(location[-1]), sorted(table.model_fields), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
