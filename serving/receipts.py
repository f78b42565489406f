"""Receipts: what is done of a job in shards is read off small files, each written after the file that it vouches for.

Scheduling belongs to whoever runs the shards: one process, many, Modal, Ray. In the job's folder are

    part-00012-3f9c0a1be2d47a65.parquet    what was made of shard 12, named by its content
    _job/plan.json                         the shards in their order, and the run's id
    _job/receipts/00012.json               its file, rows, hashes, attempt, seconds: written last
    _job/attempts/00012.json               how often it was begun: written first

A shard is done when a receipt of this run stands and its file is there; whoever reads uses only files with receipts. Two
workers at one shard do no harm: each writes a file of its own name, and the later receipt counts.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from serving.roots import Root
from stillhouse.errors import InputError

HOME = "_job"
PLAN = f"{HOME}/plan.json"
RECEIPTS, ATTEMPTS = f"{HOME}/receipts", f"{HOME}/attempts"
MOST_ATTEMPTS = 5
ID_BYTES = 16
MODULUS = 1 << (8 * ID_BYTES)
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows `start` to `start + rows` of a file. `first` is the number of its first row in all of the source."""

    number: int
    file: str
    start: int
    rows: int
    first: int

    @property
    def name(self) -> str:
        return f"{self.number:05d}"


@dataclass(frozen=True, slots=True)
class Plan:
    """`run_id` is a hash of all that the outcome depends on: another outcome is another run."""

    run_id: str
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker made of a shard: a file, its rows, `ids_hash` of their ids, and anything to be counted."""

    data: bytes
    rows: int
    ids: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """`ids` is `ids_hash` in hex. `seconds` is the attempt that succeeded, `ended_at_s` in seconds since 1970."""

    run_id: str
    shard: int
    file: str
    size: int
    sha256: str
    rows: int
    ids: str
    attempt: int
    seconds: float
    ended_at_s: float
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """How far a job is, from receipts alone. `rows_per_s` and `eta_s` are None until two shards are done.

    `eta_s` supposes that work goes on as it went between the first receipt and the last.
    """

    shards: int
    done: int
    rows: int
    rows_done: int
    quarantined: tuple[int, ...]
    worker_seconds: float
    rows_per_s: float | None
    eta_s: float | None


def run_id_of(**parts: Any) -> str:
    """16 hex digits of a hash of everything the outcome depends on: input manifest, model, code version, options."""
    said = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def ids_hash(ids: Iterable[str]) -> int:
    """The sum of the ids' hashes modulo 2^128: the same in every order, another if one is lost, changed or doubled.

    Hashes of parts add up to that of the whole (Bellare and Micciancio 1997, AdHash).
    """
    total = 0
    for one in ids:
        total += int.from_bytes(hashlib.blake2b(one.encode("utf-8", "replace"), digest_size=ID_BYTES).digest())
    return total % MODULUS


def write_plan(root: Root, plan: Plan) -> None:
    said = {"run_id": plan.run_id, "shards": [asdict(shard) for shard in plan.shards]}
    root.write(PLAN, json.dumps(said).encode())


def read_plan(root: Root) -> Plan | None:
    """None where there is none, or none that can be read: then it is made again."""
    try:
        said = json.loads(root.read(PLAN) or b"")
        return Plan(said["run_id"], tuple(Shard(**shard) for shard in said["shards"]))
    except (ValueError, KeyError, TypeError):
        return None


def receipt_of(root: Root, plan: Plan, shard: Shard) -> Receipt | None:
    """The receipt of a shard that is done, else None."""
    receipt = _valid(root.read(f"{RECEIPTS}/{shard.name}.json") or b"", plan, shard)
    return receipt if receipt and root.size(receipt.file) == receipt.size else None


def done(root: Root, plan: Plan) -> dict[int, Receipt]:
    """The receipts of all shards that are done, by shard number: two listings, whatever their number."""
    there, said = root.sizes(), root.read_all(RECEIPTS)
    found = {}
    for shard in plan.shards:
        receipt = _valid(said.get(f"{shard.name}.json", b""), plan, shard)
        if receipt is not None and there.get(receipt.file) == receipt.size:
            found[shard.number] = receipt
    return found


def work(
    root: Root, plan: Plan, shard: Shard, make: Callable[[Shard], Made], *, most_attempts: int = MOST_ATTEMPTS
) -> Receipt:
    """Do a shard unless it is done: the attempt is noted, the file written, then its receipt.

    May be called again at any time, by anybody. What `make` raises goes through; a shard that killed its worker or
    failed `most_attempts` times is in quarantine and raises InputError at once. An interrupt is no attempt.
    """
    if (receipt := receipt_of(root, plan, shard)) is not None:
        return receipt
    attempt = _attempts(root.read(f"{ATTEMPTS}/{shard.name}.json") or b"", plan) + 1
    if attempt > most_attempts:
        raise _quarantined(root, [shard], most_attempts)
    _note(root, plan, shard, attempt)
    started = time.monotonic()
    try:
        made = make(shard)
    except KeyboardInterrupt:
        _note(root, plan, shard, attempt - 1)
        raise
    if made.rows != shard.rows:
        raise InputError(
            f"shard {shard.number} of {shard.file} has other rows than were planned",
            expected=f"{shard.rows:,} rows from row {shard.start:,} on",
            found=f"{made.rows:,}",
            fix="the file has changed under the job: repeat the command",
        )
    sha256 = hashlib.sha256(made.data).hexdigest()
    file = f"part-{shard.name}-{sha256[:16]}.parquet"
    root.write(file, made.data)
    receipt = Receipt(
        run_id=plan.run_id,
        shard=shard.number,
        file=file,
        size=len(made.data),
        sha256=sha256,
        rows=made.rows,
        ids=f"{made.ids:032x}",
        attempt=attempt,
        seconds=round(time.monotonic() - started, 3),
        ended_at_s=round(time.time(), 3),
        facts=made.facts,
    )
    root.write(f"{RECEIPTS}/{shard.name}.json", json.dumps(asdict(receipt)).encode())
    return receipt


def status(root: Root, plan: Plan, *, most_attempts: int = MOST_ATTEMPTS) -> Status:
    receipts = done(root, plan)
    rows_done = sum(receipt.rows for receipt in receipts.values())
    ended = sorted((receipt.ended_at_s, receipt.rows) for receipt in receipts.values())
    passed_s = ended[-1][0] - ended[0][0] if ended else 0.0
    rate = (rows_done - ended[0][1]) / passed_s if passed_s > 0 else None
    return Status(
        shards=len(plan.shards),
        done=len(receipts),
        rows=plan.rows,
        rows_done=rows_done,
        quarantined=tuple(shard.number for shard in quarantined(root, plan, receipts, most_attempts)),
        worker_seconds=sum(receipt.seconds for receipt in receipts.values()),
        rows_per_s=rate,
        eta_s=(plan.rows - rows_done) / rate if rate else None,
    )


def quarantined(
    root: Root, plan: Plan, receipts: Mapping[int, Receipt], most_attempts: int = MOST_ATTEMPTS
) -> list[Shard]:
    """The shards without a receipt that nobody may begin again."""
    begun = root.read_all(ATTEMPTS)
    open_ = [shard for shard in plan.shards if shard.number not in receipts]
    return [shard for shard in open_ if _attempts(begun.get(f"{shard.name}.json", b""), plan) >= most_attempts]


def settle(root: Root, plan: Plan, *, most_attempts: int = MOST_ATTEMPTS, verify: bool = True) -> list[Receipt]:
    """The receipts of all shards in their order, once every file has been read and is what its receipt says.

    Without `verify` files are not read, only that they are there with the right size. Then files that no receipt names (a worker was killed between the two) are removed. Raises InputError while a shard
    is missing or in quarantine, or where a file has changed; that one's receipt is removed, so that it is done again.
    """
    receipts = done(root, plan)
    if caught := quarantined(root, plan, receipts, most_attempts):
        raise _quarantined(root, caught, most_attempts)
    missing = [shard.number for shard in plan.shards if shard.number not in receipts]
    changed = [
        number
        for number, receipt in receipts.items()
        if verify and hashlib.sha256(root.read(receipt.file) or b"").hexdigest() != receipt.sha256
    ]
    root.remove(f"{RECEIPTS}/{number:05d}.json" for number in changed)
    if missing or changed:
        raise InputError(
            f"the job in {root.path} is not finished",
            expected=f"{len(plan.shards):,} shards with receipts, and files that are what these say",
            found=f"{len(missing):,} missing ({_some(missing)}), {len(changed):,} changed ({_some(changed)})",
            fix="repeat the command: only those are done again",
        )
    kept = {receipt.file for receipt in receipts.values()}
    root.remove(name for name in root.sizes() if name.startswith("part-") and name not in kept)
    return [receipts[shard.number] for shard in plan.shards]


def _valid(said: bytes, plan: Plan, shard: Shard) -> Receipt | None:
    try:
        receipt = Receipt(**json.loads(said))
    except (ValueError, TypeError):
        return None
    fits = (receipt.run_id, receipt.shard, receipt.rows) == (plan.run_id, shard.number, shard.rows)
    return receipt if fits else None


def _note(root: Root, plan: Plan, shard: Shard, attempt: int) -> None:
    said = {"run_id": plan.run_id, "attempt": attempt, "began_at_s": round(time.time(), 3)}
    root.write(f"{ATTEMPTS}/{shard.name}.json", json.dumps(said).encode())


def _attempts(said: bytes, plan: Plan) -> int:
    try:
        found = json.loads(said)
        return int(found["attempt"]) if found["run_id"] == plan.run_id else 0
    except (ValueError, KeyError, TypeError):
        return 0


def _quarantined(root: Root, shards: list[Shard], most_attempts: int) -> InputError:
    first = shards[0]
    return InputError(
        f"{len(shards)} of the job's shards failed {most_attempts} times and are in quarantine",
        expected="shards that can be done",
        found=f"shard {_some([shard.number for shard in shards])}; the first has rows {first.start:,} to "
        f"{first.start + first.rows - 1:,} of {first.file}",
        fix=f"look at those rows; to try again, remove {root.url(ATTEMPTS)} and repeat the command",
    )


def _some(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:SHOWN])
    return (shown or "none") + (f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else "")
