"""The delivered labels of a pool as a file."""

from pathlib import Path

from consensus.posterior import Source
from loop.command import project_of
from loop.run import kept
from loop.view import agreed
from serving.tables import write_rows
from stillhouse.errors import InputError
from stillhouse.store import Store


def write_labels(folder: Path, target: Path) -> int:
    """Write id, label, probability, source, one row an item; returns how many."""
    project = project_of(folder)
    with Store(folder, read_only=True) as store:
        rounds, items, answers = store.rounds(), store.items(), store.answers()
    probs = kept(project, f"belief-{rounds[-1].round:02d}") if rounds else None
    if probs is None:
        raise InputError(
            f"{folder} has no delivered labels yet",
            expected="a finished round",
            found="none",
            fix="stillhouse run it first",
        )
    people, _ = agreed(answers)
    names = project.task.label_names
    otherwise: Source = "corrected" if rounds[-1].metrics.get("penalty") is not None else "teacher"
    rows = (
        {
            "id": item.id,
            "label": people.get(item.id) or names[int(row.argmax())],
            "probability": 1.0 if item.id in people else round(float(row.max()), 6),
            "source": "person" if item.id in people else otherwise,
        }
        for item, row in zip(items, probs, strict=True)
    )
    return write_rows(target, rows, ("id", "label", "probability", "source"))
