"""Processes that share a training: started by torchrun or accelerate, each with a part of every step."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from stillhouse.errors import ModelError


@dataclass(frozen=True, slots=True)
class Workers:
    """This process is number `number` of `count`; alone it is 0 of 1."""

    count: int = 1
    number: int = 0

    @property
    def first(self) -> bool:
        """Only one of them writes and reports."""
        return self.number == 0

    def has(self, place: int) -> bool:
        """Whether the micro-batch at this place of a step is this process' own."""
        return place % self.count == self.number

    def summed(self, gradient: Sequence[torch.Tensor], loss: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Gradient and loss over all processes, the same numbers in each: one message a step."""
        if self.count == 1:
            return list(gradient), loss
        flat = torch.cat([*(part.flatten() for part in gradient), loss.reshape(1).to(gradient[0].dtype)])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [*(part.numel() for part in gradient), 1])
        return [part.view_as(old) for part, old in zip(parts[:-1], gradient, strict=True)], parts[-1][0]


def gpus() -> int:
    """The GPUs that a training on this machine may use; 0 where there is none."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def workers() -> Workers:
    """The processes that torchrun or accelerate has started, or this one alone.

    Raises ModelError where not all of them are there: a training that silently ran twice side by side would look right.
    """
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted == 1:
        return Workers()
    from torch import distributed

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if gpu else "gloo")
    there = torch.ones(1, device="cuda" if gpu else "cpu")
    distributed.all_reduce(there)
    if distributed.get_world_size() != wanted or int(there) != wanted:
        raise ModelError(
            "not all processes of this training found each other",
            expected=f"{wanted} processes, as WORLD_SIZE says",
            found=f"{min(distributed.get_world_size(), int(there))}",
            fix="start them all with one torchrun or accelerate command, with the same address and port",
        )
    return Workers(wanted, distributed.get_rank())


def same_everywhere(mine: Workers, fingerprint: Callable[[], bytes]) -> None:
    """Raises ModelError where the processes are about to teach different things."""
    if mine.count == 1:
        return
    own = torch.tensor(list(hashlib.sha256(fingerprint()).digest()), dtype=torch.int64)
    if torch.cuda.is_available():
        own = own.cuda()
    first = own.clone()
    torch.distributed.broadcast(first, src=0)
    if not torch.equal(own, first):
        raise ModelError(
            "the processes of this training were given different lessons",
            expected="the same texts, targets, weights, settings and seed in each, and checkpoints in one folder",
            found=f"process {mine.number} has others than process 0",
            fix="read the same files in the same order in each process, from a disk that all of them see",
        )
