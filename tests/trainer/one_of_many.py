"""A training as a program of its own: to be killed, or to be started twice by torchrun. Arguments: base, out, mode."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from tests.trainer.tiny import messages, settings
from trainer.base import load_base
from trainer.checkpoint import Checkpoint
from trainer.inputs import Inputs
from trainer.linear import LinearHead
from trainer.lora import Adapted, Lesson, adapter_of, train_lora
from trainer.pace import Pace
from trainer.windows import tokenise

KEPT_EVERY, KILLED_AT = 2, 0.6


def trained(
    base_folder: Path, *, checkpoint: Path | None = None, kill: bool = False, lora_dropout: float = 0.0
) -> Adapted:
    """The same small lesson for everybody; with `kill` the process ends itself with signal 9 in the middle of it."""
    texts, labels = messages(120)
    base = load_base(str(base_folder))
    lesson = Lesson(np.eye(3)[labels], np.ones(len(texts)), 3)
    head = LinearHead(np.zeros((3, base.dimensions), dtype=np.float32), np.zeros(3, dtype=np.float32))

    def progress(pace: Pace) -> None:
        if kill and pace.done > KILLED_AT * pace.total:
            os.kill(os.getpid(), signal.SIGKILL)

    kept = None if checkpoint is None else Checkpoint(checkpoint, "lesson", KEPT_EVERY)
    windows = tokenise(base, Inputs(texts), 64)
    chosen = settings(base_folder, lora_dropout=lora_dropout)
    return train_lora(base, windows, lesson, head, chosen, 3, progress=progress, checkpoint=kept)


def main() -> None:
    base, out, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if mode == "killed":
        trained(base, checkpoint=out, kill=True)
        return
    done = trained(base)
    tensors = adapter_of(done.model).tensors | {"losses": np.array(done.taught.losses)}
    np.savez(out / f"rank-{os.environ['RANK']}.npz", **tensors)


if __name__ == "__main__":
    main()
