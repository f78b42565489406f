"""The one training loop: killed and resumed, shared by processes, stopped early."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stillhouse.errors import ModelError
from stillhouse.settings import Student
from tests.trainer.one_of_many import trained
from trainer.base import Base
from trainer.checkpoint import Checkpoint, State
from trainer.lora import Adapted, adapter_of
from trainer.training import Course, steps_of, teach
from trainer.workers import workers

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def undisturbed(tiny: Base) -> Adapted:
    return trained(tiny.folder)


def as_program(*command: str) -> int:
    """Run tests.trainer.one_of_many; its exit status, negative for a signal."""
    return subprocess.run([sys.executable, *command], cwd=ROOT, check=False, timeout=300).returncode


def test_a_training_that_was_killed_goes_on_to_the_same_student(
    tiny: Base, undisturbed: Adapted, tmp_path: Path
) -> None:
    """kill -9 in the middle of it: the adapter, the head and every step's loss are the undisturbed ones to the last bit,
    and less is trained than from the beginning.
    """
    path = tmp_path / "training" / "lora.safetensors"
    assert as_program("-m", "tests.trainer.one_of_many", str(tiny.folder), str(path), "killed") == -signal.SIGKILL
    assert path.exists()
    resumed = trained(tiny.folder, checkpoint=path)
    assert 0 < resumed.taught.tokens < undisturbed.taught.tokens
    assert resumed.taught.losses == undisturbed.taught.losses
    assert (resumed.head.weight == undisturbed.head.weight).all()
    first, second = (adapter_of(one.model).tensors for one in (resumed, undisturbed))
    assert all((first[name] == second[name]).all() for name in second)


def test_two_processes_train_what_one_does(tiny: Base, undisturbed: Adapted, tmp_path: Path) -> None:
    """Started by torchrun, each takes a part of every step: both end with one adapter, and the losses are those of one."""
    how = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert as_program(*how, "-m", "tests.trainer.one_of_many", str(tiny.folder), str(tmp_path), "shared") == 0
    first, second = (np.load(tmp_path / f"rank-{rank}.npz") for rank in (0, 1))
    alone = adapter_of(undisturbed.model).tensors
    assert set(first.files) == {*alone, "losses"}
    assert all((first[name] == second[name]).all() for name in first.files)
    assert np.allclose(first["losses"], undisturbed.taught.losses, rtol=1e-4)
    assert all(np.allclose(first[name], alone[name], atol=1e-4) for name in alone)


def test_a_process_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two were to train together and this one is alone: it must not train as if it were the whole."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        with pytest.raises(ModelError, match="expected: 2 processes"):
            workers()
    finally:
        torch.distributed.destroy_process_group()


def course(held_out: list[float]) -> tuple[Course, torch.nn.Parameter, list[float]]:
    """One number that is to become 1; and the values it had when it was judged, in turn, by `held_out`."""
    number, seen = torch.nn.Parameter(torch.zeros(1)), list[float]()
    values = iter(held_out)

    def judged() -> float:
        seen.append(float(number.detach()))
        return next(values)

    lengths = np.full(16, 8, dtype=np.int64)
    return (
        Course(
            groups=[{"params": [number], "lr": 0.01, "weight_decay": 0.0}],
            loss=lambda batch: ((number - 1) ** 2).sum() * len(batch),
            lengths=lengths,
            terms=np.ones(16, dtype=np.int64),
            held_out=judged,
        ),
        number,
        seen,
    )


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    """The second of four epochs was the likeliest; two worse ones follow, and a fifth is not begun."""
    taught_by, number, seen = course([-3.0, -1.0, -2.0, -2.5, 0.0])
    settings = Student(epochs=5, patience=2, tokens_per_batch=32, learning_rate=0.01)
    taught = teach(taught_by, settings, 0)
    assert taught.held_out == (-3.0, -1.0, -2.0, -2.5)
    assert taught.epochs == 2
    assert float(number.detach()) == seen[1]
    assert seen[0] < seen[1] < seen[2]


def test_a_checkpoint_of_another_lesson_is_not_read(tmp_path: Path) -> None:
    """Other labels, another seed: training begins at the beginning."""
    number = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([number])
    number.grad = torch.ones(2)
    optimizer.step()
    kept = Checkpoint(tmp_path / "c.safetensors", "one")
    kept.write(State([0.5, 0.25], [-1.0]), [number], optimizer)
    other = torch.nn.Parameter(torch.zeros(2))
    assert Checkpoint(kept.path, "two").read([other], torch.optim.AdamW([other])).losses == []
    assert (other == 0).all()
    assert kept.read([other], torch.optim.AdamW([other])).losses == [0.5, 0.25]
    assert (other == number).all()


def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path: Path) -> None:
    """Half a file cannot come from a kill, but a disk can do it; training begins at the beginning."""
    path = tmp_path / "c.safetensors"
    path.write_bytes(b"half a file")
    assert Checkpoint(path, "one").read([], torch.optim.AdamW([torch.zeros(1)])).losses == []


def test_every_text_is_in_one_step_of_an_epoch() -> None:
    """None is left out or seen twice, and the next epoch has another order."""
    lengths = np.random.default_rng(0).integers(3, 40, 200)
    settings = Student(tokens_per_batch=256)
    epochs = [[np.concatenate(step) for step in steps_of(lengths, settings, 0, epoch)] for epoch in (0, 1)]
    assert all(sorted(np.concatenate(steps)) == list(range(200)) for steps in epochs)
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_a_repeated_step_draws_the_same_dropout(tiny: Base) -> None:
    """Dropout comes from the seed and the step, not from what was drawn before it: two trainings are one."""
    losses = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        losses.append(trained(tiny.folder, lora_dropout=0.3).taught.losses)
    assert losses[0] == losses[1]
    assert losses[0] != trained(tiny.folder).taught.losses
