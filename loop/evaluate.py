"""What a round is worth: teacher, student and delivered labels, each with its interval, none on items it has seen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from consensus.calibration import Calibration, calibrated, calibrations, cross_calibrated
from consensus.certificate import certify
from consensus.votes import VoteTable
from kinds.kind import Layout, Measures
from loop.learn import cross_fitted_student
from loop.project import Gold, Project
from loop.view import Corpus, View, random_draws
from stillhouse.measures import calibration_intervals, mean_score_interval, paired_mean_difference
from stillhouse.probabilities import Floats, blocks
from stillhouse.records import Interval, Pick, Value


@dataclass(frozen=True, eq=False)
class GoldView:
    """Gold with its arrays: what the teachers said of it, and its units' features."""

    gold: Gold
    corpus: Corpus


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A teacher as it is heard: `said` (u, k), and `calibrated` (u, k) by people's answers on other items; `how` is the
    calibration that all answers make.
    """

    name: str
    said: Floats
    calibrated: Floats
    how: Calibration


@dataclass(frozen=True, eq=False)
class Judged:
    """What teacher and student say beside the truth: as values, and as probabilities (u, k) of their
    units, with the truth encoded the same way (nan where it is not known). `voices` are all teachers pooled, called
    "teacher", and each by its name where there are several.
    """

    on: str
    truths: Sequence[Value]
    width: int
    item_of: NDArray[np.int64]
    encoded: Floats
    teacher: Floats
    student: Floats
    teacher_values: Sequence[Value]
    student_values: Sequence[Value]
    voices: Sequence[Voice] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """`delivered` is the certificate from blind answers; `delivered_known` the mean score of the pool's labels, where
    every label of the pool is known (rehearsals only), and `delivered_measures` the figures of the kind there.
    """

    teacher: Measures | None
    student: Measures | None
    delivered: Interval
    delivered_known: Interval | None
    delivered_measures: Measures | None
    gain: Interval | None
    judged: Judged | None
    calibration: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        named: Mapping[str, Interval | None] = {
            "teacher": self.teacher.interval if self.teacher else None,
            "student": self.student.interval if self.student else None,
            "student_macro_f1": self.student.by_name.get("macro_f1") if self.student else None,
            "delivered": self.delivered,
            "delivered_known": self.delivered_known,
            "student_gain": self.gain,
        }
        measures = {"teacher": self.teacher, "student": self.student, "delivered": self.delivered_measures}
        return {
            **{name: None if value is None else value.to_json() for name, value in named.items()},
            **{f"{name}_measures": _json(found) for name, found in measures.items()},
            "calibration": {
                who: {name: value.to_json() for name, value in figures.items()}
                for who, figures in self.calibration.items()
            },
        }


def _json(measures: Measures | None) -> dict[str, object] | None:
    return None if measures is None else {name: value.to_json() for name, value in measures.by_name.items()}


def evaluate(
    project: Project,
    view: View,
    picks: Sequence[Pick],
    gold: GoldView | None,
    gold_probs: Floats | None,
    *,
    known: Mapping[str, Value] | None,
    before: Floats | None,
    unchecked: Collection[str] = (),
) -> Evaluation:
    """`gold_probs` (u, k) are the student's on gold; `before` the previous round's student on the same units;
    `unchecked` as in `certified`.
    """
    confidence = project.task.stop.confidence
    judged = (
        _on_gold(view, gold, gold_probs, picks)
        if gold is not None and gold_probs is not None
        else _on_blind(project, view, picks)
    )
    teacher = student = gain = None
    calibration: Mapping[str, Mapping[str, Interval]] = {}
    if judged is not None and len(judged.truths):
        calibration = _calibration(project, judged)
        teacher, student = (
            view.kind.measures(judged.truths, values, confidence=confidence, on=judged.on, rng=project.rng("bootstrap"))
            for values in (judged.teacher_values, judged.student_values)
        )
        if before is not None and gold is not None and before.shape == judged.student.shape:
            earlier = gold.corpus.decoded(before, view.thresholds)
            scores = [_scores(view, judged.truths, values) for values in (earlier, judged.student_values)]
            gain = paired_mean_difference(scores[0], scores[1], confidence, judged.on)
    known_interval, known_measures = _against(project, view, known)
    return Evaluation(
        teacher=teacher,
        student=student,
        delivered=certified(project, view, picks, unchecked),
        delivered_known=known_interval,
        delivered_measures=known_measures,
        gain=gain,
        judged=judged,
        calibration=calibration,
    )


def _calibration(project: Project, judged: Judged) -> dict[str, dict[str, Interval]]:
    """Of teachers and student: how far the probability of every single decision can be trusted; of a teacher also once
    people's answers have calibrated it, where they changed anything.
    """
    known = ~np.isnan(judged.encoded).any(axis=1)
    each = judged.encoded.shape[1] // judged.width
    truth = blocks(judged.encoded[known], judged.width).argmax(axis=1)
    if not len(truth):
        return {}
    return {
        who: calibration_intervals(
            blocks(probs[known], judged.width),
            truth,
            np.repeat(judged.item_of[known], each),
            confidence=project.task.stop.confidence,
            on=judged.on,
            rng=project.rng("bootstrap of calibration"),
        )
        for who, probs in opinions_of(judged)
    }


def opinions_of(judged: Judged) -> list[tuple[str, Floats]]:
    """Whose probabilities (u, k) are judged, in the order of a page."""
    found: list[tuple[str, Floats]] = []
    for voice in judged.voices:
        found.append((voice.name, voice.said))
        if voice.how.method != "identity":
            found.append((f"{voice.name}, calibrated", voice.calibrated))
    return [*found, ("student", judged.student)]


def certified(project: Project, view: View, picks: Sequence[Pick], unchecked: Collection[str] = ()) -> Interval:
    """The mean score of the delivered labels of the whole pool, from blind random answers alone.

    `unchecked` are items with an answer that elsewhere would have been checked by a second person: what they deliver is
    known, but not what people would say of them in the end, so they count like items that nobody has answered.
    """
    known = view.answered & np.array([item.id not in unchecked for item in view.items], dtype=bool)
    labels = {item_id: value for item_id, value in view.labels.items() if item_id not in unchecked}
    return certify(
        view.unseen_error,
        view.expected_error,
        known,
        random_draws(view.items, picks, labels),
        project.task.stop.confidence,
    )


def _on_gold(view: View, gold: GoldView, probs: Floats, picks: Sequence[Pick]) -> Judged:
    corpus, truths = gold.corpus, gold.gold.values
    pooled = corpus.votes.of_teachers().pooled()
    return Judged(
        on=f"{len(truths)} gold items",
        truths=truths,
        width=corpus.kind.width,
        item_of=corpus.layout.item_of,
        encoded=_encoded(corpus, truths),
        teacher=pooled,
        student=probs,
        teacher_values=corpus.decoded(pooled),
        student_values=corpus.decoded(probs, view.thresholds),
        voices=_voices(view, corpus.votes, None, picks),
    )


def _voices(view: View, votes: VoteTable, rows: NDArray[np.intp] | None, picks: Sequence[Pick]) -> list[Voice]:
    """Teachers on gold, or (`votes` being the pool's) on the pool's `rows`, each calibrated without its item's answer.

    Only the answers of the random share teach the calibration: on items that were picked for being hard a teacher is right less
    often than elsewhere, and looks too sure. The pool of the votes is calibrated by itself, because
    a mean of calibrated opinions is not calibrated (Ranjan & Gneiting 2010).
    """
    belief, groups = view.belief, None if view.kind.per_text else view.corpus.layout.item_of
    drawn = {view.corpus.number[pick.item_id] for pick in picks if pick.inclusion_probability is not None}
    random = belief.answers.only(np.isin(view.corpus.layout.item_of[belief.answers.rows], sorted(drawn)))
    found = []
    for (name, ours), (_, theirs) in zip(_heard(view.corpus.votes), _heard(votes), strict=True):
        how = calibrations(ours, random, groups)
        if rows is None:
            after, before = calibrated(theirs, how).probs[0], theirs.probs[0]
        else:
            after = cross_calibrated(ours, random, belief.folds, groups).probs[0][rows]
            before = ours.probs[0][rows]
        found.append(Voice(name, before, after, how[0]))
    return found


def _heard(votes: VoteTable) -> list[tuple[str, VoteTable]]:
    """All teachers pooled as one, then, if they are several, each by itself; where there are none, the rules."""
    votes = votes.of_teachers()
    anybody = votes.usable.max(axis=0, keepdims=True)
    pooled = VoteTable((votes.voice,), votes.pooled()[None], anybody, votes.width)
    alone = [
        (f"teacher {name}", VoteTable((name,), votes.probs[at : at + 1], votes.usable[at : at + 1], votes.width))
        for at, name in enumerate(votes.sources)
    ]
    return [(votes.voice, pooled), *(alone if len(alone) > 1 else [])]


def _on_blind(project: Project, view: View, picks: Sequence[Pick]) -> Judged | None:
    """The random share so far, each item predicted by a student that has not seen its answer."""
    blind = {pick.item_id for pick in picks if pick.inclusion_probability is not None and pick.item_id in view.labels}
    if not blind or view.belief.folds.max(initial=-1) < 0:
        return None
    chosen = [number for number, item in enumerate(view.items) if item.id in blind]
    student, pooled = cross_fitted_student(view, project.task.student), view.corpus.votes.of_teachers().pooled()
    part = _part(view.corpus, chosen)
    rows = np.concatenate([np.arange(r.start, r.stop) for r in map(view.corpus.layout.rows, chosen)]).astype(np.intp)
    student_rows = np.where(np.isnan(student[rows]), 1.0 / view.kind.width, student[rows])
    truths = [view.labels[item.id] for item in part.items]
    return Judged(
        on=f"{len(truths)} blind answers, cross-fitted",
        truths=truths,
        width=part.kind.width,
        item_of=part.layout.item_of,
        encoded=_encoded(part, truths),
        teacher=pooled[rows],
        student=student_rows,
        teacher_values=part.decoded(pooled[rows]),
        student_values=part.decoded(student_rows, view.thresholds),
        voices=_voices(view, view.corpus.votes, rows, picks),
    )


def _part(corpus: Corpus, chosen: Sequence[int]) -> Corpus:
    """Some of the items by themselves, for decoding; votes and features stay those of all."""
    items = tuple(corpus.items[number] for number in chosen)
    return Corpus(
        corpus.kind, items, Layout.of(corpus.kind, items), corpus.features, corpus.texts, corpus.votes, corpus.opinion
    )


def _encoded(corpus: Corpus, truths: Sequence[Value]) -> NDArray[np.float64]:
    parts = [
        corpus.kind.encode(item, corpus.layout.spans[corpus.layout.rows(number)], truth)
        for number, (item, truth) in enumerate(zip(corpus.items, truths, strict=True))
    ]
    return np.concatenate(parts) if parts else np.zeros((0, len(corpus.kind.columns)))


def _scores(view: View, truths: Sequence[Value], values: Sequence[Value]) -> NDArray[np.float64]:
    return np.array([view.kind.score(truth, value) for truth, value in zip(truths, values, strict=True)])


def _against(
    project: Project, view: View, known: Mapping[str, Value] | None
) -> tuple[Interval | None, Measures | None]:
    if known is None or any(item.id not in known for item in view.items):
        return None, None
    truths = [known[item.id] for item in view.items]
    on = f"all {len(truths)} known labels of the pool (rehearsal)"
    confidence, rng = project.task.stop.confidence, project.rng("bootstrap of the pool")
    scores = mean_score_interval(_scores(view, truths, view.delivered), confidence, on, rng)
    return scores, view.kind.measures(truths, view.delivered, confidence=confidence, on=on, rng=rng)
