"""What training changed, on disk: peft's adapters or whole weights, one folder and one head for each member."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from trainer.fitted import Member
from trainer.linear import LinearHead
from trainer.lora import Adapter, with_adapter

ADAPTER, WEIGHTS = "adapter_model.safetensors", "weights.safetensors"


def write_adapter(adapter: Adapter, folder: Path) -> None:
    """In peft's own form, which others can load; all weights by the base's names where there is no adapter."""
    folder.mkdir(parents=True)
    if adapter.config is not None:
        adapter.config.save_pretrained(folder)
    save_file(adapter.tensors, folder / (WEIGHTS if adapter.config is None else ADAPTER))


def read_adapter(folder: Path) -> Adapter:
    import peft

    whole = (folder / WEIGHTS).exists()
    tensors = load_file(folder / (WEIGHTS if whole else ADAPTER))
    config = None if whole else peft.LoraConfig.from_pretrained(folder)
    return Adapter(config, {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})


def write_members(others: Sequence[Member], part: Path) -> None:
    """The second member is number 2: adapter-2 and head-2.safetensors."""
    for number, other in enumerate(others, start=2):
        write_adapter(other.adapter, part / f"adapter-{number}")
        save_file({"weight": other.head.weight, "bias": other.head.bias}, part / f"head-{number}.safetensors")


def read_members(folder: Path, encoder: Any) -> tuple[Member, ...]:
    """Those beside the first; none where a student is by itself."""
    members, number = [], 2
    while (folder / f"head-{number}.safetensors").exists():
        arrays = load_file(folder / f"head-{number}.safetensors")
        adapter = read_adapter(folder / f"adapter-{number}")
        head = LinearHead(arrays["weight"], arrays["bias"])
        members.append(Member(with_adapter(encoder, adapter), head, adapter))
        number += 1
    return tuple(members)
