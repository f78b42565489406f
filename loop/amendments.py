"""A draft of the guidelines tested before it is adopted: the teachers are asked again about answers that no draft has seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from loop.ask_again import pooled_values, votes_apart
from loop.costs import ToAsk, check_cost
from loop.drafts import Draft, changed_task, names_in
from loop.guidelines import judged_now, noted, now, tried_of
from loop.progress import Display
from loop.project import Project
from loop.view import agreed
from stillhouse.amendment_measures import LEAST_ITEMS, Judged, Tried
from stillhouse.errors import InputError
from stillhouse.guidelines import Version, amended, half_of, words_of
from stillhouse.records import Item, Value
from stillhouse.settings import Teacher
from stillhouse.store import Store
from stillhouse.task import Task

MOST_ITEMS = 200
REHEARSED = "The experts are rehearsed: simulated people answered from known labels."
# Items picked for being hard were picked because of the votes on them, so whatever is asked anew seems to gain there. They
# are compared with votes that are as new: under the guidelines in force and a sentence that says nothing.
CONTROL = "Read each text to its end."


@dataclass(frozen=True, slots=True)
class Arm:
    """Guidelines, and the items that the teachers are asked about under them."""

    why: str
    task: Task
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test of a draft showed. `abstained` are items without a usable vote, before and after."""

    draft: Draft
    version: str
    teachers: tuple[str, ...]
    judged: Judged
    abstained: tuple[int, int]
    cost_usd: float
    rehearsed: bool

    def to_json(self) -> dict[str, Any]:
        named = {"draft": self.draft.number, "version": self.version, "teachers": list(self.teachers)}
        spent = {"abstained": list(self.abstained), "cost_usd": round(self.cost_usd, 6)}
        return {**named, **self.judged.to_json(), **spent, "rehearsed_experts": self.rehearsed}

    def text(self) -> str:
        header = ("held-out answers", "n", "before", "after", "gained", "lost", "difference", "McNemar p")
        rows = [header, *(_cells(row) for row in self.judged.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        asked = f"draft {self.draft.number} (version {self.version}), asked of {', '.join(self.teachers)}"
        out = [asked, "", *table, ""]
        if self.abstained != (0, 0):
            out.append(f"Without a usable vote: {self.abstained[0]} before, {self.abstained[1]} after.")
        out += [REHEARSED] if self.rehearsed else []
        out.append(f"Spent: ${self.cost_usd:.4f}.")
        out.append(f"{self.judged.verdict.capitalize()}: {self.judged.because}.")
        return "\n".join(out)


def try_draft(
    project: Project,
    store: Store,
    display: Display,
    draft: Draft,
    *,
    teacher: str | None = None,
    most: int = MOST_ITEMS,
    drawn_only: bool = False,
) -> Tested:
    """The draft beside the guidelines in force, on answers of the test half; what it shows is kept with its version.

    Items drawn at random come first, and are compared with the votes that the run has. Items picked for being hard are
    compared with new votes under CONTROL. Every reply is kept: a repeat asks nobody. Raises InputError where there are too
    few held-out answers or nobody to ask, BudgetError before anything is sent where it cannot be paid; TeacherError and
    BudgetError as a run does.
    """
    after = changed_task(project, draft)
    version = after.guidelines_id()
    teachers = _live(project.task, teacher)
    labels, drawn, items = _held_out(project, store, draft, most, drawn_only=drawn_only)
    noted(project, store)
    present = [item for item in items if item.id in drawn]
    control = amended(project.task, "\n\n".join(filter(None, (project.task.guidelines, CONTROL))))
    arms = (
        Arm("the guidelines in force", project.task, tuple(present)),
        Arm("the same, asked anew", control, tuple(item for item in items if item.id not in drawn)),
        Arm(f"draft {draft.number}", after, tuple(items)),
    )
    _check_cost(project, store, teachers, arms, version, display)
    spent = store.spent_usd()
    said = [_said(project, store, teachers, arm, display) for arm in arms]
    before, now_said = {**said[0], **said[1]}, said[2]
    kind = project.kind
    tried = [
        Tried(
            item.id,
            drawn=item.id in drawn,
            in_play=bool(draft.names & _names(labels[item.id], before[item.id], now_said[item.id])),
            before=_score(kind.score, labels[item.id], before[item.id]),
            after=_score(kind.score, labels[item.id], now_said[item.id]),
        )
        for item in items
    ]
    abstained = (sum(v is None for v in before.values()), sum(v is None for v in now_said.values()))
    cost_usd = store.spent_usd() - spent
    _keep(store, draft, after, tried, teachers)
    judged = judged_now(project, store.versions(), version)
    assert judged is not None
    rehearsed = project.task.desk.rehearse is not None
    return Tested(draft, version, tuple(one.name for one in teachers), judged, abstained, cost_usd, rehearsed)


def _asked(version: Version) -> list[tuple[str, Tried]]:
    return [(name, each) for name in version.evidence["teachers"] for each in tried_of(version)]


def _keep(store: Store, draft: Draft, after: Task, tried: Sequence[Tried], teachers: Sequence[Teacher]) -> None:
    known = next((one for one in store.versions() if one.id == after.guidelines_id()), None)
    fresh = known or Version(after.guidelines_id(), draft.base, "", f"draft {draft.number}", words_of(after))
    evidence = {"at": now(), "teachers": [one.name for one in teachers], "items": [asdict(one) for one in tried]}
    store.keep_version(replace(fresh, evidence=evidence))


def _held_out(
    project: Project, store: Store, draft: Draft, most: int, *, drawn_only: bool
) -> tuple[dict[str, Value], frozenset[str], list[Item]]:
    """People's labels, which items were drawn at random, and what is tested: those first, then texts that people label with
    a name in play, then the rest, each by id.
    """
    labels, _ = agreed(store.answers())
    drawn = frozenset(pick.item_id for pick in store.picks() if pick.inclusion_probability is not None)
    held = [item for item in store.items() if item.id in labels and half_of(item.id) == "test"]
    held = [item for item in held if item.id in drawn or not drawn_only]
    held.sort(key=lambda item: (item.id not in drawn, draft.names.isdisjoint(names_in(labels[item.id])), item.id))
    if min(len(held), most) < LEAST_ITEMS:
        raise InputError(
            f"too few held-out answers to test draft {draft.number}",
            expected=f"{LEAST_ITEMS} answers of the test half at least",
            found=f"{min(len(held), most)}{' that were drawn at random' if drawn_only else ''}",
            fix=f"answer another batch: stillhouse run {project.task_path}; nothing was sent",
        )
    return labels, drawn, held[:most]


def _live(task: Task, name: str | None) -> list[Teacher]:
    found = [one for one in task.teachers if one.recording is None and name in {None, one.name}]
    if not found:
        raise InputError(
            "no teacher to test the guidelines with",
            expected="a teacher that reads them" if name is None else f"a teacher {name} that reads them",
            found=", ".join(f"{one.name}{' (a recording)' if one.recording else ''}" for one in task.teachers),
            fix="a recording says the same whatever the guidelines are: add a teacher behind an API, or a local one",
        )
    return found


def _check_cost(
    project: Project, store: Store, teachers: Sequence[Teacher], arms: Sequence[Arm], version: str, display: Display
) -> None:
    """Votes of the guidelines in force are there; of a draft, and of the control, what was tested before."""
    present = project.task.guidelines_id()
    voted = {(vote.source, vote.item_id) for vote in store.votes() if vote.guidelines == present}
    tested = [one for one in store.versions() if one.evidence]
    anew = {(name, item.item_id) for one in tested if one.parent == present for name, item in _asked(one)}
    before = {(name, item.item_id) for one in tested if one.id == version for name, item in _asked(one)}
    wanted = [
        ToAsk(f"{arm.why}, teacher {one.name}", arm.task, one, [i for i in arm.items if (one.name, i.id) not in there])
        for one in teachers
        for arm, there in zip(arms, (voted, anew, before), strict=True)
    ]
    check_cost(project, store, wanted, display, "the test", "test fewer items: --items")


def _said(
    project: Project, store: Store, teachers: Sequence[Teacher], arm: Arm, display: Display
) -> dict[str, Value | None]:
    """The teachers' value under the arm's guidelines, by item id (see `pooled_values`)."""
    if not arm.items:
        return {}
    under = replace(project, task=arm.task.model_copy(update={"teachers": tuple(teachers)}))
    votes = [vote for one in teachers for vote in votes_apart(under, store, one, arm.items, display, f", {arm.why}")]
    return dict(zip((item.id for item in arm.items), pooled_values(under, arm.items, votes), strict=True))


def _names(*values: Value | None) -> frozenset[str]:
    return frozenset(name for value in values if value is not None for name in names_in(value))


def _score(score: Any, truth: Value, value: Value | None) -> float:
    """A vote that cannot be used is not right."""
    return 0.0 if value is None else float(score(truth, value))


def _cells(row: Any) -> tuple[str, ...]:
    found = row.difference
    points = f"{100 * found.value:+.1f} [{100 * found.lo:+.1f}, {100 * found.hi:+.1f}]"
    p_value = "-" if row.p_value is None else f"{row.p_value:.3f}"
    shares = (f"{100 * row.before:.1f}", f"{100 * row.after:.1f}")
    return (row.name, str(found.n), *shares, f"{row.gained}", f"{row.lost}", points, p_value)
