"""The teacher's turn: whoever has no vote yet is asked, within the budget."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kinds.kind import Kind
from loop.guidelines import noted
from loop.privacy import forms_of_run
from loop.progress import Display
from loop.project import Project, prices_of
from prompts.likelihood import local_name
from stillhouse.label_mapping import is_open
from stillhouse.ledger import Ledger
from stillhouse.records import Demonstration, Item, Vote
from stillhouse.settings import Teacher
from stillhouse.store import Store
from teacher.engine import ask_sync
from teacher.offline import offline_teacher, vllm_engine, vllm_sampling
from teacher.prices import BudgetGuard
from teacher.recorded import recorded_teacher
from teacher.ways import NOTHING_MORE, Shown

if TYPE_CHECKING:  # what it imports is slow to load, and a trial of gold needs none of it
    from loop.elsewhere import Elsewhere
    from loop.library import Library

CAPABILITIES = "capabilities"
ASKED_AGAIN = "asked again: "  # a note of each teacher with examples: what the last round asked again
ANSWERS_AN_EXAMPLE = 4  # so many to choose from for each that is shown, or all items would be shown the same ones
BOTH_ORDERS = "+"  # in the prompt id of a vote that is the mean of both orders


@dataclass(slots=True)
class Turn:
    """One teacher after the other, from one budget."""

    project: Project
    store: Store
    display: Display
    everything: Sequence[Item]
    guard: BudgetGuard
    capabilities: dict[str, Any]
    elsewhere: "Elsewhere | None" = None
    ledger: Ledger | None = None  # who keeps the replies and votes, if not the store

    def ask(self, teacher: Teacher, items: Sequence[Item], more: Shown = NOTHING_MORE, why: str = "") -> None:
        """Votes on the items, in the store. Raises TeacherError or BudgetError; what arrived until then is kept."""
        if not items:
            return
        with (
            self._reached(teacher, items, more) as address,
            forms_of_run(self.project) as forms_of,
            self.display.bar(f"teacher {teacher.name}{why}", len(items)) as bar,
        ):
            ask_sync(
                items,
                self.project.task,
                address,
                self.ledger or self.store,
                budget=self.guard,
                progress=_told(bar),
                capabilities=self.capabilities,
                rng=self.project.rng(f"teacher {teacher.name}"),
                more=more,
                forms_of=forms_of,
                prices=prices_of(self.project),
            )
        self.store.write_note(CAPABILITIES, self.capabilities)

    def _reached(self, teacher: Teacher, items: Sequence[Item], more: Shown) -> AbstractContextManager[Teacher]:
        if self.elsewhere is not None and teacher.vllm is not None:
            return self.elsewhere.replied(teacher, items, more, self.store, self.capabilities)
        return reachable(self.project, teacher, self.everything)

    def votes(self, teacher: Teacher) -> dict[str, Vote]:
        """The teacher's votes on the items, by their ids, without those that are to be asked for again."""
        wanted = {item.id for item in self.everything}
        votes = (vote for vote in self.store.votes() if not is_open(vote))
        found = (vote for vote in votes if vote.source == teacher.name and vote.item_id in wanted)
        return {vote.item_id: vote for vote in found}


def turn_of(
    project: Project, store: Store, items: Sequence[Item], display: Display, elsewhere: "Elsewhere | None" = None
) -> Turn:
    noted(project, store)
    guard = BudgetGuard(project.task.budget.teacher_usd, store.spent_usd(), store.in_doubt_usd())
    return Turn(project, store, display, items, guard, store.note(CAPABILITIES, {}), elsewhere)


def ask_teachers(
    project: Project,
    store: Store,
    items: Sequence[Item],
    display: Display,
    library: "Library | None" = None,
    elsewhere: "Elsewhere | None" = None,
) -> None:
    """After this every item has a vote of every teacher that shows no examples, except where a recording does not know it.
    A vote that changed labels have left open counts as none.

    Without a library all labels are shown, however many. Raises TeacherError or BudgetError; what arrived until then is in
    the store, and a repeat goes on from there.
    """
    voted = {(vote.item_id, vote.source) for vote in store.votes() if not is_open(vote)}
    turn = turn_of(project, store, items, display, elsewhere)
    for teacher in project.task.teachers:
        missing = [item for item in items if (item.id, teacher.name) not in voted]
        if teacher.demonstrations:
            continue
        if not teacher.by_likelihood:
            turn.ask(teacher, missing, Shown(candidates=library.candidates(teacher, missing) if library else {}))
            in_other_order(turn, teacher)
        elif missing:
            from loop.local_teacher import ask_local  # torch is loaded only where a model of this machine is asked

            with display.bar(f"teacher {teacher.name}", len(missing)) as bar:
                ask_local(missing, project.task, teacher, store, home=project.home, progress=bar)


def in_other_order(turn: Turn, teacher: Teacher) -> None:
    """The share of items that the teacher doubts most is asked once more, with the labels in the other order.

    Which they are is read off the votes: those that have been asked so were the most doubtful, and of the rest come those
    that are now, so a repeat goes on with the very items it would have asked. The first replies are known, and free.
    """
    if not teacher.second_order_share:
        return
    votes = turn.votes(teacher)
    once = {item_id: vote for item_id, vote in votes.items() if BOTH_ORDERS not in vote.prompt_id}
    wanted = round(teacher.second_order_share * len(votes)) - (len(votes) - len(once))
    chosen = most_doubted(turn.project.kind, [item for item in turn.everything if item.id in once], once, wanted)
    shown = {item.id: once[item.id].candidates for item in chosen if once[item.id].candidates}
    turn.ask(teacher, chosen, Shown(candidates=shown, both_orders=True), ", other order")


def ask_with_examples(
    project: Project,
    store: Store,
    items: Sequence[Item],
    display: Display,
    library: "Library",
    round_number: int,
    elsewhere: "Elsewhere | None" = None,
) -> int:
    """The teachers that show examples, once there are enough to choose from: all items that have no vote yet, and in each
    later round the share they doubt most, with the examples of that round. How many items were asked about.

    Candidates for examples are what people have answered, without the random share. Raises as `ask_teachers`.
    """
    turn, asked = turn_of(project, store, items, display, elsewhere), 0
    for teacher in project.task.teachers:
        if not teacher.demonstrations:
            continue
        if waits_for(teacher, library):
            display.line(f"  {waits_for(teacher, library)}")
            continue
        votes = turn.votes(teacher)
        again = _to_ask_again(turn, teacher, votes, round_number)
        wanted = [item for item in items if item.id not in votes or item.id in again]
        shown = library.demonstrations(teacher, wanted)
        new = [item for item in wanted if item.id not in votes or _ids(shown, item) != votes[item.id].demonstrations]
        turn.ask(teacher, new, Shown(shown, library.candidates(teacher, new)), ", with examples")
        asked += len(new)
    return asked


def wanted_answers(teacher: Teacher) -> int:
    """How many answers that may be shown there must be before the teacher is asked."""
    return ANSWERS_AN_EXAMPLE * teacher.demonstrations


def waits_for(teacher: Teacher, library: "Library") -> str:
    """Why a teacher that shows examples is not asked yet; nothing if it can be."""
    there, wanted = len(library.answered), wanted_answers(teacher)
    said = f"teacher {teacher.name} waits for {wanted} answers to choose examples from, random ones not counted; there are {there}"
    return said if there < wanted else ""


def _to_ask_again(turn: Turn, teacher: Teacher, votes: Mapping[str, Vote], round_number: int) -> frozenset[str]:
    """Chosen once a round, and noted before anybody is asked: the replies change who is doubted."""
    name = f"{ASKED_AGAIN}{teacher.name}"
    noted = turn.store.note(name, {"round": -1, "ids": []})
    if noted["round"] != round_number:
        share = round(teacher.asked_again_share * len(votes)) if noted["round"] >= 0 else 0
        known = [item for item in turn.everything if item.id in votes]
        again = most_doubted(turn.project.kind, known, votes, share)
        noted = {"round": round_number, "ids": [item.id for item in again]}
        turn.store.write_note(name, noted)
    return frozenset(noted["ids"])


def most_doubted(kind: Kind, items: Sequence[Item], votes: Mapping[str, Vote], count: int) -> list[Item]:
    """The items whose votes leave the most doubt, in their order; one that cannot be read leaves all. Ties go by id."""

    def doubt(item: Item) -> float:
        spans = kind.units(item)
        vote = votes[item.id]
        return kind.doubt(item, spans, kind.said(item, spans, vote).probs).score if vote.usable else 1.0

    ranked = sorted(items, key=lambda item: (-doubt(item), item.id))[: max(count, 0)]
    chosen = {item.id for item in ranked}
    return [item for item in items if item.id in chosen]


def shown_again(votes: Sequence[Vote], answered: Mapping[str, Demonstration], *, both_orders: bool) -> Shown:
    """What the votes' items were shown. People may have changed an answer that was an example: such a prompt is no more."""
    candidates = {vote.item_id: vote.candidates for vote in votes if vote.candidates}
    shown = {
        vote.item_id: [answered[each] for each in vote.demonstrations if each in answered]
        for vote in votes
        if vote.demonstrations
    }
    return Shown(shown, candidates, both_orders)


def _ids(shown: Mapping[str, Sequence[Demonstration]], item: Item) -> tuple[str, ...]:
    return tuple(each.item.id for each in shown.get(item.id, ()))


@contextmanager
def reachable(project: Project, teacher: Teacher, items: Sequence[Item]) -> Iterator[Teacher]:
    """The teacher as it can be called: a recording, or a model of this process, is started first."""
    if teacher.vllm is not None:
        with (
            vllm_engine(teacher, local_name(teacher, project.home)) as engine,
            offline_teacher(teacher, engine, vllm_sampling) as address,
        ):
            yield address
        return
    if teacher.recording is None:
        yield teacher
        return
    with recorded_teacher(project.home / teacher.recording, items=items) as url:
        yield teacher.model_copy(update={"base_url": url})


def _told(bar: Callable[[int, str], None]) -> Callable[[int, int, float, Mapping[str, int]], None]:
    def progress(done: int, _total: int, cost_usd: float, counts: Mapping[str, int]) -> None:
        odd = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != "ok" and count)
        bar(done, f"${cost_usd:.2f}" + (f", {odd}" if odd else ""))

    return progress
