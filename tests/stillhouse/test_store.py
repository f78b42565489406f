"""What the store keeps, replaces and refuses, and who may open it."""

import importlib.resources
import math
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.errors import StoreError, StoreLockedError, StoreTooNewError
from stillhouse.ledger import BatchNote, StoredReply
from stillhouse.records import Answer, Item, Pick, RoundRecord, Vote
from stillhouse.store import STORE_FILE, Store

VOTE = Vote("i1", "s", (0.7, 0.2), 0.1, "logprob", "ok", "p1", "k1", 0.001)
ANSWER = Answer("i1", "ann", "a", blind=True, rehearsed=False, answered_at="2026-01-01T00:00:00Z", seconds=3.5)
PICK = Pick("i1", 1, "random", 0.5, 0.2, blind=True)
ROUND = RoundRecord(1, 95, "students/1", {"accuracy": {"value": 0.9}}, 1.5, 60.0, "continue", "gained")

HOLD = """
import sys
from pathlib import Path
from stillhouse.store import Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def _reply(key: str, cost_usd: float = 0.0, body: bytes = b"{}") -> StoredReply:
    return StoredReply(key, f"item-{key}", "s", 200, body, 10, 2, cost_usd)


def _pay(store: Store, *replies: StoredReply) -> None:
    for reply in replies:
        store.sending(reply.request_key, reply.item_id, reply.source)
        store.arrived(reply)


# -- round trips --------------------------------------------------------------------------------------------------------


def test_items_come_back_in_the_order_they_were_added(tmp_path: Path) -> None:
    """With their metadata and any Unicode, after closing and opening again."""
    items = [Item("z", "größer \x00 🙂", {"n": 1, "f": 0.5, "s": "ü"}), Item("a", "")]
    with Store(tmp_path) as store:
        store.add_items(items)
    with Store(tmp_path) as store:
        assert store.items() == items


def test_votes_come_back_and_a_newer_one_replaces(tmp_path: Path) -> None:
    """One vote for each item and source; the probabilities are a tuple again."""
    abstained = replace(VOTE, source="t", probs=(0.0, 0.0), residual=1.0, status="unreadable")
    newer = replace(VOTE, probs=(0.1, 0.9), residual=0.0)
    with Store(tmp_path) as store:
        store.record_votes([VOTE, abstained])
        store.record_votes([newer])
        assert store.votes() == [newer, abstained]


def test_picks_come_back_by_round_and_place(tmp_path: Path) -> None:
    """The order of the batch is kept; a targeted pick has no probability."""
    batch = [replace(PICK, item_id="z"), replace(PICK, item_id="a", inclusion_probability=None, blind=False)]
    later = replace(PICK, item_id="m", round=2)
    with Store(tmp_path) as store:
        store.add_picks([later])
        store.add_picks(batch)
        assert store.picks() == [*batch, later]
        assert store.picks(2) == [later]


def test_an_answer_of_the_same_person_replaces_the_older(tmp_path: Path) -> None:
    """People may change their mind, pass included; another person's answer stays."""
    other = replace(ANSWER, annotator="ben")
    passed = replace(ANSWER, label=None, seconds=None)
    with Store(tmp_path) as store:
        store.add_answers([ANSWER, other])
        store.add_answers([passed])
        assert store.answers() == [passed, other]


def test_rounds_come_back_and_a_repeated_round_replaces(tmp_path: Path) -> None:
    """A round that was killed and repeated stands once."""
    again = replace(ROUND, decision="stop")
    with Store(tmp_path) as store:
        store.add_round(replace(ROUND, round=2))
        store.add_round(ROUND)
        store.add_round(again)
        assert store.rounds() == [again, replace(ROUND, round=2)]


def test_notes_come_back_or_give_the_default(tmp_path: Path) -> None:
    """A note is any JSON value; None that was written is not 'missing'."""
    with Store(tmp_path) as store:
        assert store.note("x", 5) == 5
        store.write_note("x", {"a": [1, None]})
        assert store.note("x") == {"a": [1, None]}
        store.write_note("x", None)
        assert store.note("x", 5) is None


def test_replies_come_back_byte_for_byte(tmp_path: Path) -> None:
    """Any bytes, and more keys than one query takes."""
    replies = [_reply(f"k{number}", body=bytes(range(256)) * 4 + b"%d" % number) for number in range(1100)]
    with Store(tmp_path) as store:
        for reply in replies:
            store.arrived(reply)
        assert store.known([reply.request_key for reply in replies]) == {r.request_key: r for r in replies}
        assert store.known(["unknown"]) == store.known([]) == {}
        assert store.reply_counts() == {"s": 1100}


def test_what_was_spent_is_the_sum_of_all_replies(tmp_path: Path) -> None:
    """Nothing yet is 0; a reply that arrives twice is counted once."""
    with Store(tmp_path) as store:
        assert store.spent_usd() == 0.0
        _pay(store, _reply("a", 0.25), _reply("b", 0.5), _reply("b", 0.5))
        assert math.isclose(store.spent_usd(), 0.75)


def test_a_request_is_in_doubt_only_if_nothing_came_back(tmp_path: Path) -> None:
    """Arrived and failed are known; what was in flight when the store closed is named, and stays named."""
    with Store(tmp_path) as store:
        for key in ("arrived", "failed", "lost"):
            store.sending(key, "i", "s")
        store.arrived(_reply("arrived"))
        store.failed("failed")
        assert store.in_doubt() == 0
    for _ in range(2):
        with Store(tmp_path) as store:
            assert store.in_doubt() == 1


def test_a_request_that_was_in_doubt_stays_so_when_it_is_sent_again(tmp_path: Path) -> None:
    """Both may have been paid for: the one that was never heard of at its worst, the one that arrived as it says."""
    with Store(tmp_path) as store:
        store.sending("k", "i", "s", 0.5)
    with Store(tmp_path) as store:
        assert (store.in_doubt(), store.in_doubt_usd()) == (1, 0.5)
        _pay(store, _reply("k", 0.25))
        assert (store.in_doubt(), store.in_doubt_usd(), store.spent_usd()) == (1, 0.5, 0.25)
    with Store(tmp_path) as store:
        assert (store.in_doubt(), store.in_doubt_usd()) == (1, 0.5)


def test_each_try_of_a_request_is_in_doubt_for_itself(tmp_path: Path) -> None:
    """Timed out, timed out, refused, killed: the refusal cost nothing, the other three may have."""
    with Store(tmp_path) as store:
        for worst_usd in (0.5, 0.25, 0.125):
            store.sending("k", "i", "s", worst_usd)
        store.failed("k")
        store.sending("k", "i", "s", 1.0)
        assert (store.in_doubt(), store.in_doubt_usd()) == (2, 0.75)
    with Store(tmp_path) as store:
        assert (store.in_doubt(), store.in_doubt_usd()) == (3, 1.75)


def test_batches_come_back_oldest_first_and_a_newer_note_replaces(tmp_path: Path) -> None:
    """By source, with their requests as they were handed in."""
    older = BatchNote("b", "s", "http://x", (("k1", "i1"), ("k2", "i2")), 0.5, 100)
    newer = BatchNote("a", "s", "http://x", (("k3", "i3"),), 0.25, 200)
    with Store(tmp_path) as store:
        for note in (newer, older, BatchNote("c", "other", "http://x", (), 0.0, 1)):
            store.note_batch(note)
        store.note_batch(replace(older, state="handed_in", batch_id="batch_7"))
    with Store(tmp_path) as store:
        assert store.batches("s") == [replace(older, state="handed_in", batch_id="batch_7"), newer]


# -- what is refused ----------------------------------------------------------------------------------------------------


def test_adding_the_same_items_again_changes_nothing(tmp_path: Path) -> None:
    """Also twice in one call; new ones go to the end."""
    with Store(tmp_path) as store:
        store.add_items([Item("b", "x"), Item("b", "x")])
        store.add_items([Item("a", "y"), Item("b", "x")])
        assert [item.id for item in store.items()] == ["b", "a"]


def test_a_changed_text_is_refused_and_nothing_is_added(tmp_path: Path) -> None:
    """The message shows the place where the texts differ, even late in a long one."""
    with Store(tmp_path) as store:
        store.add_items([Item("a", "x" * 500 + " old")])
        with pytest.raises(StoreError, match="'a' has changed") as caught:
            store.add_items([Item("new", "n"), Item("a", "x" * 500 + " new")])
        assert caught.value.expected.endswith(" old")
        assert caught.value.found.endswith(" new")
        assert [item.id for item in store.items()] == ["a"]


def test_a_batch_of_picks_is_all_or_nothing(tmp_path: Path) -> None:
    """A failure at its last pick leaves none of it."""
    batch = [replace(PICK, item_id=f"i{n}") for n in range(20)]
    with Store(tmp_path) as store:
        with pytest.raises(StoreError):
            store.add_picks([*batch, replace(PICK, item_id="last", round=2**63)])
        assert store.picks() == []
        store.add_picks(batch)
        assert len(store.picks()) == 20


def test_a_batch_that_is_repeated_stands_once(tmp_path: Path) -> None:
    """A command killed after its batch was kept may hand it in again."""
    with Store(tmp_path) as store:
        store.add_picks([PICK])
        store.add_picks([replace(PICK, reason="again")])
        assert store.picks() == [PICK]


def test_a_text_that_is_not_unicode_is_a_store_error(tmp_path: Path) -> None:
    """Half an emoji, as cut JSON holds it: no foreign exception, nothing added."""
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match="valid Unicode"):
            store.add_items([Item("a", "fine"), Item("b", "\ud83d")])
        assert store.items() == []


def test_a_reply_that_cannot_be_kept_fails_alone(tmp_path: Path) -> None:
    """Those before and after it are paid for too, and are kept."""
    bad = [replace(_reply("nan"), cost_usd=math.nan), replace(_reply("big"), input_tokens=2**70), _reply("\ud83d")]
    with Store(tmp_path) as store:
        store.arrived(_reply("before"))
        for reply in bad:
            with pytest.raises(StoreError):
                store.arrived(reply)
        store.arrived(_reply("after"))
        assert set(store.known(["before", "nan", "big", "after"])) == {"before", "after"}


def test_a_closed_store_refuses_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    """Nobody is left to write: the caller is told."""
    store = Store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.sending("k", "i", "s")
    with pytest.raises(StoreError, match="closed"):
        store.items()


# -- who may open it ----------------------------------------------------------------------------------------------------


def test_a_second_opening_names_the_process_that_holds_it(tmp_path: Path) -> None:
    """In the same process too; closing frees it."""
    with Store(tmp_path), pytest.raises(StoreLockedError, match=rf"process {os.getpid()} holds it"):
        Store(tmp_path)
    Store(tmp_path).close()


def test_a_killed_holder_leaves_the_store_free(tmp_path: Path) -> None:
    """Another process is named while it lives; after kill -9 nothing has to be cleaned up by hand."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreLockedError, match=rf"process {holder.pid} holds it"):
            Store(tmp_path)
        holder.kill()
        holder.wait()
    Store(tmp_path).close()


def test_readers_look_on_while_somebody_writes(tmp_path: Path) -> None:
    """The lock is for writers; a reader sees what is committed, and cannot write."""
    with Store(tmp_path) as writer, Store(tmp_path, read_only=True) as reader:
        writer.add_items([Item("a", "x")])
        assert reader.items() == [Item("a", "x")]
        with pytest.raises(StoreError, match="readonly"):
            reader.write_note("x", 1)


def test_reading_does_not_call_a_running_request_in_doubt(tmp_path: Path) -> None:
    """Only the next writer may conclude that the last one died."""
    with Store(tmp_path) as writer:
        writer.sending("k", "i", "s")
        with Store(tmp_path, read_only=True) as reader:
            assert reader.in_doubt() == 0


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    """StoreError says how to start one."""
    with pytest.raises(StoreError, match="stillhouse run"):
        Store(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


def test_a_store_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    """Not a byte changes, for writers and readers; and the refusal does not keep the lock."""
    Store(tmp_path).close()
    path = tmp_path / STORE_FILE
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreTooNewError, match="version 99") as held:
        Store(tmp_path)
    with pytest.raises(StoreTooNewError):
        Store(tmp_path)
    with pytest.raises(StoreTooNewError):
        Store(tmp_path, read_only=True)
    assert held.value.exit_code == 6
    assert path.read_bytes() == before


def _oldest(folder: Path) -> None:
    script = importlib.resources.files("stillhouse.migrations").joinpath("001_first.sql")
    db = sqlite3.connect(folder / STORE_FILE)
    db.executescript(script.read_text(encoding="utf-8") + "PRAGMA user_version = 1;")
    db.execute("INSERT INTO items (id, text, metadata) VALUES ('a', 'x', '{}')")
    db.execute("INSERT INTO requests VALUES ('k', 'a', 's', 'in_flight')")
    db.commit()
    db.close()


def test_a_store_of_the_oldest_schema_opens(tmp_path: Path) -> None:
    """Its rows are there, and it is of the newest version afterwards."""
    _oldest(tmp_path)
    with Store(tmp_path) as store:
        assert store.items() == [Item("a", "x")]
        assert store.in_doubt() == 1
        store.record_votes([VOTE])
    db = sqlite3.connect(tmp_path / STORE_FILE)
    scripts = [e for e in importlib.resources.files("stillhouse.migrations").iterdir() if e.name.endswith(".sql")]
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(scripts)
    db.close()


def test_an_opening_that_died_before_its_tables_is_begun_again(tmp_path: Path) -> None:
    """An empty file is a store that was never filled; a reader says that it is too old, a writer fills it."""
    (tmp_path / STORE_FILE).touch()
    with pytest.raises(StoreError, match="older version"):
        Store(tmp_path, read_only=True)
    with Store(tmp_path) as store:
        assert store.items() == []


def test_a_corrupt_file_is_a_store_error(tmp_path: Path) -> None:
    """Readers and writers, and the file is not written over."""
    path = tmp_path / STORE_FILE
    path.write_bytes(b"this is no database" * 500)
    before = path.read_bytes()
    for read_only in (False, True, False):
        with pytest.raises(StoreError, match="not a database"):
            Store(tmp_path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_damaged_page_is_a_store_error(tmp_path: Path) -> None:
    """A file that opens and is broken further down is reported when it is read."""
    with Store(tmp_path) as store:
        store.add_items([Item(f"i{n}", "text " * 50) for n in range(500)])
    path = tmp_path / STORE_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 4 :] = b"\xff" * (len(content) - len(content) // 4)
    path.write_bytes(bytes(content))
    with Store(tmp_path, read_only=True) as store, pytest.raises(StoreError, match="malformed"):
        store.items()
