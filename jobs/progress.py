"""How far a job in shards is, from its receipts alone, wherever these are."""

from collections.abc import Mapping
from typing import Any

from jobs.engine import Job
from serving.receipts import read_plan
from serving.receipts import status as status_of
from serving.roots import root_of
from stillhouse.errors import InputError


def status(job: Job) -> Mapping[str, Any]:
    """{root}: how far a job is, read off the receipts in its folder or at its URL. Raises InputError where there is none."""
    root = root_of(job["root"])
    plan = read_plan(root)
    if plan is None:
        raise InputError(
            f"no job in {job['root']}",
            expected="the folder or URL that labels are written to",
            found="no plan in it",
            fix="name the target of `stillhouse label`",
        )
    at = status_of(root, plan)
    return {
        "run_id": plan.run_id,
        "shards": at.shards,
        "done": at.done,
        "rows": at.rows,
        "rows_done": at.rows_done,
        "quarantined": list(at.quarantined),
        "worker_seconds": round(at.worker_seconds, 1),
        "rows_per_s": at.rows_per_s,
        "eta_s": at.eta_s,
    }
