"""What the next round will cost, before it costs anything."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loop.project import Project, open_project, read_gold, read_pool
from loop.view import agreed
from prompts.render import render
from stillhouse.records import Item
from stillhouse.store import STORE_FILE, Store
from teacher.prices import Estimate, estimate


@dataclass(frozen=True, slots=True)
class Plan:
    """`teachers` are estimates by name for items without votes; `answers` are what the next batch asks of people."""

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
    prompt: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self, *, with_prompt: bool) -> str:
        people = "rehearsed experts (simulated)" if self.rehearsed else "people"
        cap = "no cap" if self.teacher_budget_usd is None else f"of ${self.teacher_budget_usd:.2f}"
        most = "no cap" if self.answer_budget is None else f"of {self.answer_budget}"
        batch = (
            f"next batch: {self.answers} answers of {people}, about {self.people_minutes:.0f} minutes, "
            f"${self.people_usd:.2f} of people's time"
        )
        lines = [
            f"{self.items:,} items in the pool, {self.gold_items:,} gold items",
            *(f"teacher {name}: {found.sentence()}" for name, found in self.teachers.items()),
            f"spent on the teacher so far: ${self.spent_usd:.2f} ({cap})",
            batch,
            f"answers so far: {self.answers_so_far} ({most})",
        ]
        if with_prompt:
            lines += ["", "one prompt, as the teacher gets it:", "", self.prompt]
        return "\n".join(lines)


def plan_round(task_path: Path, folder: Path | None) -> Plan:
    """Raises InputError or TaskError where the task or its data are wrong; calls nobody."""
    project = open_project(task_path, folder)
    items = read_pool(project)
    gold = read_gold(project, items)
    everything = [*items, *(gold.items if gold else ())]
    voted, answered, spent = _done(project)
    task = project.task
    answers = min(task.selection.batch, len(items) - answered)
    if task.budget.human_labels is not None:
        answers = min(answers, max(task.budget.human_labels - answered, 0))
    minutes = answers * task.budget.seconds_per_answer / 60
    return Plan(
        items=len(items),
        gold_items=len(gold.items) if gold else 0,
        teachers={
            teacher.name: estimate(
                [item for item in everything if (item.id, teacher.name) not in voted],
                task,
                teacher,
                rng=project.rng("plan"),
            )
            for teacher in task.teachers
        },
        answers=answers,
        people_minutes=minutes,
        people_usd=minutes / 60 * task.budget.usd_per_hour_of_people,
        answers_so_far=answered,
        answer_budget=task.budget.human_labels,
        spent_usd=spent,
        teacher_budget_usd=task.budget.teacher_usd,
        rehearsed=task.desk.rehearse is not None,
        prompt=_prompt(project, items[0]),
    )


def _done(project: Project) -> tuple[set[tuple[str, str]], int, float]:
    """Votes, answered items and money so far, where the run has begun."""
    if not (project.folder / STORE_FILE).exists():
        return set(), 0, 0.0
    with Store(project.folder, read_only=True) as store:
        voted = {(vote.item_id, vote.source) for vote in store.votes()}
        return voted, len(agreed(store.answers())[0]), store.spent_usd()


def _prompt(project: Project, item: Item) -> str:
    return render(project.task, project.task.teachers[0], item, "verbalised").text()
