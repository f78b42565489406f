"""What every benchmark writes: a list of {figure, value, goal, holds}, and a table for people."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

DATA_VARIABLE = "STILLHOUSE_DATA"  # an environment variable: the folder that holds the data sets
SHARED = Path(os.environ.get(DATA_VARIABLE) or Path(__file__).resolve().parents[2] / "shared" / "data")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value beside the goal it should reach; `holds` is None where there is no goal."""

    figure: str
    value: float
    goal: str
    holds: bool | None


def arguments(what: str) -> argparse.Namespace:
    """--quick (under 50 s), --json OUT, --seeds N, --minutes N."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--quick", action="store_true", help="a smaller measurement, under 50 s")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--seeds", type=int, default=None, help="how many repetitions")
    parser.add_argument("--minutes", type=float, help="how long, where that is what is measured")
    parser.add_argument("--plot", type=Path, help="where to write the plot, where there is one (SVG)")
    return parser.parse_args()


def data_or_skip(name: str) -> Path:
    """The folder of a data set that does not ship with the project; ends the benchmark with a reason where missing."""
    folder = Path(os.environ.get(DATA_VARIABLE) or SHARED) / name
    if not folder.is_dir():
        print(f"skipped: the data set {name} is not here; it does not ship with the project", file=sys.stderr)
        raise SystemExit(0)
    return folder


def at_least(figure: str, value: float, goal: float) -> Figure:
    return Figure(figure, round(value, 4), f">= {goal:g}", value >= goal)


def at_most(figure: str, value: float, goal: float) -> Figure:
    return Figure(figure, round(value, 4), f"<= {goal:g}", value <= goal)


def report(figures: Sequence[Figure], out: Path | None) -> None:
    """Print the figures and write them where `--json` says."""
    for figure in figures:
        mark = {True: "holds", False: "MISSED", None: "-"}[figure.holds]
        print(f"{figure.figure:72} {figure.value:>12g}  {figure.goal:>10}  {mark}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n", encoding="utf-8")
