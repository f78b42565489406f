"""LoRA on a base's linear layers, trained from the logistic head on: the one training loop of the house."""

import copy
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.errors import ModelError
from stillhouse.task import Student
from trainer.base import Base
from trainer.features import Tokenised, bf16_pays, device, in_threads, length_batches, pad, pool
from trainer.linear import Floats, LinearHead
from trainer.pace import Progress, pacer

HEAD_RATE_FACTOR = 10.0  # the head's learning rate over the adapter's
WEIGHT_DECAY = 0.01
WARMUP_SHARE = 0.1
MAX_GRADIENT_NORM = 1.0
MICRO_BATCH_TOKENS = 1024  # as fast as larger ones on one CPU thread, and two threads can share a step
BUCKET_STEPS = 8  # texts of so many steps are sorted together: little padding, still mixed


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """What LoRA training leaves: a peft model (adapter not merged), its head, and how fast it went."""

    model: Any
    head: LinearHead
    tokens: int
    seconds: float
    final_loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A trained LoRA adapter by itself: peft's config, and its tensors (float32) by peft's names."""

    config: Any
    tensors: dict[str, NDArray[np.float32]]


def target_linears(encoder: Any, top_layers: int | None = None) -> list[str]:
    """Names of the linear layers that get an adapter: all of the encoder but the pooler, which is not used.

    `top_layers` keeps only those of the last so many layers.
    """
    names = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.Linear) and not re.search(r"(^|\.)pooler(\.|$)", name)
    ]
    if top_layers is None:
        return names
    numbers = {name: int(found.group(1)) for name in names if (found := re.search(r"\.(\d+)\.", name))}
    first = max(numbers.values(), default=0) + 1 - top_layers
    return [name for name in names if numbers.get(name, -1) >= first]


def adapt(base: Base, settings: Student, seed: int, top_layers: int | None = None) -> Any:
    """A copy of the base's encoder with a fresh LoRA adapter (Hu et al. 2021), which does not change it yet."""
    import peft

    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=target_linears(base.encoder, top_layers),
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(copy.deepcopy(base.encoder), config).to(device())


def train_lora(
    base: Base,
    tokens: Tokenised,
    targets: Floats,
    weights: Floats,
    head: LinearHead,
    settings: Student,
    seed: int,
    *,
    top_layers: int | None = None,
    progress: Progress | None = None,
) -> Adapted:
    """Train adapter and head by weighted cross-entropy against `targets` (n, k), from `head` on.

    AdamW, linear warm-up and decay, `settings.tokens_per_batch` tokens a step. A step is made of micro-batches that
    are a property of the data and the seed; threads only share them out and their gradients are added in order, so
    that one thread or four give the same student (with lora_dropout > 0 one thread is used). Raises ModelError where
    the loss is not finite at the end.
    """
    model = adapt(base, settings, seed, top_layers)
    model.eval()  # the base's own dropout stays off: two epochs over a small pool do not overfit for lack of it
    _attention_for_training(model)
    threads = settings.threads
    if settings.lora_dropout > 0:
        threads = 1
        for name, module in model.named_modules():
            module.train("lora_dropout" in name)
    weight = torch.nn.Parameter(torch.from_numpy(head.weight.copy()).to(device()))
    bias = torch.nn.Parameter(torch.from_numpy(head.bias.copy()).to(device()))
    adapter = [parameter for parameter in model.parameters() if parameter.requires_grad]
    trained = [*adapter, weight, bias]
    optimizer = torch.optim.AdamW(
        [
            {"params": adapter, "lr": settings.learning_rate, "weight_decay": WEIGHT_DECAY},
            {"params": [weight, bias], "lr": settings.learning_rate * HEAD_RATE_FACTOR, "weight_decay": 0.0},
        ]
    )
    wanted = torch.as_tensor(np.asarray(targets), dtype=torch.float32).to(device())
    importance = torch.as_tensor(np.asarray(weights), dtype=torch.float32).to(device())
    importance = importance / importance.mean()

    def gradients(batch: NDArray[np.int64]) -> tuple[float, Sequence[torch.Tensor]]:
        pooled = pool(model, *pad([tokens.ids[row] for row in batch]))
        log_probs = torch.log_softmax(pooled @ weight.T + bias, dim=1)
        loss = -(importance[batch] * (wanted[batch] * log_probs).sum(dim=1)).sum()
        return float(loss.detach()), torch.autograd.grad(loss, trained)

    epochs = [list(_steps(tokens.lengths, settings, seed, epoch)) for epoch in range(settings.epochs)]
    total_steps = sum(len(epoch) for epoch in epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total_steps))
    tell = pacer("training", int(tokens.lengths.sum()) * settings.epochs, "tokens", progress)
    clock = Clock()
    seen_tokens, loss_sum = 0, 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for epoch, steps in enumerate(epochs, start=1):
            loss_sum = 0.0
            for step in steps:
                rows = sum(len(batch) for batch in step)
                results = list(in_threads(gradients, step, threads))
                for place, parameter in enumerate(trained):
                    parameter.grad = sum((parts[place] for _, parts in results[1:]), results[0][1][place]) / rows
                torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
                optimizer.step()
                schedule.step()
                loss_sum += sum(loss for loss, _ in results)
                seen_tokens += int(sum(tokens.lengths[batch].sum() for batch in step))
                tell(seen_tokens, f"epoch {epoch}/{settings.epochs}")
    model.eval()
    if not math.isfinite(loss_sum):
        raise ModelError(
            "LoRA training diverged",
            expected="a finite loss",
            found=f"a loss of {loss_sum} in the last epoch",
            fix=f"lower student.learning_rate (it is {settings.learning_rate:g}) in task.toml",
        )
    trained_head = LinearHead(weight.detach().cpu().numpy(), bias.detach().cpu().numpy())
    return Adapted(model, trained_head, seen_tokens, clock.seconds(), loss_sum / max(len(tokens.lengths), 1))


def merged(model: Any) -> Any:
    """The encoder with its adapter added into its weights, in float32: as fast as the base. `model` is used up."""
    encoder = model.merge_and_unload().eval().requires_grad_(requires_grad=False)
    if encoder.config._attn_implementation != "sdpa" and encoder._supports_sdpa:  # noqa: SLF001
        encoder.set_attn_implementation("sdpa")
    return encoder


def adapter_of(model: Any) -> Adapter:
    """The adapter of a peft model, on its own; taken before `merged` uses the model up."""
    import peft

    tensors = peft.get_peft_model_state_dict(model)
    return Adapter(
        model.peft_config["default"], {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
    )


def with_adapter(encoder: Any, adapter: Adapter) -> Any:
    """A copy of `encoder` with the adapter added into its weights, exactly as `merged` left it after training."""
    import peft

    model = peft.get_peft_model(copy.deepcopy(encoder), adapter.config)
    tensors = {name: torch.from_numpy(tensor) for name, tensor in adapter.tensors.items()}
    peft.set_peft_model_state_dict(model, tensors)
    return merged(model)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        import time

        self._now = time.monotonic
        self._start = self._now()

    def seconds(self) -> float:
        return self._now() - self._start


def _steps(lengths: NDArray[np.int64], settings: Student, seed: int, epoch: int) -> Iterator[list[NDArray[np.int64]]]:
    """The steps of an epoch, each a list of micro-batches of like lengths (row positions)."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    micro_tokens = max(1, min(MICRO_BATCH_TOKENS, settings.tokens_per_batch // 2))
    per_step = max(1, settings.tokens_per_batch // micro_tokens)
    bucket_tokens = settings.tokens_per_batch * BUCKET_STEPS
    filled = np.cumsum(lengths[order]) // bucket_tokens
    micro_batches = [
        bucket[batch]
        for bucket in (order[filled == number] for number in np.unique(filled))
        for batch in length_batches(lengths[bucket], micro_tokens)
    ]
    shuffled = [micro_batches[place] for place in rng.permutation(len(micro_batches))]
    for start in range(0, len(shuffled), per_step):
        yield shuffled[start : start + per_step]


def _rate(step: int, total_steps: int) -> float:
    warmup = max(1, math.ceil(WARMUP_SHARE * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def _attention_for_training(model: Any) -> None:
    # bf16 scaled-dot-product attention has a backward pass that is six times slower than plain products on a CPU.
    if device().type == "cpu" and bf16_pays("cpu"):
        model.get_base_model().set_attn_implementation("eager")
