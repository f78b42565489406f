"""The desk of plain files, for teams without Argilla: batches go out as JSONL, answers come back as JSONL.

In its folder, batch-01.jsonl holds what round 1 asks. A person copies it, fills in "label", and drops the copy into
answers/ (one file a person; a field "annotator" names them, else the file's name does). An empty label is not answered
yet, a label of null is a pass. When one person answers an item twice, the later line of the later file name counts.
"""

import datetime as dt
import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argilla_setup.desk import DeskRecord, is_rehearsed
from stillhouse.errors import DeskError, InputError
from stillhouse.records import Answer
from stillhouse.task import Task

_BATCHES = "batch-*.jsonl"


@dataclass(frozen=True)
class _Line:
    """One line of an answers file, read but not yet believed."""

    path: Path
    number: int
    content: object
    problem: str = ""

    @property
    def where(self) -> str:
        return f"{self.path.name}, line {self.number}"


class FileDesk:
    """People answer in files. What is published and what is answered is read off the folder every time."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.folder, self.answers_folder, self.task = folder, folder / "answers", task
        try:
            self.answers_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _disk_error(self.answers_folder, error) from error

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Add the new items to the file of their round; the file is replaced as a whole, so no line is ever half."""
        published = self._published()
        new = {record.item_id: record for record in reversed(batch) if record.item_id not in published}
        in_order = [new[item_id] for item_id in dict.fromkeys(r.item_id for r in batch) if item_id in new]
        for number in sorted({record.round for record in in_order}):
            path = self.folder / f"batch-{number:02d}.jsonl"
            kept = path.read_bytes() if path.exists() else b""
            added = "".join(_batch_line(record) for record in in_order if record.round == number)
            _write_whole(path, kept + added.encode("utf-8", "replace"))
        return len(in_order)

    def collect(self) -> list[Answer]:
        """All answers of all files, or one InputError that lists every bad line; files are never changed."""
        published = self._published()
        found: dict[tuple[str, str], Answer] = {}
        problems = []
        for line in self._answer_lines():
            problem = line.problem or self._problem(line.content, published)
            if problem:
                problems.append(f"{line.where}: {problem}")
            elif isinstance(line.content, dict) and line.content["label"] != "":
                answer = _answer(line, line.content, published)
                found[answer.item_id, answer.annotator] = answer
        if problems:
            count = "1 bad line" if len(problems) == 1 else f"{len(problems)} bad lines"
            raise InputError(
                f"{self.answers_folder}: {count}",
                expected='lines such as {"id": "…", "label": "…", "annotator": "…"} in UTF-8',
                found="\n".join(["", *(f"    {problem}" for problem in problems)]),
                fix="mend those lines and repeat the command: the files stay as they are, and no answer is lost",
            )
        return [found[key] for key in sorted(found)]

    def waiting(self) -> int:
        return len(self.pending())

    def pending(self) -> dict[str, list[str]]:
        """The items that lack answers, with who has answered already."""
        answered: dict[str, list[str]] = {item_id: [] for item_id in self._published()}
        for answer in self.collect():
            answered[answer.item_id].append(answer.annotator)
        return {item: names for item, names in answered.items() if len(names) < self.task.desk.min_submitted}

    def link(self) -> str:
        return str(self.folder.resolve())

    def add_answers(self, annotator: str, answers: Sequence[tuple[str, str]]) -> None:
        """Append (item id, label) pairs to the file of one annotator, as a whole or not at all."""
        if not answers:
            return
        path = self.answers_folder / f"{annotator}.jsonl"
        kept = path.read_bytes() if path.exists() else b""
        lines = [
            json.dumps({"id": item_id, "label": label, "annotator": annotator}, ensure_ascii=False) + "\n"
            for item_id, label in answers
        ]
        _write_whole(path, kept + "".join(lines).encode())

    def _published(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob(_BATCHES)):
            for line in _lines(path):
                if line.problem or not isinstance(line.content, dict) or "id" not in line.content:
                    raise InputError(
                        f"{path} is not the batch that was written",
                        expected="the file as published: answers belong into copies of it under answers/",
                        found=f"line {line.number}: {line.problem or 'no id'}",
                        fix="restore that line from the copy under answers/ or from a backup",
                    )
                found.setdefault(str(line.content["id"]), line.content)
        return found

    def _answer_lines(self) -> Iterator[_Line]:
        for path in sorted(self.answers_folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield from _lines(path)

    def _problem(self, content: object, published: Mapping[str, object]) -> str:
        if not isinstance(content, dict):
            return f"expected an object, found {type(content).__name__}"
        missing = [name for name in ("id", "label") if name not in content]
        if missing:
            return f"the field {missing[0]!r} is missing"
        item_id, label = str(content["id"]), content["label"]
        if item_id not in published:
            return f"the id {item_id!r} was never published"
        if label is None or label == "" or label in self.task.label_names:
            return "" if isinstance(content.get("annotator", ""), str) else "the annotator must be a text"
        close = difflib.get_close_matches(str(label), self.task.label_names, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else f"; the labels are {', '.join(self.task.label_names)}"
        return f"the label {label!r} is not in the task{guess}"


def _lines(path: Path) -> Iterator[_Line]:
    """Lines that are not blank; only a line feed ends one, since texts hold every other separator there is."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _disk_error(path, error) from error
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _Line(path, number, json.loads(line.decode("utf-8")))
        except UnicodeDecodeError as error:
            yield _Line(path, number, None, f"not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x})")
        except ValueError as error:
            yield _Line(path, number, None, f"not JSON ({error})")


def _batch_line(record: DeskRecord) -> str:
    suggestion = record.suggestion
    content = {
        "id": record.item_id,
        "text": record.text,
        "suggestion": suggestion.label if suggestion else None,
        "suggested_by": suggestion.agent if suggestion else None,
        "reason": record.reason,
        "uncertainty": record.uncertainty if math.isfinite(record.uncertainty) else None,
        "round": record.round,
        "blind": record.blind,
        "label": "",
    }
    return json.dumps(content, ensure_ascii=False) + "\n"


def _answer(line: _Line, content: Mapping[str, Any], published: Mapping[str, Mapping[str, Any]]) -> Answer:
    item_id = str(content["id"])
    annotator = content.get("annotator") or line.path.stem
    return Answer(
        item_id=item_id,
        annotator=annotator,
        label=content["label"],
        blind=bool(published[item_id].get("blind")),
        rehearsed=is_rehearsed(annotator),
        answered_at=dt.datetime.fromtimestamp(line.path.stat().st_mtime, tz=dt.UTC).isoformat(),
    )


def _write_whole(path: Path, content: bytes) -> None:
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
        raise _disk_error(path, error) from error


def _disk_error(path: Path, error: OSError) -> DeskError:
    return DeskError(
        f"{path} cannot be read or written",
        expected="a folder with room and with rights to write",
        found=error.strerror or str(error),
        fix="make room or mend the rights, then repeat the command",
    )
