"""LoRA on a causal language model, trained on what it should write after each prompt."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stillhouse.settings import Student
from trainer.base import Base
from trainer.checkpoint import Checkpoint
from trainer.decoding import inputs_for, left_padded, scores_after
from trainer.features import device
from trainer.lora import prepare
from trainer.pace import Progress
from trainer.training import WEIGHT_DECAY, Course, Taught, teach
from trainer.workers import workers


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
class Writer:
    """A peft model (adapter not merged), and how its training went (losses in nats a decision)."""

    model: Any
    taught: Taught


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
    base: Base,
    examples: Sequence[Example],
    settings: Student,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Writer:
    """Train the adapter by weighted cross-entropy of each taught decision among what is legal there: just the
    distributions that decoding reads, so nothing is spent on what the grammar knows. Steps are those of `train_lora`.

    Threads share micro-batches out without changing the result (with lora_dropout > 0 one is used). Raises ModelError
    where the loss is not finite at the end.
    """
    model = adapt_decoder(base, settings, seed)
    add = prepare(model, settings)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    counts = np.array([len(example.decisions) for example in examples])
    mean_weight = float(np.average([example.weight for example in examples], weights=counts))
    course = Course(
        groups=[{"params": trained, "lr": settings.learning_rate, "weight_decay": WEIGHT_DECAY}],
        loss=lambda batch: _loss(model, [examples[place] for place in batch]) / mean_weight,
        lengths=np.array([len(example.prompt) + len(example.target) for example in examples], dtype=np.int64),
        terms=counts,
        before_step=add,
        threads=settings.threads,
        draws=settings.lora_dropout > 0,
    )
    taught = teach(course, settings, seed, progress=progress, checkpoint=checkpoint, workers=workers())
    model.eval()
    return Writer(model, taught)


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
