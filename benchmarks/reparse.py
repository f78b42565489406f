"""100,000 stored replies read again after a change to the parser: seconds, memory, and that nothing is missed.

A fifth of the votes are as an older parser might have left them: unreadable, although their reply can be read. Each
reply is read, looked up, unpacked and compared in one process; what changed is written in one transaction.
python -m benchmarks.reparse [--quick] --json OUT
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import orjson

from benchmarks.figures import arguments, at_least, at_most, report
from benchmarks.helpdesk import EXAMPLE, task_for
from loop.flags import collect_rarely
from loop.project import TASK_PATH, open_project
from loop.reparse import reparse
from stillhouse.ledger import StoredReply
from stillhouse.records import Item, Vote
from stillhouse.store import Store
from stillhouse.task import Task
from teacher.reading import read_replies, vote_of

SPOILED = 5  # every so many votes
WRITTEN_TOGETHER = 2_000


def main() -> None:
    given = arguments(__doc__ or "")
    collect_rarely()  # as every command does
    count = 10_000 if given.quick else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = task_for("team", 0, folder)
        run = folder / "run"
        _fill(task, run, count)
        started, cpu = time.monotonic(), time.process_time()
        found = reparse(run)
        seconds, cpu_s = time.monotonic() - started, time.process_time() - cpu
        peak_mb = _peak_mb_of_reading(run)
        again = reparse(run)
    print(found.text())
    print(f"{1e6 * cpu_s / count:.0f} us of CPU a reply; {seconds:.1f} s for {count:,}, {cpu_s:.1f} s of them CPU")
    report(
        [
            at_most("seconds to read 100,000 stored replies again", seconds * 100_000 / count, 10),
            at_most("MB of memory at most, the whole process", peak_mb, 200),
            at_least("share of replies read", found.read / count, 1),
            at_least("share of the votes found that a better parser reads", found.changed / (count // SPOILED), 1),
            at_most("votes that change when it is repeated", again.changed, 0),
        ],
        given.json,
    )


def _fill(task_path: Path, run: Path, count: int) -> None:
    """A store as a run leaves it: items, replies as they came, votes."""
    project = open_project(task_path, run)
    teacher = project.task.teachers[0]
    common = project.kind.frame(teacher, "verbalised")
    with Store(run) as store:
        store.write_note(TASK_PATH, str(task_path))
        items = list(_items(count))
        store.add_items(items)
        said = _recorded(project.task)
        for start in range(0, count, WRITTEN_TOGETHER):
            block = items[start : start + WRITTEN_TOGETHER]
            replies = [_reply(item, teacher.name, said[item.id.split("/")[0]]) for item in block]
            for reply in replies:
                store.arrived(reply)
            votes = [
                vote_of(
                    item.id, teacher.name, common.prompt_id, read_replies(project.kind, common, item, [reply]), [reply]
                )
                for item, reply in zip(block, replies, strict=True)
            ]
            store.record_votes(_spoiled(votes))


def _items(count: int) -> Iterator[Item]:
    rows = [json.loads(line) for line in (EXAMPLE / "pool.jsonl").read_text(encoding="utf-8").splitlines()]
    for number in range(count):
        row, copy = rows[number % len(rows)], number // len(rows)
        yield Item(f"{row['id']}/{copy}", f"{row['text']} ({copy})")


def _recorded(task: Task) -> dict[str, str]:
    """The words of the first teacher by item id."""
    rows = (json.loads(line) for line in (EXAMPLE / "replies.jsonl").read_text(encoding="utf-8").splitlines())
    return {
        row["id"]: json.dumps({name: value for name, value in row.items() if name not in {"id", "task", "variant"}})
        for row in rows
        if f"{row['task']}/{row['variant']}" == task.teachers[0].model
    }


def _reply(item: Item, source: str, content: str) -> StoredReply:
    body = orjson.dumps(
        {
            "id": f"chatcmpl-{item.id}",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": "some-model-2026-01-01",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 430, "completion_tokens": 24, "total_tokens": 454},
        }
    )
    return StoredReply(f"{item.id}#key", item.id, source, 200, body, 430, 24, 0.0)


def _spoiled(votes: Sequence[Vote]) -> Iterator[Vote]:
    for number, vote in enumerate(votes):
        if number % SPOILED == 0:
            yield replace(vote, probs=(0.0,) * len(vote.probs), residual=1.0, status="unreadable")
        else:
            yield vote


def _peak_mb_of_reading(run: Path) -> float:
    """The most memory of a process that only reads again: this one has filled a store. (Linux; what `ru_maxrss` says of
    a child is at least what its parent had.)
    """
    script = (
        "import sys; from pathlib import Path; from loop.reparse import reparse; reparse(Path(sys.argv[1]));"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    said = subprocess.run([sys.executable, "-c", script, str(run)], capture_output=True, text=True, check=True)
    return float(said.stdout) / 1024


if __name__ == "__main__":
    main()
