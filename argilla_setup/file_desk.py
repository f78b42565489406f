"""The desk of plain files, for teams without Argilla: batches go out as JSONL, answers come back as JSONL.

In its folder, batch-01.jsonl holds what round 1 asks. A person copies it, fills in "label", and drops the copy into
answers/ (one file a person; a field "annotator" names them, else the file's name does). An empty label is not answered
yet, a label of null is a pass. When one person answers an item twice, the later line of the later file name counts.

A label is the value as JSON: a name, a list of names, a list of tags, an object of fields, or a list of spans, each
{"start", "end", "label"} or, where its words stand in the text once, {"text", "label"}.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from argilla_setup.desk import Denial, DeskRecord, is_rehearsed
from argilla_setup.file_lines import Line, batch_line, disk_error, item_of, lines_of, located, write_whole
from kinds.registry import kind_of
from stillhouse.errors import InputError
from stillhouse.records import Answer, Item, Value, Way
from stillhouse.task import Task

_BATCHES = "batch-*.jsonl"


class FileDesk:
    """People answer in files. What is published and what is answered is read off the folder every time."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.folder, self.answers_folder, self.task = folder, folder / "answers", task
        self.kind = kind_of(task)
        try:
            self.answers_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(self.answers_folder, error) from error

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Add the new items to the file of their round; the file is replaced as a whole, so no line is ever half."""
        published = self._published()
        new = {record.item_id: record for record in reversed(batch) if record.item_id not in published}
        in_order = [new[item_id] for item_id in dict.fromkeys(r.item_id for r in batch) if item_id in new]
        for number in sorted({record.round for record in in_order}):
            path = self.folder / f"batch-{number:02d}.jsonl"
            kept = path.read_bytes() if path.exists() else b""
            added = "".join(batch_line(record) for record in in_order if record.round == number)
            write_whole(path, kept + added.encode("utf-8", "replace"))
        return len(in_order)

    def denied(self) -> list[Denial]:
        return []

    def collect(self, *, changed: bool = False) -> list[Answer]:  # noqa: ARG002
        """All answers of all files, or one InputError that lists every bad line; files are never changed."""
        published = self._published()
        found: dict[tuple[str, str], Answer] = {}
        problems = []
        for line in self._answer_lines():
            problem = line.problem or self._problem(line.content, published)
            if problem:
                problems.append(f"{line.where}: {problem}")
            elif isinstance(line.content, dict) and line.content["label"] != "":
                answer = self._answer(line, line.content, published)
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

    def sent_back(self) -> list[str]:
        """Nothing: a line that cannot be used stops `collect`, and its file is the place to mend it."""
        return []

    def waiting(self) -> int:
        return len(self.pending())

    def pending(self) -> dict[str, list[str]]:
        """The items that lack answers, with who has answered already."""
        answered: dict[str, list[str]] = {item_id: [] for item_id in self._published()}
        for answer in self.collect():
            answered[answer.item_id].append(answer.annotator)
        return {item: names for item, names in answered.items() if len(names) < self.task.desk.min_submitted}

    def link(self, annotator: str = "", way: Way = "label") -> str:  # noqa: ARG002
        return str(self.folder.resolve())

    def items(self) -> dict[str, Item]:
        """What is published, as far as an answer can depend on it."""
        return {item_id: item_of(content) for item_id, content in self._published().items()}

    def add_answers(self, annotator: str, answers: Sequence[tuple[str, Value]]) -> None:
        """Append (item id, value) pairs to the file of one annotator, as a whole or not at all."""
        if not answers:
            return
        path = self.answers_folder / f"{annotator}.jsonl"
        kept = path.read_bytes() if path.exists() else b""
        lines = [
            json.dumps({"id": item_id, "label": label, "annotator": annotator}, ensure_ascii=False) + "\n"
            for item_id, label in answers
        ]
        write_whole(path, kept + "".join(lines).encode())

    def _published(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob(_BATCHES)):
            for line in lines_of(path):
                if line.problem or not isinstance(line.content, dict) or "id" not in line.content:
                    raise InputError(
                        f"{path} is not the batch that was written",
                        expected="the file as published: answers belong into copies of it under answers/",
                        found=f"line {line.number}: {line.problem or 'no id'}",
                        fix="restore that line from the copy under answers/ or from a backup",
                    )
                found.setdefault(str(line.content["id"]), line.content)
        return found

    def _answer_lines(self) -> Iterator[Line]:
        for path in sorted(self.answers_folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield from lines_of(path)

    def _problem(self, content: object, published: Mapping[str, Mapping[str, Any]]) -> str:
        if not isinstance(content, dict):
            return f"expected an object, found {type(content).__name__}"
        missing = [name for name in ("id", "label") if name not in content]
        if missing:
            return f"the field {missing[0]!r} is missing"
        item_id, label = str(content["id"]), content["label"]
        if item_id not in published:
            return f"the id {item_id!r} was never published"
        if not isinstance(content.get("annotator", ""), str):
            return "the annotator must be a text"
        if label is None or label == "":
            return ""
        item = item_of(published[item_id])
        value, problems = located(self.kind, item, label)
        return "; ".join(problems or self.kind.problems(item, value))

    def _answer(self, line: Line, content: Mapping[str, Any], published: Mapping[str, Mapping[str, Any]]) -> Answer:
        item = item_of(published[str(content["id"])])
        value, _ = located(self.kind, item, content["label"])
        annotator = content.get("annotator") or line.path.stem
        return Answer(
            item_id=item.id,
            annotator=annotator,
            label=None if value is None else self.kind.normal(item, value),
            blind=bool(published[item.id].get("blind")),
            rehearsed=is_rehearsed(annotator),
            answered_at=dt.datetime.fromtimestamp(line.path.stat().st_mtime, tz=dt.UTC).isoformat(),
        )
