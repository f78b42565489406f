"""The one training loop of the house: whoever is taught, adapters or all weights, labels or writing, is taught here."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.errors import ModelError
from stillhouse.settings import Student
from trainer.checkpoint import Checkpoint, State
from trainer.features import device, in_threads, length_batches
from trainer.pace import Clock, Progress, pacer
from trainer.workers import Workers, same_everywhere

WARMUP_SHARE = 0.1
MAX_GRADIENT_NORM = 1.0
WEIGHT_DECAY = 0.01
MICRO_BATCH_TOKENS = 1024  # as fast as larger ones on one CPU thread, and two threads can share a step
BUCKET_STEPS = 8  # texts of so many steps are sorted together: little padding, still mixed

Batch = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What is taught. `groups` are parameters with their learning rates, as an optimizer takes them.

    `loss(batch)` is the loss summed over some examples (their positions); `lengths` (n,) are the tokens of each
    example and `terms` (n,) the terms its loss is the sum of. `before_step` is called where parameters have changed.
    `held_out()` is the mean log-likelihood of what is held out, where training is to stop early. `draws` says that the
    loss draws random numbers (dropout): then one thread is used, because all threads draw from one stream.
    """

    groups: Sequence[dict[str, Any]]
    loss: Callable[[Batch], torch.Tensor]
    lengths: NDArray[np.int64]
    terms: NDArray[np.int64]
    before_step: Callable[[], None] = lambda: None
    held_out: Callable[[], float] | None = None
    threads: int = 1
    draws: bool = False


@dataclass(frozen=True, slots=True)
class Taught:
    """`losses` are the mean losses of the steps, `final_loss` that of the last epoch; `seconds` are of this process
    alone, and `tokens` what it has seen in them. `epochs` counts those whose outcome was kept, `held_out` what each was
    worth (empty without early stopping).
    """

    tokens: int
    seconds: float
    final_loss: float
    losses: list[float] = field(repr=False)
    epochs: int = 0
    held_out: tuple[float, ...] = ()


def teach(
    course: Course,
    settings: Student,
    seed: int,
    *,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    workers: Workers | None = None,
) -> Taught:
    """AdamW with linear warm-up and decay; a step is `settings.tokens_per_batch` tokens, its gradient the mean over its
    terms.

    A step is made of micro-batches of whole examples, which are a property of data and seed alone. Threads and processes
    only share them out and add their gradients up in order: one thread, four threads or two processes give the same
    student, up to the last bits of a sum. Training that was killed goes on from its last checkpoint as if nothing had
    been. Raises ModelError where the loss is not finite at the end.
    """
    workers = workers or Workers()
    trained = [parameter for group in course.groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW([dict(group) for group in course.groups])
    rates = [group["lr"] for group in course.groups]
    plan = [list(steps_of(course.lengths, settings, seed, epoch, workers.count)) for epoch in range(settings.epochs)]
    total_steps = sum(len(steps) for steps in plan)
    state = State.begin() if checkpoint is None else checkpoint.read(trained, optimizer)
    same_everywhere(workers, f"step {len(state.losses)}".encode)
    tell = pacer("training", int(course.lengths.sum()) * settings.epochs, "tokens", progress)
    clock, seen, done, number = Clock(), 0, 0, 0

    for epoch, steps in enumerate(plan, start=1):
        for step in steps:
            number += 1
            tokens = int(sum(course.lengths[batch].sum() for batch in step))
            if number <= len(state.losses):  # taken before the process was killed
                done += tokens
                continue
            course.before_step()
            seeds = (seed * 1_000_003 + number) * 1_009
            mine = [(seeds + place, batch) for place, batch in enumerate(step) if workers.has(place)]
            gradient, loss = workers.summed(*_gradient(course, trained, mine))
            terms = int(sum(course.terms[batch].sum() for batch in step))
            for parameter, part in zip(trained, gradient, strict=True):
                parameter.grad = part / terms
            torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
            for group, highest in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = highest * rate(number - 1, total_steps)
            optimizer.step()
            state.losses.append(loss / terms)
            seen, done = seen + tokens, done + tokens
            tell(done, f"epoch {epoch}/{settings.epochs}")
            if checkpoint is not None and workers.first:
                checkpoint.after_step(state, trained, optimizer)
        course.before_step()
        if course.held_out is not None:
            state.judge(epoch, course.held_out, trained)
        if settings.patience and state.idle(epoch) >= settings.patience:
            break
    if checkpoint is not None and workers.first:
        checkpoint.write(state, trained, optimizer)
    kept = state.restore(trained) or len(state.held_out) or settings.epochs
    course.before_step()
    losses = [float(loss) for loss in state.losses]
    final = _finite(losses[-len(plan[-1]) :], max(rates))
    return Taught(seen, clock.seconds(), final, losses, kept, tuple(state.held_out))


def _finite(losses: Sequence[float], rate: float) -> float:
    mean = float(np.mean(losses))
    if not math.isfinite(mean):
        raise ModelError(
            "training diverged",
            expected="a finite loss",
            found=f"a loss of {mean} in the last epoch",
            fix=f"lower student.learning_rate (it is {rate:g}) in task.toml",
        )
    return mean


def _gradient(
    course: Course, trained: Sequence[torch.nn.Parameter], mine: Sequence[tuple[int, Batch]]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The summed gradients and loss of some micro-batches, added in their order. Each comes with the seed of its dropout,
    so that a step that is repeated, or taken by another process, draws the same.
    """

    def work(part: tuple[int, Batch]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        seed, batch = part
        with torch.random.fork_rng(enabled=course.draws):
            if course.draws:
                torch.manual_seed(seed)
            loss = course.loss(batch)
        return loss.detach(), torch.autograd.grad(loss, trained, materialize_grads=True)

    total = [torch.zeros_like(parameter) for parameter in trained]
    loss_sum = torch.zeros((), device=device())
    for loss, gradient in in_threads(work, mine, 1 if course.draws else course.threads):
        torch._foreach_add_(total, list(gradient))
        loss_sum += loss
    return total, loss_sum


def steps_of(
    lengths: NDArray[np.int64], settings: Student, seed: int, epoch: int, processes: int = 1
) -> Iterator[list[Batch]]:
    """The steps of an epoch, each a list of micro-batches of like lengths (positions of examples).

    A GPU takes its share of a step at once.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    on_cpu = device().type == "cpu"
    whole = settings.tokens_per_batch
    micro_tokens = max(1, min(MICRO_BATCH_TOKENS, whole // 2) if on_cpu else whole // processes)
    per_step = max(1, whole // micro_tokens)
    bucket_tokens = whole * BUCKET_STEPS
    filled = np.cumsum(lengths[order]) // bucket_tokens
    micro_batches = [
        bucket[batch]
        for bucket in (order[filled == number] for number in np.unique(filled))
        for batch in length_batches(lengths[bucket], micro_tokens)
    ]
    shuffled = [micro_batches[place] for place in rng.permutation(len(micro_batches))]
    for start in range(0, len(shuffled), per_step):
        yield shuffled[start : start + per_step]


def rate(step: int, total_steps: int) -> float:
    warmup = max(1, math.ceil(WARMUP_SHARE * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup))
