"""A teacher that runs on this machine: its votes are the likelihoods of the labels, and cost nothing but time."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prompts.likelihood import Choice, choice_of, local_name
from prompts.parse import Reading, abstain
from prompts.windows import WINDOW_TOKENS, merge, windows_of
from stillhouse.errors import TeacherError
from stillhouse.ledger import Ledger
from stillhouse.probabilities import softmax
from stillhouse.records import Item, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Task
from teacher.wire import request_key
from trainer.likelihood import Options, Scorer, length_bias
from trainer.likelihood_models import load_local

ITEMS_A_GROUP = 64  # whose votes are written together: what a kill can cost
SMALLEST_WINDOW = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """What asking showed. `mass` is the mean probability of all allowed answers together, `length_bias` how the names'
    likelihoods go with their lengths (see `trainer.likelihood.length_bias`), nan where labels are asked by code.
    """

    items: int
    items_per_s: float
    mass: float
    length_bias: float
    truncated: int

    def sentence(self) -> str:
        parts = [f"{self.items_per_s:,.1f} items/s", f"{self.mass:.0%} of its probability on the answers it may give"]
        if self.length_bias < -0.5:
            parts.append(f'it prefers short names (correlation {self.length_bias:.2f}): ask = "logprobs" asks by code')
        if self.truncated:
            parts.append(f"{self.truncated:,} texts do not fit into its context")
        return ", ".join(parts)


@dataclass(slots=True)
class _Tally:
    """What is added up from item to item; `sums` are the log-likelihoods of all answers, in one row."""

    started: float = field(default_factory=time.monotonic)
    items: int = 0
    truncated: int = 0
    questions: int = 0
    mass: float = 0.0
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    def add(self, log_p: NDArray[np.float64]) -> None:
        """(q, a) of one text."""
        self.questions += len(log_p)
        self.mass += float(np.exp(log_p).sum())
        self.sums = self.sums + log_p.ravel()

    def asked(self, scorer: Scorer) -> Asked:
        lengths = scorer.answer_tokens()
        bias = length_bias(self.sums[None], lengths) if scorer.options.end and self.questions else math.nan
        rate = self.items / max(time.monotonic() - self.started, 1e-9)
        return Asked(self.items, rate, self.mass / max(self.questions, 1), bias, self.truncated)


def ask_local(
    items: Sequence[Item],
    task: Task,
    teacher: Teacher,
    ledger: Ledger,
    *,
    home: Path,
    progress: Callable[[int, str], None] | None = None,
) -> Asked:
    """Every item gets a vote of this teacher, written in groups: whoever is killed goes on with the items that have none.

    A relative `teacher.local` starts at `home`, if it exists there. A label's probability is that of its code or of its
    name with its end (codes keep what lies beside them as residual; names are set against each other alone); with many
    labels a text, that of "yes" against "no". Raises TeacherError where the task cannot be asked so, ModelError where the
    model cannot be used.
    """
    choice = choice_of(task, teacher)
    if pictured := [item.id for item in items if item.image]:
        raise TeacherError(
            f"teacher {teacher.name}: a local model reads texts only",
            expected="items without pictures",
            found=f"{len(pictured):,} with one, such as {pictured[0]!r}",
            fix="leave data.image out, or take an API that can see",
        )
    local = load_local(local_name(teacher, home))
    scorer = Scorer(local, choice.common.system, Options(choice.answers, choice.tails, end=choice.end))
    tally = _Tally()
    if not scorer.fits(choice.message(Item("", ""))):
        raise TeacherError(
            f"teacher {teacher.name}: the labels and guidelines alone do not fit into the model's context",
            expected=f"a prompt of at most {local.longest_tokens:,} tokens",
            found=f"{len(choice.common.system.encode()):,} bytes before any text",
            fix="take a model with a longer context, or shorten guidelines and descriptions",
        )
    for start in range(0, len(items), ITEMS_A_GROUP):
        group = items[start : start + ITEMS_A_GROUP]
        votes = _votes(group, task, teacher, choice, scorer, f"local:{local.sha256}", tally)
        ledger.record_votes(votes)
        tally.items += len(group)
        tally.truncated += sum(not vote.usable for vote in votes)
        if progress is not None:
            progress(tally.items, tally.asked(scorer).sentence())
    return tally.asked(scorer)


def _votes(
    items: Sequence[Item],
    task: Task,
    teacher: Teacher,
    choice: Choice,
    scorer: Scorer,
    endpoint: str,
    tally: _Tally,
) -> list[Vote]:
    parts = [_parts(scorer, choice, item, teacher.context_tokens or WINDOW_TOKENS) for item in items]
    messages = [[choice.message(part) for _, part in each] for each in parts]
    scores = iter(scorer.scores([message for each in messages for message in each]))
    votes = []
    for item, each, asked in zip(items, parts, messages, strict=True):
        reading = merge(task.kind, item, each, [_reading(task, choice, next(scores), tally) for _ in each])
        body = json.dumps([choice.common.system, asked, choice.tails, choice.answers, choice.end]).encode()
        votes.append(
            Vote(
                item_id=item.id,
                source=teacher.name,
                probs=reading.probs,
                residual=reading.residual,
                origin="likelihood",
                status=reading.status,
                prompt_id=choice.common.prompt_id,
                request_key=request_key(body, model=teacher.model, endpoint=endpoint, variant=teacher.name, sample=0),
                cost_usd=0.0,
                findings=reading.findings,
                guidelines=task.guidelines_id(),
            )
        )
    return votes


def _parts(scorer: Scorer, choice: Choice, item: Item, tokens: int) -> list[tuple[int, Item]]:
    """The item's windows, ever smaller until the model can hold each of them, or as small as they get."""
    parts = windows_of(item, tokens)
    while tokens > SMALLEST_WINDOW and not all(scorer.fits(choice.message(part)) for _, part in parts):
        tokens //= 2
        parts = windows_of(item, tokens)
    return parts


def _reading(task: Task, choice: Choice, log_p: NDArray[np.float64], tally: _Tally) -> Reading:
    """What the answers' log-likelihoods (q, a) say of one text."""
    if np.isnan(log_p).any():
        return abstain(len(task.labels), "truncated", "likelihood")
    tally.add(log_p)
    if task.kind == "multi_label":
        return Reading(tuple(softmax(log_p)[:, 1].tolist()), 0.0, "likelihood", "ok")
    if choice.end:
        return Reading(tuple(softmax(log_p)[0].tolist()), 0.0, "likelihood", "ok")
    probs = np.exp(log_p[0])
    probs /= max(float(probs.sum()), 1.0)  # rounding only: codes are distinct events
    return Reading(tuple(probs.tolist()), max(0.0, 1.0 - math.fsum(probs)), "likelihood", "ok")
