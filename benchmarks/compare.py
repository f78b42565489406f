"""Ours against random picks, row by row: paired differences with intervals, in tables and a plot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.arms import CONFIDENCE, Arm, Point, Scored
from stillhouse.measures import normal_quantile, paired_mean_difference

FIGURES = ("delivered", "student")
NOTE = (
    "Delivered labels are judged by the mean score of an item over the whole pool, the student by the kind's main",
    "figure on gold, all in percent. Answers are simulated: the data set's truths. Differences are ours minus random in",
    "mean score, with 95 % intervals; ± is the standard deviation over seeds.",
)
HEAD = (
    *("row", "votes are", "items", "answers", "teacher", "no answers", "ours delivered", "random delivered"),
    *("difference", "ours", "student: figure", "ours", "random", "full", "difference", "ours", "characters read"),
    "certificate covers",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours minus random in mean score, with an interval for other items and other seeds; `standard_error_of_seeds` is
    that of the mean over seeds, 0 with one seed.
    """

    value: float
    lo: float
    hi: float
    standard_error_of_seeds: float
    seeds: int

    @property
    def verdict(self) -> str:
        if self.lo > 0:
            return "beats"
        return "below" if self.hi < 0 else "not shown"


@dataclass(frozen=True, slots=True)
class Row:
    """All points of one row: one list a seed for each arm that asks, a single point for those that do not."""

    name: str
    votes_are: str
    items: int
    gold: int
    teacher: Point
    full: Point
    ours: list[list[Point]]
    random: list[list[Point]]

    def last(self, arm: Arm) -> list[Point]:
        if arm in {"teacher", "full"}:
            return [self.teacher if arm == "teacher" else self.full]
        return [points[-1] for points in (self.ours if arm == "ours" else self.random)]

    def difference(self, what: str) -> Difference:
        ours, random = (
            np.array([_part(point, what).of_items for point in self.last(arm)]) for arm in ("ours", "random")
        )
        return difference(ours, random)


def difference(ours: NDArray[np.float64], random: NDArray[np.float64]) -> Difference:
    """Of scores (s, n) by seed and item. The half-widths of items (averaged over seeds; Student's t, or Tango's score
    where all scores are 0 or 1) and of seeds (averaged over items) are added as squares, which counts the doubt of one
    item under one seed twice: the interval is rather too wide (Owen 2007 of the pigeonhole bootstrap).
    """
    seeds = len(ours)
    of_items = paired_mean_difference(random.mean(axis=0), ours.mean(axis=0), CONFIDENCE)
    by_seed = (ours - random).mean(axis=1)
    error = float(by_seed.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 0.0
    of_seeds = normal_quantile(CONFIDENCE) * error
    value = of_items.value
    lo = value - math.hypot(value - of_items.lo, of_seeds)
    return Difference(value, lo, value + math.hypot(of_items.hi - value, of_seeds), error, seeds)


def _part(point: Point, what: str) -> Scored:
    return point.delivered if what == "delivered" else point.student


def summary(row: Row) -> dict[str, Any]:
    """What the tables say, as numbers."""
    told = {what: row.difference(what) for what in FIGURES}
    return {
        "row": row.name,
        "votes_are": row.votes_are,
        "items": row.items,
        "gold": row.gold,
        "answers": row.last("ours")[0].answers,
        "differences": {what: {**asdict(found), "verdict": found.verdict} for what, found in told.items()},
        "read": {arm: _mean([p.read for p in row.last(arm)]) for arm in ("ours", "random")},
        "covered": {arm: [p.covered for p in row.last(arm)] for arm in ("ours", "random")},
        "means": {arm: _means(row.last(arm)) for arm in ("teacher", "ours", "random", "full")},
        "before": _means([points[0] for points in row.ours]),
    }


def _means(points: Sequence[Point]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of the score and of each figure of the kind."""
    out: dict[str, Any] = {"certificate": [point.certificate for point in points]}
    for what in FIGURES:
        parts = [_part(point, what) for point in points]
        named = {name: [part.figures[name] for part in parts] for name in parts[0].figures}
        named["mean score"] = [part.score for part in parts]
        out[what] = {
            "main": parts[0].main,
            "figures": {name: {"mean": _mean(v), "sd": _spread(v)} for name, v in named.items()},
        }
    return out


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


# -- tables


def tables(rows: Sequence[Row]) -> str:
    """Markdown: the one table to read first, then every figure of each row."""
    found = [summary(row) for row in rows]
    head = [
        *NOTE,
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
    ]
    details = ["", "| row | of | figure | teacher | no answers | ours | random | full |", "|" + "---|" * 8]
    return "\n".join([*head, *map(_line, found), *details, *(line for each in found for line in _details(each))])


def _line(one: Mapping[str, Any]) -> str:
    main = one["means"]["full"]["student"]["main"]
    cells = [
        one["row"],
        one["votes_are"],
        str(one["items"]),
        str(one["answers"]),
        _cell(one["means"]["teacher"], "delivered", "mean score"),
        _cell(one["before"], "delivered", "mean score"),
        _cell(one["means"]["ours"], "delivered", "mean score"),
        _cell(one["means"]["random"], "delivered", "mean score"),
        *_differ(one["differences"]["delivered"]),
        main,
        *(_cell(one["means"][arm], "student", main) for arm in ("ours", "random", "full")),
        *_differ(one["differences"]["student"]),
        ", ".join(f"{arm} {100 * share:.1f} %" for arm, share in one["read"].items()),
        ", ".join(f"{arm} {sum(c)}/{len(c)}" for arm, c in one["covered"].items()),
    ]
    return "| " + " | ".join(cells) + " |"


def _differ(found: Mapping[str, Any]) -> tuple[str, str]:
    return f"{100 * found['value']:+.2f} [{100 * found['lo']:+.2f}, {100 * found['hi']:+.2f}]", found["verdict"]


def _details(one: Mapping[str, Any]) -> list[str]:
    arms = [one["means"]["teacher"], one["before"], *(one["means"][arm] for arm in ("ours", "random", "full"))]
    return [
        f"| {one['row']} | {what} | {name} | " + " | ".join(_cell(arm, what, name) for arm in arms) + " |"
        for what in FIGURES
        for name in arms[0][what]["figures"]
    ]


def _cell(means: Mapping[str, Any], what: str, name: str) -> str:
    found = means[what]["figures"].get(name)
    if found is None:
        return ""
    return f"{100 * found['mean']:.1f}" + (f" ± {100 * found['sd']:.1f}" if found["sd"] else "")


# -- plot


def plot(rows: Sequence[Row], path: Path) -> None:
    """One panel a row: the delivered labels' mean score against answers, with teacher, and the student beside it."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "stillhouse"
    from matplotlib import pyplot as plt

    across = min(4, len(rows))
    down = -(-len(rows) // across)
    figure, grid = plt.subplots(down, across, figsize=(4 * across, 3.2 * down), squeeze=False, layout="constrained")
    for axes in grid.flat[len(rows) :]:
        axes.set_visible(False)
    for axes, row in zip(grid.flat, rows, strict=False):
        for what, filled in (("delivered", True), ("student", False)):
            for name, runs, colour in (("ours", row.ours, "C0"), ("random", row.random, "C1")):
                scores = 100 * np.array([[_part(point, what).score for point in points] for points in runs])
                style = "o-" if filled else "o--"
                answers = [point.answers for point in runs[0]]
                axes.errorbar(
                    answers,
                    scores.mean(axis=0),
                    yerr=scores.std(axis=0),
                    fmt=style,
                    color=colour,
                    capsize=2,
                    markersize=3,
                    label=f"{name}: {'pool' if filled else 'student on gold'}",
                )
        axes.axhline(100 * row.teacher.delivered.score, color="0.5", linewidth=1, label="teacher: pool")
        axes.axhline(100 * row.full.student.score, color="0.2", linestyle=":", label="all truths: student on gold")
        axes.set_title(row.name, fontsize=10)
    grid[0, 0].set(xlabel="answers (simulated)", ylabel="mean score of an item, %")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
