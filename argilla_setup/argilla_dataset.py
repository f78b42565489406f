"""How a task looks in Argilla: its datasets, their fields, the kind's questions, and why each record is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kinds.kind import Kind, Question
from stillhouse.errors import InputError
from stillhouse.records import Way
from stillhouse.task import Task

TEXT, PAIR, FOCUS, IMAGE, DOUBT = "text", "pair", "focus", "image", "doubt"
SUGGESTED, CONTEXT = "suggested", "context"
ROUND, REASON, UNCERTAINTY, BLIND, ASSIGNED = "round", "reason", "uncertainty", "blind", "assigned"
GIVEN, NOT_BY, SHOWN = "given", "not_by", "shown"  # kept with a record, but no property to filter by
RESERVED = frozenset({ROUND, REASON, UNCERTAINTY, BLIND, ASSIGNED, GIVEN, NOT_BY, SHOWN})
ANYONE = "anyone"  # in the place of a name, where nobody is assigned
RIGHT, YES, NO, CANNOT_SAY = "right", "yes", "no", "cannot say"
GUIDELINES_MAX_CHARS = 10_000
_DESCRIPTION_MAX_CHARS = 1000
_LABEL_MAX_CHARS = 200
_TITLE_MAX_CHARS = 500
_FEWEST_LABELS = {"label": 2, "multi_label": 2, "rating": 2, "span": 1}
_FEWEST_VISIBLE = 3
# The number keys reach only labels that are on the page, and from 15 labels on it has a search box, which takes any letter
# that is typed. So all labels are shown while one can still look over them; of more, the first, and the rest is searched.
_MOST_VISIBLE = 100
_VISIBLE_OF_MORE = 40
_TYPES = {"label": "label_selection", "multi_label": "multi_label_selection", "span": "span"}


@dataclass(frozen=True, slots=True)
class Queue:
    """One of a task's datasets: the ways in which its records ask. What is asked in another way has other questions, or
    must not stand beside the first asking.
    """

    name: str
    ways: tuple[Way, ...]

    def external_id(self, way: Way, item_id: str) -> str:
        return item_id if len(self.ways) == 1 else f"{way}:{item_id}"

    def asked(self, external_id: str) -> tuple[Way, str]:
        """The way and the item of a record."""
        if len(self.ways) == 1:
            return self.ways[0], external_id
        way = next(way for way in self.ways if external_id.startswith(f"{way}:"))
        return way, external_id.removeprefix(f"{way}:")


LABEL = Queue("", ("label",))
VERIFY = Queue("verify", ("verify",))
REVIEW = Queue("review", ("second", "adjudicate"))
QUEUES = (LABEL, VERIFY, REVIEW)


def queue_of(way: Way) -> Queue:
    return next(queue for queue in QUEUES if way in queue.ways)


def dataset_name(task: Task, queue: Queue = LABEL) -> str:
    """A changed label set is a new dataset: Argilla fixes the labels of a dataset once it is published."""
    return "-".join(part for part in (task.name, task.schema_hash(), queue.name) if part)


def guidelines(task: Task) -> str:
    text = task.guidelines_for_people or task.question
    if len(text) > GUIDELINES_MAX_CHARS:
        raise InputError(
            "the guidelines are too long for Argilla",
            expected=f"at most {GUIDELINES_MAX_CHARS:,} characters in guidelines and people_guidelines together",
            found=f"{len(text):,}",
            fix="shorten them, or put the rest behind a link in them",
        )
    return text


def distribution(task: Task, queue: Queue) -> dict[str, Any]:
    """How many people a record wants: `min_submitted` for its label, one for what is asked after that."""
    return {"strategy": "overlap", "min_submitted": task.desk.min_submitted if queue is LABEL else 1}


def questions_of(kind: Kind, queue: Queue = LABEL) -> tuple[Question, ...]:
    """The kind's questions; where none of them must be answered, one that must: Argilla publishes nothing else.

    A span question can be required though nothing need be marked: to Argilla, no marks are an answer. An empty choice
    of labels or an empty text is none, and a person must have a way to say that it is meant: `finishing`.
    """
    if queue is VERIFY:
        labels = ((YES, "all of it is right"), (NO, "anything in it is wrong or missing"))
        return (Question(RIGHT, "Is the suggestion right?", "label", labels, description=kind.task.question),)
    asked = kind.questions()
    if any(question.required for question in asked):
        return asked
    if any(question.type == "span" for question in asked):
        return tuple(replace(question, required=question.type == "span") for question in asked)
    return (*asked, finishing(asked))


def finishing(asked: tuple[Question, ...]) -> Question:
    """The question whether that is all; Argilla wants two labels, so the other one is a pass."""
    name = "complete"
    while name in {question.name for question in asked}:
        name += "_"
    labels = ((YES, "what is left empty is meant to be empty"), (CANNOT_SAY, "pass: nobody could tell from this text"))
    return Question(name, "Is that all?", "label", labels)


def check(kind: Kind) -> None:
    """Raises InputError, before anything is made, where Argilla cannot hold the task."""
    guidelines(kind.task)
    for question in questions_of(kind):
        _check(question)


def _check(question: Question) -> None:
    too_long = [name for name, _ in question.labels if len(name) > _LABEL_MAX_CHARS]
    if too_long:
        raise InputError(
            "a label is too long for Argilla",
            expected=f"label names of at most {_LABEL_MAX_CHARS} characters",
            found=f"{too_long[0][:60]!r}… with {len(too_long[0])}",
            fix="shorten the name and put the rest into its description",
        )
    fewest = _FEWEST_LABELS.get(question.type, 0)
    if len(question.labels) < fewest:
        raise InputError(
            f"the question {question.title!r} has too few labels for Argilla",
            expected=f"at least {fewest}",
            found=f"{len(question.labels)}",
            fix='add a label, such as "other", or set desk.kind = "files"',
        )


def fields_of(task: Task, queue: Queue) -> Iterator[dict[str, Any]]:
    plain, markdown = {"type": "text", "use_markdown": False}, {"type": "text", "use_markdown": True}
    yield {"name": TEXT, "title": "Text", "required": True, "settings": plain}
    if task.data.pair:
        yield {"name": PAIR, "title": task.data.pair[:_TITLE_MAX_CHARS], "required": False, "settings": plain}
    if task.data.focus:
        yield {"name": FOCUS, "title": "Asked about", "required": False, "settings": plain}
    if task.data.image:
        yield {"name": IMAGE, "title": "Image", "required": False, "settings": {"type": "image"}}
    if queue is VERIFY:
        yield {"name": SUGGESTED, "title": "Suggestion", "required": True, "settings": markdown}
    if task.kind != "single_label" and queue is not REVIEW:  # one label says what it doubts by itself
        yield {"name": DOUBT, "title": "Least sure", "required": False, "settings": plain}
    yield {"name": CONTEXT, "title": "To help you", "required": False, "settings": markdown}


def properties() -> Iterator[dict[str, Any]]:
    """What records can be filtered and sorted by."""
    for name, title, kept_as in (
        (ROUND, "Round", "integer"),
        (REASON, "Why it is asked", "terms"),
        (UNCERTAINTY, "Uncertainty", "float"),
        (BLIND, "Asked without a suggestion", "terms"),
        (ASSIGNED, "Assigned to", "terms"),
    ):
        yield {"name": name, "title": title, "settings": {"type": kept_as}}


def vector_settings(dimensions: int) -> dict[str, Any]:
    """Named by their length, which Argilla fixes: another base model may have another."""
    return {"name": f"embedding-{dimensions}", "title": "Similar texts", "dimensions": dimensions}


def question_body(question: Question) -> dict[str, Any]:
    return {
        "name": question.name,
        **question_words(question),
        "required": question.required,
        "settings": _settings(question),
    }


def question_words(question: Question) -> dict[str, Any]:
    """What may change after a dataset is published."""
    described = "\n".join(f"{name}: {description}" for name, description in question.labels if description)
    # Behind an info sign beside the question; where it does not fit, the guidelines have to say it.
    fitting = next((d for d in (question.description, described) if 0 < len(d) <= _DESCRIPTION_MAX_CHARS), None)
    return {"title": question.title[:_TITLE_MAX_CHARS], "description": fitting}


def _settings(question: Question) -> dict[str, Any]:
    if question.type == "text":
        return {"type": "text", "use_markdown": False}
    if question.type == "rating":
        return {"type": "rating", "options": [{"value": int(name)} for name, _ in question.labels]}
    count = len(question.labels)
    settings: dict[str, Any] = {
        "type": _TYPES[question.type],
        "options": [{"value": name, "text": name} for name, _ in question.labels],  # in the task's order, always
    }
    if count >= _FEWEST_VISIBLE:
        settings["visible_options"] = count if count <= _MOST_VISIBLE else _VISIBLE_OF_MORE
    if question.type == "span":
        settings |= {"field": TEXT, "allow_overlapping": question.overlapping}
    return settings
