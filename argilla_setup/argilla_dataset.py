"""How a task looks in Argilla: the text and what belongs to it, the kind's questions, and why each record is asked."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from argilla_setup.argilla_api import ArgillaApi
from kinds.kind import Kind, Question
from stillhouse.errors import InputError
from stillhouse.task import Task

TEXT, PAIR, FOCUS, IMAGE, DOUBT = "text", "pair", "focus", "image", "doubt"
ROUND, REASON, UNCERTAINTY, BLIND, GIVEN = "round", "reason", "uncertainty", "blind", "given"
YES, CANNOT_SAY = "yes", "cannot say"
GUIDELINES_MAX_CHARS = 10_000
_DESCRIPTION_MAX_CHARS = 1000
_LABEL_MAX_CHARS = 200
_TITLE_MAX_CHARS = 500
_FEWEST_LABELS = {"label": 2, "multi_label": 2, "rating": 2, "span": 1}
_FEWEST_VISIBLE = 3
_TYPES = {"label": "label_selection", "multi_label": "multi_label_selection", "span": "span"}


def dataset_name(task: Task) -> str:
    """A changed label set is a new dataset: Argilla fixes the labels of a dataset once it is published."""
    return f"{task.name}-{task.schema_hash()}"


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


def questions_of(kind: Kind) -> tuple[Question, ...]:
    """The kind's questions; where none of them must be answered, one that must: Argilla publishes nothing else.

    A span question can be required though nothing need be marked: to Argilla, no marks are an answer. An empty choice
    of labels or an empty text is none, and a person must have a way to say that it is meant: `finishing`.
    """
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


def create_dataset(api: ArgillaApi, kind: Kind) -> str:
    """Make and publish the task's dataset, and its workspace when missing; return the dataset's id."""
    task, asked = kind.task, questions_of(kind)
    text = guidelines(task)
    for question in asked:
        _check(question)
    doing = f"making the dataset {dataset_name(task)}"
    made = api.call(
        "POST",
        "/datasets",
        doing=doing,
        body={
            "name": dataset_name(task),
            "workspace_id": _workspace(api, task.desk.workspace),
            "guidelines": text,
            "allow_extra_metadata": True,
            "distribution": {"strategy": "overlap", "min_submitted": task.desk.min_submitted},
        },
    )
    path = f"/datasets/{made['id']}"
    for field in _fields(task):
        api.call("POST", f"{path}/fields", doing=doing, body=field)
    for question in asked:
        api.call("POST", f"{path}/questions", doing=doing, body=_question(question))
    for name, title, kept_as in (
        (ROUND, "Round", "integer"),
        (REASON, "Why it is asked", "terms"),
        (UNCERTAINTY, "Uncertainty", "float"),
        (BLIND, "Asked without a suggestion", "terms"),
    ):
        body = {"name": name, "title": title, "settings": {"type": kept_as}}
        api.call("POST", f"{path}/metadata-properties", doing=doing, body=body)
    api.call("PUT", f"{path}/publish", doing=doing)
    return str(made["id"])


def _workspace(api: ArgillaApi, name: str) -> str:
    doing = f"looking for the workspace {name}"
    known = {each["name"]: each["id"] for each in api.call("GET", "/me/workspaces", doing=doing)["items"]}
    return str(known.get(name) or api.call("POST", "/workspaces", doing=doing, body={"name": name})["id"])


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


def _fields(task: Task) -> Iterator[dict[str, Any]]:
    plain = {"type": "text", "use_markdown": False}
    yield {"name": TEXT, "title": "Text", "required": True, "settings": plain}
    if task.data.pair:
        yield {"name": PAIR, "title": task.data.pair[:_TITLE_MAX_CHARS], "required": False, "settings": plain}
    if task.data.focus:
        yield {"name": FOCUS, "title": "Asked about", "required": False, "settings": plain}
    if task.data.image:
        yield {"name": IMAGE, "title": "Image", "required": False, "settings": {"type": "image"}}
    if task.kind != "single_label":  # one label says what it doubts by itself
        yield {"name": DOUBT, "title": "Least sure", "required": False, "settings": plain}


def _question(question: Question) -> dict[str, Any]:
    described = "\n".join(f"{name}: {description}" for name, description in question.labels if description)
    # Behind an info sign beside the question; where it does not fit, the guidelines have to say it.
    fitting = next((d for d in (question.description, described) if 0 < len(d) <= _DESCRIPTION_MAX_CHARS), None)
    return {
        "name": question.name,
        "title": question.title[:_TITLE_MAX_CHARS],
        "description": fitting,
        "required": question.required,
        "settings": _settings(question),
    }


def _settings(question: Question) -> dict[str, Any]:
    if question.type == "text":
        return {"type": "text", "use_markdown": False}
    if question.type == "rating":
        return {"type": "rating", "options": [{"value": int(name)} for name, _ in question.labels]}
    settings: dict[str, Any] = {
        "type": _TYPES[question.type],
        "options": [{"value": name, "text": name} for name, _ in question.labels],
    }
    if len(question.labels) >= _FEWEST_VISIBLE:
        settings["visible_options"] = len(question.labels)  # all of them; from 15 on the page offers a search box
    if question.type == "span":
        settings |= {"field": TEXT, "allow_overlapping": question.overlapping}
    return settings
