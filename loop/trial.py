"""The task's teachers side by side on items that people have labelled: how right, how sure, what it costs, which to take."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consensus.answers import Answers
from consensus.calibration import FOLDS, calibrations, cross_calibrated
from consensus.votes import VoteTable
from kinds.kind import Kind, Layout
from loop.beside import Heard, paid_for, recall_of_shown
from loop.progress import Display
from loop.project import TASK_PATH, Project, open_project, prices_of, read_gold, read_pool, same_task
from loop.teach import ask_teachers, ask_with_examples
from loop.variants import AS_THEY_ARE, Grid, check_money, settled
from prompts.candidates import SHOWN
from stillhouse.errors import InputError
from stillhouse.measures import brier, expected_calibration_error, paired_mean_difference
from stillhouse.probabilities import blocks
from stillhouse.records import Answer, Interval, Item, Pick, Value, Vote
from stillhouse.settings import Teacher
from stillhouse.store import Store
from stillhouse.task import LABEL_KINDS
from teacher.prices import PriceTable, price_of

if TYPE_CHECKING:  # slow to load, and most trials need none of it
    from loop.library import Library

SECONDS = "trial seconds"  # of asking, by teacher: a trial that is repeated asks nobody, and still knows
NO_ROUND = -2  # a trial asks nobody again, whatever the rounds of the run


@dataclass(frozen=True, slots=True)
class Labelled:
    """Items with what people say of them; `on` names them in figures."""

    items: tuple[Item, ...]
    values: tuple[Value, ...]
    on: str


@dataclass(frozen=True, slots=True)
class Tried:
    """One teacher. `main` is the kind's figure, `mean_score` the mean score of an item, which the comparison is about;
    `behind` is its mean score less the best one's on the same items, None for the best. `ece` and `brier` are of each
    distribution of a label kind; `calibrated_ece` and `calibrated_brier` the same once the other four fifths of the items
    have calibrated each, None with fewer than 100 items, and where they leave it as it is. `cost_usd` is what all votes
    cost, None where the price is unknown; `seconds` is what asking took, whenever it was. `abstained` items have no usable
    vote: there the teacher counts as not knowing. `calibration` has intervals by name, `brier_behind` and `cost_behind` are
    paired differences to the best teacher (`loop.beside`).
    """

    name: str
    model: str
    main: Interval
    mean_score: float
    behind: Interval | None
    ece: float | None
    brier: float | None
    calibrated_ece: float | None
    calibrated_brier: float | None
    abstained: int
    cost_usd: float | None
    seconds: float
    calibration: Mapping[str, Interval] = field(default_factory=dict)
    brier_behind: Interval | None = None
    cost_behind: Interval | None = None

    @property
    def not_worse(self) -> bool:
        """Whether the items do not show that it is worse than the best."""
        return self.behind is None or self.behind.hi >= 0


@dataclass(frozen=True, slots=True)
class Trial:
    """All teachers in the task's order, and which to take. `left_out` says why others were not asked.

    `recall` is how often the right label is among those that are shown, where not all are (`loop.beside.recall_of_shown`).
    """

    task: str
    on: str
    main: str
    score: str
    confidence: float
    tried: tuple[Tried, ...]
    take: str
    because: str
    left_out: tuple[str, ...] = ()
    recall: Interval | None = None

    def to_json(self) -> dict[str, Any]:
        teachers = [
            {
                "name": one.name,
                "model": one.model,
                self.main: one.main.to_json(),
                "mean_score": one.mean_score,
                "behind_the_best": one.behind.to_json() if one.behind else None,
                "ece": one.ece,
                "brier": one.brier,
                "calibrated_ece": one.calibrated_ece,
                "calibrated_brier": one.calibrated_brier,
                "calibration": {name: found.to_json() for name, found in one.calibration.items()},
                "brier_beside_the_best": one.brier_behind.to_json() if one.brier_behind else None,
                "usd_an_item_beside_the_best": one.cost_behind.to_json() if one.cost_behind else None,
                "abstained": one.abstained,
                "cost_usd": one.cost_usd,
                "seconds": one.seconds,
            }
            for one in self.tried
        ]
        named = {
            "task": self.task,
            "on": self.on,
            "main": self.main,
            "score": self.score,
            "confidence": self.confidence,
        }
        shown = self.recall.to_json() if self.recall else None
        taken = {"take": self.take, "because": self.because, "left_out": list(self.left_out), "label_recall": shown}
        return {**named, "teachers": teachers, **taken}

    def text(self) -> str:
        header = (
            "teacher",
            self.main.replace("_", " "),
            "beside the best",
            "ECE",
            "Brier",
            "calibrated",
            "AURC",
            "abstained",
            "cost",
            "seconds",
        )
        rows = [header, *(_row(one) for one in self.tried)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        count = "1 teacher" if len(self.tried) == 1 else f"{len(self.tried)} teachers"
        out = [f"Left out: {why}." for why in self.left_out]
        if self.recall is not None:
            out.append(
                f"The right label is among the {SHOWN} that are shown for {self.recall.percent()} of {self.recall.on}."
            )
        return "\n".join([f"{self.task}: {count} on {self.on}", "", *table, "", *out, self.because])


def trial(
    task_path: Path, folder: Path | None, *, blind: bool = False, quiet: bool = True, grid: Grid = AS_THEY_ARE
) -> Trial:
    """Ask every teacher of the task, in every setting of the grid, about the same labelled items, and compare.

    Gold, or the blind answers of the run if `blind`, or if there is no gold. Replies and votes go to the run's store: what
    they cost is not paid again by the run. Raises InputError where nothing is labelled; BudgetError before anything is sent
    where even the least it may cost is more than is left; TeacherError and BudgetError as a run does, with all that arrived
    kept.
    """
    project = open_project(task_path, folder)
    pool = read_pool(project)
    gold = None if blind else read_gold(project, pool)
    display = Display(quiet=quiet)
    with Store(project.folder) as store:
        same_task(project, store)
        store.write_note(TASK_PATH, str(project.task_path))
        if gold is not None:
            labelled = Labelled(gold.items, gold.values, f"{len(gold.items)} gold items")
        else:
            labelled = blind_answers(pool, store.picks(), store.answers())
        if not labelled.items:
            raise InputError(
                f"{project.task.name}: nothing to try the teachers on",
                expected="gold in the task, or blind answers of people in the run",
                found="no gold and no blind answers" if gold is None else "an empty gold file",
                fix="give data.gold in task.toml, or answer a batch first: stillhouse run " + str(project.task_path),
            )
        project, library, left_out = settled(project, grid, store, pool, display)
        check_money(project, store, labelled.items, display)
        seconds = _asked(project, store, labelled, display, library)
        votes = {(vote.source, vote.item_id): vote for vote in store.votes()}
    return replace(compared(project, labelled, votes, seconds), left_out=left_out)


def blind_answers(pool: Sequence[Item], picks: Sequence[Pick], answers: Sequence[Answer]) -> Labelled:
    """The random share of a run that people have agreed on: the one part of a pool that nobody chose."""
    from loop.view import agreed  # what a run believes is heavy to import, and not needed for gold

    labels, _ = agreed(answers)
    drawn = {pick.item_id for pick in picks if pick.inclusion_probability is not None}
    items = tuple(item for item in pool if item.id in drawn and item.id in labels)
    return Labelled(items, tuple(labels[item.id] for item in items), f"{len(items)} blind answers")


def _asked(
    project: Project, store: Store, labelled: Labelled, display: Display, library: "Library | None"
) -> dict[str, float]:
    """Whoever has not been asked is; the seconds that asking has taken, by teacher."""
    seconds: dict[str, float] = store.note(SECONDS, {})
    for teacher in project.task.teachers:
        alone = replace(project, task=project.task.model_copy(update={"teachers": (teacher,)}))
        before, started = store.reply_counts().get(teacher.name, 0), time.monotonic()
        try:
            ask_teachers(alone, store, labelled.items, display, library)
            if library is not None:
                ask_with_examples(alone, store, labelled.items, display, library, NO_ROUND)
        finally:
            if store.reply_counts().get(teacher.name, 0) > before or teacher.local is not None:
                seconds[teacher.name] = seconds.get(teacher.name, 0.0) + time.monotonic() - started
                store.write_note(SECONDS, seconds)
    return seconds


def compared(
    project: Project, labelled: Labelled, votes: Mapping[tuple[str, str], Vote], seconds: Mapping[str, float]
) -> Trial:
    """The figures of all teachers and the choice; pure. `votes` are by source and item id."""
    kind, confidence = project.kind, project.task.stop.confidence
    layout = Layout.of(kind, labelled.items)
    said = {teacher.name: _said(kind, layout, labelled.items, votes, teacher.name) for teacher in project.task.teachers}
    values = {name: _values(kind, layout, labelled.items, probs) for name, (probs, _) in said.items()}
    scores = {
        name: np.array([kind.score(truth, value) for truth, value in zip(labelled.values, found, strict=True)])
        for name, found in values.items()
    }
    cost = {
        teacher.name: _cost_usd(teacher, labelled.items, votes, prices_of(project)) for teacher in project.task.teachers
    }
    best = min(scores, key=lambda name: (-scores[name].mean(), _dear(cost[name]), name))
    truth = np.concatenate(
        [
            kind.encode(item, layout.spans[layout.rows(number)], value)
            for number, (item, value) in enumerate(zip(labelled.items, labelled.values, strict=True))
        ]
    )
    paid = {name: None if cost[name] is None else paid_for(labelled.items, votes, name) for name in said}
    heard = {name: Heard.of(kind, layout, probs, truth, paid[name]) for name, (probs, _) in said.items()}
    tried = []
    main = ""
    for teacher in project.task.teachers:
        name, (probs, abstained) = teacher.name, said[teacher.name]
        measures = kind.measures(
            labelled.values, values[name], confidence=confidence, on=labelled.on, rng=project.rng("bootstrap")
        )
        main = measures.main
        behind = brier_behind = cost_behind = None
        if name != best:
            behind = paired_mean_difference(scores[best], scores[name], confidence, labelled.on)
            brier_behind = heard[name].brier_beside(heard[best], confidence, labelled.on)
            cost_behind = heard[name].cost_beside(heard[best], confidence, labelled.on)
        rng = project.rng("bootstrap of calibration")
        intervals = heard[name].calibration(confidence=confidence, on=labelled.on, rng=rng)
        figures = _calibration(kind, probs, truth) + _calibrated(kind, layout, probs, truth)
        took = seconds.get(name, 0.0)
        mean = float(scores[name].mean())
        tried.append(
            Tried(
                name,
                teacher.model,
                measures.interval,
                mean,
                behind,
                *figures,
                abstained=abstained,
                cost_usd=cost[name],
                seconds=took,
                calibration=intervals,
                brier_behind=brier_behind,
                cost_behind=cost_behind,
            )
        )
    taken = min(
        (one for one in tried if one.not_worse), key=lambda one: (_dear(one.cost_usd), -one.mean_score, one.name)
    )
    because = _because(kind, taken, tried, next(one for one in tried if one.name == best))
    truths = {item.id: value for item, value in zip(labelled.items, labelled.values, strict=True)}
    asked = (votes[name, item_id] for name in said for item_id in truths if (name, item_id) in votes)
    recall = recall_of_shown(asked, truths, confidence)
    shown = (main, kind.score_name, confidence, tuple(tried), taken.name, because)
    return Trial(project.task.name, labelled.on, *shown, recall=recall)


def _said(
    kind: Kind, layout: Layout, items: Sequence[Item], votes: Mapping[tuple[str, str], Vote], source: str
) -> tuple[NDArray[np.float64], int]:
    """(u, k) probabilities of one teacher, uniform where it said nothing; and of how many items it said nothing."""
    probs = np.full((len(layout.item_of), len(kind.columns)), 1.0 / kind.width)
    abstained = 0
    for number, item in enumerate(items):
        vote = votes.get((source, item.id))
        if vote is None or not vote.usable:
            abstained += 1
            continue
        rows = layout.rows(number)
        heard = kind.said(item, layout.spans[rows], vote)
        probs[rows] = np.where(heard.usable[:, None], heard.probs, probs[rows])
    return probs, abstained


def _values(kind: Kind, layout: Layout, items: Sequence[Item], probs: NDArray[np.float64]) -> list[Value]:
    return [
        kind.decode(item, layout.spans[layout.rows(number)], probs[layout.rows(number)])
        for number, item in enumerate(items)
    ]


def _calibration(
    kind: Kind, probs: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Expected calibration error and Brier score over all distributions, for kinds whose teachers give them."""
    if kind.task.kind not in LABEL_KINDS:
        return None, None
    said, right = blocks(probs, kind.width), blocks(truth, kind.width).argmax(axis=1)
    correct = said.argmax(axis=1) == right
    return expected_calibration_error(said.max(axis=1), correct), brier(said, right)


def _calibrated(
    kind: Kind, layout: Layout, probs: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """The same after calibration, each fifth of the items by the answers to the others."""
    rows = np.arange(len(probs))
    votes = VoteTable(("teacher",), probs[None], np.ones((1, len(probs)), dtype=bool), kind.width)
    folds, answers = layout.item_of % FOLDS, Answers(rows, truth)
    if calibrations(votes, answers, layout.item_of)[0].method == "identity":
        return None, None
    return _calibration(kind, cross_calibrated(votes, answers, folds, layout.item_of).probs[0], truth)


def _cost_usd(
    teacher: Teacher, items: Sequence[Item], votes: Mapping[tuple[str, str], Vote], prices: PriceTable
) -> float | None:
    """What was paid for these items' replies. Where no price is known nothing was counted, which is not nothing."""
    if price_of(teacher, prices) is None:
        return None
    found = (votes.get((teacher.name, item.id)) for item in items)
    return math.fsum(vote.cost_usd for vote in found if vote is not None)


def _dear(cost_usd: float | None) -> float:
    """An unknown price is taken for the highest; differences under a millionth of a dollar are none."""
    return math.inf if cost_usd is None else round(cost_usd, 6)


def _because(kind: Kind, taken: Tried, tried: Sequence[Tried], best: Tried) -> str:
    if len(tried) == 1:
        return f"Take {taken.name}: there is no other."
    if taken.name == best.name:
        equals = [one.name for one in tried if one.not_worse and one.name != best.name]
        rest = "every other is shown to be worse"
        if equals:
            rest = f"of those not shown to be worse ({', '.join(equals)}) none is cheaper"
        return f"Take {taken.name}: it has the best {kind.score_name}, and {rest}."
    assert taken.behind is not None
    saved = (
        "" if best.cost_usd is None or taken.cost_usd is None else f" (${taken.cost_usd:.4f}, not ${best.cost_usd:.4f})"
    )
    return (
        f"Take {taken.name}: it is the cheapest{saved} that is not shown to be worse than {best.name}, the best; "
        f"the difference in {kind.score_name} is {_points(taken.behind)} points."
    )


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.lo:+.1f}, {100 * interval.hi:+.1f}]"


def _row(one: Tried) -> tuple[str, ...]:
    return (
        one.name,
        one.main.percent(),
        _points(one.behind) if one.behind else "best",
        "-" if one.ece is None else f"{one.ece:.3f}",
        "-" if one.brier is None else f"{one.brier:.3f}",
        "-" if one.calibrated_ece is None else f"{one.calibrated_ece:.3f}",
        f"{one.calibration['aurc'].value:.3f}" if one.calibration else "-",
        str(one.abstained),
        "unknown" if one.cost_usd is None else f"${one.cost_usd:.4f}",
        f"{one.seconds:.1f}",
    )
