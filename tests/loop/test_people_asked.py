"""A round of people: asked again where an answer surprises, refuses or differs, and gone on with once enough is answered."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from argilla_setup.desk import Denial, Desk, DeskRecord, OpenRecord
from loop.people_asked import LONGEST_POLL_S, AtDesk, ask_people
from loop.progress import Display
from loop.project import open_project
from loop.run import Loop, open_loop, run_rounds
from stillhouse.errors import DeskError
from stillhouse.records import Answer, Way
from stillhouse.store import Store
from tests.loop.world import BATCH, World, batches, rows_of, write_rows, write_world

OFTEN_WRONG = {
    "second_opinions": 0.5,
    "second_below": 0.3,
    "adjudicators": ["rehearsed-3"],
    "verify_from": 0.55,
    "rehearse_annotators": 3,
    "rehearse_error_rate": 0.4,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One run to its end with experts who err, which the tests below only look at."""
    world = write_world(tmp_path_factory.mktemp("people"), gold=False, desk=OFTEN_WRONG)
    with at_desk(world) as (loop, _):
        assert run_rounds(loop).stopped
    return world


def test_answers_that_surprise_refuse_or_differ_are_asked_again(finished: World) -> None:
    """Second opinions are other people's and blind, a no is followed by a label, a difference is decided; all is answered."""
    with finished.store() as store:
        askings, answers, picks = store.askings(), store.answers(), {p.item_id: p for p in store.picks()}
    ways = Counter(asking.way for asking in askings)
    assert min(ways[way] for way in ("verify", "label", "second", "adjudicate")) > 0
    said: dict[tuple[str, Way], list[Answer]] = {}
    for answer in answers:
        said.setdefault((answer.item_id, answer.way), []).append(answer)
    for asking in askings:
        if asking.way == "second":
            # Who decided may be who gave the second opinion, whose last word that is.
            (second,) = said.get((asking.item_id, "second")) or said[asking.item_id, "adjudicate"]
            assert second.annotator not in asking.not_by
            assert second.suggested is None
        if asking.way == "adjudicate":
            assert [answer.annotator for answer in said[asking.item_id, "adjudicate"]] == ["rehearsed-3"]
        if asking.way in {"verify", "label"}:
            assert picks[asking.item_id].inclusion_probability is None
    assert {asking.item_id for asking in askings if asking.way == "label"} <= {
        asking.item_id for asking in askings if asking.way == "verify"
    }


def test_the_random_share_is_shown_guidelines_and_checked_whole(finished: World) -> None:
    """No suggestion and no neighbour; each improbable answer was asked again, though the targeted ones are capped."""
    with finished.store() as store:
        drawn = {pick.item_id for pick in store.picks() if pick.inclusion_probability is not None}
        answers, askings = store.answers(), store.askings()
    rows = [row for row in batches(finished) if row["id"] in drawn]
    assert rows
    assert not any(row["suggestion"] or "In question" in (row.get("context") or "") for row in rows)
    assert not any("Like it" in (row.get("context") or "") for row in rows)
    assert all(answer.blind for answer in answers if answer.item_id in drawn)
    targeted = [asking for asking in askings if asking.way == "second" and asking.item_id not in drawn]
    assert len([asking for asking in targeted if asking.round == 1]) <= 0.5 * BATCH


def test_the_budget_counts_second_opinions(finished: World) -> None:
    """People's time is people's time: fewer items are asked where some are asked twice."""
    with finished.store() as store:
        picks, askings, last = store.picks(), store.askings(), store.rounds()[-1]
    assert "budget of people's answers is used up" in last.reason
    checks = [asking for asking in askings if asking.way in {"second", "adjudicate"}]
    assert len(picks) + len(checks) < 40 + len(checks)


# -- a round by hand


class Flaky:
    """A desk of files whose server is now and then gone: each call that `gone` says yes to fails before anything is done."""

    def __init__(self, desk: Desk, gone: Callable[[str], bool]) -> None:
        self.real, self._gone = desk, gone

    def _call(self, name: str, *values: Any, **named: Any) -> Any:
        if self._gone(name):
            raise DeskError("the desk does not answer", found=f"nothing, while asked to {name}")
        return getattr(self.real, name)(*values, **named)

    def publish(self, batch: Sequence[DeskRecord]) -> int:
        found: int = self._call("publish", batch)
        return found

    def collect(self, *, changed: bool = False) -> list[Answer]:
        found: list[Answer] = self._call("collect", changed=changed)
        return found

    def denied(self) -> list[Denial]:
        return self.real.denied()

    def sent_back(self) -> list[str]:
        return self.real.sent_back()

    def open(self) -> list[OpenRecord]:
        return self.real.open()

    def waiting(self) -> int:
        return self.real.waiting()

    def link(self, annotator: str = "", way: Way = "label") -> str:
        return self.real.link(annotator, way)


class Lines(Display):
    """Keeps what it is to show."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(quiet=True)
        self._lines = lines

    def line(self, text: str) -> None:
        self._lines.append(text)


class Opened:
    """An open desk that is what it is given, and counts how often it was connected to again."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.reopened = desk, 0

    def reopen(self) -> None:
        self.reopened += 1

    def rehearse(self, _known: object) -> int:
        return 0


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run whose first batch is out, and that nobody has answered: to be copied, not changed."""
    desk = {"second_opinions": 1.0, "second_below": 0.5, "adjudicators": ["chief"]}
    world = write_world(tmp_path_factory.mktemp("asked"), gold=False, rehearse=False, desk=desk)
    with at_desk(world) as (loop, _):
        assert run_rounds(loop).waiting == BATCH
    return world


@contextmanager
def at_desk(world: World, **changes: Any) -> Iterator[tuple[Loop, AtDesk]]:
    project = open_project(world.task, world.run)
    with Store(project.folder) as store:
        loop = open_loop(project, store, Display(quiet=True), lambda _line: None)
        at = AtDesk(project, store, loop.desk, loop.display, loop.corpus, loop.base, loop.known, 1)
        yield loop, dataclasses.replace(at, **changes)


def copy_of(world: World, home: Path) -> World:
    shutil.copytree(world.home, home)
    return World(home)


def answer(world: World, annotator: str, way: str = "label", *, share: float = 1.0, wrong: bool = False) -> None:
    """What is out in a way is answered by one more person, the first share of it in the order of the file."""
    right = {row["id"]: row["team"] for row in rows_of(world.experts)}
    rows = [row for row in batches(world) if row.get("way", "label") == way]
    kept = rows[: round(share * len(rows))]
    lines = [
        {"id": row["id"], "way": way, "label": "soc" if wrong else right[row["id"]], "annotator": annotator}
        for row in kept
    ]
    write_rows(world.run / "desk" / "answers" / f"{annotator}-{way}.jsonl", lines)


def test_waiting_outlives_a_desk_that_is_gone(asked: World, tmp_path: Path) -> None:
    """It says so once, asks less and less often, connects again, and goes on by itself when people have answered."""
    world, looks, lines = copy_of(asked, tmp_path / "copy"), list[float](), list[str]()

    def asleep(pause_s: float) -> None:
        looks.append(pause_s)
        if len(looks) == 6:
            answer(world, "pat")
        if len(looks) == 8:
            answer(world, "sam", "second")
        if len(looks) == 10:
            answer(world, "chief", "adjudicate")
        assert len(looks) < 30

    with at_desk(world, sleep=asleep) as (loop, at):
        at.desk = opened = Opened(Flaky(loop.desk.desk, lambda name: name == "collect" and 2 <= len(looks) < 5))  # type: ignore[assignment]
        at.display = Lines(lines)
        assert ask_people(at, wait=True) == 0
        assert not at.asked.open_in(1)
    assert opened.reopened == 3
    assert [sum(words in line for line in lines) for words in ("does not answer", "answers again")] == [1, 1]
    assert looks[:5] == sorted(looks[:5])
    assert max(looks) <= LONGEST_POLL_S


def test_a_desk_that_is_gone_at_the_start_is_an_error(asked: World, tmp_path: Path) -> None:
    """Nobody should wait for what was never there; without `wait` it is one at any time."""
    world = copy_of(asked, tmp_path / "copy")
    with at_desk(world) as (loop, at):
        at.desk = Opened(Flaky(loop.desk.desk, lambda _name: True))  # type: ignore[assignment]
        with pytest.raises(DeskError):
            ask_people(at, wait=True)


@pytest.mark.parametrize("call", ["publish", "collect"])
def test_a_round_cut_short_anywhere_is_repeated_to_the_same_end(asked: World, tmp_path: Path, call: str) -> None:
    """At each call to the desk in turn: what was stored or published by then is there once, and asked for once."""
    ends = []
    for cut in (1, 2, 99):
        world, calls = copy_of(asked, tmp_path / str(cut)), Counter[str]()
        answer(world, "pat", wrong=True)

        def gone(name: str, cut: int = cut, calls: Counter[str] = calls) -> bool:
            calls[name] += 1
            return name == call and calls[name] == cut

        with at_desk(world) as (loop, at):
            at.desk = Opened(Flaky(loop.desk.desk, gone))  # type: ignore[assignment]
            if cut < 99:
                with pytest.raises(DeskError):
                    ask_people(at, wait=False)
            assert ask_people(at, wait=False) > 0
            ends.append((at.store.askings(), [a.item_id for a in at.store.answers()], batches(world)))
    assert ends[0] == ends[1] == ends[2]


def test_part_of_a_batch_is_enough_where_all_of_the_random_share_is_answered(asked: World, tmp_path: Path) -> None:
    """The loop goes on; what stays open counts when it comes, and `partial` goes on with less."""
    world = copy_of(asked, tmp_path / "copy")
    world.task.write_text(world.task.read_text(encoding="utf-8").replace("[desk]", "[desk]\nenough = 0.5"))
    answer(world, "pat", share=0.1)
    with at_desk(world) as (loop, at):
        assert ask_people(at, wait=False) > 0
        assert ask_people(at, wait=False, partial=True) == 0
        assert not [p for p in at.asked.for_figures() if p.inclusion_probability is not None]
        answer(world, "pat", share=0.6)
        ask_people(at, wait=False)
        answer(world, "sam", "second")
        ask_people(at, wait=False)
        answer(world, "chief", "adjudicate")
        assert ask_people(at, wait=False) == 0
        assert [p for p in at.asked.for_figures() if p.inclusion_probability is not None]
        outcome = run_rounds(loop, most=1)
        assert (outcome.rounds, outcome.stopped) == (2, False)
        answer(world, "pat")
        late = dataclasses.replace(at, number=2)
        ask_people(late, wait=False)
        assert {pick.item_id for pick in at.store.picks(1)} <= at.asked.said.keys()
