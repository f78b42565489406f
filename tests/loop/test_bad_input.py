"""Bad input through the command line: a documented exit code, one clear text, and nothing lost."""

import multiprocessing
import re
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stillhouse.store import STORE_FILE, Store
from teacher.faults import Fault, Faults, RequestLog
from teacher.recorded import recorded_teacher
from tests.loop.world import GOLD, POOL, World, rows_of, stored, write_rows, write_world

Damage = Callable[[World], object]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return write_world(tmp_path)


def refused(world: World, code: int, *words: str) -> str:
    """Run, and expect this exit code with these words on standard error, no traceback, and nothing on standard output."""
    result = world.go()
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    return result.stderr


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def with_row(path: Path, **changes: object) -> None:
    """The file once more with its second row changed."""
    rows = rows_of(path)
    rows[1] = {**rows[1], **changes}
    write_rows(path, rows)


def without_column(path: Path, name: str) -> None:
    write_rows(path, [{key: value for key, value in row.items() if key != name} for row in rows_of(path)])


def with_tokens(world: World, *, of_second: list[str]) -> None:
    """A pool whose rows have tokens, of the second row these."""
    edit(world.task, "[data]", '[data]\ntokens = "words"')
    rows = [{**row, "words": row["text"].split()} for row in rows_of(world.pool)]
    write_rows(world.pool, [rows[0], {**rows[1], "words": of_second}, *rows[2:]])


def with_converter(world: World, code: str) -> None:
    edit(world.task, "[data]", '[data]\nconvert = "own:make"')
    (world.home / "own.py").write_text(code)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


FILES: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "missing task": (lambda w: w.task.unlink(), ("no task at", "expected:", "found:", "stillhouse init")),
    "not TOML": (lambda w: w.task.write_text("name = "), ("cannot be read", "TOML in UTF-8", "mend that line")),
    "task not UTF-8": (lambda w: w.task.write_bytes(b'name = "\xe9"'), ("0xe9", "not UTF-8")),
    "unknown key": (lambda w: edit(w.task, "batch =", "bach ="), ("selection.bach: unknown key", "'batch'")),
    "missing pool": (lambda w: w.pool.unlink(), ("pool.jsonl", "expected:", "what to do:")),
    "missing column": (lambda w: without_column(w.pool, "text"), ("no column 'text'", "id")),
    "duplicate ids": (lambda w: with_row(w.pool, id=rows_of(w.pool, 1)[0]["id"]), ("line 2: the id", "line 1")),
    "duplicate texts": (lambda w: with_row(w.pool, text=rows_of(w.pool, 1)[0]["text"]), ("line 2:", "duplicate_texts")),
    "empty text": (lambda w: with_row(w.pool, text="  "), ("line 2:", "text")),
    "text too long": (lambda w: with_row(w.pool, text="far too long " * 2000), ("line 2:", "20,000", "26,000")),
    "pool not UTF-8": (
        lambda w: w.pool.write_bytes('{"id": "a", "text": "é"}\n'.encode("latin-1")),
        ("not UTF-8", "0xe9", "iconv"),
    ),
    "pool not JSON": (
        lambda w: w.pool.write_text("id,text\na,b\n"),
        ("line 1: not ", "one JSON object a line"),
    ),
    "empty pool": (lambda w: w.pool.write_text(""), ("pool.jsonl is empty", "expected:", "what to do:")),
    "gold label": (lambda w: with_row(w.gold, team="netop"), ("gold.jsonl", "line 2:", "'netop'", "netops")),
    "missing gold column": (lambda w: without_column(w.gold, "team"), ("gold.jsonl", "no column 'team'")),
    "experts' label": (lambda w: with_row(w.experts, team="nobody"), ("experts.jsonl", "line 2:", "'nobody'")),
    "tokens not in the text": (
        lambda w: with_tokens(w, of_second=["nope"]),
        ("line 2:", "token 0 ('nope')", "set data.text = 'words'"),
    ),
    "tokens missing": (lambda w: edit(w.task, "[data]", '[data]\ntokens = "words"'), ("no column 'words'",)),
    "pair missing": (lambda w: edit(w.task, "[data]", '[data]\npair = "target"'), ("no column 'target'",)),
    "converter missing": (
        lambda w: edit(w.task, "[data]", '[data]\nconvert = "own:make"'),
        ("data.convert", "own:make", "No module named 'own'"),
    ),
    "converter fails": (
        lambda w: with_converter(w, "def make(row):\n    return {}[row['id']]\n"),
        ("line 1: data.convert: KeyError", "none of the first 20 rows"),
    ),
    "missing recording": (lambda w: (w.home / "replies.jsonl").unlink(), ("replies.jsonl", "correct the path")),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_file_is_refused_before_anything_is_asked(world: World, kind: str) -> None:
    """Exit code 2 and a text that names the place; no request was made."""
    damage, words = FILES[kind]
    damage(world)
    refused(world, 2, *words)
    assert not stored(world.run, "SELECT * FROM requests")


def test_all_mistakes_are_named_at_once(world: World) -> None:
    """A team mends its file once, not once a mistake."""
    rows = rows_of(world.pool)
    rows[3]["text"], rows[5]["id"] = "", rows[4]["id"]
    write_rows(world.pool, rows)
    said = refused(world, 2, "2 mistakes")
    assert re.findall(r"- line (\d+)", said) == ["4", "6"]


def test_a_missing_base_is_a_model_error(tmp_path: Path) -> None:
    """Exit code 7, and nothing was asked of the teacher."""
    world = write_world(tmp_path, student={"base": "nowhere/to-be-found"})
    refused(world, 7, "nowhere/to-be-found", "expected:", "found:")
    assert not stored(world.run, "SELECT * FROM requests")


def test_a_dead_address_is_a_teacher_error(tmp_path: Path) -> None:
    """Exit code 3: nothing answers there."""
    url = f"http://127.0.0.1:{closed_port()}/v1"
    world = write_world(tmp_path, teacher={"base_url": url, "max_tries": 1})
    refused(world, 3, url, "expected:", "found:", "what to do:")


def test_a_missing_key_is_a_teacher_error(tmp_path: Path) -> None:
    """Exit code 3, said before anything is sent to another machine."""
    teacher = {"base_url": "https://api.example.invalid/v1", "api_key_env": "NO_SUCH_KEY"}
    refused(write_world(tmp_path, teacher=teacher), 3, "no API key", "NO_SUCH_KEY", "export NO_SUCH_KEY")


@contextmanager
def api(home: Path, faults: Faults, **changes: object) -> Iterator[World]:
    """A small world whose teacher is a real server with these faults."""
    made = write_world(home)
    with recorded_teacher(home / "replies.jsonl", [made.pool, made.gold], faults=faults, log=RequestLog()) as url:
        yield write_world(home, teacher={"base_url": url, "max_tries": 2, **changes})


def test_a_wrong_key_is_a_teacher_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """401: exit code 3, and the key is not shown."""
    monkeypatch.setenv("OUR_KEY", "sk-wrong-and-secret")
    with api(tmp_path, Faults(api_key="another"), api_key_env="OUR_KEY") as world:
        assert "sk-wrong-and-secret" not in refused(world, 3, "refuses the key", "OUR_KEY", "what to do:")


@pytest.mark.parametrize("status", [429, 500])
def test_an_api_that_only_refuses_is_a_teacher_error(tmp_path: Path, status: int) -> None:
    """After max_tries the run ends with exit code 3 and says what it heard."""
    with api(tmp_path, Faults(always=Fault("status", status))) as world:
        refused(world, 3, "expected:", "found:", "what to do:", "every reply that arrived is kept")


def test_what_arrived_before_an_api_failed_is_kept(tmp_path: Path) -> None:
    """The API dies after 50 replies: they are in the store, and the repeat with a live one asks for the rest only."""
    with api(tmp_path, Faults(always=Fault("status", 500), always_after=50), ask="verbalised") as world:
        refused(world, 3, "every reply that arrived is kept")
    kept = stored(world.run, "SELECT request_key FROM replies")
    assert len(kept) == 50
    log = RequestLog()
    with recorded_teacher(world.home / "replies.jsonl", [world.pool, world.gold], log=log) as url:
        write_world(tmp_path, teacher={"base_url": url, "ask": "verbalised"}, budget={"human_labels": 0})
        assert world.go().exit_code == 0
    assert log.requests == POOL + GOLD - 50
    assert set(kept) <= set(stored(world.run, "SELECT request_key FROM replies"))


def _hold(folder: Path, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event") -> None:
    with Store(folder):
        ready.set()
        done.wait(300)


def test_two_runs_at_once_are_refused(world: World) -> None:
    """Exit code 6, with the process that holds the run."""
    fresh = multiprocessing.get_context("spawn")
    ready, done = fresh.Event(), fresh.Event()
    other = fresh.Process(target=_hold, args=(world.run, ready, done))
    other.start()
    try:
        assert ready.wait(300)  # a busy machine takes its time to start a process
        refused(world, 6, "is in use", f"process {other.pid}", "--run")
    finally:
        done.set()
        other.join()


def test_a_store_of_a_newer_version_is_left_alone(world: World) -> None:
    """Exit code 6, and not a byte of it changes."""
    with Store(world.run):
        pass
    db = sqlite3.connect(world.run / STORE_FILE)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = (world.run / STORE_FILE).read_bytes()
    refused(world, 6, "newer Stillhouse", "version 99", "upgrade")
    assert (world.run / STORE_FILE).read_bytes() == before


def test_an_argilla_that_is_down_is_said_before_the_teacher_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 5, and not one request was sent."""
    monkeypatch.setenv("OUR_ARGILLA_KEY", "argilla.key")
    url = f"http://127.0.0.1:{closed_port()}"
    world = write_world(tmp_path, desk={"kind": "argilla", "url": url, "api_key_env": "OUR_ARGILLA_KEY"})
    refused(world, 5, "Argilla does not answer", url, "what to do:")
    assert stored(world.run, "SELECT * FROM requests") == []


def test_an_argilla_that_goes_down_later_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 5; votes, round and batch are kept, and a desk that is up gets that very batch."""
    monkeypatch.setenv("OUR_ARGILLA_KEY", "argilla.key")
    world = write_world(tmp_path)
    assert world.stillhouse("round", world.task, "--run", world.run, "--quiet").exit_code == 0
    picks = stored(world.run, "SELECT * FROM picks WHERE round = 1")
    requests = stored(world.run, "SELECT * FROM requests")
    assert len(picks) == 20
    url = f"http://127.0.0.1:{closed_port()}"
    write_world(tmp_path, desk={"kind": "argilla", "url": url, "api_key_env": "OUR_ARGILLA_KEY"})
    refused(world, 5, "Argilla does not answer", url, "what to do:")
    write_world(tmp_path, budget={"human_labels": 20})
    assert world.go().exit_code == 0
    assert stored(world.run, "SELECT * FROM picks WHERE round = 1") == picks
    assert stored(world.run, "SELECT * FROM requests") == requests


def test_a_key_for_argilla_that_is_missing_is_a_desk_error(tmp_path: Path) -> None:
    """Exit code 5, and the variable that should hold it."""
    desk = {"kind": "argilla", "url": "http://127.0.0.1:9", "api_key_env": "NO_SUCH_KEY"}
    refused(write_world(tmp_path, desk=desk), 5, "no key for the Argilla", "export NO_SUCH_KEY")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, small enough to be filled."""
    folder = tmp_path / "run"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs of 8 MiB")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("free_kib", [60, 500, 900])
def test_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path, free_kib: int) -> None:
    """Exit code 6 wherever it fills up; with room again the repeat goes on to the end, and asks for nothing twice."""
    world = write_world(tmp_path, budget={"human_labels": 0})
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (8192 - free_kib) * 1024)
    refused(world, 6, "no room left", "what to do:")
    kept = set(stored(world.run, "SELECT request_key FROM replies"))
    ballast.unlink()
    result = world.go()
    assert result.exit_code == 0, result.stderr
    assert kept <= set(stored(world.run, "SELECT request_key FROM replies"))
