"""How a task looks in Argilla: one text, one question with the task's labels, and why each record is asked."""

import logging
import os
from typing import Any

from argilla_setup.argilla_api import ArgillaApi
from stillhouse.errors import DeskError, InputError
from stillhouse.task import Task

FIELD, QUESTION = "text", "label"
ROUND, REASON, UNCERTAINTY, BLIND = "round", "reason", "uncertainty", "blind"
GUIDELINES_MAX_CHARS = 10_000
_DESCRIPTION_MAX_CHARS = 1000
_LABEL_MAX_CHARS = 200
_TITLE_MAX_CHARS = 500


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


def create_dataset(api: ArgillaApi, task: Task) -> str:
    """Make and publish the task's dataset, and its workspace when missing; return the dataset's id."""
    text = guidelines(task)
    too_long = [name for name in task.label_names if len(name) > _LABEL_MAX_CHARS]
    if too_long:
        raise InputError(
            "a label is too long for Argilla",
            expected=f"label names of at most {_LABEL_MAX_CHARS} characters",
            found=f"{too_long[0][:60]!r}… with {len(too_long[0])}",
            fix="shorten the name and put the rest into its description",
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # the client loads the Hub's libraries
    import argilla as rg

    logging.getLogger("argilla").setLevel(logging.WARNING)
    try:
        client = rg.Argilla(api_url=api.url, api_key=api.api_key, retries=1)
        workspace = next((each for each in client.workspaces if each.name == task.desk.workspace), None)
        workspace = workspace or rg.Workspace(name=task.desk.workspace, client=client).create()
        dataset = rg.Dataset(
            name=dataset_name(task), workspace=workspace, settings=_settings(task, text, client), client=client
        ).create()
    except Exception as error:  # the client lets errors of httpx, of pydantic and its own through
        cause = error.__cause__ or error
        raise DeskError(
            f"the dataset {dataset_name(task)} could not be made in Argilla",
            expected=f"a dataset in the workspace {task.desk.workspace!r} at {api.url}",
            found=f"{type(cause).__name__}: {' '.join(str(cause).split())[:400]}",
            fix="mend what it says, then repeat the command",
        ) from error
    return str(dataset.id)


def _settings(task: Task, text: str, client: Any) -> Any:
    import argilla as rg

    described = [f"{label.name}: {label.description}" for label in task.labels if label.description]
    description = "\n".join(described)
    question = rg.LabelQuestion(
        name=QUESTION,
        title=task.question[:_TITLE_MAX_CHARS],
        # Behind an info sign beside the question; where it does not fit, the guidelines have to say it.
        description=description if 0 < len(description) <= _DESCRIPTION_MAX_CHARS else None,
        labels=list(task.label_names),  # all of them visible; from 15 on the page offers a search box
        required=True,
        client=client,
    )
    return rg.Settings(
        guidelines=text,
        fields=[rg.TextField(name=FIELD, title="Text", use_markdown=False, client=client)],
        questions=[question],
        metadata=[
            rg.IntegerMetadataProperty(name=ROUND, title="Round", client=client),
            rg.TermsMetadataProperty(name=REASON, title="Why it is asked", client=client),
            rg.FloatMetadataProperty(name=UNCERTAINTY, title="Uncertainty", client=client),
            rg.TermsMetadataProperty(name=BLIND, title="Asked without a suggestion", client=client),
        ],
        allow_extra_metadata=True,
        distribution=rg.TaskDistribution(min_submitted=task.desk.min_submitted),
    )
