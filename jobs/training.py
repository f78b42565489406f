"""A student taught where there are GPUs: the work itself, in one process or in several that share every step.

python -m jobs.training JOB.json     # one of the processes that torchrun starts
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.engine import Job
from jobs.lessons import read_lesson
from stillhouse.errors import ModelError
from trainer.artifact import is_complete, save_student
from trainer.base import load_base
from trainer.workers import gpus

ROOT = Path(__file__).parents[1]
SAID_LAST = 400  # characters of what a failed process said
NOT_OURS = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def train(job: Job) -> Mapping[str, Any]:
    """{lesson, student, checkpoints, task, key, base, base_name, processes}: a student taught the lesson in a folder.

    It is saved to the folder `student`; `key` names the lesson, and a student that is there with the same one is not
    taught again. `base` is where the lesson's base is on this machine, "" for the name in its settings; the student
    remembers it as `base_name`. A training that was killed goes on from what is in the folder `checkpoints`.
    `processes` 0 is one for each GPU. Raises what `fit_student` raises, ModelError where a process of several fails.
    """
    folder = Path(job["student"])
    if is_complete(folder) and _key_of(folder) == job["key"]:
        return {"student": str(folder), "again": False}
    processes = int(job["processes"]) or gpus() or 1
    if processes > 1:
        _shared(job, processes)
    else:
        teach(job)
    return {"student": str(folder), "again": True}


def teach(job: Job) -> None:
    """In each process; the first saves the student."""
    lesson = read_lesson(Path(job["lesson"]))
    base = load_base(str(job["base"] or lesson.settings.base))
    base = replace(base, name=str(job["base_name"]))
    student = lesson.taught(base=base, checkpoints=Path(job["checkpoints"]))
    if int(os.environ.get("RANK", "0")) == 0:
        metrics = {"lesson": job["key"], **student.facts}
        save_student(student, Path(job["student"]), task_json=str(job["task"]), metrics=metrics, card="")


def _shared(job: Job, processes: int) -> None:
    """By torchrun on this machine: each process takes a part of every step, and all end with the same student."""
    with tempfile.TemporaryDirectory() as name:
        said = Path(name) / "job.json"
        said.write_text(json.dumps(dict(job)), encoding="utf-8")
        how = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        done = subprocess.run(
            [sys.executable, *how, "-m", "jobs.training", str(said)],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in NOT_OURS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        raise ModelError(
            f"training in {processes} processes failed",
            expected="a student",
            found=f"exit code {done.returncode}: {_last_error(done.stderr)}",
            fix="repeat the command, which goes on from the last checkpoint; or give one GPU",
        )


def _last_error(said: str) -> str:
    """The line of the first process' own exception: what torchrun adds after it says only that there was one."""
    lines = [line for line in said.splitlines() if "Error: " in line and "ChildFailedError" not in line]
    return (lines[0] if lines else said.strip())[-SAID_LAST:]


def _key_of(folder: Path) -> str:
    return str(json.loads((folder / "metrics.json").read_text(encoding="utf-8")).get("lesson", ""))


if __name__ == "__main__":
    teach(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
