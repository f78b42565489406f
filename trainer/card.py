"""The model card: what a student is, what it was taught by, how good it is, and what it is not for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillhouse.measures import wilson
from trainer.generative import GenerativeStudent
from trainer.risk import Bound
from trainer.student import FittedStudent

INHERITED = (
    "- It has the base's languages and biases, and repeats mistakes that its teacher makes systematically "
    "wherever people did not correct them."
)


GOOD, WEAK = "## How good it is", "## Where it is weak"
MOST_WEAK = 5


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Of one label: how often it is true, how often the student says it, and how often both."""

    label: str
    hits: float
    true: float
    said: float

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(self.true + self.said, 1e-12)


def model_card(
    student: FittedStudent | GenerativeStudent,
    *,
    name: str,
    question: str,
    taught_by: Mapping[str, int],
    metrics: Mapping[str, Any],
    rehearsed_answers: int = 0,
    recorded_teacher: str | None = None,
    bounds: Sequence[Bound] = (),
    by_label: Sequence[LabelCounts] = (),
) -> str:
    """Markdown. `taught_by` counts texts by source ("teacher", "people"); `metrics` are numbers, or intervals as
    their JSON ({value, lo, hi, n, on, method}).

    `bounds` are errors wished for and the thresholds that promise them, `by_label` what was found of each label.
    `rehearsed_answers` are those of simulated experts, `recorded_teacher` the name of a teacher that was played back.
    """
    parts = [
        f"# {name}\n\n{question}\n\nModel id `{student.model_id}`, made by Stillhouse.",
        "## What it says\n\n" + _says(student),
        "## What it was taught by\n\n" + _sources(taught_by, rehearsed_answers, recorded_teacher),
        "## How it was made\n\n" + _making(student),
        *_measured(metrics, by_label),
        *(["## From where on it may be trusted\n\n" + _promises(bounds)] if bounds else []),
        f"## Intended use\n\nTo answer this one question on texts like the ones it was taught by: {question}\n"
        "## Limits\n\n" + _limits(student),
    ]
    return "\n\n".join(parts) + "\n"


def with_figures(card: str, metrics: Mapping[str, Any], by_label: Sequence[LabelCounts] = ()) -> str:
    """The card with these figures instead of those it had: a student is measured after it is saved."""
    parts = [f"\n\n## {part}" for part in card.split("\n\n## ")]
    place = next(number for number, part in enumerate(parts) if part.startswith(f"\n\n{GOOD}"))
    measured = [f"\n\n{part}" for part in _measured(metrics, by_label)]
    others = [part for part in parts[place + 1 :] if not part.startswith(f"\n\n{WEAK}")]
    return "".join([*parts[:place], *measured, *others]).removeprefix("\n\n## ")


def _measured(metrics: Mapping[str, Any], by_label: Sequence[LabelCounts]) -> list[str]:
    return [f"{GOOD}\n\n{_figures(metrics)}", *([f"{WEAK}\n\n{_weak(by_label)}"] if by_label else [])]


def _says(student: FittedStudent | GenerativeStudent) -> str:
    if isinstance(student, GenerativeStudent):
        lines = [
            f"- {spec.name}: {spec.type}{', as many as there are' if spec.many else ''}"
            + (f" ({' | '.join(spec.choices)})" if spec.choices else "")
            + (", only ones that the text says" if spec.type == "text" or spec.name in student.bounds.copied else "")
            for spec in student.fields
        ]
        intro = "It writes the fields of a text as JSON, each with a probability. What it writes is always valid:"
        return "\n".join([intro, "", *lines])
    unit = "text" if student.per_text else "unit (a token, or a word) of a text"
    blocks = len(student.columns) // student.width
    each = "one distribution over" if blocks == 1 else f"{blocks} distributions, each over {student.width} of"
    asked = ", given the words in focus" if student.with_focus else ""
    lines = [f"For each {unit}{asked}: {each} these columns.", "", *(f"- {column}" for column in student.columns)]
    if student.thresholds is not None:
        lines += ["", f"Thresholds, in order: {', '.join(f'{value:.3g}' for value in student.thresholds)}."]
    return "\n".join(lines)


def _sources(taught_by: Mapping[str, int], rehearsed: int, recorded: str | None) -> str:
    lines = [f"- {source}: {count} texts" for source, count in taught_by.items()]
    if rehearsed:
        lines.append(
            f"\n**{rehearsed} of the answers are rehearsed**: simulated experts gave them from known labels, no person "
            "was asked. What is said here of people's answers holds for a rehearsal only."
        )
    if recorded:
        lines.append(
            f"\nThe teacher {recorded} was a **recording**: its replies were played back, no model was called."
        )
    return "\n".join(lines) or "Nothing is recorded."


def _making(student: FittedStudent | GenerativeStudent) -> str:
    settings, facts = student.settings, student.facts
    if isinstance(student, GenerativeStudent):
        recipe = (
            f"a causal language model, LoRA of rank {settings.lora_rank} on all linear layers but the last, "
            f"{settings.epochs} epochs at learning rate {settings.learning_rate:g}, taught what to decide among what the "
            "schema allows"
        )
    elif student.recipe == "lora":
        recipe = (
            f"LoRA, rank {settings.lora_rank} on all linear layers, {settings.epochs} epochs at learning rate "
            f"{settings.learning_rate:g}, from a logistic regression on frozen features"
        )
    else:
        recipe = "logistic regression on the base's frozen, mean-pooled states"
    lines = [
        f"- Base: `{student.base.name}`, sha256 `{student.base.sha256}`",
        f"- Recipe: {recipe}",
        f"- Why this recipe: {facts.get('why', 'not recorded')}",
        f"- Calibration: {_calibration(student)}",
    ]
    return "\n".join(lines)


def _calibration(student: FittedStudent | GenerativeStudent) -> str:
    if isinstance(student, GenerativeStudent):
        return "none: a field's probability is the geometric mean of its decisions' probabilities"
    held = int(student.facts.get("held_out", 0))
    if student.temperature == 1.0:
        return f"probabilities are as trained ({held} held-out answers did not change them)"
    return f"temperature {student.temperature:.3f}, fitted on {held} held-out answers"


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = [(name.replace("_", " "), _figure(value)) for name, value in metrics.items()]
    shown = [(name, figure) for name, figure in rows if figure]
    if not shown:
        return "Not measured."
    lines = ["| Figure | Value |", "| --- | --- |", *(f"| {name} | {figure} |" for name, figure in shown)]
    return "\n".join(lines)


def _weak(by_label: Sequence[LabelCounts]) -> str:
    """The labels of the lowest F1, with Wilson's intervals; those that never came up are named too."""
    seen = sorted((one for one in by_label if one.true), key=lambda one: (one.f1, one.label))
    unseen = [one.label for one in by_label if not one.true]
    lines = ["| Label | F1 | Of its own, found | Of what it says, right |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {one.label} | {one.f1:.2f} | {_share(one.hits, one.true)} | {_share(one.hits, one.said)} |"
        for one in seen[:MOST_WEAK]
    ]
    text = "\n".join(lines) if seen else "No label came up among what it was measured on."
    if unseen:
        text += f"\n\nNever came up, so nothing is known of: {', '.join(unseen)}."
    return text


def _share(part: float, whole: float) -> str:
    lo, hi = wilson(round(part), round(whole), 0.95)
    return f"{part:.0f} of {whole:.0f} [{lo:.0%}, {hi:.0%}]" if whole else "never says it"


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        if not {"value", "lo", "hi"} <= set(value):
            return ""
        on = f" on {value['on']}" if value.get("on") else ""
        return f"{value['value']:.4g} [{value['lo']:.4g}, {value['hi']:.4g}]{on}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int | str) else ""


def _promises(bounds: Sequence[Bound]) -> str:
    first = bounds[0]
    rows = [
        f"| {100 * bound.max_error:g} % | none: {bound.why} | |"
        if bound.threshold is None
        else f"| {100 * bound.max_error:g} % | {bound.threshold:.4g} | {bound.answered} of {bound.n}, {bound.errors:g} wrong |"
        for bound in bounds
    ]
    intro = (
        f"Answering from this probability on, it is wrong at most so often where it answers, with {first.confidence:.0%} "
        f"confidence each. Certified on {first.on}. It holds for texts drawn like those, and for this very student."
    )
    header = ["| Wrong at most | Answers from | Of those certified on |", "| --- | --- | --- |"]
    return "\n".join([intro, "", *header, *rows])


def _limits(student: FittedStudent | GenerativeStudent) -> str:
    most = student.reader.most if isinstance(student, GenerativeStudent) else student.settings.max_tokens
    longest, said = min(most, student.base.longest_tokens), "fields" if student.recipe == "generate" else "columns"
    windowed = int(student.facts.get("windowed", 0))
    return "\n".join(
        [
            (
                f"- A text of more than {longest} tokens is read in overlapping windows: what is further apart, it does not "
                f"see together ({windowed} texts of its training were that long)."
            ),
            f"- It decides on every text, also on one that its {said} do not fit.",
            INHERITED,
        ]
    )
