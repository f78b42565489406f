"""What a round has measured, in the model card of its student."""

from pathlib import Path
from typing import Any

from loop.evaluate import Evaluation
from trainer.artifact import CARD, write_card
from trainer.card import LabelCounts, with_figures

CALIBRATION_WORDS = {
    "calibration_error": "expected calibration error",
    "brier": "Brier score",
    "aurc": "area under risk and coverage",
}


def write_measured_card(folder: Path, evaluation: Evaluation) -> None:
    """Give the student in `folder` a card with the figures of its round. Raises ModelError where it is not whole."""
    card = (folder / CARD).read_text(encoding="utf-8")
    write_card(folder, with_figures(card, figures_of(evaluation), labels_of(evaluation)))


def figures_of(evaluation: Evaluation) -> dict[str, Any]:
    """The certificate of the pool's labels, the student's own figures, and how far its probabilities can be trusted."""
    named = {"certificate of the pool's delivered labels": evaluation.delivered}
    if evaluation.student is not None:
        named |= {f"student, {name}": value for name, value in evaluation.student.by_name.items()}
    named |= {
        f"student, {CALIBRATION_WORDS.get(name, name)}": value
        for name, value in evaluation.calibration.get("student", {}).items()
    }
    return {name: value.to_json() for name, value in named.items()}


def labels_of(evaluation: Evaluation) -> tuple[LabelCounts, ...]:
    """Hits, true and said of each label, as the student was measured."""
    student = evaluation.student
    if student is None:
        return ()
    return tuple(
        LabelCounts(label, *(float(count) for count in student.counts[:, place]))
        for place, label in enumerate(student.labels)
    )
