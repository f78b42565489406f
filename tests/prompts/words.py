"""The tasks and teachers of these tests: the helpdesk's ten teams, and small ones with traps."""

from pathlib import Path

from stillhouse.task import Label, Task, Teacher, load_task

TASK = load_task(Path(__file__).parents[2] / "examples" / "helpdesk" / "team.toml")
TEACHER = Teacher(name="A", model="m")
REVERSED = Teacher(name="B", model="m", label_order="reversed")


def task_with(*labels: Label, guidelines: str = "", question: str = "Which?") -> Task:
    return TASK.model_copy(update={"labels": labels, "guidelines": guidelines, "question": question})


TRAPS = task_with(
    Label(name="card", aliases=("bank card",)),
    Label(name="card_arrival", description="When a card comes"),
    Label(name="no", aliases=("none of these",)),
    Label(name="+1"),
)
MANY = task_with(*(Label(name=f"label {number:02d}") for number in range(77)))
