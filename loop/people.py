"""What a run knows of its people: who answered how much, how far they agree, how long it took, where they differ."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from argilla_setup.desk import is_rehearsed
from kinds.kind import Kind
from loop.anchoring import Anchoring, Reaction, anchoring_of, believed_before, reactions, share_kept
from loop.people_agreement import (
    Bootstrap,
    ClassAgreement,
    Figure,
    Shared,
    classes_of,
    figures_of,
    shared_items,
    with_others,
)
from loop.project import Project, project_of, read_pool, same_meaning_since
from loop.weighed import Weighed, weighed
from stillhouse.errors import DeskError
from stillhouse.measures import mean_score_interval
from stillhouse.records import Answer, Interval, Item, Pick, Value, Way
from stillhouse.store import Store


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of `n` answers whose time is known: the quartiles, and their sum."""

    n: int
    lower: float
    median: float
    upper: float
    total: float


@dataclass(frozen=True, slots=True)
class Annotator:
    """One person's figures. `agreement` is the mean score against the others' answers to the same items, `kappa` Cohen's;
    `accuracy` says in its `on` what it was held against. `kept` is of suggestions, `anchoring` how much more often they say the
    same for seeing it. Figures that nothing is known for are None.
    """

    name: str
    rehearsed: bool
    answers: int
    passes: int
    agreement: Interval | None
    kappa: Interval | None
    accuracy: Interval | None
    kept: Interval | None
    anchoring: Interval | None
    seconds: Seconds | None


@dataclass(frozen=True, slots=True)
class Opinion:
    annotator: str
    value: str
    way: Way


@dataclass(frozen=True, slots=True)
class Conflict:
    """An item that people labelled differently; `settled` is what counts now, None while it is open; `probability` that of
    the likeliest of their answers, where nobody has decided.
    """

    item_id: str
    text: str
    said: tuple[Opinion, ...]
    settled: str | None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class People:
    """All of it. `minutes` is the time of the `timed` answers of real people, `usd` what that costs, `untimed` how many
    of their answers have no time; of rehearsed experts no time is claimed. `link` is where open conflicts can be looked at.
    """

    score_name: str
    annotators: tuple[Annotator, ...] = ()
    shared: int = 0
    figures: tuple[Figure, ...] = ()
    by_class: tuple[ClassAgreement, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    anchoring: Mapping[str, Anchoring] = field(default_factory=dict)
    timed: int = 0
    untimed: int = 0
    minutes: float = 0.0
    usd: float = 0.0
    link: str = ""

    @property
    def open_conflicts(self) -> int:
        return sum(conflict.settled is None for conflict in self.conflicts)

    @property
    def second_opinions(self) -> bool:
        """Whether some items were shared because the first answer was unlikely."""
        return any("second opinions" in one.interval.on for one in self.figures)

    def to_json(self) -> dict[str, Any]:
        return {
            "annotators": [_annotator_json(one) for one in self.annotators],
            "shared_items": self.shared,
            "agreement": [{"figure": one.name, **one.interval.to_json()} for one in self.figures],
            "by_class": [
                {"class": one.name, "same": one.same, "kappa": one.kappa.to_json() if one.kappa else None}
                for one in self.by_class
            ],
            "open_conflicts": self.open_conflicts,
            "conflicts": [_conflict_json(one) for one in self.conflicts],
            "anchoring": {way: found.to_json() for way, found in self.anchoring.items()},
            "timed_answers": self.timed,
            "untimed_answers": self.untimed,
            "minutes": round(self.minutes, 2),
            "usd": round(self.usd, 2),
            "link": self.link,
        }


def people_of_run(folder: Path) -> People:
    """Read only: may be asked while a run works. Raises StoreError, and InputError where the pool cannot be read."""
    project = project_of(folder)
    with Store(project.folder, read_only=True) as store:
        return people_in(project, read_pool(project), store, link=link_of(project))


def people_in(
    project: Project, items: Sequence[Item], store: Store, *, counts: Weighed | None = None, link: str = ""
) -> People:
    """`counts` is what the answers amount to, where that is known already.

    What was believed before the labels came to mean something else says nothing of what would be suggested now.
    """
    picks = [pick for pick in store.picks() if pick.round > same_meaning_since(store)]
    verified = frozenset(asking.item_id for asking in store.askings() if asking.way == "verify")
    return people_of(project, items, picks, store.answers(), counts=counts, verified=verified, link=link)


def link_of(project: Project) -> str:
    """Where open conflicts are to be decided; empty where the desk is down: nothing is started to look at figures."""
    desk = project.task.desk
    if desk.kind == "files":
        return str(project.file_desk)
    from argilla_setup.argilla_desk import ArgillaDesk
    from argilla_setup.embedded import status
    from loop.desks import connection_of, say_nothing

    if desk.kind == "embedded" and not status(project.argilla_home).healthy:
        return ""
    try:
        connection = connection_of(project, say_nothing)
        opened = ArgillaDesk(connection.url, connection.api_key, project.task)
        return opened.link(way="adjudicate" if desk.adjudicators else "label")
    except DeskError:
        return ""


def people_of(
    project: Project,
    items: Sequence[Item],
    picks: Sequence[Pick],
    answers: Sequence[Answer],
    *,
    counts: Weighed | None = None,
    verified: Collection[str] = (),
    link: str = "",
) -> People:
    """`items` are the pool in its order; `verified` are ids of items that were asked for yes or no.

    Without `counts` the answers are weighed beside what was believed before them.
    """
    kind, by = project.kind, Bootstrap(project.task.stop.confidence, project.rng("people"))
    by_id = {item.id: item for item in items}
    answers = [answer for answer in answers if answer.item_id in by_id]
    shared = shared_items(kind, by_id, answers)
    before = believed_before(project, items, picks, {answer.item_id for answer in answers})
    reacted = reactions(project, by_id, picks, answers, before.values, verified)
    counts = counts or weighed(kind, before.items, before.layout, answers, before.opinion, by.confidence)
    names = sorted({answer.annotator for answer in answers})
    accuracy = counts.accuracies() or _beside_the_belief(kind, names, answers, before.values, by_id, by)
    timed = [a.seconds for a in answers if a.seconds is not None and not _simulated(a)]
    minutes = sum(timed) / 60
    return People(
        score_name=kind.score_name,
        annotators=tuple(
            _annotator(kind, [a for a in answers if a.annotator == name], shared, reacted, accuracy, by)
            for name in names
        ),
        shared=len(shared),
        figures=figures_of(kind, shared, by),
        by_class=classes_of(kind, shared, by),
        conflicts=conflicts_of(kind, by_id, answers, counts),
        anchoring={
            way: found
            for way in ("label", "verify")
            if (found := anchoring_of(reacted, way, by.confidence)) is not None
        },
        timed=len(timed),
        untimed=sum(a.seconds is None and not _simulated(a) for a in answers),
        minutes=minutes,
        usd=minutes / 60 * project.task.budget.usd_per_hour_of_people,
        link=link,
    )


def conflicts_of(
    kind: Kind, items: Mapping[str, Item], answers: Iterable[Answer], counts: Weighed
) -> tuple[Conflict, ...]:
    """Items with answers that differ, the open ones first, then by id."""
    by_item: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.label is not None:
            by_item[answer.item_id].append(answer)
    found = []
    for item_id, said in sorted(by_item.items()):
        item = items[item_id]
        opinions = tuple(Opinion(a.annotator, kind.show(item, a.label), a.way) for a in said if a.label is not None)
        if len({opinion.value for opinion in opinions}) > 1:
            settled = kind.show(item, counts.labels[item_id]) if item_id in counts.labels else None
            decided = any(opinion.way == "adjudicate" for opinion in opinions)
            probability = None if decided else counts.probability.get(item_id)
            found.append(Conflict(item_id, item.text, opinions, settled, probability))
    return tuple(sorted(found, key=lambda one: (one.settled is not None, one.item_id)))


def _annotator(
    kind: Kind,
    mine: Sequence[Answer],
    shared: Sequence[Shared],
    reacted: Sequence[Reaction],
    accuracy: Mapping[str, Interval],
    by: Bootstrap,
) -> Annotator:
    name = mine[0].annotator
    others = any(name in {answer.annotator for answer in each.answers} for each in shared)
    agreement, kappa = with_others(kind, shared, name, by) if others else (None, None)
    reacted = [r for r in reacted if r.annotator == name]
    shown = [r for r in reacted if r.way == "label" and not r.blind]
    anchoring = anchoring_of(reacted, "label", by.confidence)
    return Annotator(
        name=name,
        rehearsed=any(_simulated(answer) for answer in mine),
        answers=sum(answer.label is not None for answer in mine),
        passes=sum(answer.label is None for answer in mine),
        agreement=agreement,
        kappa=kappa,
        accuracy=accuracy.get(name),
        kept=share_kept(shown, by.confidence, "suggestions shown") if shown else None,
        anchoring=anchoring.difference if anchoring else None,
        seconds=seconds_of(mine),
    )


def _beside_the_belief(
    kind: Kind,
    names: Iterable[str],
    answers: Sequence[Answer],
    believed: Mapping[str, Value],
    items: Mapping[str, Item],
    by: Bootstrap,
) -> dict[str, Interval]:
    """The mean score of each person's blind first answers against what was believed before: for everybody a sample of the
    same items. It is what is left where no item has two answers.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        before = believed.get(answer.item_id)
        if answer.blind and answer.way == "label" and answer.label is not None and before is not None:
            found[answer.annotator].append(kind.score(kind.normal(items[answer.item_id], answer.label), before))
    on = "blind answers, beside what was believed before them"
    return {
        name: mean_score_interval(np.array(found[name]), by.confidence, on, by.rng) for name in names if found[name]
    }


def seconds_of(answers: Iterable[Answer]) -> Seconds | None:
    """None where no time is known, or nobody was there to take any."""
    known = [a.seconds for a in answers if a.seconds is not None and not _simulated(a)]
    if not known:
        return None
    lower, median, upper = (float(q) for q in np.quantile(known, (0.25, 0.5, 0.75)))
    return Seconds(len(known), lower, median, upper, float(sum(known)))


def _simulated(answer: Answer) -> bool:
    return answer.rehearsed or is_rehearsed(answer.annotator)


def _annotator_json(one: Annotator) -> dict[str, Any]:
    intervals = {name: getattr(one, name) for name in ("agreement", "kappa", "accuracy", "kept", "anchoring")}
    return {
        "name": one.name,
        "rehearsed": one.rehearsed,
        "answers": one.answers,
        "passes": one.passes,
        **{name: found.to_json() if found else None for name, found in intervals.items()},
        "seconds": {
            "n": one.seconds.n,
            "quartiles": [one.seconds.lower, one.seconds.median, one.seconds.upper],
            "total": one.seconds.total,
        }
        if one.seconds
        else None,
    }


def _conflict_json(one: Conflict) -> dict[str, Any]:
    said = [{"annotator": o.annotator, "label": o.value, "way": o.way} for o in one.said]
    named = {"id": one.item_id, "text": one.text, "said": said, "settled": one.settled}
    return {**named, "probability": one.probability, "open": one.settled is None}
