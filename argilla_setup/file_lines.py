"""The lines of the file desk: an item as a person reads and fills it in, and what stands in the files again."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argilla_setup.desk import DeskRecord
from argilla_setup.markdown import as_plain
from kinds.kind import Kind
from stillhouse.errors import DeskError
from stillhouse.records import CharSpan, Item


@dataclass(frozen=True)
class Line:
    """One line of a file, read but not yet believed."""

    path: Path
    number: int
    content: object
    problem: str = ""

    @property
    def where(self) -> str:
        return f"{self.path.name}, line {self.number}"


def lines_of(path: Path) -> Iterator[Line]:
    """Lines that are not blank; only a line feed ends one, since texts hold every other separator there is."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise disk_error(path, error) from error
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield Line(path, number, json.loads(line.decode("utf-8")))
        except UnicodeDecodeError as error:
            yield Line(path, number, None, f"not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x})")
        except ValueError as error:
            yield Line(path, number, None, f"not JSON ({error})")


def batch_line(record: DeskRecord, guidelines: str) -> str:
    """The item, why it is asked, the suggestion, and an empty label to fill in, or an empty "right" to say yes or no."""
    item, suggestion = record.item, record.shown
    content = {
        "id": item.id,
        **({} if record.way == "label" else {"way": record.way}),
        "text": item.text,
        **_given(item),
        "suggestion": with_words(item.text, suggestion.label) if suggestion else None,
        "suggested_by": suggestion.agent if suggestion else None,
        **({"doubt": suggestion.doubt} if suggestion and suggestion.doubt else {}),
        **({"context": as_plain(record.context)} if record.context else {}),
        "reason": record.why,
        "uncertainty": record.uncertainty if math.isfinite(record.uncertainty) else None,
        "round": record.round,
        "blind": record.blind,
        "guidelines": guidelines,
        **assignment(record),
        **({"right": ""} if record.way == "verify" else {"label": ""}),
    }
    return dumped(content)


def assignment(record: DeskRecord) -> dict[str, object]:
    """Who is to answer, and who must not; left out where it is anybody."""
    named = {"assigned": list(record.assigned), "not_by": list(record.not_by)}
    return {name: people for name, people in named.items() if people}


def dumped(content: Mapping[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def item_of(content: Mapping[str, Any]) -> Item:
    """The item of a batch line, as far as an answer can depend on it."""
    return Item(
        str(content["id"]),
        content.get("text") or "",
        pair=content.get("pair") or "",
        tokens=tuple(_span(each) for each in content["tokens"]) if "tokens" in content else None,
        focus=_span(content["focus"]) if "focus" in content else None,
    )


def with_words(text: str, value: object) -> object:
    """A list of spans with the words of each, so that a person need not count characters to read it."""
    if not isinstance(value, list) or not all(isinstance(part, Mapping) and "start" in part for part in value):
        return value
    return [{**part, "text": text[part["start"] : part["end"]]} for part in value]


def located(kind: Kind, item: Item, value: object) -> tuple[object, list[str]]:
    """Spans that a person gave by their words get their place; words that stand in the text twice, or never, have none."""
    if not isinstance(value, list) or not any(question.type == "span" for question in kind.questions()):
        return value, []
    placed: list[object] = []
    problems: list[str] = []
    for part in value:
        words = part.get("text") if isinstance(part, Mapping) and not {"start", "end"} & set(part) else None
        if not isinstance(words, str) or not words:
            placed.append(part)
            continue
        times = sum(item.text.startswith(words, at) for at in range(len(item.text)))
        if times == 1:
            start = item.text.index(words)
            placed.append({**part, "start": start, "end": start + len(words)})
        else:
            problems.append(f'expected "start" and "end" of {words!r}, which stands {times} times in the text')
    return placed, problems


def write_whole(path: Path, content: bytes) -> None:
    """Write aside, then rename: after a crash or on a full disk the file is the old one or the new one."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> DeskError:
    return DeskError(
        f"{path} cannot be read or written",
        expected="a folder with room and with rights to write",
        found=error.strerror or str(error),
        fix="make room or mend the rights, then repeat the command",
    )


def _given(item: Item) -> dict[str, object]:
    """What else the item has; tokens and focus as [word, start, end]."""
    given: dict[str, object] = {"pair": item.pair} if item.pair else {}
    if item.image:
        given["image"] = item.image
    if item.tokens is not None:
        given["tokens"] = [_word(item.text, token) for token in item.tokens]
    if item.focus is not None:
        given["focus"] = _word(item.text, item.focus)
    return given


def _word(text: str, span: CharSpan) -> list[object]:
    return [text[slice(*span)], *span]


def _span(word: Sequence[Any]) -> CharSpan:
    return int(word[1]), int(word[2])
