"""Labels of a run become others: what was said is carried over, and only what is no longer certain is asked again."""

import datetime as dt
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinds.kind import Kind
from kinds.registry import kind_of
from kinds.relabelled import columns_carried
from loop.asked import to_keep
from loop.carried_files import CarriedFile, carried_file
from loop.kept import keep, kept
from loop.project import Project, prices_of, project_of, read_gold
from loop.teach import CAPABILITIES
from loop.view import agreed
from serving.student import task_in
from stillhouse.errors import InputError, StillhouseError
from stillhouse.label_changes import Changes, LabelSet, Migration, migration
from stillhouse.label_mapping import ASK_FROM, answer_carried, is_open, vote_carried
from stillhouse.records import Answer, Item, RoundRecord, Vote
from stillhouse.schemas import Schema
from stillhouse.store import SCHEMA_HASH, Store
from stillhouse.task import Task
from stillhouse.task_file import load_task
from teacher.capabilities import capabilities_from_json, memory_key
from teacher.prices import Estimate, estimate

BACKUPS, CARRIED_FILES = "backups", "relabelled"
WENT_ON = "Then the labels changed, and the loop goes on."


@dataclass(frozen=True, slots=True)
class Relabelling:
    """What a change of labels does to a run. `answers` are those that stay, as they are now; `aside` those that count no
    longer, as they were. `prices` are of votes to be asked again, by teacher; `files` the files of known
    labels that no longer fit, each carried over as far as that goes.
    """

    project: Project
    schema: Schema
    migration: Migration
    answers: tuple[Answer, ...]
    aside: tuple[Answer, ...]
    votes: tuple[Vote, ...]
    rounds: tuple[RoundRecord, ...]
    changed_answers: int
    blind_again: int
    open_picks: int
    prices: Mapping[str, Estimate]
    files: tuple[CarriedFile, ...]

    @property
    def items_again(self) -> frozenset[str]:
        """Items without an answer that still counts."""
        return frozenset(answer.item_id for answer in self.aside) - {answer.item_id for answer in self.answers}

    @property
    def exact(self) -> bool:
        """Whether nobody has to be asked anything."""
        return not self.items_again and not any(map(is_open, self.votes))

    def to_json(self) -> dict[str, Any]:
        return {
            "labels": list(self.schema.labels.names),
            "changes": [] if self.schema.changes is None else self.schema.changes.words(),
            "answers": {
                "kept": len(self.answers),
                "of_which_changed": self.changed_answers,
                "items_asked_again": len(self.items_again),
                "of_which_blind": self.blind_again,
                "picks_still_open": self.open_picks,
            },
            "votes": {name: {"kept": stay, "asked_again": again} for name, (stay, again) in self._votes().items()},
            "cost_usd": {name: found.cost_usd for name, found in self.prices.items()},
            "files": [each.to_json() for each in self.files],
        }

    def text(self) -> str:
        words = self.schema.changes.words() if self.schema.changes else []
        lines = [*(words or ["only the order of the labels changes"]), ""]
        lines.append(f"answers of people: {len(self.answers):,} stay, {self.changed_answers:,} of them in other words")
        lines.append(f"  asked again: {len(self.items_again):,} items, {self.blind_again:,} of them blind as before")
        if self.open_picks:
            lines.append(f"  {self.open_picks:,} items that nobody has answered yet go out with the new labels")
        for name, (stay, again) in self._votes().items():
            lines.append(f"votes of {name}: {stay:,} stay, {again:,} are asked for again")
            if again and name in self.prices:
                lines.append(f"  {self.prices[name].sentence()}")
        return "\n".join([*lines, *(each.text() for each in self.files)])

    def _votes(self) -> dict[str, tuple[int, int]]:
        every = Counter(vote.source for vote in self.votes)
        again = Counter(vote.source for vote in self.votes if is_open(vote))
        return {name: (count - again[name], again[name]) for name, count in sorted(every.items())}


def relabel(
    folder: Path,
    changes: Changes,
    *,
    before: Path | None = None,
    ask_from: float = ASK_FROM,
    dry_run: bool = False,
    agreed: Callable[[Relabelling], bool] = lambda _: True,
    collect: Callable[[Project], Iterable[Answer]] | None = None,
    opened: type[Store] = Store,
) -> Relabelling | None:
    """Give the run in `folder` the labels of its edited task.toml; None where `agreed`, which sees what will happen, says no.

    The store is copied to `backups/` first; then all changes or none are written. `before` is the task.toml as it was, for
    runs of before stores kept their labels. `collect` fetches what people have answered in the old labels by now, given the
    project as it was: nobody looks there again. A dry run writes nothing and fetches nothing. A vote is asked for again
    where labels that are not certain now had `ask_from` of its probability.

    Raises InputError where the changes do not explain the difference, or nothing has changed; StoreLockedError while
    another command works on the run; DeskError where answers cannot be fetched.
    """
    project = project_of(folder)
    with opened(project.folder, read_only=dry_run) as store:
        old = _before(project, store, before)
        moved = migration(old, LabelSet.of(project.task), changes)
        _check_new(project, store)
        if not dry_run and collect is not None and store.picks():
            store.add_answers(to_keep(collect(replace(project, task=old.in_task(project.task))), store.answers()))
        found = _relabelling(project, store, moved, changes, ask_from)
        if dry_run:
            return found
        if not agreed(found):
            return None
        number = len(store.schemas()) or 1
        store.copy_to(project.folder / BACKUPS / f"store-before-labels-{number + 1:02d}.sqlite")
        _write_beside(found)
        if not store.schemas():
            store.add_first_schema(Schema(store.note(SCHEMA_HASH), old))
        store.change_labels(
            found.schema, votes=found.votes, answers=found.answers, aside=found.aside, rounds=found.rounds
        )
    return found


def _write_beside(found: Relabelling) -> None:
    """What stands beside the store, before the store changes: nothing looks for it but a task with the new labels, and
    that is refused until then.

    Beliefs go on in the new columns. Where something is asked again the last one is made anew, once that is known.
    """
    project, moved = found.project, found.migration
    before = replace(project, task=moved.before.in_task(project.task))
    for each in found.files:
        each.write(project.folder / CARRIED_FILES)
    project.in_folder_of_labels("desk").mkdir(exist_ok=True)
    beliefs = project.in_folder_of_labels("beliefs")
    shutil.rmtree(beliefs, ignore_errors=True)
    beliefs.mkdir()
    for path in sorted(before.beliefs.glob("*.npy")):
        what, _, number = path.stem.partition("-")
        last = number == f"{found.schema.rounds - 1:02d}"
        array = kept(before, path.stem)
        if array is not None and (found.exact or (what == "belief" and not last)):
            keep(project, path.stem, columns_carried(before.kind, project.kind, moved.moves, array))


def _before(project: Project, store: Store, given: Path | None) -> LabelSet:
    """The labels that the store is written in."""
    if schemas := store.schemas():
        return schemas[-1].labels
    wanted = store.note(SCHEMA_HASH)
    for task in _earlier_tasks(project, given):
        if wanted is None or task.schema_hash() == wanted:
            return LabelSet.of(task)
    raise InputError(
        f"what labels the run in {project.folder} had is not known",
        expected="the task.toml as it was before the labels changed, because this run is older than stores that keep them",
        found="no such task" if given is None else f"other labels in {given}",
        fix="stillhouse relabel RUN --before OLD_TASK.toml ...",
    )


def _earlier_tasks(project: Project, given: Path | None) -> Iterable[Task]:
    """The one that is given, else those that students were taught for, the newest first; the task itself last."""
    if given is not None:
        yield load_task(given)
        return
    for folder in sorted((project.folder / "students").glob("round-*"), reverse=True):
        with suppress(StillhouseError):
            yield task_in(folder)
    yield project.task


def _check_new(project: Project, store: Store) -> None:
    wanted = project.task.schema_hash()
    earlier = {schema.hash: number for number, schema in enumerate(store.schemas(), start=1)}
    if store.note(SCHEMA_HASH) in (None, wanted):
        raise InputError(
            f"the labels of {project.task_path} are those of the run",
            expected="a task.toml in which labels have changed",
            found=", ".join(LabelSet.of(project.task).names),
            fix="edit task.toml first, then say here what became of the labels",
        )
    if wanted in earlier:
        raise InputError(
            "the run has had exactly these labels before",
            expected="labels that are new to the run: what people answered in the old ones still stands at the desk",
            found=f"its labels number {earlier[wanted]}",
            fix=f"to undo a change, put the copy of the store back that was made before it ({BACKUPS}/); "
            "or call one label otherwise",
        )


def _relabelling(project: Project, store: Store, moved: Migration, changes: Changes, ask_from: float) -> Relabelling:
    items = {item.id: item for item in store.items()}
    everything, files = _known_labels(project, moved, items)
    answers, aside, changed = _answers(project.kind, moved, store.answers(), items)
    votes = tuple(vote_carried(moved, vote, ask_from) for vote in store.votes())
    again = {answer.item_id for answer in aside} - {answer.item_id for answer in answers}
    picks, rounds = store.picks(), store.rounds()
    said = {answer.item_id for answer in store.answers()}
    stopped = rounds[-1:] if rounds and rounds[-1].decision == "stop" else []
    return Relabelling(
        project=project,
        schema=Schema(
            project.task.schema_hash(),
            LabelSet.of(project.task),
            len(rounds),
            changes,
            dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        ),
        migration=moved,
        answers=tuple(answers),
        aside=tuple(aside),
        votes=votes,
        rounds=tuple(replace(r, decision="continue", reason=f"{r.reason} {WENT_ON}") for r in stopped),
        changed_answers=changed,
        blind_again=sum(pick.blind for pick in picks if pick.item_id in again),
        open_picks=sum(pick.item_id not in said for pick in picks),
        prices=_prices(project, store, votes, everything),
        files=files,
    )


def _answers(
    kind: Kind, moved: Migration, answers: Sequence[Answer], items: Mapping[str, Item]
) -> tuple[list[Answer], list[Answer], int]:
    """Those that stay, those that count no longer, as they were, and how many of the former have changed.

    An item is asked again where what people agreed on has to be said again, or where they differed and one of them has to:
    then none of its answers counts. Where it has not, the others do.
    """
    of_item: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        of_item[answer.item_id].append(answer)
    stay: list[Answer] = []
    aside: list[Answer] = []
    changed = 0
    labels, _ = agreed(answers)
    for item_id, given in of_item.items():
        now = [(_possible(kind, answer_carried(moved, answer), items.get(item_id)), answer) for answer in given]
        lost = [was for answer, was in now if answer is None]
        if lost and (item_id not in labels or any(was.label == labels[item_id] for was in lost)):
            aside += given
            continue
        aside += lost
        stay += [answer for answer, _ in now if answer is not None]
        changed += sum(answer is not None and answer.label != was.label for answer, was in now)
    return stay, aside, changed


def _possible(kind: Kind, answer: Answer | None, item: Item | None) -> Answer | None:
    """None where what the answer has become is no value: two spans of one label that overlap, say."""
    if answer is None or answer.label is None or item is None:
        return answer
    return None if kind.problems(item, answer.label) else replace(answer, label=kind.normal(item, answer.label))


def _known_labels(
    project: Project, moved: Migration, items: Mapping[str, Item]
) -> tuple[dict[str, Item], tuple[CarriedFile, ...]]:
    """All items that teachers are asked about, gold too; and the files of known labels that have to be mended."""
    data, desk, old = project.task.data, project.task.desk, kind_of(moved.before.in_task(project.task))
    files: list[CarriedFile] = []
    gold: Sequence[Item] = ()
    for said in (old, project.kind):  # in the old labels, or mended already
        with suppress(StillhouseError):
            known = read_gold(replace(project, task=said.task), [])
            gold = known.items if known else ()
    if data.gold is not None:
        files.append(carried_file("gold", project, data.gold, data.gold_label, moved, items, whole=True))
    if desk.rehearse is not None:
        files.append(
            carried_file("known labels", project, desk.rehearse, desk.rehearse_label, moved, items, whole=False)
        )
    everything = {**{item.id: item for item in gold}, **items}
    return everything, tuple(each for each in files if not each.fits)


def _prices(project: Project, store: Store, votes: Sequence[Vote], items: Mapping[str, Item]) -> dict[str, Estimate]:
    known, found = store.note(CAPABILITIES, {}), {}
    for teacher in project.task.teachers:
        again = [items[v.item_id] for v in votes if v.source == teacher.name and is_open(v) and v.item_id in items]
        if again and not teacher.by_likelihood:
            stored = known.get(memory_key(teacher))
            found[teacher.name] = estimate(
                again,
                project.task,
                teacher,
                rng=project.rng("relabel"),
                table=prices_of(project),
                known=None if stored is None else capabilities_from_json(stored),
            )
    return found
