"""The loop: teacher, belief, student, evaluation, decision, people; again until it is enough.

What to do next is read off the store and the run's folder, never remembered: a killed run is repeated and goes on.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kinds.kind import Layout
from loop.asked import Asked, asked_of
from loop.cards import write_measured_card
from loop.choose import agree, is_audit, next_picks
from loop.decide import Decision, Standing, decide
from loop.desk_records import suggestions_of
from loop.desks import OpenDesk
from loop.elsewhere import Elsewhere
from loop.evaluate import Evaluation, GoldView, certified, evaluate
from loop.follow import unchecked, verifications
from loop.kept import belief_before, keep, kept
from loop.learn import Recipe, Trained, base_of, features_of, recipe_of, train
from loop.library import library_of
from loop.people_asked import AtDesk, ask_people
from loop.progress import Display
from loop.project import (
    Gold,
    Project,
    check_labels,
    read_gold,
    read_known_labels,
    read_pool,
    rounds_before,
    same_meaning_since,
    same_task,
)
from loop.risk import audit_words, judges_of, taught_view
from loop.rules import table_of
from loop.teach import ask_teachers, ask_with_examples
from loop.view import Corpus, View, opinion_of_votes, view_of
from serving.student import inputs_of
from stillhouse.errors import InputError
from stillhouse.probabilities import Floats
from stillhouse.records import Item, RoundRecord, Value
from stillhouse.store import Store
from trainer.base import Base
from trainer.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of `run_rounds` ended: the loop stopped, or it waits for people."""

    stopped: bool
    reason: str
    rounds: int
    waiting: int = 0
    link: str = ""


@dataclass(slots=True)
class Loop:
    """What stays the same through all rounds of one process."""

    project: Project
    store: Store
    desk: OpenDesk
    display: Display
    corpus: Corpus
    base: Base
    gold: GoldView | None
    known: dict[str, Value] | None
    elsewhere: Elsewhere | None = None
    waiting: int = 0  # records that people still have to answer
    last: tuple[View, Trained, Evaluation] | None = field(default=None)
    on_gold: tuple[str, Floats] | None = field(default=None)  # of which student, and what it says of gold

    @property
    def items(self) -> tuple[Item, ...]:
        return self.corpus.items

    @property
    def asked(self) -> Asked:
        return asked_of(self.store, self.project.task.desk.min_submitted)

    def view(self) -> View:
        return view_of(self.project, self.corpus, self.store.answers())


def open_loop(
    project: Project,
    store: Store,
    display: Display,
    on_desk_line: Callable[[str], None],
    elsewhere: Elsewhere | None = None,
) -> Loop:
    """Everything a round needs: texts read and checked, teachers asked, features made. Raises before anything is paid
    where the input is wrong.
    """
    check_labels(project, store)  # first: that gold has other labels now says less
    items = read_pool(project)
    gold = read_gold(project, items)
    known = read_known_labels(project, items)
    same_task(project, store)
    store.add_items(items)
    base = base_of(project)
    desk = OpenDesk(project, on_desk_line)
    if project.task.desk.kind != "embedded":
        desk.desk.waiting()  # a desk that is down or refuses the key says so before the teacher is paid
    library = library_of(project, base, display, items, store.picks(), store.answers())
    ask_teachers(project, store, [*items, *(gold.items if gold else ())], display, library, elsewhere)
    return Loop(
        project=project,
        store=store,
        desk=desk,
        display=display,
        corpus=corpus_of(project, store, base, items, display),
        base=base,
        gold=_gold_view(project, store, base, gold, display),
        known=known,
        elsewhere=elsewhere,
    )


def _gold_view(project: Project, store: Store, base: Base, gold: Gold | None, display: Display) -> GoldView | None:
    return None if gold is None else GoldView(gold, gold_corpus_of(project, store, base, gold.items, display))


def corpus_of(project: Project, store: Store, base: Base, items: Sequence[Item], display: Display) -> Corpus:
    """The pool with what its teachers said and the base sees in it."""
    bare = gold_corpus_of(project, store, base, items, display, "the pool")
    texts = bare.features
    if not bare.kind.per_text:
        texts = features_of(project, base, Inputs([item.text for item in items]), display, "whole texts")
    opinion = opinion_of_votes(project, bare.layout, bare.features, bare.votes)
    return replace(bare, texts=texts, opinion=opinion)


def gold_corpus_of(
    project: Project, store: Store, base: Base, items: Sequence[Item], display: Display, name: str = "gold"
) -> Corpus:
    """Items that are only predicted: their votes stand for an opinion, and nobody asks how alike their texts are."""
    kind = project.kind
    layout = Layout.of(kind, items)
    votes = table_of(project, kind, layout, items, store.votes())
    features = features_of(project, base, inputs_of(kind, items, layout), display, name)
    return Corpus(kind, tuple(items), layout, features, features, votes, votes.pooled())


def run_rounds(loop: Loop, *, most: int | None = None, wait: bool = False, partial: bool = False) -> Outcome:
    """Rounds until the loop stops, people are awaited, or `most` rounds were finished.

    `wait` waits for people here; `partial` goes on with what they have answered, where that is anything.
    """
    finished = 0
    while True:
        number = len(loop.store.rounds())
        if number and loop.store.rounds()[-1].decision == "stop":
            if loop.last is None:
                last_round_of(loop, number - 1)
            return Outcome(True, loop.store.rounds()[-1].reason, number)
        if number:
            _ask_people(loop, number, wait=wait, partial=partial)
            if loop.waiting:
                return Outcome(False, "people are asked", number, loop.waiting, loop.desk.desk.link())
        if most is not None and finished >= most:
            return Outcome(False, f"{most} rounds were asked for", number)
        decision = _learn(loop, number)
        finished += 1
        loop.display.line(f"  {'stop' if decision.stop else 'go on'}: {decision.reason}")
        if not decision.stop:
            _choose(loop, number + 1)


def _learn(loop: Loop, number: int) -> Decision:
    """Belief, decision, student and evaluation of one round; the round's record is written last."""
    started = time.monotonic()
    loop.display.line(f"Round {number}")
    _show_examples(loop, number)
    view = loop.view()
    asked = loop.asked
    delivered = certified(loop.project, view, asked.for_figures(), unchecked(loop.project, loop.corpus, asked))
    keep(loop.project, f"belief-{number:02d}", view.belief.probs)
    standing = Standing(
        round=number,
        human_labels=len(view.labels) + asked.checks,
        unanswered=sum(item.id not in asked.pick_of for item in loop.items),
        delivered=delivered,
        changed=_changed(loop, view, number),
    )
    decision = decide(loop.project.task, standing)
    recipe = recipe_of(loop.project, last=decision.stop)
    student = _taught(loop, view, number, recipe)
    evaluation = _evaluated(loop, view, student, number)
    write_measured_card(loop.project.student(number), evaluation)
    record = RoundRecord(
        round=number,
        human_labels=len(view.labels),
        student_dir=str(loop.project.student(number).relative_to(loop.project.folder)),
        metrics={
            **evaluation.to_json(),
            "changed": standing.changed,
            "conflicts": len(view.conflicts),
            "penalty": view.belief.penalty,
            "exponents": list(view.belief.exponents),
            "temperature": view.belief.temperature,
            "student_facts": dict(student.facts),
        },
        cost_usd=loop.store.spent_usd(),
        seconds=time.monotonic() - started,
        decision="stop" if decision.stop else "continue",
        reason=decision.reason,
    )
    loop.store.add_round(record)
    loop.last = (view, student, evaluation)
    _say(loop, evaluation, len(view.labels))
    return decision


def _show_examples(loop: Loop, number: int) -> None:
    """Teachers that show examples are asked with what people have said by now; what they say is seen from here on."""
    if not number or not any(teacher.demonstrations for teacher in loop.project.task.teachers):
        return
    project, store, gold = loop.project, loop.store, loop.gold.gold if loop.gold else None
    library = library_of(project, loop.base, loop.display, loop.items, store.picks(), store.answers())
    everything = [*loop.items, *(gold.items if gold else ())]
    if ask_with_examples(project, store, everything, loop.display, library, number, loop.elsewhere):
        loop.corpus = corpus_of(project, store, loop.base, loop.items, loop.display)
        loop.gold = _gold_view(project, store, loop.base, gold, loop.display)


def last_round_of(loop: Loop, number: int) -> None:
    """What a finished round left, for a report after the fact: the student is loaded, not trained.

    Raises InputError where the labels have changed since: no student has learned the new ones yet.
    """
    if number < rounds_before(loop.store):
        raise InputError(
            "the labels have changed since the last round",
            expected="a round with the new labels",
            found=f"{number + 1} rounds with other labels",
            fix=f"stillhouse run {loop.project.task_path} --run {loop.project.folder}",
        )
    view = loop.view()
    recipe = recipe_of(loop.project, last=loop.store.rounds()[number].decision == "stop")
    student = _taught(loop, view, number, recipe)
    loop.last = (view, student, _evaluated(loop, view, student, number))


def _taught(loop: Loop, view: View, number: int, recipe: Recipe) -> Trained:
    """The round's student; what its errors can be certified on is kept from it."""
    gold = None if loop.gold is None else loop.gold.gold
    judges = judges_of(loop.project, view, loop.asked.for_figures(), gold, lambda student: _on_gold(loop, student))
    taught = taught_view(loop.project, view, loop.store.answers(), judges)
    taught_by = loop.elsewhere.taught if loop.elsewhere else None
    return train(loop.project, loop.base, taught, number, recipe, loop.display, judges, taught_by)


def _on_gold(loop: Loop, student: Trained) -> Floats:
    """(u, k): what the student says of gold, asked once."""
    assert loop.gold is not None
    if loop.on_gold is None or loop.on_gold[0] != student.model_id:
        corpus = loop.gold.corpus
        said = student.predict(inputs_of(corpus.kind, corpus.items, corpus.layout)).astype(np.float64)
        loop.on_gold = (student.model_id, said)
    return loop.on_gold[1]


def _evaluated(loop: Loop, view: View, student: Trained, number: int) -> Evaluation:
    gold_probs, asked = None if loop.gold is None else _on_gold(loop, student), loop.asked
    evaluation = evaluate(
        loop.project,
        view,
        asked.for_figures(),
        loop.gold,
        gold_probs,
        known=loop.known,
        before=kept(loop.project, f"gold-{number - 1:02d}"),
        unchecked=unchecked(loop.project, loop.corpus, asked),
    )
    if gold_probs is not None:
        keep(loop.project, f"gold-{number:02d}", gold_probs)
    return evaluation


def _choose(loop: Loop, number: int) -> None:
    """The next batch, stored whole before anybody sees it."""
    if loop.store.picks(number):
        return
    assert loop.last is not None
    view = loop.last[0]
    task = loop.project.task
    asked, size = loop.asked, task.selection.batch
    if task.budget.human_labels is not None:
        left = task.budget.human_labels - len(view.labels) - asked.checks
        size = min(size, math.ceil(left / (1 + task.desk.second_opinions)))  # the rest is for second opinions
    if is_audit(loop.project, view, number) and not agree(loop.project, view):
        loop.display.line(f"  {audit_words(loop.project, size)}")
    elif is_audit(loop.project, view, number):
        agreement = loop.corpus.votes.of_teachers().agreement()
        loop.display.line(
            f"  the teacher's variants agree on {agreement:.1%}: the first batch is an audit, all of it random"
        )
    picks = next_picks(loop.project, view, asked.pick_of, number, size)
    suggestions = suggestions_of(loop.corpus, belief_before(loop.project, number), picks)
    # First how they are asked: without the picks nobody sees it, and a pick that is known is not chosen again.
    loop.store.add_askings(verifications(loop.project, picks, suggestions))
    loop.store.add_picks(picks)


def _ask_people(loop: Loop, number: int, *, wait: bool, partial: bool) -> None:
    """What the round picked is answered, or `loop.waiting` records still wait."""
    _believe_in_new_labels(loop, number)
    _choose(loop, number) if loop.last is not None else _choose_late(loop, number)
    loop.waiting = len(loop.asked.due_in(number))  # also where this is interrupted: people go on at the desk
    at = AtDesk(loop.project, loop.store, loop.desk, loop.display, loop.corpus, loop.base, loop.known, number)
    loop.waiting = ask_people(at, wait=wait, partial=partial)


def _choose_late(loop: Loop, number: int) -> None:
    """A run was killed between the round's record and its batch: look again and choose as it would have."""
    if not loop.store.picks(number) and number != rounds_before(loop.store):
        last_round_of(loop, number - 1)
        _choose(loop, number)


def _believe_in_new_labels(loop: Loop, number: int) -> None:
    """Where labels have changed since the last round, what is suggested comes from what teachers say in the new ones."""
    name = f"belief-{number - 1:02d}"
    if number == rounds_before(loop.store) and kept(loop.project, name) is None:
        keep(loop.project, name, loop.view().belief.out_of_fold)


def _changed(loop: Loop, view: View, number: int) -> float | None:
    """Share of delivered labels that differ from those `patience` rounds ago; None where labels meant something else."""
    earlier = number - loop.project.task.stop.patience
    before = kept(loop.project, f"belief-{earlier:02d}") if earlier >= same_meaning_since(loop.store) else None
    if before is None or before.shape != view.belief.probs.shape:
        return None
    kind, corpus = view.kind, view.corpus
    then = corpus.decoded(before, kind.thresholds(before))
    now = corpus.decoded(view.belief.probs, kind.thresholds(view.belief.probs))
    differs = [kind.normal(item, a) != kind.normal(item, b) for item, a, b in zip(view.items, then, now, strict=True)]
    return float(np.mean(differs))


def _say(loop: Loop, evaluation: Evaluation, human_labels: int) -> None:
    parts = [f"{human_labels} answers of people", f"delivered {evaluation.delivered.percent()}"]
    if evaluation.student is not None:
        interval = evaluation.student.interval
        parts.append(f"student {evaluation.student.main} {interval.percent()} on {interval.on}")
    loop.display.line("  " + ", ".join(parts))
