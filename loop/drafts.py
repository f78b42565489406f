"""Drafts of other guidelines: files that a person may edit, what each was drafted for, and a teacher that writes one."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loop.conflicts import Cluster, Conflict
from loop.privacy import forms_of_run
from loop.progress import Display
from loop.project import Project, prices_of
from loop.teach import CAPABILITIES, reachable
from prompts.amend import REPLY_TOKENS, SCHEMA, Between, Shown, amend_prompt, read_amendment
from stillhouse.errors import InputError, TeacherError
from stillhouse.guidelines import amended, half_of
from stillhouse.records import Demonstration, Item, Value
from stillhouse.settings import Teacher
from stillhouse.store import Store
from stillhouse.task import Task
from teacher.prices import BudgetGuard
from teacher.privacy import FormsOf, hide_examples
from teacher.writing import write_text, writes

FOLDER = "guidelines"
DISAGREEMENTS, AGREEMENTS = 5, 4  # shown to the teacher that drafts


@dataclass(frozen=True, slots=True)
class Draft:
    """The guidelines as they would be; `text` is what its file holds now. `base` is the version it was drafted from, `said`
    and `right` what the conflicts it is for have in common, `items` those conflicts, `by` the teacher that wrote it, or "".
    """

    number: int
    path: Path
    text: str
    base: str
    between: Between
    said: str
    right: str
    items: tuple[str, ...]
    by: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.said, self.right} - {""})


def drafts_folder(project: Project) -> Path:
    return project.folder / FOLDER


def read_draft(project: Project, number: int) -> Draft:
    """Raises InputError where there is no such draft, or its file cannot be read or is empty."""
    path = drafts_folder(project) / f"draft-{number:02d}.md"
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"no draft {number}",
            expected=f"{path} and what it is for, {path.with_suffix('.json').name}",
            found=str(error),
            fix=f"stillhouse guidelines draft {project.folder} --cluster 1",
        ) from error
    if not text:
        raise InputError(
            f"{path} is empty", expected="the guidelines as they should be", found="nothing", fix="write them"
        )
    return Draft(**{**about, "items": tuple(about["items"])}, path=path, text=text)


def write_draft(project: Project, text: str, cluster: Cluster, by: str) -> Draft:
    """Under the next number. The text is in a file of its own, so that it can be edited with anything."""
    folder = drafts_folder(project)
    folder.mkdir(parents=True, exist_ok=True)
    taken = [path.stem.removeprefix("draft-") for path in folder.glob("draft-*.md")]
    number = max((int(name) for name in taken if name.isdecimal()), default=0) + 1
    path = folder / f"draft-{number:02d}.md"
    base, items = project.task.guidelines_id(), tuple(each.item.id for each in cluster.members)
    draft = Draft(number, path, text, base, cluster.between, cluster.said, cluster.right, items, by)
    about = {name: value for name, value in asdict(draft).items() if name not in {"path", "text"}}
    path.with_suffix(".json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    path.write_text(f"{text}\n", encoding="utf-8")
    return draft


def changed_task(project: Project, draft: Draft) -> Task:
    """The task with the draft's guidelines. Raises InputError where they are those in force, or were drafted from others."""
    present = project.task.guidelines_id()
    task = amended(project.task, draft.text)
    if task.guidelines_id() == present:
        raise InputError(
            f"draft {draft.number} changes nothing",
            expected=f"another text in {draft.path} than the guidelines in force",
            found="the same text",
            fix="edit the file",
        )
    if draft.base != present:
        raise InputError(
            f"draft {draft.number} was drafted from other guidelines",
            expected=f"version {present}, which is in force",
            found=f"version {draft.base}",
            fix="draft again: what has changed since would be lost",
        )
    return task


def difference(old: str, new: str, name: str) -> str:
    """Line by line, as `diff -u` has it; long lines as they are."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "in force", name, lineterm="")
    return "\n".join(lines)


def with_amendment(guidelines: str, amendment: str) -> str:
    return "\n\n".join(part for part in (guidelines.strip(), amendment.strip()) if part)


def amendment_for(
    project: Project,
    store: Store,
    display: Display,
    cluster: Cluster,
    teacher: Teacher,
    *,
    drawn: frozenset[str],
    agreements: Sequence[Conflict],
) -> str:
    """What the teacher would add to the guidelines, having seen conflicts of the drafting half that were not `drawn` at
    random (their answers measure the teacher) and texts on which all agree.

    Raises InputError where there is nothing to show or nobody writes, TeacherError where the reply has no amendment.
    """
    shown = [each for each in cluster.members if each.item.id not in drawn and half_of(each.item.id) == "drafting"]
    if not shown:
        raise InputError(
            "this cluster has no examples that a teacher may be shown",
            expected="answers of the drafting half that were not drawn at random",
            found=f"{len(cluster.members)} conflicts, all drawn at random: their answers measure the teacher",
            fix="answer another batch, or write the draft yourself: --write-yourself",
        )
    with forms_of_run(project) as forms_of:
        prompt = amend_prompt(
            project.task,
            cluster.between,
            cluster.said,
            cluster.right,
            _as_sent(project, teacher, shown[:DISAGREEMENTS], forms_of),
            _as_sent(project, teacher, agreements[:AGREEMENTS], forms_of),
        )
        capabilities = store.note(CAPABILITIES, {})
        with reachable(project, teacher, ()) as address, display.bar(f"teacher {teacher.name} drafts", 1) as bar:
            said = write_text(
                prompt,
                address,
                store,
                budget=BudgetGuard(project.task.budget.teacher_usd, store.spent_usd(), store.in_doubt_usd()),
                reply_tokens=REPLY_TOKENS,
                schema=SCHEMA,
                capabilities=capabilities,
                rng=project.rng(f"draft {teacher.name}"),
                prices=prices_of(project),
            )
            bar(1, "")
        store.write_note(CAPABILITIES, capabilities)
    amendment = read_amendment(said)
    if amendment is None:
        raise TeacherError(
            f"teacher {teacher.name} wrote no amendment",
            expected='one line of JSON: {"amendment": "..."}',
            found=" ".join(said.split())[:200] or "an empty reply",
            fix="name another teacher with --teacher, or write the draft yourself: --write-yourself",
        )
    return amendment


def writer_of(task: Task, name: str | None) -> Teacher:
    """The teacher by that name, or the first that writes. Raises InputError where there is none."""
    found = [teacher for teacher in task.teachers if teacher.name == name or (name is None and writes(teacher))]
    if not found:
        raise InputError(
            "no teacher to draft with" if name is None else f"no teacher {name}",
            expected="a teacher of the task behind a chat API"
            if name is None
            else "the name of one of the task's teachers",
            found=", ".join(teacher.name for teacher in task.teachers),
            fix="write the draft yourself: --write-yourself",
        )
    return found[0]


def agreements_near(cluster: Cluster, agreed: Sequence[tuple[Item, Value]], near: Sequence[float]) -> list[Conflict]:
    """Texts that teacher and people label alike with a name in play, the nearest to the cluster first, names in turn."""
    order = sorted(range(len(agreed)), key=lambda at: (-near[at], agreed[at][0].id))
    queues = {name: [at for at in order if name in names_in(agreed[at][1])] for name in sorted(cluster.names)}
    chosen: list[int] = []
    for _ in range(AGREEMENTS):
        for queue in queues.values():
            fresh = next((at for at in queue if at not in chosen), None)
            chosen += [] if fresh is None else [fresh]
    return [Conflict(*agreed[at], agreed[at][1], "") for at in chosen[:AGREEMENTS]]


def names_in(value: Value) -> frozenset[str]:
    """The labels or fields that a value has."""
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, Mapping):
        return frozenset(name for name, said in value.items() if said)
    return frozenset(str(part["label"] if isinstance(part, Mapping) else part) for part in value if part is not None)


def _as_sent(
    project: Project, teacher: Teacher, conflicts: Sequence[Conflict], forms_of: FormsOf | None
) -> list[Shown]:
    """With surrogates where the task wants them, in texts and in values."""
    kind, task = project.kind, project.task
    both = {
        each.item.id: [
            Demonstration(each.item, kind.normal(each.item, each.said)),
            Demonstration(each.item, kind.normal(each.item, each.right)),
        ]
        for each in conflicts
    }
    sent = hide_examples(both, task, teacher, forms_of)
    return [
        Shown(said.item, kind.show(said.item, said.value), kind.show(right.item, right.value))
        for said, right in sent.values()
    ]
