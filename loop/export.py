"""The delivered labels of a pool as a file."""

from pathlib import Path

from consensus.posterior import Source
from kinds.kind import Layout
from loop.kept import kept
from loop.project import check_labels, project_of
from loop.view import agreed
from loop.weighed import disputed
from serving.tables import write_rows
from stillhouse.errors import InputError
from stillhouse.store import Store


def write_labels(folder: Path, target: Path) -> int:
    """Write id, label, probability, source, one row an item; returns how many. The label is the item's value."""
    project = project_of(folder)
    with Store(folder, read_only=True) as store:
        check_labels(project, store)
        rounds, items, answers = store.rounds(), store.items(), store.answers()
    probs = kept(project, f"belief-{rounds[-1].round:02d}") if rounds else None
    if probs is None:
        raise InputError(
            f"{folder} has no delivered labels yet",
            expected="a finished round",
            found="none",
            fix="stillhouse run it first",
        )
    # Where people differ, the belief holds what they amount to, each weighed by how good they are.
    people, open_ = agreed(answers)[0], disputed(answers)
    kind = project.kind
    layout, thresholds = Layout.of(kind, items), kind.thresholds(probs)
    otherwise: Source = "corrected" if rounds[-1].metrics.get("penalty") is not None else "teacher"

    def row(number: int) -> dict[str, object]:
        item, rows = items[number], layout.rows(number)
        if item.id in people and item.id not in open_:
            return {"id": item.id, "label": people[item.id], "probability": 1.0, "source": "person"}
        value = kind.decode(item, layout.spans[rows], probs[rows], thresholds)
        sure = round(kind.expected_score(layout.spans[rows], probs[rows]), 6)
        return {
            "id": item.id,
            "label": value,
            "probability": sure,
            "source": "person" if item.id in open_ and sure == 1.0 else otherwise,
        }

    return write_rows(target, (row(number) for number in range(len(items))), ("id", "label", "probability", "source"))
