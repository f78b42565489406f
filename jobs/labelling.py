"""Labels of a table, shard by shard: the plan, and one shard of it, as functions of files to files."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs.engine import Job
from serving.label import planned, run_id_of_labels
from serving.label_shard import Labelling, label_shard
from serving.receipts import read_plan, work
from serving.roots import root_of
from serving.student import kind_in, labeller_of
from stillhouse.errors import InputError, ModelError
from stillhouse.settings import Data
from trainer.artifact import model_id_of
from trainer.base import load_base
from trainer.engines import find_local_base, is_export

HOW = "_job/label.json"
SAID = ("student", "base", "data", "home", "threshold")


def plan_labels(job: Job) -> Mapping[str, Any]:
    """{root, source, student, base, data, home, threshold, shard_rows}: the plan, written to the root with how to label.

    Paths are those of the machine that works; `base` is the folder of the student's base, "" for the one it names. Raises what planning raises; InputError where the root holds something else.
    """
    root = root_of(job["root"])
    said = json.dumps({name: job[name] for name in SAID}, sort_keys=True)
    how = _labelling(said)
    source, shard_rows = Path(job["source"]), int(job["shard_rows"])
    run_id = run_id_of_labels(how, source, shard_rows)
    plan = planned(root, run_id, source, shard_rows, into_folder=True)
    root.write(HOW, said.encode())
    return {"shards": len(plan.shards), "rows": plan.rows, "run_id": plan.run_id}


def label(job: Job) -> Mapping[str, Any]:
    """{root, shard}: the labels of one shard, and its receipt."""
    root = root_of(job["root"])
    plan = read_plan(root)
    said = root.read(HOW)
    if plan is None or said is None:
        raise InputError(
            f"no job in {job['root']}", expected="a plan", found="none", fix="plan it first: stillhouse label --on ..."
        )
    how = _labelling(said.decode())
    reading = how.reading()  # not kept: an open file would keep a volume from being reloaded
    receipt = work(root, plan, plan.shards[int(job["shard"])], lambda shard: label_shard(how, reading, shard))
    return asdict(receipt)


def student_base(folder: Path) -> Path | None:
    """The folder of a student's base where it is on this machine, None where it has a Hub id or brings its own."""
    if is_export(folder):
        return None
    try:
        return find_local_base(folder)
    except ModelError:
        return None


@lru_cache(maxsize=2)
def _labelling(said: str) -> Labelling:
    """Kept from job to job: loading a student takes longer than a small shard."""
    words = json.loads(said)
    folder = Path(words["student"])
    kind = kind_in(folder)
    return Labelling(
        student=labeller_of(folder, kind, load_base(words["base"]) if words["base"] else None),
        kind=kind,
        data=Data.model_validate(words["data"]),
        home=Path(words["home"]),
        model_id=model_id_of(folder),
        threshold=float(words["threshold"]),
    )
