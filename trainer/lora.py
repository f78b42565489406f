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
from stillhouse.settings import Student
from trainer.base import Base
from trainer.features import bf16_pays, collate, device, in_threads, layers_of, length_batches, unit_vectors
from trainer.linear import Floats, LinearHead
from trainer.pace import Progress, pacer
from trainer.windows import Windows

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


def target_linears(encoder: Any, depth: int | None = None) -> list[str]:
    """Names of the linear layers that get an adapter: all of the encoder but the pooler, which is not used.

    `depth` keeps only those of the first so many layers: where a deeper one is not read, it would learn nothing.
    """
    names = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.Linear) and not re.search(r"(^|\.)pooler(\.|$)", name)
    ]
    if depth is None:
        return names
    numbers = {name: int(found.group(1)) for name in names if (found := re.search(r"\.(\d+)\.", name))}
    return [name for name in names if numbers.get(name, -1) < depth]


def adapt(base: Base, settings: Student, seed: int, depth: int | None = None) -> Any:
    """A copy of the base's encoder with a fresh LoRA adapter (Hu et al. 2021), which does not change it yet."""
    import peft

    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=target_linears(base.encoder, depth),
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(copy.deepcopy(base.encoder), config).to(device())


def train_lora(
    base: Base,
    windows: Windows,
    targets: Floats,
    weights: Floats,
    head: LinearHead,
    settings: Student,
    seed: int,
    *,
    width: int,
    progress: Progress | None = None,
) -> Adapted:
    """Train adapter and head by weighted cross-entropy against `targets` (U, k), from `head` on.

    Each block of `width` columns is one distribution. AdamW, linear warm-up and decay, `settings.tokens_per_batch`
    tokens a step; a step's gradient is the mean over its units that weigh anything (`weights` (U,)), and a text without
    such a unit is not read. A step is made of micro-batches of whole texts that are a property of the data and the
    seed; threads only share them out and their gradients are added in order, so that one thread or four give the same
    student (with lora_dropout > 0 one thread is used). A GPU takes a step as one micro-batch, and is not waited for
    before an epoch ends. Raises ModelError where the loss is not finite at the end.
    """
    texts = _with_weight(windows, weights)
    model = adapt(base, settings, seed, None if windows.per_text else max(layers_of(base.encoder)))
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
    importance = np.asarray(weights, dtype=np.float64)
    counted = importance > 0
    scale = torch.as_tensor(importance / importance[counted].mean(), dtype=torch.float32).to(device())

    def gradients(batch: NDArray[np.int64]) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        units = torch.from_numpy(windows.units_of(batch)).to(device(), non_blocking=True)
        vectors = unit_vectors(model, collate(windows, batch, base.encoder))
        log_probs = torch.log_softmax((vectors @ weight.T + bias).reshape(len(vectors), -1, width), dim=2)
        said = (wanted[units] * log_probs.flatten(1)).sum(dim=1)
        loss = -(scale[units] * said).sum()
        return loss.detach(), torch.autograd.grad(loss, trained)

    lengths = windows.lengths[texts]
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
                units = sum(int(counted[windows.units_of(texts[batch])].sum()) for batch in step)
                results = list(in_threads(gradients, [texts[batch] for batch in step], threads))
                for place, parameter in enumerate(trained):
                    parameter.grad = sum((parts[place] for _, parts in results[1:]), results[0][1][place]) / units
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
    trained_head = LinearHead(weight.detach().cpu().numpy(), bias.detach().cpu().numpy())
    return Adapted(model, trained_head, seen_tokens, clock.seconds(), loss_sum / int(counted.sum()))


def _with_weight(windows: Windows, weights: Floats) -> NDArray[np.int64]:
    """The texts that have something to teach."""
    text_of = np.repeat(np.arange(len(windows), dtype=np.int64), np.diff(windows.starts))
    return np.unique(text_of[np.asarray(weights) > 0])


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


def steps_of(lengths: NDArray[np.int64], settings: Student, seed: int, epoch: int) -> Iterator[list[NDArray[np.int64]]]:
    """The steps of an epoch, each a list of micro-batches of like lengths (row positions)."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    on_cpu = device().type == "cpu"
    micro_tokens = max(
        1, min(MICRO_BATCH_TOKENS, settings.tokens_per_batch // 2) if on_cpu else settings.tokens_per_batch
    )
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


def rate(step: int, total_steps: int) -> float:
    warmup = max(1, math.ceil(WARMUP_SHARE * total_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def _attention_for_training(model: Any) -> None:
    # bf16 scaled-dot-product attention has a backward pass that is six times slower than plain products on a CPU.
    if device().type == "cpu" and bf16_pays("cpu"):
        model.get_base_model().set_attn_implementation("eager")
