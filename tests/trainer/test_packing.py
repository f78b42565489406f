"""Texts end to end are read as each by itself, and an adapter added to its layer learns what it learns beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.trainer.families import write_tiny
from tests.trainer.test_units import focused, tagged
from tests.trainer.tiny import messages, settings
from trainer.adapted_linear import add_adapters
from trainer.base import Base, load_base
from trainer.features import collate, unit_vectors
from trainer.inputs import Inputs
from trainer.lora import adapt, encoder_of
from trainer.packing import NAME, Stream, pack
from trainer.windows import Windows, tokenise


def read(encoder: Any, windows: Windows) -> NDArray[np.float32]:
    with torch.no_grad():
        return unit_vectors(encoder, collate(windows, np.arange(len(windows)), encoder)).numpy()


@pytest.mark.parametrize("family", ["roberta", "modernbert", "llama", "mistral"])
def test_families_read_streams(tmp_path: Path, family: str) -> None:
    """Positions from an offset, layers that see a window only, and layers that look back only: as in rows, also where a
    text is longer than a layer's window.
    """
    base = load_base(str(write_tiny(tmp_path, family)))
    texts = [*messages(6)[0], "printer toner paper jam " * 10]
    windows = tokenise(base, Inputs(texts), 60)
    padded = read(base.encoder, windows)
    assert pack(base.encoder)
    assert np.abs(read(base.encoder, windows) - padded).max() < 1e-4


@pytest.mark.parametrize(
    "inputs", [Inputs(["paper jam", "toner " * 30], pairs=["login", ""]), tagged(8)[0], focused(8)[0]]
)
def test_a_stream_has_the_units_of_rows(tiny_folder: Path, inputs: Inputs) -> None:
    """Pairs, words, a focus, and texts in several windows."""
    base = load_base(str(tiny_folder))
    windows = tokenise(base, inputs, 12)
    padded = read(base.encoder, windows)
    assert pack(base.encoder)
    assert np.abs(read(base.encoder, windows) - padded).max() < 1e-4


def test_an_architecture_that_cannot_is_left_as_it_was(tmp_path: Path) -> None:
    """DeBERTa's attention is its own: its texts stay padded."""
    base = load_base(str(write_tiny(tmp_path, "deberta")))
    before = base.encoder.config._attn_implementation
    assert not pack(base.encoder)
    assert base.encoder.config._attn_implementation == before != NAME


def test_neighbours_of_one_length_are_a_run() -> None:
    """So many texts at once are one batch of attention."""
    assert Stream((5, 5, 3, 5), torch.zeros(5)).runs == ((2, 5), (1, 3), (1, 5))


def gradients(model: Any, windows: Windows) -> list[torch.Tensor]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    vectors = unit_vectors(model, collate(windows, np.arange(len(windows)), encoder_of(model)))
    return list(torch.autograd.grad((vectors * torch.arange(vectors.shape[1])).sum(), trained))


def test_the_adapters_gradients_are_pefts_own(tiny: Base) -> None:
    """One product for layer and adapter: the same forward, the same gradients, also once the adapter has changed."""
    windows = tokenise(tiny, Inputs(messages(5)[0]), 64)
    plain, added = (adapt(tiny, settings(tiny.folder), seed=1).eval() for _ in range(2))
    refresh = add_adapters(added)
    with torch.no_grad():
        for model in (plain, added):
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.copy_(0.05 * torch.sin(torch.arange(parameter.numel())).view_as(parameter))
    refresh()
    for theirs, ours in zip(gradients(plain, windows), gradients(added, windows), strict=True):
        assert torch.allclose(theirs, ours, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", [{"lora_dropout": 0.1}, {"lora_variant": "dora"}])
def test_layers_with_dropout_or_dora_stay_pefts(tiny: Base, changes: dict[str, Any]) -> None:
    """What is not one product is not made one."""
    model = adapt(tiny, settings(tiny.folder, **changes), seed=1)
    add_adapters(model)
    assert not any("forward" in vars(module) for module in model.modules())
