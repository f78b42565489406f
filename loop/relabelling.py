"""What a change of labels will do to a run: what stays, what is asked again, and what that costs."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kinds.kind import Kind
from loop.carried_files import CarriedFile, carried_file
from loop.project import Project, prices_of
from loop.teach import CAPABILITIES
from loop.view import agreed
from serving.items import read_items
from stillhouse.label_changes import Changes, LabelSet, Migration
from stillhouse.label_mapping import answer_carried, is_open, vote_carried
from stillhouse.records import Answer, Item, RoundRecord, Vote
from stillhouse.schemas import Schema
from stillhouse.store import Store
from teacher.capabilities import capabilities_from_json, memory_key
from teacher.prices import Estimate, estimate

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


def label_facts(store: Store) -> list[tuple[str, str]]:
    """Each change of labels so far, as the report has it: figures of earlier rounds are of other labels."""
    return [
        (f"Labels changed before round {schema.rounds}", "; ".join(schema.changes.words()) or "only their order")
        for schema in store.schemas()
        if schema.changes is not None
    ]


def relabelling(project: Project, store: Store, moved: Migration, changes: Changes, ask_from: float) -> Relabelling:
    """Pure but for reading: the run's store, and its files of known labels."""
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
    data, desk = project.task.data, project.task.desk
    files: list[CarriedFile] = []
    gold: Sequence[Item] = ()
    if data.gold is not None:  # its items alone: its labels may be of before
        read = data.model_copy(update={"metadata": (), "duplicate_texts": "drop"})
        gold = read_items(project.home / data.gold, read, home=project.home).items
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
