"""The desk of plain files, for teams without Argilla: batches go out as JSONL, answers come back as JSONL.

In its folder, batch-01.jsonl holds what round 1 asks. A person copies it, fills in "label", and drops the copy into
answers/ (one file a person; a field "annotator" names them, else the file's name does). An empty label is not answered
yet, a label of null is a pass. When one person answers an item twice, the later line of the later file name counts.

A label is the value as JSON: a name, a list of names, a list of tags, an object of fields, or a list of spans, each
{"start", "end", "label"} or, where its words stand in the text once, {"text", "label"}.

What is asked in another way stands in a file of its own, batch-01-verify.jsonl, -second, -adjudicate, and its lines have a
"way", which an answer keeps. To verify a suggestion, "right" is filled in with "yes" or "no".
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from argilla_setup.desk import Denial, DeskRecord, OpenRecord
from argilla_setup.file_answers import Key, content_of, key_of, problem, said_by, suggested
from argilla_setup.file_lines import Line, assignment, batch_line, disk_error, dumped, item_of, lines_of, write_whole
from kinds.registry import kind_of
from stillhouse.errors import InputError
from stillhouse.records import Answer, Value, Way
from stillhouse.task import Task

_BATCHES = "batch-*.jsonl"


class FileDesk:
    """People answer in files. What is published and what is answered is read off the folder every time."""

    def __init__(self, folder: Path, task: Task) -> None:
        self.folder, self.answers_folder, self.task = folder, folder / "answers", task
        self._guidelines = folder / "guidelines.md"
        self.kind = kind_of(task)
        self._answers: dict[tuple[str, str, Way], Answer] = {}
        self._denied: list[Denial] = []
        try:
            self.answers_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(self.answers_folder, error) from error

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        """Add the new items to the file of their round; each file is replaced as a whole, so no line is ever half.

        What people go by stands beside them, in guidelines.md.
        """
        guidelines = (self.task.guidelines_for_people or self.task.question).encode("utf-8", "replace")
        if batch and (not self._guidelines.exists() or self._guidelines.read_bytes() != guidelines):
            write_whole(self._guidelines, guidelines)
        published = self._published()
        records = {(record.item_id, record.way): record for record in reversed(batch)}  # the first of two stays
        in_order = [records[key] for key in dict.fromkeys((record.item_id, record.way) for record in batch)]
        self._deal_again([record for record in in_order if (record.item_id, record.way) in published], published)
        new = [record for record in in_order if (record.item_id, record.way) not in published]
        for name in dict.fromkeys(_file_name(record) for record in new):
            path = self.folder / name
            kept = path.read_bytes() if path.exists() else b""
            version = self.task.guidelines_id()
            added = "".join(batch_line(record, version) for record in new if _file_name(record) == name)
            write_whole(path, kept + added.encode("utf-8", "replace"))
        return len(new)

    def _deal_again(self, records: Sequence[DeskRecord], published: dict[Key, Line]) -> None:
        """Who is to answer follows the record; all else stays as it was published."""
        moved = {}
        for record in records:
            key = (record.item_id, record.way)
            content = content_of(published, key)
            kept = {name: value for name, value in content.items() if name not in {"assigned", "not_by"}}
            if (line := {**kept, **assignment(record)}) != content:
                moved[key] = line
        for path in sorted({published[key].path for key in moved}):
            lines = [(key, content_of(published, key)) for key, line in published.items() if line.path == path]
            text = "".join(dumped(moved.get(key, content)) for key, content in lines)
            write_whole(path, text.encode("utf-8", "replace"))

    def collect(self, *, changed: bool = False) -> list[Answer]:
        """All answers of all files, or one InputError that lists every bad line; files are never changed."""
        published = self._published()
        found: dict[tuple[str, str, Way], Answer | Denial] = {}
        problems = []
        for line in self._answer_lines():
            if wrong := problem(self.kind, line, published):
                problems.append(f"{line.where}: {wrong}")
            elif said := said_by(self.kind, line, published):
                found[said.item_id, said.annotator, "verify" if isinstance(said, Denial) else said.way] = said
        if problems:
            count = "1 bad line" if len(problems) == 1 else f"{len(problems)} bad lines"
            raise InputError(
                f"{self.answers_folder}: {count}",
                expected='lines such as {"id": "…", "label": "…", "annotator": "…"} in UTF-8',
                found="\n".join(["", *(f"    {problem}" for problem in problems)]),
                fix="mend those lines and repeat the command: the files stay as they are, and no answer is lost",
            )
        earlier = self._answers if changed else {}
        self._answers = {key: said for key, said in sorted(found.items()) if isinstance(said, Answer)}
        self._denied = [said for _, said in sorted(found.items()) if isinstance(said, Denial)]
        return [answer for key, answer in self._answers.items() if earlier.get(key) != answer]

    def denied(self) -> list[Denial]:
        return list(self._denied)

    def sent_back(self) -> list[str]:
        """Nothing: a line that cannot be used stops `collect`, and its file is the place to mend it."""
        return []

    def waiting(self) -> int:
        return len(self.open())

    def open(self) -> list[OpenRecord]:
        published = self._published()
        answered: dict[Key, list[str]] = {key: [] for key in published}
        before = self._answers, self._denied
        for answer in self.collect():
            answered[answer.item_id, answer.way].append(answer.annotator)
        for denial in self._denied:
            answered[denial.item_id, "verify"].append(denial.annotator)
        self._answers, self._denied = before  # what was last collected is what the caller has seen
        found = []
        for (item_id, way), names in answered.items():
            content = content_of(published, (item_id, way))
            missing = (self.task.desk.min_submitted if way == "label" else 1) - len(names)
            if missing > 0:
                found.append(
                    OpenRecord(
                        key=item_id,
                        item=item_of(content),
                        way=way,
                        missing=missing,
                        answered_by=tuple(names),
                        assigned=tuple(content.get("assigned", ())),
                        not_by=tuple(content.get("not_by", ())),
                        suggested=suggested(self.kind, content),
                    )
                )
        return found

    def link(self, annotator: str = "", way: Way = "label") -> str:  # noqa: ARG002
        return str(self.folder.resolve())

    def add_answers(self, annotator: str, answers: Sequence[tuple[OpenRecord, Value | bool]]) -> None:
        """Append to the file of one annotator, as a whole or not at all: values, or of what is verified whether it is right."""
        if not answers:
            return
        path = self.answers_folder / f"{annotator}.jsonl"
        kept = path.read_bytes() if path.exists() else b""
        lines = [
            dumped(
                {
                    "id": record.item.id,
                    **({} if record.way == "label" else {"way": record.way}),
                    "right" if record.way == "verify" else "label": said,
                    "annotator": annotator,
                }
            )
            for record, said in answers
        ]
        write_whole(path, kept + "".join(lines).encode())

    def _published(self) -> dict[Key, Line]:
        found: dict[Key, Line] = {}
        for path in sorted(self.folder.glob(_BATCHES)):
            for line in lines_of(path):
                if line.problem or not isinstance(line.content, dict) or "id" not in line.content:
                    raise InputError(
                        f"{path} is not the batch that was written",
                        expected="the file as published: answers belong into copies of it under answers/",
                        found=f"line {line.number}: {line.problem or 'no id'}",
                        fix="restore that line from the copy under answers/ or from a backup",
                    )
                found.setdefault(key_of(line.content), line)
        return found

    def _answer_lines(self) -> Iterator[Line]:
        for path in sorted(self.answers_folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield from lines_of(path)


def _file_name(record: DeskRecord) -> str:
    way = "" if record.way == "label" else f"-{record.way}"
    return f"batch-{record.round:02d}{way}.jsonl"
