"""What is put to a model whose answers' likelihoods are read off: by code, by name, or one yes-or-no question a label."""

from dataclasses import dataclass
from pathlib import Path

from prompts.delimit import sendable
from prompts.render import Frame, fill, frame, frame_of
from stillhouse.errors import TeacherError
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.task import Task

KINDS = ("single_label", "multi_label")
MOST_CODES = 676  # two letters
MARK = "\x00"  # where the label's name goes


@dataclass(frozen=True, slots=True)
class Choice:
    """One message an item, ended by each of the `tails` in turn; `answers` are all that may follow each of them.

    By code or name there is one tail, and the answers follow the order of the task's labels. By yes or no there is a tail
    for each label, and the answers are no and yes. With `end` an answer counts as said only where it ends.
    """

    common: Frame
    tails: tuple[str, ...]
    answers: tuple[str, ...]
    end: bool

    def message(self, item: Item) -> str:
        """What stands before a tail."""
        text = fill(self.common, item).messages[-1].content
        return text.rpartition(MARK)[0] if self.common.template == "yes_no" else text


def choice_of(task: Task, teacher: Teacher) -> Choice:
    """By code unless `ask` is "verbalised", which is by name. Raises TeacherError for other kinds, and for samples."""
    if task.kind not in KINDS or teacher.ask == "samples":
        raise TeacherError(
            f"teacher {teacher.name}: a local model gives the likelihoods of labels",
            expected='a task of one or many labels a text, and ask = "auto", "logprobs" (by code) or "verbalised" (by name)',
            found=f'kind = "{task.kind}", ask = "{teacher.ask}"',
            fix="serve the model (vLLM, llama.cpp, transformers serve) and give its address as base_url, or correct ask",
        )
    if task.kind == "multi_label":
        return yes_or_no(task, teacher)
    named = teacher.ask == "verbalised" or (teacher.ask == "auto" and len(task.labels) > MOST_CODES)
    return by_name(task, teacher) if named else by_code(task, teacher)


def local_name(teacher: Teacher, home: Path) -> str:
    """The folder or Hub id of a teacher's model; a relative path starts at `home`, if it exists there."""
    here = home / str(teacher.local)
    return str(here) if here.exists() else str(teacher.local)


def by_code(task: Task, teacher: Teacher) -> Choice:
    common = frame(task, teacher, "codes")
    return Choice(common, ("",), common.codes, end=False)


def by_name(task: Task, teacher: Teacher) -> Choice:
    common = frame_of(task, teacher, template="name", reply_tokens=0)
    return Choice(common, ("",), tuple(map(sendable, task.label_names)), end=True)


def yes_or_no(task: Task, teacher: Teacher) -> Choice:
    common = frame_of(task, teacher, template="yes_no", reply_tokens=0, label=MARK)
    after = fill(common, Item("", "")).messages[-1].content.rpartition(MARK)[2]
    return Choice(common, tuple(sendable(name) + after for name in task.label_names), ("no", "yes"), end=False)
