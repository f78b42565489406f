"""The report of a run: one HTML file that needs no network, from plain data to what a person reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from loop.people import People
from loop.people_plots import anchoring_plot, seconds_plot
from loop.people_text import MOST_CONFLICTS
from loop.plots import (
    MOST_CONFUSED,
    Curve,
    Picture,
    confusion_heatmap,
    learning_curve,
    reliability_diagram,
)
from loop.rule_table import RuleTable
from stillhouse.probabilities import Bools, Floats, Ints
from stillhouse.records import Interval

REASON_WORDS: Mapping[str, str] = {
    "random": "drawn uniformly at random and asked blind: it measures, and it teaches",
    "uncertain": "what was believed was torn between labels",
    "student_unsure": "the student was torn between labels",
    "teacher_student": "teacher and student disagreed",
    "variants": "the teacher's own variants disagreed",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One figure of the top of the page."""

    title: str
    interval: Interval
    note: str = ""


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round: what stood at its end, and what it took."""

    round: int
    human_labels: int
    delivered: Interval | None
    student: Interval | None
    cost_usd: float
    people_minutes: float
    seconds: float
    decision: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How sure somebody was of each item, or of each decision of many (m,), and whether they were right (m,)."""

    name: str
    confidence: Floats
    correct: Bools


@dataclass(frozen=True, slots=True)
class Instructive:
    """An answer that taught something: `posterior_before` is what the person's label was believed to be worth."""

    text: str
    teacher_label: str
    person_label: str
    reason: str
    posterior_before: float


@dataclass(frozen=True, slots=True, eq=False)
class ReportData:
    """All that a report shows. What is empty or None is left out of the page, or said to be missing.

    `score_name` is what the delivered labels' score is called, `measure_name` the figure of teacher and student.
    `measures` are (who, figure, interval) of all that the kind measures, `calibration` the same of how far probabilities can be
    trusted. `counts` (3, k) are hits, true and said of each
    label (or field, if not `labelled`), `confusion` (k, k) counts expert labels (rows) by the labels given (columns), where
    a text has one label, and `confusion_on` says whose and on what; `reference` are
    (human labels, score) of random picks; `banners` say what is not the real thing. `decisions` is what reliability
    counts: items, where a text is one decision. `people` is who answered.
    `rules` are the task's labelling rules, if it has any.
    """

    task_name: str
    question: str
    label_names: tuple[str, ...]
    created: str
    headline: tuple[str, ...]
    next_step: str
    banners: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    rounds: tuple[RoundRow, ...] = ()
    teacher: Interval | None = None
    reference: tuple[tuple[int, float], ...] = ()
    reliability: tuple[Reliability, ...] = ()
    calibration: tuple[tuple[str, str, Interval], ...] = ()
    decisions: str = "items"
    score_name: str = "accuracy"
    measure_name: str = ""
    labelled: bool = True
    measures: tuple[tuple[str, str, Interval], ...] = ()
    counts: Floats | None = None
    confusion: Ints | None = None
    confusion_on: str = ""
    reasons: Mapping[str, int] = field(default_factory=dict)
    instructive: tuple[Instructive, ...] = ()
    vote_status: Mapping[str, int] = field(default_factory=dict)
    people: People | None = None
    rules: RuleTable | None = None
    model_card: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A label's scores; None where it never occurs, or is never delivered."""

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None


def render_report(data: ReportData) -> str:
    """The page. The same data give the same bytes; texts of the pool are shown, never interpreted."""
    environment = Environment(
        loader=PackageLoader("loop"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        percent=_percent,
        points=_points,
        share=_share,
        count=_count,
        minutes=_minutes,
        seconds=_seconds,
        sentence=_sentence,
    )
    page: str = environment.get_template("report.html.jinja").render(
        data=data,
        pictures=_pictures(data),
        classes=class_rows(data.counts, data.label_names) if data.counts is not None else [],
        hidden_classes=max(0, len(data.label_names) - MOST_CONFUSED) if data.confusion is not None else 0,
        reasons=_bars(data.reasons),
        reason_words=REASON_WORDS,
        statuses=_bars(data.vote_status),
        totals=_totals(data.rounds),
        most_conflicts=MOST_CONFLICTS,
    )
    return page


def write_report(data: ReportData, path: Path) -> None:
    """Write the page whole or not at all: a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(render_report(data).encode("utf-8", errors="replace"))  # half a surrogate pair is no text
    part.replace(path)


def class_rows(counts: Floats, names: tuple[str, ...]) -> list[ClassRow]:
    """Precision, recall and F1 of each label from (3, k) hits, true and said, the worst first; labels that do not occur
    at all last.
    """
    hits, true, said = counts
    rows = [
        ClassRow(
            name,
            n=int(true[label]),
            precision=_ratio(hits[label], said[label]),
            recall=_ratio(hits[label], true[label]),
            f1=_ratio(2 * hits[label], said[label] + true[label]),
        )
        for label, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: (row.f1 is None, row.f1 or 0.0, row.name))


def _pictures(data: ReportData) -> dict[str, Any]:
    delivered = tuple((row.human_labels, row.delivered) for row in data.rounds if row.delivered is not None)
    student = tuple((row.human_labels, row.student) for row in data.rounds if row.student is not None)
    curves = (Curve("Delivered labels", delivered), Curve("Student", student))
    diagrams = [reliability_diagram(r.name, r.confidence, r.correct, data.decisions) for r in data.reliability]
    quality = "Accuracy" if data.score_name == "accuracy" else "Quality"
    heatmap: Picture | None = None
    if data.confusion is not None:
        heatmap = confusion_heatmap(data.confusion, data.label_names)
    return {
        "learning": learning_curve(curves, data.teacher, data.reference, quality),
        "reliability": [picture for picture in diagrams if picture is not None],
        "confusion": heatmap,
        **_people_pictures(data),
    }


def _people_pictures(data: ReportData) -> dict[str, Any]:
    if data.people is None:
        return {"anchoring": None, "seconds": None}
    return {
        "anchoring": anchoring_plot(data.people.anchoring, data.people.annotators),
        "seconds": seconds_plot(data.people.annotators),
    }


def _bars(counts: Mapping[str, int]) -> list[tuple[str, int, float]]:
    """Name, count, share of the whole: the most frequent first."""
    total = max(sum(counts.values()), 1)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(name, count, count / total) for name, count in ordered]


def _totals(rounds: tuple[RoundRow, ...]) -> RoundRow | None:
    """What all rounds took together; None for a single one, which needs no sum."""
    if len(rounds) < 2:
        return None
    last = rounds[-1]
    return RoundRow(
        round=len(rounds),
        human_labels=last.human_labels,
        delivered=last.delivered,
        student=last.student,
        cost_usd=sum(row.cost_usd for row in rounds),
        people_minutes=sum(row.people_minutes for row in rounds),
        seconds=sum(row.seconds for row in rounds),
        decision=last.decision,
        reason=last.reason,
    )


def _ratio(part: float | np.floating[Any], whole: float | np.floating[Any]) -> float | None:
    return None if whole == 0 else float(part / whole)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}"


def _minutes(value: float) -> str:
    return f"{value:.0f} min" if value < 120 else f"{value / 60:.1f} h"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"


def _sentence(text: str) -> str:
    """With a capital and a full stop: reasons are also used in the middle of a line."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) or not text else ".")
