"""What a run has learned, as a file for scripts, a page for people, and the lines a command ends with."""

import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kinds.kind import Kind, Measures
from loop.beside import recall_of_shown
from loop.cards import CALIBRATION_WORDS
from loop.evaluate import Evaluation, opinions_of
from loop.guidelines import guidelines_facts
from loop.people import People
from loop.project import Project
from loop.relabelling import label_facts
from loop.report import Card, Instructive, Reliability, ReportData, RoundRow, write_report
from loop.rule_table import Known, RuleTable, table_with
from loop.run import Loop, Outcome
from loop.view import View, view_of
from prompts.candidates import few_of_many
from stillhouse.probabilities import Floats, blocks
from stillhouse.records import Answer, Interval, RoundRecord
from stillhouse.store import Store
from stillhouse.task import RULES_SOURCE

MOST_INSTRUCTIVE = 15
ALONE = {"teacher": "The teacher alone reaches", RULES_SOURCE: "The rules alone reach"}


def banners(project: Project) -> tuple[str, ...]:
    """What on these pages is not the real thing, in plain words."""
    said = [project.task.data.note] if project.task.data.note else []
    if project.task.desk.rehearse:
        said.append(
            "The experts are rehearsed: simulated people answered from known labels, through the same desk people use."
        )
    if any(teacher.recording for teacher in project.task.teachers):
        said.append("The teacher is a recording: replies of a large language model, played back.")
    return tuple(said)


def summary_of(project: Project, store: Store, outcome: Outcome, people: People) -> dict[str, Any]:
    """The content of summary.json. An accuracy is {value, lo, hi, on, n, method}, or null before there is one."""
    rounds = store.rounds()
    last = rounds[-1].metrics if rounds else {}
    return {
        "task": project.task.name,
        "kind": project.task.kind,
        "score": project.kind.score_name,
        "rounds": len(rounds),
        "human_labels": rounds[-1].human_labels if rounds else 0,
        "teacher_accuracy": last.get("teacher"),
        "student_accuracy": last.get("student"),
        "student_macro_f1": last.get("student_macro_f1"),
        "delivered_accuracy": last.get("delivered_known") or last.get("delivered"),
        "delivered_certificate": last.get("delivered"),
        "delivered_measures": last.get("delivered_measures"),
        "student_measures": last.get("student_measures"),
        "teacher_measures": last.get("teacher_measures"),
        "calibration": last.get("calibration"),
        "people": {name: found for name, found in people.to_json().items() if name not in {"conflicts", "link"}},
        "stopped": outcome.stopped,
        "stop_reason": outcome.reason,
        "waiting": outcome.waiting,
        "cost_usd": store.spent_usd(),
        "in_doubt_requests": store.in_doubt(),
        "in_doubt_usd": store.in_doubt_usd(),
        "seconds": round(float(store.note("seconds", 0.0)), 1),
        "rehearsed_experts": project.task.desk.rehearse is not None,
        "recorded_teacher": any(teacher.recording for teacher in project.task.teachers),
        "student": str(project.folder / rounds[-1].student_dir) if rounds else None,
        "report": str(project.report),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def add_seconds(store: Store, started: float) -> None:
    store.write_note("seconds", float(store.note("seconds", 0.0)) + time.monotonic() - started)


def interval_of(value: object) -> Interval | None:
    return Interval(**value) if isinstance(value, dict) else None


def write_run_report(loop: Loop, outcome: Outcome, people: People) -> Path:
    """report.html from the last round; needs at least one finished round."""
    assert loop.last is not None
    view, student, evaluation = loop.last
    rounds = loop.store.rounds()
    data = ReportData(
        task_name=loop.project.task.name,
        question=loop.project.task.question,
        label_names=_label_names(loop.project, evaluation),
        score_name=view.kind.score_name,
        measure_name=words_of(evaluation.student.main) if evaluation.student else "",
        labelled=not loop.project.task.fields,
        measures=_measures(evaluation, view.corpus.votes.voice),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        banners=banners(loop.project),
        headline=headline(loop, view, evaluation, outcome),
        cards=cards(evaluation, view.corpus.votes.voice),
        rounds=tuple(
            _row(loop.project, before, record) for before, record in zip([None, *rounds], rounds, strict=False)
        ),
        teacher=evaluation.teacher.interval if evaluation.teacher and loop.project.task.teachers else None,
        reference=random_reference(loop, view),
        reliability=_reliability(evaluation),
        calibration=_calibration(evaluation),
        decisions="items" if loop.project.task.kind == "single_label" else "decisions",
        counts=_counts(evaluation)[0],
        confusion=_confusion(loop, view, evaluation),
        confusion_on=_counts(evaluation)[1],
        reasons=dict(Counter(pick.reason for pick in loop.store.picks() if pick.item_id in view.labels)),
        instructive=instructive(loop, view),
        people=people,
        rules=_rules(loop, view),
        vote_status=dict(Counter(vote.status for vote in loop.store.votes())),
        model_card=(loop.project.student(len(rounds) - 1) / "README.md").read_text(encoding="utf-8"),
        facts=_facts(loop, view, evaluation, student.model_id),
        next_step=next_step(loop.project, outcome),
    )
    write_report(data, loop.project.report)
    return loop.project.report


def _rules(loop: Loop, view: View) -> RuleTable | None:
    store = loop.store
    known = Known(store.votes(), store.answers(), loop.asked.for_figures(), view.belief.probs)
    return table_with(loop.project, loop.items, known) if loop.project.task.rules else None


def headline(loop: Loop, view: View, evaluation: Evaluation, outcome: Outcome) -> tuple[str, ...]:
    people = "rehearsed experts" if loop.project.task.desk.rehearse else "people"
    share = len(view.labels) / max(len(loop.items), 1)
    best = evaluation.delivered_known or evaluation.delivered
    first = (
        f"With {len(view.labels):,} answers of {people} ({share:.0%} of {len(loop.items):,} items) the delivered labels "
        f"are {best.percent()} right ({_scored(view.kind)}{best.on})."
    )
    lines = [first]
    for who, measures in (
        (ALONE[view.corpus.votes.voice], evaluation.teacher),
        ("The student by itself reaches", evaluation.student),
    ):
        if measures is not None:
            lines.append(f"{who} {measures.interval.percent()} {words_of(measures.main)} ({measures.interval.on}).")
    lines.append(outcome.reason if outcome.stopped else f"The run waits: {outcome.reason}.")
    return tuple(lines)


def cards(evaluation: Evaluation, voice: str = "teacher") -> tuple[Card, ...]:
    named = (
        ("Delivered labels", evaluation.delivered_known, "every label of the pool is known here"),
        ("Delivered labels, certificate", evaluation.delivered, "from the blind random share alone"),
        *(
            (f"{who}, {words_of(measures.main)}", measures.interval, note)
            for who, measures, note in (
                (f"{voice.capitalize()} alone", evaluation.teacher, "all its votes pooled"),
                ("Student", evaluation.student, "on its own"),
            )
            if measures is not None
        ),
    )
    return tuple(Card(title, value, f"{note}; {value.on}") for title, value, note in named if value is not None)


def next_step(project: Project, outcome: Outcome) -> str:
    if not outcome.stopped:
        return f"Answer the open items at {outcome.link}, then repeat: stillhouse run {_short(project.task_path)}"
    return (
        f"Label a file with the student: stillhouse label {_short(project.folder)} FILE.jsonl OUT.jsonl; "
        f"take the pool's labels: stillhouse export labels {_short(project.folder)} labels.jsonl"
    )


def instructive(loop: Loop, view: View) -> tuple[Instructive, ...]:
    """Where people most contradicted what was believed of the item without their answer."""
    reason = {pick.item_id: pick.reason for pick in loop.store.picks()}
    teacher = view.corpus.decoded(view.corpus.votes.of_teachers().pooled())
    wrong = [int(number) for number in np.flatnonzero(view.answered & (view.unseen_error > 0))]
    wrong.sort(key=lambda n: (-round(float(view.unseen_error[n]), 3), _believed(view, n), view.items[n].id))
    return tuple(
        Instructive(
            text=view.items[number].text,
            teacher_label=view.kind.show(view.items[number], teacher[number]),
            person_label=view.kind.show(view.items[number], view.labels[view.items[number].id]),
            reason=reason.get(view.items[number].id, ""),
            posterior_before=_believed(view, number),
        )
        for number in wrong[:MOST_INSTRUCTIVE]
    )


def _believed(view: View, number: int) -> float:
    """How likely a person's decisions were held to be before the answer: the mean over the item's decisions."""
    item, rows = view.items[number], view.corpus.layout.rows(number)
    said = view.kind.encode(item, view.corpus.layout.spans[rows], view.labels[item.id])
    each = blocks(said * view.belief.out_of_fold[rows], view.kind.width).sum(axis=1)
    return float(np.nanmean(each)) if np.isfinite(each).any() else 0.0


def random_reference(loop: Loop, view: View) -> tuple[tuple[int, float], ...]:
    """What the same belief delivers from random picks, at each round's number of answers: known only in rehearsals."""
    known, items = loop.known, loop.items
    if known is None or any(item.id not in known for item in items):
        return ()
    order = loop.project.rng("random reference").permutation(len(items))
    points = []
    counts = list(dict.fromkeys(record.human_labels for record in loop.store.rounds()))
    # Where items have many rows a belief takes a while: only where the run stands is compared.
    for count in counts if view.kind.per_text else counts[-1:]:
        answers = [
            Answer(items[number].id, "random", known[items[number].id], blind=True, rehearsed=True, answered_at="")
            for number in order[:count]
        ]
        random = view_of(loop.project, loop.corpus, answers)
        scores = [view.kind.score(known[item.id], v) for item, v in zip(items, random.delivered, strict=True)]
        points.append((count, float(np.mean(scores))))
    return tuple(points)


def _row(project: Project, before: RoundRecord | None, record: RoundRecord) -> RoundRow:
    new = record.human_labels - (before.human_labels if before else 0)
    return RoundRow(
        round=record.round,
        human_labels=record.human_labels,
        delivered=interval_of(record.metrics.get("delivered_known")) or interval_of(record.metrics.get("delivered")),
        student=interval_of(record.metrics.get("student")),
        cost_usd=record.cost_usd - (before.cost_usd if before else 0.0),
        people_minutes=new * project.task.budget.seconds_per_answer / 60,
        seconds=record.seconds,
        decision=record.decision,
        reason=record.reason,
    )


def words_of(measure: str) -> str:
    """A measure's name for readers."""
    return measure.replace("_", " ").replace("f1", "F1")


def _scored(kind: Kind) -> str:
    return "" if kind.score_name == "accuracy" else f"mean {kind.score_name}, "


def _reliability(evaluation: Evaluation) -> tuple[Reliability, ...]:
    """Every decision of what was judged: how sure it was made, and whether it was right."""
    judged = evaluation.judged
    if judged is None:
        return ()
    known = ~np.isnan(judged.encoded).any(axis=1)
    truth = blocks(judged.encoded[known], judged.width).argmax(axis=1)
    found = []
    for name, probs in opinions_of(judged):
        if name.startswith("teacher "):
            continue  # each teacher by itself: in numbers only
        each = blocks(probs[known], judged.width)
        found.append(Reliability(name.capitalize(), each.max(axis=1), each.argmax(axis=1) == truth))
    return tuple(found)


def _judged_measures(evaluation: Evaluation) -> tuple[Measures | None, str]:
    if evaluation.delivered_measures is not None:
        return evaluation.delivered_measures, "delivered labels against all known labels of the pool"
    if evaluation.student is not None and evaluation.judged is not None:
        return evaluation.student, f"the student on {evaluation.judged.on}"
    return None, ""


def _counts(evaluation: Evaluation) -> tuple[Floats | None, str]:
    """Hits, true and said by label, and of whom."""
    measures, on = _judged_measures(evaluation)
    return (None if measures is None else measures.counts), on


def _label_names(project: Project, evaluation: Evaluation) -> tuple[str, ...]:
    measures, _ = _judged_measures(evaluation)
    return project.task.label_names if measures is None else measures.labels


def _measures(evaluation: Evaluation, voice: str) -> tuple[tuple[str, str, Interval], ...]:
    """(who, figure, interval), all that the kind measures."""
    sides = (
        ("delivered", evaluation.delivered_measures),
        ("student", evaluation.student),
        (voice, evaluation.teacher),
    )
    return tuple(
        (who, words_of(name), interval)
        for who, measures in sides
        if measures is not None
        for name, interval in measures.by_name.items()
    )


def _calibration(evaluation: Evaluation) -> tuple[tuple[str, str, Interval], ...]:
    """(who, figure, interval) of how far probabilities can be trusted."""
    return tuple(
        (who, CALIBRATION_WORDS[name], interval)
        for who, figures in evaluation.calibration.items()
        for name, interval in figures.items()
    )


def _confusion(loop: Loop, view: View, evaluation: Evaluation) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Rows: what is right; columns: what is delivered (all known labels), or what the student says. Only one label a
    text can be confused with one other.
    """
    if loop.project.task.kind != "single_label":
        return None
    if loop.known is not None and evaluation.delivered_known is not None:
        truths, values = [loop.known[item.id] for item in loop.items], view.delivered
    elif evaluation.judged is not None:
        truths, values = list(evaluation.judged.truths), list(evaluation.judged.student_values)
    else:
        return None
    index = {name: number for number, name in enumerate(loop.project.task.label_names)}
    matrix = np.zeros((len(index), len(index)), dtype=np.int64)
    np.add.at(matrix, ([index[str(t)] for t in truths], [index[str(v)] for v in values]), 1)
    return matrix


def _facts(loop: Loop, view: View, evaluation: Evaluation, model_id: str) -> tuple[tuple[str, str], ...]:
    import importlib.metadata

    task, belief = loop.project.task, view.belief
    facts = [
        ("Items in the pool", f"{len(loop.items):,}"),
        ("Teachers", ", ".join(f"{t.name} ({t.model})" for t in task.teachers)),
        ("Spent on the teacher", f"${loop.store.spent_usd():.2f}"),
        ("Requests in doubt after a crash", f"{loop.store.in_doubt()}, at most ${loop.store.in_doubt_usd():.2f} more"),
        ("Conflicts between people", str(len(view.conflicts))),
        ("Correction", f"penalty {belief.penalty}, exponents {', '.join(f'{e:.2f}' for e in belief.exponents)}"),
        *_teachers_calibrated(evaluation),
        *guidelines_facts(loop.project, loop.store),
        ("Student", model_id),
        ("Seed", str(task.seed)),
        ("Labels (hash)", task.schema_hash()),
        *label_facts(loop.store),
        (
            "Versions",
            ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "transformers", "peft", "argilla")),
        ),
    ]
    blind = {pick.item_id for pick in loop.store.picks() if pick.inclusion_probability is not None}
    labels = {item_id: label for item_id, label in view.labels.items() if item_id in blind}
    recall = recall_of_shown(loop.store.votes(), labels, task.stop.confidence) if few_of_many(task) else None
    if recall is not None:
        facts.append(("Right label among those shown", f"{recall.percent()} of {recall.on} on blind answers"))
    return tuple(facts)


def _teachers_calibrated(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What people's answers made of each teacher's probabilities, for the figures alone: the belief corrects by itself."""
    found = {voice.name: voice.how for voice in evaluation.judged.voices} if evaluation.judged else {}
    said = [
        f"{name}: {'as said' if how.method == 'identity' else f'{how.method}, temperature {how.temperature:.2f}'}"
        for name, how in found.items()
    ]
    return [("Calibration of the teacher's probabilities", "; ".join(said))] if said else []


def _short(path: Path) -> str:
    """Relative to where the command runs, if that is shorter to type."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
