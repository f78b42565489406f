"""What the next round will cost, before it costs anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loop.privacy import forms_for_a_look
from loop.project import Project, open_project, prices_of, read_gold, read_pool
from loop.teach import BOTH_ORDERS, CAPABILITIES, wanted_answers
from loop.view import agreed
from prompts.likelihood import choice_of
from prompts.render import fill
from prompts.windows import WINDOW_TOKENS, windows_of
from stillhouse.label_mapping import is_open
from stillhouse.records import Item
from stillhouse.settings import Teacher
from stillhouse.store import STORE_FILE, Store
from teacher.capabilities import Capabilities, capabilities_from_json, memory_key, plan_for
from teacher.prices import Estimate, estimate
from teacher.privacy import hide


@dataclass(frozen=True, slots=True)
class Plan:
    """`teachers` are estimates by name for items without votes; `answers` are what the next batch asks of people.

    `examples` are the answers, by name, that a teacher waits for until it has examples to show. `waiting` items of earlier batches are still at the desk; each answer is counted once for every person who must give it.
    """

    items: int
    gold_items: int
    teachers: dict[str, Estimate]
    answers: int
    people_minutes: float
    people_usd: float
    answers_so_far: int
    answer_budget: int | None
    spent_usd: float
    teacher_budget_usd: float | None
    rehearsed: bool
    waiting: int
    desk: str
    prompt: str
    examples: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self, *, with_prompt: bool) -> str:
        people = "rehearsed experts (simulated)" if self.rehearsed else "people"
        batch = (
            f"next batch: {self.answers} answers of {people}, "
            f"{'which would take people ' if self.rehearsed else ''}about {self.people_minutes:.0f} minutes, "
            f"${self.people_usd:.2f} of people's time"
        )
        lines = [
            f"{self.items:,} items in the pool, {self.gold_items:,} gold items",
            *(f"teacher {name}: {found.sentence()}{self._examples(name)}" for name, found in self.teachers.items()),
            f"spent on the teacher so far: ${self.spent_usd:.2f} ({self._money_left()})",
            batch,
            f"answers so far: {self.answers_so_far} ({self._answers_left()})",
            *([f"still at the desk: {self.waiting} items"] if self.waiting else []),
            f"desk: {self.desk}",
        ]
        if with_prompt:
            lines += ["", "one prompt, as the teacher gets it:", "", self.prompt]
        return "\n".join(lines)

    def _examples(self, name: str) -> str:
        wanted = self.examples.get(name)
        return f"; asked once {wanted} answers can be shown as examples" if wanted else ""

    def _money_left(self) -> str:
        if self.teacher_budget_usd is None:
            return "no cap"
        left = max(self.teacher_budget_usd - self.spent_usd, 0.0)
        most = sum(found.cost_hi_usd or 0.0 for found in self.teachers.values())
        short = f"; NOT ENOUGH if it costs the most, ${most:.2f}: the run would stop and keep what it has" * (
            most > left
        )
        return f"${left:.2f} left of ${self.teacher_budget_usd:.2f}{short}"

    def _answers_left(self) -> str:
        if self.answer_budget is None:
            return "no cap"
        return f"{max(self.answer_budget - self.answers_so_far, 0)} left of {self.answer_budget}"


@dataclass(frozen=True, slots=True)
class _Done:
    """What the run's store holds already; all of it empty before the run has begun."""

    voted: frozenset[tuple[str, str]] = frozenset()
    picked: frozenset[str] = frozenset()
    people_items: frozenset[str] = frozenset()
    answered: int = 0
    spent_usd: float = 0.0
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    both_orders: Counter[str] = field(default_factory=Counter)
    shown: frozenset[str] = frozenset()

    def known(self, teacher: Teacher) -> Capabilities | None:
        """What a probe found out about this teacher's API, if one was made."""
        stored = self.capabilities.get(memory_key(teacher))
        return None if stored is None else capabilities_from_json(stored)


def plan_round(task_path: Path, folder: Path | None) -> Plan:
    """Raises InputError or TaskError where the task or its data are wrong; calls nobody."""
    project = open_project(task_path, folder)
    items = read_pool(project)
    gold = read_gold(project, items)
    everything = [*items, *(gold.items if gold else ())]
    done, task = _done(project), project.task
    answers = max(min(task.selection.batch, len(items) - len(done.picked)), 0)
    if task.budget.human_labels is not None:
        answers = min(answers, max(task.budget.human_labels - done.answered, 0))
    minutes = answers * task.desk.min_submitted * task.budget.seconds_per_answer / 60
    return Plan(
        items=len(items),
        gold_items=len(gold.items) if gold else 0,
        teachers={
            teacher.name: estimate(
                _to_ask(project, teacher, everything, done),
                task,
                teacher,
                rng=project.rng("plan"),
                table=prices_of(project),
                known=done.known(teacher),
            )
            for teacher in task.teachers
        },
        answers=answers,
        people_minutes=minutes,
        people_usd=minutes / 60 * task.budget.usd_per_hour_of_people,
        answers_so_far=done.answered,
        answer_budget=task.budget.human_labels,
        spent_usd=done.spent_usd,
        teacher_budget_usd=task.budget.teacher_usd,
        rehearsed=task.desk.rehearse is not None,
        waiting=len(done.picked - done.people_items),
        desk=_desk(project),
        prompt=_prompt(project, done, items[0]),
        examples={teacher.name: wanted_answers(teacher) for teacher in task.teachers if teacher.demonstrations},
    )


def _to_ask(project: Project, teacher: Teacher, everything: Sequence[Item], done: _Done) -> list[Item]:
    """Items without a vote; and as many others, drawn at random, as are asked in the other order or with new examples."""
    wanted = [item for item in everything if (item.id, teacher.name) not in done.voted]
    again = round(teacher.second_order_share * len(everything)) - done.both_orders[teacher.name]
    if teacher.demonstrations and teacher.name in done.shown:
        again = round(teacher.asked_again_share * (len(everything) - len(wanted)))
    drawn = project.rng("asked again").permutation(len(everything))[: max(again, 0)]
    return [*wanted, *(everything[number] for number in sorted(drawn))]


def _done(project: Project) -> _Done:
    if not (project.folder / STORE_FILE).exists():
        return _Done()
    with Store(project.folder, read_only=True) as store:
        answers, votes = store.answers(), store.votes()
        return _Done(
            voted=frozenset((vote.item_id, vote.source) for vote in votes if not is_open(vote)),
            both_orders=Counter(vote.source for vote in votes if BOTH_ORDERS in vote.prompt_id),
            shown=frozenset(vote.source for vote in votes if vote.demonstrations),
            picked=frozenset(pick.item_id for pick in store.picks()),
            people_items=frozenset(answer.item_id for answer in answers),
            answered=len(agreed(answers)[0]),
            spent_usd=store.spent_usd(),
            capabilities=store.note(CAPABILITIES, {}),
        )


def _desk(project: Project) -> str:
    desk = project.task.desk
    if desk.kind == "files":
        return f"files in {project.folder / 'desk'}"
    if desk.kind == "argilla":
        return f"Argilla at {desk.url}, workspace {desk.workspace}"
    return f"an Argilla of the run's own, on this machine, in {project.argilla_home}"


def _prompt(project: Project, done: _Done, item: Item) -> str:
    """As the first teacher will get it: by label codes where its logprobs are known to be given."""
    teacher = next((each for each in project.task.teachers if not each.demonstrations), None)
    if teacher is None:
        return "none: the task has rules and no teacher"
    kind = project.kind
    if teacher.by_likelihood:
        choice = choice_of(project.task, teacher)
        _, first = windows_of(item, teacher.context_tokens or WINDOW_TOKENS)[0]
        return f"--- system ---\n{choice.common.system}\n--- user ---\n{choice.message(first)}{choice.tails[0]}\n"
    plan = plan_for(project.task, teacher, done.known(teacher), kind.styles())
    with forms_for_a_look(project) as forms_of:
        (sent,) = hide([item], project.task, teacher, forms_of).items
    _, first = plan.windows(sent, teacher.context_tokens or WINDOW_TOKENS)[0]
    return fill(kind.frame(teacher, plan.style), first).text()
