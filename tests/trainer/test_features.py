"""Frozen features: unit length, independent of neighbours, robust to odd texts, kept on disk."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.base import Base
from trainer.features import embed, embed_cached, feature_key, length_batches
from trainer.inputs import Inputs
from trainer.pace import Pace
from trainer.windows import tokenise

ODD = ["", " ", "a" * 5000, "打印机坏了", "الطابعة", "🖨️🔥", "printer \x00 jam", "é" * 300, "\ud800 lone surrogate"[1:]]


def test_features_have_unit_length(tiny: Base) -> None:
    """Every text, also an empty one, gets a finite vector of length 1."""
    vectors = embed(tiny, Inputs(ODD)).vectors
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_features_do_not_depend_on_neighbours(tiny: Base) -> None:
    """A text has the same features alone as among longer ones, up to rounding."""
    together = embed(tiny, Inputs(["paper jam", *ODD])).vectors[0]
    assert np.allclose(embed(tiny, Inputs(["paper jam"])).vectors[0], together, atol=1e-5)


def test_no_texts_give_no_features(tiny: Base) -> None:
    """An empty list is not an error."""
    assert embed(tiny, Inputs([])).vectors.shape == (0, 32)


def test_texts_beyond_the_limit_are_counted(tiny: Base) -> None:
    """A text that is read in windows is counted, one that just fits is not."""
    words = ["printer " * 6, "printer " * 7]  # the frame takes two tokens
    assert tokenise(tiny, Inputs(words), 8).windowed == 1


def test_the_limit_is_never_above_what_the_base_can_read(tiny: Base) -> None:
    """A max_tokens beyond the base's 64 positions is brought down to them."""
    assert max(map(len, tokenise(tiny, Inputs(["printer " * 500]), 4096).ids[0])) == 64


def test_features_are_read_from_disk_the_second_time(tiny: Base, tmp_path: Path) -> None:
    """The second call embeds nothing."""
    seen: list[Pace] = []
    first = embed_cached(tiny, Inputs(["paper jam", "reset"]), tmp_path, progress=seen.append)
    calls = len(seen)
    again = embed_cached(tiny, Inputs(["paper jam", "reset"]), tmp_path, progress=seen.append)
    assert calls > 0
    assert len(seen) == calls
    assert (first.vectors == again.vectors).all()


def test_a_damaged_cache_is_computed_again(tiny: Base, tmp_path: Path) -> None:
    """A file cut short by a full disk does not stop the run."""
    first = embed_cached(tiny, Inputs(["paper jam"]), tmp_path)
    path = tmp_path / f"{feature_key(tiny.sha256, Inputs(['paper jam']), 256)}.npy"
    path.write_bytes(path.read_bytes()[:100])
    assert (embed_cached(tiny, Inputs(["paper jam"]), tmp_path).vectors == first.vectors).all()


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 400))
def test_batches_hold_each_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    """No text is lost or doubled, and only a text longer than the budget exceeds it, alone."""
    batches = length_batches(np.array(lengths, dtype=np.int64), budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget for batch in batches)
