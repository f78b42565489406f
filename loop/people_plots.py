"""The pictures of a report's people: what a suggestion does to answers, and how long an answer takes."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loop.anchoring import Anchoring
from loop.people import Annotator
from loop.plots import BLUE, GREY, VERMILION, Picture, plain_style, svg_of

MOST_PEOPLE = 12
LONGEST_NAME = 18
NAMES = {"label": "All, filled in", "verify": "All, yes or no"}


def anchoring_plot(anchoring: Mapping[str, Anchoring], annotators: Sequence[Annotator]) -> Picture | None:
    """How much more often the same is said with a suggestion than without, in all and by person; None where nothing is."""
    rows = [(NAMES[way], found.difference, VERMILION) for way, found in anchoring.items() if found.difference]
    rows += [(one.name, one.anchoring, BLUE) for one in annotators if one.anchoring][:MOST_PEOPLE]
    if not rows:
        return None
    with plain_style():
        figure = Figure(figsize=(4.2, 1.2 + 0.32 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=GREY, linewidth=1)
        for row, (_, found, color) in enumerate(rows):
            axes.plot((100 * found.lo, 100 * found.hi), (row, row), color=color, linewidth=2)
            axes.plot(100 * found.value, row, color=color, marker="o", markersize=6)
        _rows(axes, [name for name, _, _ in rows], "Points more often the same with a suggestion")
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
        _rows(axes, [name for name, _ in timed], "Seconds an answer: median and quartiles")
        axes.set_xlim(left=0)
        said = ", ".join(f"{name} {found.median:.0f} s" for name, found in timed)
        return Picture(svg_of(figure), f"Median time of an answer: {said}.")


def _rows(axes: Axes, names: Sequence[str], what: str) -> None:
    """A row for each name, the first on top; `what` is measured from left to right."""
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel=what)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#E3E7EB", linewidth=0.8)
    axes.set_axisbelow(True)


def _words(anchoring: Mapping[str, Anchoring]) -> str:
    said = [
        f"{NAMES[way]}: {100 * found.difference.value:+.1f} points [{100 * found.difference.lo:+.1f}, "
        f"{100 * found.difference.hi:+.1f}] more often the same with a suggestion, of {found.compared:,} answers that have "
        "blind ones like them."
        for way, found in anchoring.items()
        if found.difference
    ]
    return " ".join(said) or "No difference of all people together could be told."


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
