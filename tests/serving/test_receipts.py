"""Receipts: done is what has a receipt and its file; nothing else counts, on any file system."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.receipts import (
    ATTEMPTS,
    HOME,
    MODULUS,
    RECEIPTS,
    Made,
    Plan,
    Shard,
    done,
    ids_hash,
    read_plan,
    receipt_of,
    run_id_of,
    settle,
    status,
    work,
    write_plan,
)
from serving.roots import Root, root_of
from stillhouse.errors import InputError

_NUMBERS = itertools.count()


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    url = str(tmp_path / "job") if request.param == "local" else f"memory://job-{next(_NUMBERS)}"
    yield root_of(url)
    fsspec.filesystem("memory").store.clear()


def plan_of(*rows: int, run_id: str = "r1") -> Plan:
    starts = list(itertools.accumulate(rows, initial=0))
    return Plan(run_id, tuple(Shard(n, "in.parquet", starts[n], count, starts[n]) for n, count in enumerate(rows)))


def made(shard: Shard) -> Made:
    ids = [str(n) for n in range(shard.first, shard.first + shard.rows)]
    return Made(json.dumps(ids).encode(), shard.rows, ids_hash(ids), {"abstained": shard.rows // 2})


def refused(shard: Shard) -> Made:
    raise AssertionError(f"shard {shard.number} is done")


def begun(root: Root, plan: Plan, shard: Shard) -> None:
    """A worker that dies as it works."""
    with pytest.raises(SystemExit):
        work(root, plan, shard, lambda _: exec("raise SystemExit"))  # type: ignore[arg-type,return-value]


def test_a_shard_is_done_once(root: Root) -> None:
    """The receipt has rows, ids and attempt; asked again, it is returned at once."""
    plan = plan_of(3, 2)
    first = work(root, plan, plan.shards[1], made)
    assert (first.rows, int(first.ids, 16), first.attempt) == (2, ids_hash(["3", "4"]), 1)
    assert work(root, plan, plan.shards[1], refused) == first
    assert done(root, plan) == {1: first}


def test_a_file_without_a_receipt_is_nothing(root: Root) -> None:
    """Killed between the two: the shard is done again, and what was left is removed at the end."""
    plan = plan_of(3)
    root.write("part-00000-0123456789abcdef.parquet", b"half")
    assert receipt_of(root, plan, plan.shards[0]) is None
    receipt = work(root, plan, plan.shards[0], made)
    settle(root, plan)
    assert list(root.sizes()) == [receipt.file]


@pytest.mark.parametrize("harm", ["gone", "shorter", "receipt", "run"])
def test_a_receipt_counts_only_with_its_file_and_its_run(root: Root, harm: str) -> None:
    """A file that is gone or has another size, a receipt that is half, or one of another run: the shard is not done."""
    plan = plan_of(3)
    receipt = work(root, plan, plan.shards[0], made)
    if harm == "gone":
        root.remove([receipt.file])
    elif harm == "shorter":
        root.write(receipt.file, b"x")
    elif harm == "receipt":
        root.write(f"{RECEIPTS}/00000.json", b'{"run_id": "r1", "sha')
    else:
        plan = replace(plan, run_id="r2")
    assert done(root, plan) == {}
    assert work(root, plan, plan.shards[0], made).attempt == (1 if harm == "run" else 2)


def test_a_changed_file_of_the_same_size_is_found_at_the_end(root: Root) -> None:
    """Its hash is not the receipt's: that shard, and no other, is done again."""
    plan = plan_of(3, 2)
    receipts = [work(root, plan, shard, made) for shard in plan.shards]
    root.write(receipts[0].file, b"x" * receipts[0].size)
    with pytest.raises(InputError, match="1 changed"):
        settle(root, plan)
    assert list(done(root, plan)) == [1]
    work(root, plan, plan.shards[0], made)
    assert [receipt.shard for receipt in settle(root, plan)] == [0, 1]


def test_nothing_is_settled_while_a_shard_is_missing(root: Root) -> None:
    """It says which."""
    plan = plan_of(3, 2, 4)
    work(root, plan, plan.shards[1], made)
    with pytest.raises(InputError, match=r"2 missing \(0, 2\)"):
        settle(root, plan)


def test_a_shard_that_kills_its_worker_goes_into_quarantine(root: Root) -> None:
    """After so many attempts it is not begun again, and the others can still be done; the error has its rows."""
    plan = plan_of(3, 2)
    for _ in range(5):
        begun(root, plan, plan.shards[0])
    with pytest.raises(InputError, match=r"rows 0 to 2 of in\.parquet"):
        work(root, plan, plan.shards[0], refused)
    work(root, plan, plan.shards[1], made)
    assert status(root, plan).quarantined == (0,)
    with pytest.raises(InputError, match="in quarantine"):
        settle(root, plan)
    root.remove([f"{ATTEMPTS}/00000.json"])
    assert work(root, plan, plan.shards[0], made).attempt == 1


def test_an_interrupt_is_no_attempt(root: Root) -> None:
    """Whoever presses Ctrl-C did not find a bad shard."""

    def interrupted(_: Shard) -> Made:
        raise KeyboardInterrupt

    plan = plan_of(3)
    for _ in range(6):
        with pytest.raises(KeyboardInterrupt):
            work(root, plan, plan.shards[0], interrupted)
    assert work(root, plan, plan.shards[0], made).attempt == 1


def test_rows_that_are_not_the_planned_ones_get_no_receipt(root: Root) -> None:
    """The source was cut short under the job."""
    plan = plan_of(3)
    with pytest.raises(InputError, match="other rows than were planned"):
        work(root, plan, plan.shards[0], lambda shard: replace(made(shard), rows=2))
    assert done(root, plan) == {}


def test_status_is_read_off_receipts_alone(root: Root) -> None:
    """Rows done, rate between first and last receipt, time left at that rate."""
    plan = plan_of(100, 100, 100, 100)
    for number, ended in ((0, 10.0), (1, 20.0), (2, 40.0)):
        receipt = work(root, plan, plan.shards[number], made)
        said = json.loads(root.read(f"{RECEIPTS}/{receipt.shard:05d}.json") or b"") | {"ended_at_s": ended}
        root.write(f"{RECEIPTS}/{receipt.shard:05d}.json", json.dumps(said).encode())
    found = status(root, plan)
    assert (found.done, found.rows_done, found.rows) == (3, 300, 400)
    assert found.rows_per_s == pytest.approx(200 / 30)
    assert found.eta_s == pytest.approx(15)


def test_a_plan_is_read_back_and_a_half_one_is_none(root: Root) -> None:
    """Then it is made again."""
    plan = plan_of(3, 2)
    write_plan(root, plan)
    assert read_plan(root) == plan
    root.write(f"{HOME}/plan.json", b'{"run_id": "r1", "shards": [{"numb')
    assert read_plan(root) is None


def test_the_run_id_depends_on_every_part() -> None:
    """And on nothing else."""
    assert run_id_of(files=["a"], model="m") == run_id_of(model="m", files=["a"])
    assert len({run_id_of(files=["a"], model=model, rows=rows) for model in "mn" for rows in (1, 2)}) == 4


@given(st.lists(st.text(), max_size=20), st.randoms(use_true_random=False))
def test_ids_hash_is_free_of_order_and_sees_a_doubled_id(ids: list[str], rng: object) -> None:
    """Shuffled, or added up from parts, it is the same; with one id more, it is not."""
    shuffled = list(ids)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ids_hash(shuffled) == ids_hash(ids)
    half = len(ids) // 2
    assert (ids_hash(ids[:half]) + ids_hash(ids[half:])) % MODULUS == ids_hash(ids)
    if ids:
        assert ids_hash([*ids, ids[0]]) != ids_hash(ids)
