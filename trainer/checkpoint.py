"""A training that may be killed: everything it needs to go on, in one file that is whole or not there."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what AdamW remembers of a parameter


@dataclass(slots=True, eq=False)
class State:
    """How far training is: the loss of each step, what each epoch's held-out answers said, and the best parameters."""

    losses: list[Any] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    best: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def begin(cls) -> Self:
        return cls()

    def judge(self, epoch: int, likelihood: Callable[[], float], trained: list[torch.nn.Parameter]) -> None:
        """Remember an epoch, unless that was done before a kill, and its parameters where it is the best so far."""
        if epoch <= len(self.held_out):
            return
        self.held_out.append(likelihood())
        if self.held_out[-1] >= max(self.held_out):
            self.best = [parameter.detach().clone() for parameter in trained]

    def idle(self, epoch: int) -> int:
        """Epochs since the best one."""
        held = self.held_out[:epoch]
        return epoch - 1 - held.index(max(held)) if held else 0

    def restore(self, trained: list[torch.nn.Parameter]) -> int:
        """Put the best epoch's parameters back and say which it was; 0 where none was judged."""
        if not self.best:
            return 0
        with torch.no_grad():
            for parameter, best in zip(trained, self.best, strict=True):
                parameter.copy_(best)
        return self.held_out.index(max(self.held_out)) + 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where and how often a training is kept. `key` names the lesson: a file of another one is not read."""

    path: Path
    key: str
    every_steps: int = 50

    def after_step(self, state: State, trained: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        if len(state.losses) % self.every_steps == 0:
            self.write(state, trained, optimizer)

    def write(self, state: State, trained: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        """Beside the old one, synced to the disk, then renamed."""
        tensors = {f"parameter.{place}": parameter.detach() for place, parameter in enumerate(trained)}
        tensors |= {f"best.{place}": best for place, best in enumerate(state.best)}
        for place, parameter in enumerate(trained):
            tensors |= {f"{name}.{place}": optimizer.state[parameter][name] for name in MOMENTS}
        facts = {
            "key": self.key,
            "losses": json.dumps([float(loss) for loss in state.losses]),
            "held_out": json.dumps(state.held_out),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{os.getpid()}.part")
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, part, metadata=facts)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.path)

    def read(self, trained: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> State:
        """Parameters and optimizer as they were, and how far training was; the beginning where there is no such file."""
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = file.metadata() or {}
                if facts.get("key") != self.key:
                    return State.begin()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (OSError, SafetensorError):
            return State.begin()
        with torch.no_grad():
            for place, parameter in enumerate(trained):
                parameter.copy_(tensors[f"parameter.{place}"])
                moments = {name: tensors[f"{name}.{place}"] for name in MOMENTS}
                optimizer.state[parameter] = {
                    name: moment if name == "step" else moment.to(parameter.device) for name, moment in moments.items()
                }
        judged = enumerate(trained) if "best.0" in tensors else ()
        best = [tensors[f"best.{place}"].to(parameter.device) for place, parameter in judged]
        return State(json.loads(facts["losses"]), json.loads(facts["held_out"]), best)
