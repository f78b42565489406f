"""What a run has learned, as a file for scripts, a page for people, and the lines a command ends with."""

import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from consensus.posterior import Answers, believe
from loop.evaluate import Evaluation
from loop.project import Project
from loop.report import Card, Instructive, Reliability, ReportData, RoundRow, write_report
from loop.run import Loop, Outcome
from loop.view import View
from stillhouse.records import Answer, Interval, RoundRecord
from stillhouse.store import Store

MOST_INSTRUCTIVE = 15


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


def summary_of(project: Project, store: Store, outcome: Outcome) -> dict[str, Any]:
    """The content of summary.json. An accuracy is {value, lo, hi, on, n, method}, or null before there is one."""
    rounds = store.rounds()
    last = rounds[-1].metrics if rounds else {}
    return {
        "task": project.task.name,
        "rounds": len(rounds),
        "human_labels": rounds[-1].human_labels if rounds else 0,
        "teacher_accuracy": last.get("teacher"),
        "student_accuracy": last.get("student"),
        "student_macro_f1": last.get("student_macro_f1"),
        "delivered_accuracy": last.get("delivered_known") or last.get("delivered"),
        "delivered_certificate": last.get("delivered"),
        "stopped": outcome.stopped,
        "stop_reason": outcome.reason,
        "waiting": outcome.waiting,
        "cost_usd": store.spent_usd(),
        "in_doubt_requests": store.in_doubt(),
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


def write_run_report(loop: Loop, outcome: Outcome) -> Path:
    """report.html from the last round; needs at least one finished round."""
    assert loop.last is not None
    view, student, evaluation = loop.last
    rounds = loop.store.rounds()
    data = ReportData(
        task_name=loop.project.task.name,
        question=loop.project.task.question,
        label_names=loop.project.task.label_names,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        banners=banners(loop.project),
        headline=headline(loop, view, evaluation, outcome),
        cards=cards(evaluation),
        rounds=tuple(
            _row(loop.project, before, record) for before, record in zip([None, *rounds], rounds, strict=False)
        ),
        teacher=evaluation.teacher,
        reference=random_reference(loop, view),
        reliability=_reliability(evaluation),
        confusion=_confusion(loop, view, evaluation)[0],
        confusion_on=_confusion(loop, view, evaluation)[1],
        reasons=dict(Counter(pick.reason for pick in loop.store.picks() if pick.item_id in view.labels)),
        instructive=instructive(loop, view),
        vote_status=dict(Counter(vote.status for vote in loop.store.votes())),
        model_card=(loop.project.student(len(rounds) - 1) / "README.md").read_text(encoding="utf-8"),
        facts=_facts(loop, view, student.model_id),
        next_step=next_step(loop.project, outcome),
    )
    write_report(data, loop.project.report)
    return loop.project.report


def headline(loop: Loop, view: View, evaluation: Evaluation, outcome: Outcome) -> tuple[str, ...]:
    people = "rehearsed experts" if loop.project.task.desk.rehearse else "people"
    share = len(view.labels) / max(len(loop.items), 1)
    best = evaluation.delivered_known or evaluation.delivered
    first = (
        f"With {len(view.labels):,} answers of {people} ({share:.0%} of {len(loop.items):,} items) the delivered labels are "
        f"{best.percent()} right ({best.on})."
    )
    lines = [first]
    if evaluation.teacher is not None:
        lines.append(f"The teacher alone is {evaluation.teacher.percent()} right ({evaluation.teacher.on}).")
    if evaluation.student is not None:
        lines.append(f"The student labels by itself {evaluation.student.percent()} right ({evaluation.student.on}).")
    lines.append(outcome.reason if outcome.stopped else f"The run waits: {outcome.reason}.")
    return tuple(lines)


def cards(evaluation: Evaluation) -> tuple[Card, ...]:
    named = (
        ("Delivered labels", evaluation.delivered_known, "every label of the pool is known here"),
        ("Delivered labels, certificate", evaluation.delivered, "from the blind random share alone"),
        ("Teacher alone", evaluation.teacher, "all its votes pooled"),
        ("Student", evaluation.student, "on its own"),
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
    names = loop.project.task.label_names
    reason = {pick.item_id: pick.reason for pick in loop.store.picks()}
    pooled = view.votes.pooled()
    found = []
    for row, label in zip(view.belief.answers.rows, view.belief.answers.labels, strict=True):
        before = view.belief.out_of_fold[row]
        if before.argmax() != label:
            found.append((float(before[label] - before.max()), row, label))
    found.sort(key=lambda entry: (entry[0], view.items[entry[1]].id))
    return tuple(
        Instructive(
            text=view.items[row].text,
            teacher_label=names[int(pooled[row].argmax())],
            person_label=names[int(label)],
            reason=reason.get(view.items[row].id, ""),
            posterior_before=float(view.belief.out_of_fold[row][label]),
        )
        for _, row, label in found[:MOST_INSTRUCTIVE]
    )


def random_reference(loop: Loop, view: View) -> tuple[tuple[int, float], ...]:
    """What the same belief delivers from random picks, at each round's number of answers: known only in rehearsals."""
    if loop.known is None or any(item.id not in loop.known for item in loop.items):
        return ()
    index = {name: number for number, name in enumerate(loop.project.task.label_names)}
    truth = np.array([index[loop.known[item.id]] for item in loop.items])
    order = loop.project.rng("random reference").permutation(len(loop.items))
    points = []
    for count in dict.fromkeys(record.human_labels for record in loop.store.rounds()):
        rows = np.sort(order[:count])
        answers = Answers(rows, truth[rows])
        rng = loop.project.rng("random reference", count)
        belief = believe(
            view.votes, view.features, loop.opinion, answers, folds=loop.project.task.student.folds, rng=rng
        )
        points.append((count, float((belief.probs.argmax(axis=1) == truth).mean())))
    return tuple(points)


def agreement_between(answers: list[Answer]) -> tuple[int, int]:
    """Pairs of answers to the same item, and how many of them agree."""
    by_item: dict[str, list[str]] = {}
    for answer in answers:
        if answer.label is not None:
            by_item.setdefault(answer.item_id, []).append(answer.label)
    pairs = [(a, b) for said in by_item.values() for i, a in enumerate(said) for b in said[i + 1 :]]
    return len(pairs), sum(a == b for a, b in pairs)


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


def _reliability(evaluation: Evaluation) -> tuple[Reliability, ...]:
    judged = evaluation.judged
    if judged is None:
        return ()
    return tuple(
        Reliability(name, probs.max(axis=1), probs.argmax(axis=1) == judged.truth)
        for name, probs in (("Teacher", judged.teacher), ("Student", judged.student))
    )


def _confusion(
    loop: Loop, view: View, evaluation: Evaluation
) -> tuple[np.ndarray[Any, np.dtype[np.int64]] | None, str]:
    """Rows: what is right; columns: what is delivered (all known labels), or what the student says."""
    k = len(loop.project.task.labels)
    matrix = np.zeros((k, k), dtype=np.int64)
    if loop.known is not None and evaluation.delivered_known is not None:
        index = {name: number for number, name in enumerate(loop.project.task.label_names)}
        truth = np.array([index[loop.known[item.id]] for item in loop.items])
        np.add.at(matrix, (truth, view.belief.probs.argmax(axis=1)), 1)
        return matrix, "delivered labels against all known labels of the pool"
    if evaluation.judged is None:
        return None, ""
    np.add.at(matrix, (evaluation.judged.truth, evaluation.judged.student.argmax(axis=1)), 1)
    return matrix, f"the student on {evaluation.judged.on}"


def _facts(loop: Loop, view: View, model_id: str) -> tuple[tuple[str, str], ...]:
    import importlib.metadata

    task, belief = loop.project.task, view.belief
    pairs, same = agreement_between(loop.store.answers())
    facts = [
        ("Items in the pool", f"{len(loop.items):,}"),
        ("Teachers", ", ".join(f"{t.name} ({t.model})" for t in task.teachers)),
        ("Spent on the teacher", f"${loop.store.spent_usd():.2f}"),
        ("Requests in doubt after a crash", str(loop.store.in_doubt())),
        ("Conflicts between people", str(len(view.conflicts))),
        ("Correction", f"penalty {belief.penalty}, exponents {', '.join(f'{e:.2f}' for e in belief.exponents)}"),
        ("Student", model_id),
        ("Seed", str(task.seed)),
        ("Labels (hash)", task.schema_hash()),
        (
            "Versions",
            ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "transformers", "peft", "argilla")),
        ),
    ]
    if pairs:
        facts.append(("Agreement between people", f"{same} of {pairs} pairs"))
    return tuple(facts)


def _short(path: Path) -> str:
    """Relative to where the command runs, if that is shorter to type."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
