"""Another text for the guidelines of a task.toml: that value and nothing else of the file, to the byte."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from stillhouse.errors import InputError
from stillhouse.task_file import names_file

KEY = "guidelines"
_BEGINS = re.compile(rf"^[ \t]*{KEY}[ \t]*=[ \t]*", re.MULTILINE)
_ENDS = re.compile(r"[\"']")
_AFTER = re.compile(r"^[ \t]*(?:question|kind|name)[ \t]*=[^\n]*\n", re.MULTILINE)  # where a new line may stand
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def guidelines_file(path: Path) -> Path | None:
    """The file beside task.toml that has the guidelines, where it names one."""
    value = tomllib.loads(_read(path)[1]).get(KEY)
    return path.parent / value if isinstance(value, str) and names_file(value) else None


def with_guidelines(content: str, text: str) -> str:
    """The content of a task.toml with other guidelines. Raises InputError where it cannot be told where they stand.

    Whatever the file looks like, the new one must read as the old one but for this value: that is checked, not assumed.
    """
    raw = tomllib.loads(content)
    wanted = {**raw, KEY: text}
    for candidate in _candidates(content, literal(text), there=KEY in raw):
        try:
            if tomllib.loads(candidate) == wanted:
                return candidate
        except tomllib.TOMLDecodeError:
            continue
    raise InputError(
        "the guidelines cannot be put into task.toml",
        expected=f"a line that begins with {KEY} = and a text in quotes",
        found="none that could be replaced without a change to something else",
        fix="put the new text there by hand: it is in the file of the draft",
    )


def write_guidelines(path: Path, text: str) -> Path:
    """Into task.toml, or into the file that it names; whole or not at all. Returns what was written."""
    target = guidelines_file(path) or path
    mark, content = _read(path)
    new = f"{text}\n" if target != path else mark + with_guidelines(content, text)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(new.encode("utf-8"))
    part.chmod(target.stat().st_mode)
    part.replace(target)
    return target


def literal(text: str) -> str:
    """The text as a TOML string: on lines of its own where it can stand there as it is."""
    plain = "\\" not in text and '"""' not in text and not text.endswith('"') and not _CONTROL.search(text)
    if "\n" in text and plain:
        return f'"""\n{text}"""'
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # what JSON escapes, TOML reads


def _candidates(content: str, value: str, *, there: bool) -> Iterator[str]:
    if not there:
        yield from (f"{content[: at.end()]}{KEY} = {value}\n{content[at.end() :]}" for at in _AFTER.finditer(content))
        yield f"{KEY} = {value}\n{content}"
        return
    for begin in _BEGINS.finditer(content):
        for end in _ENDS.finditer(content, begin.end() + 1):
            yield content[: begin.end()] + value + content[end.end() :]


def _read(path: Path) -> tuple[str, str]:
    """A byte order mark, if there is one, and the rest."""
    content = path.read_bytes().decode("utf-8")
    return ("\ufeff", content[1:]) if content.startswith("\ufeff") else ("", content)
