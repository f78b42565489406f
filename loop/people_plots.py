"""The picture of a report's people: what they keep of suggestions beside blind answers, and how long an answer takes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loop.anchoring import Anchoring, Stratum
from loop.people import Annotator
from loop.plots import BLUE, INK, VERMILION, Picture, plain_style, svg_of
from stillhouse.measures import wilson

MOST_PEOPLE = 12
LONGEST_NAME = 18


def kept_plot(anchoring: Anchoring, confidence: float) -> Picture:
    """The share of suggestions kept, and of blind answers that say the same, by how sure the belief was."""
    with plain_style():
        figure = Figure(figsize=(4.2, 3.1), layout="constrained")
        axes = figure.add_subplot()
        _shares(axes, [(s, *s.shown) for s in anchoring.strata], confidence, "With a suggestion", VERMILION, "s", -1)
        _shares(axes, [(s, *s.blind) for s in anchoring.strata], confidence, "Blind", BLUE, "o", 1)
        axes.set(ylim=(-0.02, 1.04), xlabel="Sureness of the suggestion", ylabel="Answers that say the same")
        for axis in (axes.yaxis, axes.xaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.grid(axis="y", color="#E3E7EB", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper left", ncols=2)
        return Picture(svg_of(figure), _words(anchoring))


def seconds_plot(annotators: Sequence[Annotator]) -> Picture | None:
    """Quartiles of the seconds an answer took, each person's; None where no time is known."""
    timed = [(one.name, one.seconds) for one in annotators if one.seconds is not None][:MOST_PEOPLE]
    if not timed:
        return None
    with plain_style():
        figure = Figure(figsize=(4.2, 1.2 + 0.32 * len(timed)), layout="constrained")
        axes = figure.add_subplot()
        for row, (_, found) in enumerate(timed):
            axes.plot((found.lower, found.upper), (row, row), color=BLUE, linewidth=6, alpha=0.3, solid_capstyle="butt")
            axes.plot(found.median, row, color=BLUE, marker="|", markersize=12, markeredgewidth=2.5)
        axes.set_yticks(range(len(timed)), [_short(name) for name, _ in timed])
        axes.set(ylim=(len(timed) - 0.5, -0.5), xlabel="Seconds an answer: median and quartiles")
        axes.set_xlim(left=0)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#E3E7EB", linewidth=0.8)
        axes.set_axisbelow(True)
        said = ", ".join(f"{name} {found.median:.0f} s" for name, found in timed)
        return Picture(svg_of(figure), f"Median time of an answer: {said}.")


def _shares(
    axes: Axes,
    rows: Sequence[tuple[Stratum, int, int]],
    confidence: float,
    name: str,
    color: str,
    marker: str,
    side: int,
) -> None:
    """Points with Wilson's intervals in the middle of each stratum, drawn a little to one side of it."""
    points = [((s.lo + s.hi) / 2 + side * 0.004, hits / n, *wilson(hits, n, confidence)) for s, hits, n in rows if n]
    if not points:
        return
    x, share, lo, hi = np.array(points).T
    bounds = np.clip(np.stack([share - lo, hi - share]), 0, None)
    axes.errorbar(
        x,
        share,
        yerr=bounds,
        color=color,
        ecolor=color,
        marker=marker,
        markeredgecolor=INK,
        markeredgewidth=0.4,
        linestyle="none",
        capsize=2.5,
        label=name,
    )


def _words(anchoring: Anchoring) -> str:
    text = f"With a suggestion {anchoring.kept.percent()} kept it"
    if anchoring.difference is None:
        return f"{text}; no blind answer is to an item like those."
    difference = anchoring.difference
    return (
        f"{text}; where the belief was equally sure, {100 * difference.value:+.1f} points "
        f"[{100 * difference.lo:+.1f}, {100 * difference.hi:+.1f}] more than blind answers say the same."
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
