"""People's part of a round: what was picked goes to the desk, answers come back, some are asked again, until it is done."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from argilla_setup.assignment import dealt_at
from argilla_setup.desk import links
from loop.asked import Asked, asked_of, is_measured, to_keep
from loop.context import Surroundings
from loop.desk_records import records_of
from loop.desks import OpenDesk
from loop.follow import follow_ups
from loop.kept import belief_before
from loop.progress import Display
from loop.project import Project
from loop.view import Corpus
from stillhouse.errors import DeskError, InputError
from stillhouse.records import Value, Way
from stillhouse.store import Store
from trainer.base import Base

POLL_S, LONGEST_POLL_S, SLOWER = 2.0, 30.0, 1.5
AGAIN: Mapping[Way, str] = {
    "label": "for a label after a no",
    "second": "for a second opinion",
    "adjudicate": "to decide between opinions",
}


@dataclass(eq=False)
class AtDesk:
    """One round of a run with its people. `known` is what rehearsed experts know; `trouble` what is wrong with the desk at
    present, None before the first look.
    """

    project: Project
    store: Store
    desk: OpenDesk
    display: Display
    corpus: Corpus
    base: Base
    known: Mapping[str, Value] | None
    number: int
    sleep: Callable[[float], None] = field(default=time.sleep)
    trouble: str | None = None
    _said: set[str] = field(default_factory=set)

    @property
    def asked(self) -> Asked:
        return asked_of(self.store, self.project.task.desk.min_submitted)

    def say_once(self, line: str, of: str = "") -> None:
        """What would be said again at every look; the first line `of` a matter, where there may be several."""
        if (of or line) not in self._said:
            self._said.add(of or line)
            self.display.line(line)


def ask_people(at: AtDesk, *, wait: bool, partial: bool = False) -> int:
    """Publish the round's picks, collect, follow up; how many records still wait for people, 0 where the loop may go on.

    All is read off store and desk, so it may be killed and repeated at any moment. With `wait` it looks until the round is
    done, less often while nothing comes, and outlives a desk that is gone for a while. With `partial` a round is done once
    anything of it is answered; what is open stays open, and counts when it comes.
    """
    at.trouble, pause_s = None, POLL_S
    with at.display.bar("answers of people", len(at.asked.of_round(at.number))) as bar:
        while True:
            came = _look(at, wait=wait)
            asked = at.asked
            waiting = len(asked.due_in(at.number))
            bar(_answered(asked, at.number), f"({waiting} records open)" if waiting else "")
            if not at.trouble and _may_go_on(at, asked, partial=partial):
                return 0
            if not wait:
                return waiting
            if not at.trouble:
                _say_where(at)
            pause_s = POLL_S if came else min(pause_s * SLOWER, LONGEST_POLL_S)
            at.sleep(pause_s)


def _look(at: AtDesk, *, wait: bool) -> int:
    """How much has come. What is wrong with the desk is said once; raises DeskError or InputError at the first look, or
    where nobody waits.
    """
    first, lost = at.trouble is None, bool(at.trouble)
    try:
        if lost:
            at.desk.reopen()
        if first or lost:
            _publish(at)
        came = _hear(at, all_of_it=first or lost)
    except (DeskError, InputError) as error:
        if first or not wait:
            raise
        if error.text() != at.trouble:
            at.trouble = error.text()
            at.display.line(f"  {at.trouble}\n  waiting on, and asking again every {LONGEST_POLL_S:.0f} s at most")
        return 0
    if lost:
        at.display.line("  the desk answers again")
    at.trouble = ""
    return came


def _say_where(at: AtDesk) -> None:
    """Where people go; a server that went meanwhile is spoken of at the next look."""
    with suppress(DeskError):
        at.say_once(f"  waiting for people: {at.desk.desk.link()}")
        if at.project.task.desk.annotators:
            for line in links(at.desk.desk):
                at.say_once(f"    {line}")


def _may_go_on(at: AtDesk, asked: Asked, *, partial: bool) -> bool:
    waiting = len(asked.due_in(at.number))
    done = asked.is_done(at.number, at.project.task.desk.enough) or (partial and _answered(asked, at.number) > 0)
    if done and waiting:
        at.say_once(f"  going on: {waiting} records stay open at the desk, and count when they are answered")
    return done


def _answered(asked: Asked, number: int) -> int:
    return sum(pick.item_id in asked.said for pick in asked.of_round(number))


def _hear(at: AtDesk, *, all_of_it: bool) -> int:
    """What has come, and what it asks for, to its end; how much that was."""
    came, desk = 0, at.desk.desk
    while True:
        answers = to_keep(desk.collect(changed=not all_of_it), at.store.answers())
        at.store.add_answers(answers)
        for line in desk.sent_back():
            at.say_once(f"  sent back: {line}")
        denied = {denial.item_id for denial in desk.denied()}
        again = follow_ups(at.project, at.corpus, at.asked, denied)
        came += len(answers) + len(again)
        if not again:
            return came
        at.store.add_askings(again)
        counts = Counter(asking.way for asking in again)
        words = ", ".join(f"{count} {AGAIN[way]}" for way, count in sorted(counts.items()))
        at.display.line(f"  asked again: {words}")
        _publish(at)
        desk, all_of_it = at.desk.desk, False


def _publish(at: AtDesk) -> None:
    """Everything that is open, of earlier rounds too, as it was first published; rehearsed experts answer at once."""
    asked, settings = at.asked, at.project.task.desk
    near = Surroundings(at.project, at.base, at.corpus, asked) if settings.context else None
    dealt = dealt_at(at.desk.desk) if settings.annotators or settings.adjudicators else {}
    for number in sorted({pick.round for pick in asked.picks}):
        if asked.open_in(number):
            believed = belief_before(at.project, number)
            records = records_of(at.corpus, asked, number, believed, settings, near, dealt)
            new = at.desk.desk.publish(records)
            picks = asked.of_round(number)
            blind = sum(is_measured(pick) for pick in picks)
            if number == at.number:
                line = f"  {len(picks)} items are at the desk ({new} new), {blind} of them random and blind"
                at.say_once(line, of="the batch")
    rehearsed = at.desk.rehearse(at.known)
    if rehearsed:
        at.display.line(f"  rehearsed experts (simulated, from known labels) gave {rehearsed} answers through the desk")
