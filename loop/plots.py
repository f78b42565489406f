"""The pictures of a report as SVG text: learning curve, reliability diagram, confusion matrix."""

import io
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

from stillhouse.measures import expected_calibration_error, reliability_bins
from stillhouse.probabilities import Bools, Floats, Ints
from stillhouse.records import Interval

# Okabe and Ito's colours, told apart by colour-blind readers; each curve has its own marker and dash as well.
BLUE, VERMILION, GREEN, INK, GREY = "#0072B2", "#D55E00", "#007A5A", "#1F2933", "#6B7680"
CURVE_STYLES = ((BLUE, "o", "-"), (VERMILION, "s", "--"))
MOST_CONFUSED = 20
LONGEST_LABEL = 26
FEWEST_FOR_A_FULL_MARKER = 10

STYLE: dict[RcKeyType, object] = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched, and shown in any script
    "svg.hashsalt": "stillhouse",  # the same data give the same bytes
    "text.parse_math": False,  # a label such as $5 is a label
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A measured value by number of human labels, in order."""

    name: str
    points: tuple[tuple[int, Interval], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG and the sentence that stands for it where it cannot be seen."""

    svg: str
    alt: str


def learning_curve(
    curves: Sequence[Curve], teacher: Interval | None, reference: Sequence[tuple[int, float]], quality: str = "Accuracy"
) -> Picture | None:
    """What was measured (`quality`) against human labels with intervals; None where nothing was."""
    curves = [curve for curve in curves if curve.points]
    if not curves and teacher is None:
        return None
    with plain_style():
        figure = Figure(figsize=(5.6, 3.5), layout="constrained")
        axes = figure.add_subplot()
        for curve, style in zip(curves, CURVE_STYLES, strict=False):
            _draw_curve(axes, curve, *style)
        if teacher is not None:
            axes.axhspan(teacher.lo, teacher.hi, color=GREY, alpha=0.13, linewidth=0)
            axes.axhline(teacher.value, color=INK, linestyle=(0, (1, 2)), linewidth=1.6, label="Teacher alone")
        if reference:
            x, y = zip(*reference, strict=True)
            axes.plot(x, y, color=GREEN, linestyle="-.", marker="^", markersize=5, label="Random picks (reference)")
        axes.set_xlabel("Human labels")
        axes.set_ylabel(quality)
        axes.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 2):g} %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y", color="#E3E7EB", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper left", ncols=2)
        return Picture(svg_of(figure), _curve_words(curves, teacher))


def reliability_diagram(name: str, confidence: Floats, correct: Bools, counted: str = "items") -> Picture | None:
    """Accuracy by confidence with Wilson intervals, above how many of them (`counted`) have that confidence; None without any."""
    if len(confidence) == 0:
        return None
    bins = reliability_bins(confidence, correct)
    gap = expected_calibration_error(confidence, correct)
    with plain_style():
        figure = Figure(figsize=(3.5, 3.9), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((0, 1), (0, 1), color=GREY, linewidth=1, linestyle=":")
        bounds = np.clip(np.stack([bins.accuracy - bins.lo, bins.hi - bins.accuracy]), 0, None)
        upper.plot(bins.confidence, bins.accuracy, color=BLUE, linewidth=1, alpha=0.4)
        for enough, fill in ((True, BLUE), (False, "white")):
            of = (bins.count >= FEWEST_FOR_A_FULL_MARKER) == enough
            upper.errorbar(
                bins.confidence[of],
                bins.accuracy[of],
                yerr=bounds[:, of],
                color=BLUE,
                linestyle="none",
                marker="o",
                markersize=6,
                markerfacecolor=fill,
                capsize=2,
                elinewidth=1.2,
            )
        upper.set(ylim=(-0.02, 1.04), xlim=(0, 1.02), ylabel="Accuracy")
        upper.set_title(name)  # the error stands below, where there is room for it
        lower.hist(np.asarray(confidence), bins=10, range=(0, 1), color=BLUE, alpha=0.75, rwidth=0.9)
        lower.set(xlabel="Confidence", ylabel=counted.capitalize())
        lower.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        for axis in (upper.yaxis, upper.xaxis):
            axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        upper.grid(color="#E3E7EB", linewidth=0.8)
        sure, right = float(np.mean(confidence)), float(np.mean(correct))
        return Picture(
            svg_of(figure),
            f"{name}: on {len(confidence):,} {counted} {100 * sure:.1f} % sure on average and {100 * right:.1f} % right; "
            f"expected calibration error {gap:.3f}.",
        )


def most_confused(matrix: Ints, most: int = MOST_CONFUSED) -> list[int]:
    """The classes with the most errors in their row and column, in the order of the task; all, if they are few."""
    k = len(matrix)
    errors = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diagonal(matrix)
    return sorted(sorted(range(k), key=lambda label: (-int(errors[label]), label))[:most])


def confusion_heatmap(matrix: Ints, names: Sequence[str]) -> Picture | None:
    """Rows are what experts say, columns the label given; shades are shares of the row. None without items."""
    if matrix.sum() == 0:
        return None
    shown = most_confused(matrix)
    part, short = matrix[np.ix_(shown, shown)], [_shortened(names[label]) for label in shown]
    shares = part / np.maximum(matrix.sum(axis=1)[shown], 1)[:, None]
    size = max(4.2, 2.0 + 0.42 * len(shown))
    with plain_style():
        figure = Figure(figsize=(size + 0.3, size), layout="constrained")
        axes = figure.add_subplot()
        axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="#E3E7EB", linewidth=0.6)
        axes.set(aspect="equal", xlim=(0, len(shown)), ylim=(len(shown), 0))
        axes.set_xticks(np.arange(len(shown)) + 0.5, short, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(np.arange(len(shown)) + 0.5, short)
        axes.set(xlabel="Label given", ylabel="Expert's label")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for row, column in np.argwhere(part > 0):
            dark = shares[row, column] > 0.55
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{part[row, column]:d}",
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if dark else INK,
                fontweight="normal" if row == column else "bold",
            )
        return Picture(svg_of(figure), _confusion_words(matrix, names))


def _draw_curve(axes: Axes, curve: Curve, color: str, marker: str, dash: str) -> None:
    x = np.array([labels for labels, _ in curve.points])
    value, lo, hi = np.array([(i.value, i.lo, i.hi) for _, i in curve.points]).T
    axes.fill_between(x, lo, hi, color=color, alpha=0.14, linewidth=0)
    bounds = np.clip(np.stack([value - lo, hi - value]), 0, None)
    axes.errorbar(
        x, value, yerr=bounds, color=color, marker=marker, markersize=5, linestyle=dash, capsize=2.5, elinewidth=0.9
    )
    axes.plot([], [], color=color, marker=marker, linestyle=dash, label=curve.name)


def _curve_words(curves: Sequence[Curve], teacher: Interval | None) -> str:
    said = []
    for curve in curves:
        (first_at, first), (last_at, last) = curve.points[0], curve.points[-1]
        said.append(
            f"{curve.name}: {first.percent()} at {first_at:,} human labels"
            + (f", {last.percent()} at {last_at:,}" if len(curve.points) > 1 else "")
        )
    if teacher is not None:
        said.append(f"Teacher alone: {teacher.percent()}")
    return ". ".join(said) + "."


def _confusion_words(matrix: Ints, names: Sequence[str]) -> str:
    errors = matrix.copy()
    np.fill_diagonal(errors, 0)
    total, wrong = int(matrix.sum()), int(errors.sum())
    if wrong == 0:
        return f"All {total:,} items are on the diagonal."
    row, column = np.unravel_index(int(errors.argmax()), errors.shape)
    return (
        f"{total - wrong:,} of {total:,} items are on the diagonal. The most frequent error: {errors[row, column]:,} × "
        f"{names[int(row)]} taken for {names[int(column)]}."
    )


def _shortened(name: str) -> str:
    """Cut in the middle: labels of one family differ at their ends."""
    half = (LONGEST_LABEL - 1) // 2
    return name if len(name) <= LONGEST_LABEL else f"{name[:half]}…{name[-half:]}"


def plain_style() -> AbstractContextManager[None]:
    """Of every picture of a report."""
    return mpl.rc_context(STYLE)


def svg_of(figure: Figure) -> str:
    """The element alone, which scales with its box; no date, no maker, no address of anything to load."""
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has fonts for it
        figure.savefig(
            out, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # the same names in every picture, referred to by none
    return text.replace("'DejaVu Sans'", "'DejaVu Sans', system-ui, sans-serif")
