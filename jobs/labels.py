"""A table labelled on any engine: carried there, planned, done shard by shard, checked, and fetched."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.engine import Engine
from jobs.labelling import student_base
from jobs.on_modal import ModalApp
from jobs.work import do
from serving.label import SHARD_ROWS, LabelCounts, counts_of
from serving.receipts import Receipt, done, quarantined, read_plan, settle
from serving.roots import Root, root_of
from stillhouse.errors import InputError, StillhouseError
from stillhouse.settings import Data

ELSEWHERE = "_job/elsewhere.json"  # where workers write, and what was handed in to them
Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True, slots=True)
class LabelJob:
    """What is to be labelled, and how. `root` is where workers write: a path or URL of theirs, or None for a place that
    the engine chooses by content, so that a repeat finds what was done.
    """

    student: Path
    source: Path
    data: Data
    home: Path
    threshold: float = 0.0
    shard_rows: int = SHARD_ROWS
    root: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Labelled:
    """`root` as this machine sees it, and what the receipts add up to. `worker_seconds` are what is paid for."""

    root: Root
    receipts: list[Receipt]
    counts: LabelCounts
    worker_seconds: float


def label_on(engine: Engine, job: LabelJob, target: Path, *, progress: Progress | None = None) -> Labelled:
    """Label a file or a folder of Parquet into the folder `target`; what an earlier call finished is kept.

    Raises what planning raises, InputError where shards have failed: the others are done, and a repeat goes on from
    there. Any engine gives the same files, named by their content.
    """
    started = time.monotonic()
    if isinstance(engine, ModalApp) and (call := elsewhere(target).get("call")):
        engine.wait(call)
    planned = _planned(engine, job, target)
    root = root_of(planned["root"]) if engine.shares_files else root_of(target.absolute())
    if not engine.shares_files:
        _note_elsewhere(target, planned["root"])
        engine.fetch(planned["root"], target)  # the plan, and receipts of what stands already
    plan = read_plan(root)
    assert plan is not None
    before = done(root, plan)
    caught = {shard.number for shard in quarantined(root, plan, before)}
    todo = [shard for shard in plan.shards if shard.number not in before and shard.number not in caught]
    rows = resumed = sum(receipt.rows for receipt in before.values())
    if progress is not None:
        progress(rows, plan.rows)
    failures: list[str] = []
    for outcome in engine.run("label", [{"root": planned["root"], "shard": shard.number} for shard in todo]):
        if outcome.result is None:
            failures.append(f"shard {todo[outcome.number].number}: {outcome.failure}")
            continue
        rows += int(outcome.result["rows"])
        if progress is not None:
            progress(rows, plan.rows)
    if not engine.shares_files:
        engine.fetch(planned["root"], target)
    if failures and not caught:
        raise _failed(failures, len(todo))
    receipts = settle(root, plan)
    counts = counts_of(receipts, seconds=time.monotonic() - started, resumed=resumed)
    return Labelled(root, receipts, counts, sum(receipt.seconds for receipt in receipts))


def hand_in(engine: ModalApp, job: LabelJob, target: Path) -> str:
    """Plan, and have a coordinator on Modal see to all shards without this process; the id of its call.

    `label_on` with the same job and target waits for it and fetches. Raises what planning raises.
    """
    planned = _planned(engine, job, target)
    jobs = [{"root": planned["root"], "shard": number} for number in range(planned["shards"])]
    call = engine.hand_in("label", jobs)
    _note_elsewhere(target, planned["root"], call)
    return call


def elsewhere(target: Path) -> Mapping[str, str]:
    """{root, call}: where the workers of a job write that ends up in `target`; empty where that is not known."""
    try:
        found: Mapping[str, str] = json.loads(root_of(target.absolute()).read(ELSEWHERE) or b"{}")
    except ValueError:
        return {}
    return found


def _note_elsewhere(target: Path, root: str, call: str = "") -> None:
    root_of(target.absolute()).write(ELSEWHERE, json.dumps({"root": root, "call": call}).encode())


def _planned(engine: Engine, job: LabelJob, target: Path) -> Mapping[str, Any]:
    base = student_base(job.student)
    said = {
        "root": job.root or engine.root_for(job.source, target),
        "source": engine.place(job.source),
        "student": engine.place(job.student),
        "base": engine.place(base) if base is not None and not engine.shares_files else "",
        "data": job.data.model_dump(mode="json"),
        "home": engine.place(job.home) if job.data.convert else "",
        "threshold": job.threshold,
        "shard_rows": job.shard_rows,
    }
    if engine.shares_files:
        return {**do("plan_labels", said), "root": said["root"]}  # starting a worker would take longer
    (outcome,) = engine.run("plan_labels", [said])
    if outcome.result is None:
        raise InputError(
            f"{job.source} cannot be labelled on {engine.name}",
            expected="a plan of its shards",
            found=outcome.failure,
            fix="mend that and repeat the command",
        )
    return {**outcome.result, "root": said["root"]}


def _failed(failures: list[str], of: int) -> StillhouseError:
    return InputError(
        f"{len(failures)} of {of} shards failed",
        expected="an outcome of each",
        found=failures[0],
        fix="repeat the command: what is finished is kept",
    )
