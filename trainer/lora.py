"""An encoder adapted to a task: LoRA on its linear layers, or all of its weights, from the logistic head on."""

import copy
import hashlib
import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stillhouse.errors import ModelError
from stillhouse.settings import Student
from trainer.adapted_linear import add_adapters
from trainer.base import Base
from trainer.checkpoint import Checkpoint
from trainer.features import bf16_pays, collate, device, layers_of, length_batches, unit_vectors
from trainer.linear import Floats, Ints, LinearHead, cross_entropy
from trainer.lower_layers import keep_lower, let_go
from trainer.pace import Progress
from trainer.packing import NAME, pack
from trainer.training import WEIGHT_DECAY, Batch, Course, Taught, teach
from trainer.windows import Windows
from trainer.workers import same_everywhere, workers

Depth = Literal[
    "top", "lora", "full"
]  # what is trained beside the head: an adapter on the upper half, on all, all weights


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """What training leaves: a model (adapter not merged), its head, and how it went."""

    model: Any
    head: LinearHead
    taught: Taught


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What was trained, by itself: peft's config and its tensors (float32) by peft's names.

    Without a config they are the encoder's own weights, all that training changed.
    """

    config: Any
    tensors: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is taught: `targets` (U, k) in blocks of `width`, `weights` (U,) >= 0; 0 teaches nothing.

    `held` are rows (m,) and their targets (m, k), judged after each epoch where training is to stop early.
    """

    targets: Floats
    weights: Floats
    width: int
    held: tuple[Ints, Floats] | None = None

    def digest(self, windows: Windows, *more: object) -> bytes:
        """32 bytes of all that is taught: the texts as they are read, what is said of them, and whatever else counts."""
        digest = hashlib.sha256("\x1f".join(map(str, more)).encode())
        for part in (self.targets, self.weights):
            digest.update(np.ascontiguousarray(part, dtype=np.float64).tobytes())
        for of_text in windows.ids:
            digest.update(b"".join(np.asarray(window, dtype=np.int64).tobytes() for window in of_text) + b"\x1f")
        return digest.digest()


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
    return [name for name in names if (layer_of(name) or 0) < depth]


def layer_of(name: str) -> int | None:
    """The layer that a parameter or module belongs to, as its name says."""
    found = re.search(r"\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def adapt(base: Base, settings: Student, seed: int, depth: int | None = None, recipe: Depth = "lora") -> Any:
    """A copy of the base's encoder with a fresh LoRA adapter (Hu et al. 2021), which does not change it yet.

    Recipe "top" adapts the upper half of the layers that are read, "full" makes all weights of the copy trainable.
    Raises ModelError where `settings.lora_targets` name no layer.
    """
    import peft

    encoder = copy.deepcopy(base.encoder)
    if recipe == "full":
        for name, parameter in encoder.named_parameters():
            unread = "pooler" in name or (depth is not None and (layer_of(name) or 0) >= depth)
            parameter.requires_grad_(not unread)
        return encoder.to(device())
    linears = target_linears(encoder, depth)
    names = [name for name in linears if _wanted(name, settings.lora_targets)]
    if recipe == "top":
        count = 1 + max((layer_of(name) or 0 for name in linears), default=0)
        names = [name for name in names if (layer_of(name) or 0) >= count // 2]
    if not names:
        raise ModelError(
            "no layer of the base gets an adapter",
            expected=f"names or parts of names among {', '.join(linears[:6])} ...",
            found=f"student.lora_targets = {list(settings.lora_targets)}",
            fix="correct student.lora_targets, or leave it out: then all linear layers are adapted",
        )
    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        use_rslora=settings.lora_variant == "rslora",
        use_dora=settings.lora_variant == "dora",
        target_modules=names,
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(encoder, config).to(device())


def _wanted(name: str, targets: Iterable[str]) -> bool:
    patterns = list(targets)
    return not patterns or any(re.search(pattern, name) for pattern in patterns)


def train_lora(
    base: Base,
    windows: Windows,
    lesson: Lesson,
    head: LinearHead,
    settings: Student,
    seed: int,
    *,
    recipe: Depth = "lora",
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Adapted:
    """Train adapter (or all weights) and head by weighted cross-entropy against the lesson, from `head` on.

    A step's gradient is the mean over its units that weigh anything, and a text without such a unit is not read. With
    lora_dropout > 0 one thread is used. Under torchrun or accelerate the processes share every step. Raises ModelError
    where the loss is not finite at the end.
    """
    mine = workers()
    same_everywhere(mine, lambda: lesson.digest(windows, settings.model_dump_json(), recipe, seed))
    model = adapt(base, settings, seed, None if windows.per_text else max(layers_of(base.encoder)), recipe)
    encoder = encoder_of(model)
    add = prepare(model, settings, packs=True)
    weight, bias = (torch.nn.Parameter(torch.from_numpy(part.copy()).to(device())) for part in (head.weight, head.bias))
    wanted = torch.as_tensor(np.asarray(lesson.targets), dtype=torch.float32).to(device())
    importance = np.asarray(lesson.weights, dtype=np.float64)
    counted = importance > 0
    scale = torch.as_tensor(importance / importance[counted].mean(), dtype=torch.float32).to(device())
    text_of = np.repeat(np.arange(len(windows), dtype=np.int64), np.diff(windows.starts))
    texts = np.unique(text_of[counted])

    lower = None
    if recipe == "top" and settings.epochs > 1 and encoder.config._attn_implementation == NAME:  # noqa: SLF001
        lower = keep_lower(encoder, windows, first_trained(model))

    def scores(batch: Batch) -> torch.Tensor:
        with nullcontext() if lower is None else lower.of(batch):
            return unit_vectors(model, collate(windows, batch, encoder)) @ weight.T + bias

    def loss(batch: Batch) -> torch.Tensor:
        units = torch.from_numpy(windows.units_of(texts[batch])).to(device(), non_blocking=True)
        logits = scores(texts[batch])
        log_probs = torch.log_softmax(logits.reshape(len(logits), -1, lesson.width), dim=2)
        return -(scale[units] * (wanted[units] * log_probs.flatten(1)).sum(dim=1)).sum()

    def held_out() -> float:
        assert lesson.held is not None
        rows, answers = lesson.held
        asked = np.unique(text_of[rows])
        found = np.zeros((len(text_of), len(head.bias)), dtype=np.float32)
        with torch.no_grad():
            for places in length_batches(windows.lengths[asked], settings.tokens_per_batch):
                found[windows.units_of(asked[places])] = scores(asked[places]).float().cpu().numpy()
        return -float(cross_entropy(found[rows], answers, width=lesson.width).mean())

    course = Course(
        groups=[
            *groups_of(model, settings, settings.full_learning_rate if recipe == "full" else settings.learning_rate),
            {"params": [weight, bias], "lr": head_rate(settings, recipe), "weight_decay": 0.0},
        ],
        loss=loss,
        lengths=windows.lengths[texts],
        terms=np.bincount(text_of[counted], minlength=len(windows))[texts],
        before_step=add,
        held_out=held_out if settings.patience and lesson.held is not None and len(lesson.held[0]) else None,
        threads=settings.threads,
        draws=settings.lora_dropout > 0,
    )
    taught = teach(course, settings, seed, progress=progress, checkpoint=checkpoint, workers=mine)
    let_go(encoder)
    model.eval()
    return Adapted(model, LinearHead(weight.detach().cpu().numpy(), bias.detach().cpu().numpy()), taught)


def first_trained(model: Any) -> int:
    """The number of the lowest layer that learns; 0 where something below the layers does."""
    return min((layer_of(name) or 0) for name, parameter in model.named_parameters() if parameter.requires_grad)


def head_rate(settings: Student, recipe: Depth) -> float:
    rate = settings.full_learning_rate if recipe == "full" else settings.learning_rate
    return settings.head_rate_factor * rate


def prepare(model: Any, settings: Student, *, packs: bool = False) -> Callable[[], None]:
    """Make a model ready to be trained fast, and give back what is to be called whenever its adapter has changed.

    With `packs` it reads streams from now on, if it can. The base's own dropout stays off: two epochs over a small pool
    do not overfit for lack of it.
    """
    model.eval()
    encoder = encoder_of(model)
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
    if getattr(encoder.config, "use_cache", False):
        encoder.config.use_cache = False
    if settings.gradient_checkpointing:
        encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for module in encoder.modules():
            if getattr(module, "gradient_checkpointing", False):
                module.training = True  # of this module alone: it asks whether it is trained
    if packs and not pack(encoder) and device().type == "cpu" and bf16_pays("cpu"):
        # bf16 scaled-dot-product attention has a backward pass that is six times slower than plain products on a CPU.
        encoder.set_attn_implementation("eager")
    return add_adapters(model, torch.bfloat16 if bf16_pays(device().type) else torch.float32)


def groups_of(model: Any, settings: Student, rate: float) -> list[dict[str, Any]]:
    """The trained parameters by their learning rate: each layer's is `layer_decay` times that of the one above
    (Howard & Ruder 2018), and what is below the first layer counts as one more.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    depth = max((layer_of(name) or 0 for name, _ in named), default=0)
    groups: dict[float, list[Any]] = {}
    for name, parameter in named:
        layer = layer_of(name)
        below = depth - layer if layer is not None else depth + 1
        groups.setdefault(rate * settings.layer_decay**below, []).append(parameter)
    return [
        {"params": parameters, "lr": own, "weight_decay": WEIGHT_DECAY}
        for own, parameters in sorted(groups.items(), reverse=True)
    ]


def encoder_of(model: Any) -> Any:
    """The encoder within a peft model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def merged(model: Any) -> Any:
    """The encoder with its adapter added into its weights, in float32: as fast as the base. `model` is used up."""
    encoder = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    encoder.eval().requires_grad_(requires_grad=False)
    if getattr(encoder, "is_gradient_checkpointing", False):
        encoder.gradient_checkpointing_disable()
    if encoder.config._attn_implementation != "sdpa":  # noqa: SLF001
        encoder.set_attn_implementation("sdpa" if encoder._supports_sdpa else "eager")  # noqa: SLF001
    return encoder


def adapter_of(model: Any) -> Adapter:
    """What was trained of a model, on its own; taken before `merged` uses the model up."""
    if not hasattr(model, "peft_config"):
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        return Adapter(None, {name: tensor.detach().float().cpu().numpy() for name, tensor in trained.items()})
    import peft

    tensors = peft.get_peft_model_state_dict(model)
    return Adapter(
        model.peft_config["default"], {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}
    )


def with_adapter(encoder: Any, adapter: Adapter) -> Any:
    """A copy of `encoder` with the adapter added into its weights, exactly as `merged` left it after training.

    Raises ModelError where the adapter is of another encoder.
    """
    tensors = {name: torch.from_numpy(tensor) for name, tensor in adapter.tensors.items()}
    if adapter.config is None:
        model = copy.deepcopy(encoder)
        if unknown := model.load_state_dict(tensors, strict=False).unexpected_keys:
            raise ModelError(
                "the trained weights do not fit the base",
                expected="weights by the names of the base's own",
                found=", ".join(unknown[:3]),
                fix="load the student with its own base, or train a new one",
            )
        return merged(model)
    import peft

    model = peft.get_peft_model(copy.deepcopy(encoder), adapter.config)
    peft.set_peft_model_state_dict(model, tensors)
    return merged(model)
