"""How unsure belief and student are of each item, and how far they differ: scores in which larger means "ask a person"."""

from dataclasses import dataclass

from stillhouse.probabilities import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """Scores (n,) by reason. All are larger where a person is needed more; each has its own unit."""

    by_reason: dict[str, Floats]


def signals(
    uncertain: Floats,
    student_unsure: Floats | None = None,
    teacher_student: Floats | None = None,
    variants: Floats | None = None,
) -> Signals:
    """Scores by item, (n,) each, that exist: `uncertain` how doubtful the belief is, `student_unsure` how doubtful the
    student's prediction, `teacher_student` how far the two are apart, `variants` how far the teachers are. What doubt
    and distance are is the task's kind to say. Raises ValueError where the lengths differ.
    """
    given = {"student_unsure": student_unsure, "teacher_student": teacher_student, "variants": variants}
    scores = {"uncertain": uncertain} | {reason: score for reason, score in given.items() if score is not None}
    lengths = {reason: len(score) for reason, score in scores.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Expected one score an item of every reason; found {lengths}.")
    return Signals(scores)
