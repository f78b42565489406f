"""LoRA on a causal language model, trained on what it should write after each prompt."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.errors import ModelError
from stillhouse.settings import Student
from trainer.base import Base
from trainer.decoding import inputs_for, left_padded, scores_after
from trainer.features import device, in_threads
from trainer.lora import MAX_GRADIENT_NORM, WEIGHT_DECAY, Clock, rate, steps_of
from trainer.pace import Progress, pacer


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens to read, tokens to write, and how much it counts. `decisions` are taught: places in the target, each with
    the tokens that are legal there, the right one first.
    """

    prompt: list[int]
    target: list[int]
    decisions: list[tuple[int, tuple[int, ...]]]
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """A peft model (adapter not merged), tokens read in training, and the last epoch's mean loss (nats a decision)."""

    model: Any
    tokens: int
    seconds: float
    final_loss: float


def adapt_decoder(base: Base, settings: Student, seed: int) -> Any:
    """A copy of the base with a fresh LoRA adapter on all linear layers but the one that scores the vocabulary."""
    import peft
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers, stored the other way round

    scores = base.encoder.get_output_embeddings()
    linear = {
        name: module
        for name, module in base.encoder.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not scores
    }
    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=sorted(linear),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in linear.values()),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(copy.deepcopy(base.encoder), config).to(device())


def train_writer(
    base: Base, examples: Sequence[Example], settings: Student, seed: int, progress: Progress | None = None
) -> Taught:
    """Train the adapter by weighted cross-entropy of each taught decision among what is legal there: just the
    distributions that decoding reads, so nothing is spent on what the grammar knows. Steps are those of `train_lora`.

    Threads share micro-batches out without changing the result (with lora_dropout > 0 one is used). Raises ModelError
    where the loss is not finite at the end.
    """
    model = adapt_decoder(base, settings, seed)
    model.eval()  # the base's own dropout stays off
    threads = settings.threads
    if settings.lora_dropout > 0:
        threads = 1
        for name, module in model.named_modules():
            module.train("lora_dropout" in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    counts = np.array([len(example.decisions) for example in examples])
    mean_weight = float(np.average([example.weight for example in examples], weights=counts))

    def gradients(batch: NDArray[np.int64]) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        loss = _loss(model, [examples[place] for place in batch]) / mean_weight
        return loss.detach(), torch.autograd.grad(loss, trained)

    lengths = np.array([len(example.prompt) + len(example.target) for example in examples], dtype=np.int64)
    epochs = [list(steps_of(lengths, settings, seed, epoch)) for epoch in range(settings.epochs)]
    total_steps = sum(len(epoch) for epoch in epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, total_steps))
    tell = pacer("training", int(lengths.sum()) * settings.epochs, "tokens", progress)
    clock = Clock()
    seen_tokens, loss_sum = 0, 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for epoch, steps in enumerate(epochs, start=1):
            losses: list[torch.Tensor] = []
            for step in steps:
                results = list(in_threads(gradients, step, threads))
                decisions = sum(int(counts[batch].sum()) for batch in step)
                for place, parameter in enumerate(trained):
                    parameter.grad = sum((parts[place] for _, parts in results[1:]), results[0][1][place]) / decisions
                torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
                optimizer.step()
                schedule.step()
                losses += [loss for loss, _ in results]
                seen_tokens += int(sum(lengths[batch].sum() for batch in step))
                tell(seen_tokens, f"epoch {epoch}/{settings.epochs}")
            loss_sum = float(torch.stack(losses).sum())
    model.eval()
    if not math.isfinite(loss_sum):
        raise ModelError(
            "LoRA training diverged",
            expected="a finite loss",
            found=f"a loss of {loss_sum} in the last epoch",
            fix=f"lower student.learning_rate (it is {settings.learning_rate:g}) in task.toml",
        )
    return Taught(model, seen_tokens, clock.seconds(), loss_sum / int(counts.sum()))


def _loss(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """The weighted sum over the decisions of a batch, in nats."""
    ids, mask, places = left_padded([example.prompt + example.target for example in batch], [0] * len(batch))
    asked = [
        (row, ids.shape[1] - len(example.target) + place - 1, legal, example.weight)  # the place before scores a token
        for row, example in enumerate(batch)
        for place, legal in example.decisions
    ]
    at, which = torch.unique(torch.tensor([place for _, place, _, _ in asked]), return_inverse=True)
    logits = scores_after(model, inputs_for(model, ids, mask, places), at.to(device()))
    widest = max(len(legal) for _, _, legal, _ in asked)
    rows, weight = (torch.tensor([one[part] for one in asked], device=device()) for part in (0, 3))
    index = torch.tensor([(*legal, *[-1] * (widest - len(legal))) for _, _, legal, _ in asked], device=device())
    scores = logits[rows[:, None], which.to(device())[:, None], index.clamp(min=0)].float()
    log_probs = torch.log_softmax(scores.masked_fill(index < 0, -torch.inf), dim=1)
    return -(log_probs[:, 0] * weight.float()).sum()
