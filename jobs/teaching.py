"""Replies of a teacher under vLLM, shard by shard, wherever there are GPUs; what they mean is read where the run is.

A reply is kept under the key of its request. The key is made of the request alone, so whoever asks the same question of the
same teacher later finds its reply, and asks nobody.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.content import content_of
from jobs.engine import Engine, Job
from serving.receipts import Made, Plan, Shard, ids_hash, run_id_of, settle, work, write_plan
from serving.roots import root_of
from stillhouse.errors import TeacherError
from stillhouse.ledger import MemoryLedger, StoredReply
from stillhouse.records import Demonstration, Item
from stillhouse.settings import Teacher
from stillhouse.task import Task
from teacher.engine import ask_sync
from teacher.offline import Asked, UnansweredError, offline_app, offline_teacher, vllm_engine, vllm_sampling
from teacher.prices import BudgetGuard
from teacher.recorded import serving
from teacher.ways import NOTHING_MORE, Shown

SHARD_ITEMS = 2_048
_OPEN = ExitStack()


@dataclass(frozen=True, slots=True)
class Replies:
    """What a teacher said: to be kept by whoever runs the loop, before anything is read. `worker_seconds` are paid for."""

    replies: Sequence[StoredReply]
    capabilities: Mapping[str, Any]
    worker_seconds: float


def replies_of(
    engine: Engine,
    items: Sequence[Item],
    task: Task,
    teacher: Teacher,
    model: str | Path,
    home: Path,
    *,
    more: Shown = NOTHING_MORE,
    shard_items: int = SHARD_ITEMS,
) -> Replies:
    """Every item asked on the engine; what an earlier call finished is kept in `home`, which may be deleted once the
    replies are kept. `model` is the folder or Hub id that vLLM loads.

    Raises TeacherError where shards have failed: the others are done, and a repeat goes on from there.
    """
    source = home / "items.parquet"
    write_items(source, items, more)
    said = {"task": task.model_dump_json(), "teacher": teacher.model_dump_json()}
    run_id = run_id_of(items=content_of(source), **said)
    starts = range(0, len(items), shard_items)
    shards = tuple(
        Shard(number, source.name, start, min(shard_items, len(items) - start), start)
        for number, start in enumerate(starts)
    )
    target = home / f"{teacher.name}-{run_id}"
    root = engine.root_for(source, target)
    placed = engine.place(model) if isinstance(model, Path) else model
    same = {"root": root, "run_id": run_id, "items": engine.place(source), "model": placed, **said}
    outcomes = list(engine.run("teach", [{**same, "shard": asdict(shard)} for shard in shards]))
    if failures := [outcome.failure for outcome in outcomes if outcome.result is None]:
        raise TeacherError(
            f"teacher {teacher.name}: {len(failures)} of {len(shards)} shards failed on {engine.name}",
            expected="replies about all items",
            found=failures[0],
            fix="mend that and repeat the command: what is finished is kept",
        )
    engine.fetch(root, target)
    plan = Plan(run_id, shards)
    write_plan(root_of(target), plan)
    receipts = settle(root_of(target), plan)
    replies = [reply for receipt in receipts for reply in read_replies(target / receipt.file)]
    capabilities = {name: found for receipt in receipts for name, found in receipt.facts["capabilities"].items()}
    return Replies(replies, capabilities, sum(receipt.seconds for receipt in receipts))


def teach(job: Job) -> Mapping[str, Any]:
    """{root, run_id, shard, items, model, task, teacher}: the replies about one shard's items, and its receipt.

    `items` is a file that `write_items` wrote; all paths are of the machine that works.
    """
    plan = Plan(job["run_id"], (Shard(**job["shard"]),))
    return asdict(work(root_of(job["root"]), plan, plan.shards[0], lambda shard: _asked(job, shard)))


def _asked(job: Job, shard: Shard) -> Made:
    items, more = read_items(Path(job["items"]), shard.start, shard.rows)
    task, teacher = Task.model_validate_json(job["task"]), Teacher.model_validate_json(job["teacher"])
    ledger, capabilities = MemoryLedger(), dict[str, Any]()
    with offline_teacher(teacher, engine_for(job["model"], job["teacher"]), vllm_sampling) as address:
        how: dict[str, Any] = {"budget": BudgetGuard(None), "capabilities": capabilities, "more": more}
        votes = ask_sync(items, task, address, ledger, **how)
    facts = {"capabilities": capabilities, "votes": len(votes)}
    replies = sorted(ledger.replies.values(), key=lambda reply: reply.request_key)
    return Made(_written(replies), len(items), ids_hash(item.id for item in items), facts)


@lru_cache(maxsize=1)
def engine_for(model: str, teacher: str) -> Any:
    """The model under vLLM, kept for as long as this process lives: loading it takes minutes.

    `teacher` is the teacher as JSON. Raises what `vllm_engine` raises.
    """
    return _OPEN.enter_context(vllm_engine(Teacher.model_validate_json(teacher), model))


@contextmanager
def nothing_but_replies(teacher: Teacher) -> Iterator[Teacher]:
    """The teacher as somebody asks it whose ledger has all replies: another question is rejected, with the reason."""

    async def reply(_: Asked) -> Any:
        raise UnansweredError(400, "invalid_request", "no reply to this question came back from the shards")

    with serving(offline_app(reply)) as url:
        yield teacher.model_copy(update={"base_url": url})


def write_items(path: Path, items: Sequence[Item], more: Shown) -> None:
    """A row an item, with what it is shown beside what is common to all."""
    rows = [
        json.dumps(
            {
                "item": asdict(item),
                "demonstrations": [asdict(one) for one in more.demonstrations.get(item.id, ())],
                "candidates": list(more.candidates.get(item.id, ())),
                "both_orders": more.both_orders,
            }
        )
        for item in items
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"asked": pa.array(rows, pa.string())}), path, compression="zstd")


def read_items(path: Path, start: int, rows: int) -> tuple[list[Item], Shown]:
    """Some of what `write_items` wrote."""
    said = [json.loads(one) for one in pq.read_table(path)["asked"].slice(start, rows).to_pylist()]
    items = [_item(one["item"]) for one in said]
    named = list(zip((item.id for item in items), said, strict=True))
    shown = {
        id_: [Demonstration(_item(each["item"]), each["value"]) for each in one["demonstrations"]]
        for id_, one in named
        if one["demonstrations"]
    }
    candidates = {id_: one["candidates"] for id_, one in named if one["candidates"]}
    return items, Shown(shown, candidates, both_orders=any(one["both_orders"] for one in said))


def _item(said: dict[str, Any]) -> Item:
    spans = {
        "tokens": None if said["tokens"] is None else tuple((span[0], span[1]) for span in said["tokens"]),
        "focus": None if said["focus"] is None else (said["focus"][0], said["focus"][1]),
    }
    return Item(**{**said, **spans})


def read_replies(path: Path) -> list[StoredReply]:
    return [StoredReply(**row) for row in pq.read_table(path).to_pylist()]


def _written(replies: Sequence[StoredReply]) -> bytes:
    out = BytesIO()
    names = list(StoredReply.__dataclass_fields__)
    columns = {name: [getattr(reply, name) for reply in replies] for name in names}
    pq.write_table(pa.table(columns), out, compression="zstd")
    return out.getvalue()
