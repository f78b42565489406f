"""The work there is: functions of files to files, the same on every machine. A job is a JSON object that names them.

Each may be killed at any moment and called again: what is finished is known by a receipt or a folder that is whole.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from jobs.engine import Job

# Where each is: a worker loads what its work needs, and no more.
WORK = {
    "echo": "jobs.work",
    "plan_labels": "jobs.labelling",
    "label": "jobs.labelling",
    "status": "jobs.progress",
    "train": "jobs.training",
    "teach": "jobs.teaching",
}


def do(name: str, job: Job) -> Mapping[str, Any]:
    """One job. Raises what the work raises."""
    found: Mapping[str, Any] = getattr(importlib.import_module(WORK[name]), name)(job)
    return found


def echo(job: Job) -> Mapping[str, Any]:
    """The job itself: whether an engine works at all."""
    return job
