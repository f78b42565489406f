"""The logistic head agrees with scikit-learn, takes soft targets and weights, and predicts honestly out of fold."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from stillhouse.errors import InputError
from stillhouse.probabilities import softmax
from trainer.calibrate import fit_temperature
from trainer.linear import MANY_ROWS, LinearHead, _objective, cross_entropy, fit_linear, out_of_fold
from trainer.linear_gpu import objective_on_gpu


def blobs(
    seed: int, n: int = 150, d: int = 6, k: int = 4
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    return rng.normal(size=(k, d))[labels] + rng.normal(size=(n, d)), labels, rng.uniform(0.2, 3.0, n)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("C", [0.1, 3.0])
def test_the_head_is_scikit_learns(seed: int, C: float) -> None:
    """One-hot targets and weights give scikit-learn's probabilities."""
    X, y, w = blobs(seed)
    ours = softmax(fit_linear(X, np.eye(4)[y], w, C=C, tolerance=1e-7).logits(X))
    theirs = LogisticRegression(C=C, max_iter=5000, tol=1e-8).fit(X, y, sample_weight=w).predict_proba(X)
    assert np.abs(ours - theirs).max() < 5e-3


def test_a_soft_target_is_a_split_text() -> None:
    """A target of 70/30 equals the text twice, weighted .7 and .3."""
    X, y, _ = blobs(0)
    soft = 0.7 * np.eye(4)[y] + 0.3 * np.eye(4)[(y + 1) % 4]
    split = np.concatenate([np.full(len(X), 0.7), np.full(len(X), 0.3)])
    one = fit_linear(X, soft, C=1.0)
    two = fit_linear(np.tile(X, (2, 1)), np.eye(4)[np.concatenate([y, (y + 1) % 4])], split, C=1.0)
    assert np.abs(one.logits(X) - two.logits(X)).max() < 0.02


def test_a_text_without_weight_teaches_nothing() -> None:
    """Weight 0 is as good as not being there."""
    X, y, w = blobs(1)
    w[:50] = 0
    full, rest = fit_linear(X, np.eye(4)[y], w, C=1.0), fit_linear(X[50:], np.eye(4)[y[50:]], w[50:], C=1.0)
    assert np.abs(full.logits(X) - rest.logits(X)).max() < 0.02


def test_a_row_of_weight_0_may_have_any_target() -> None:
    """What is unknown (nan) is ignored where it weighs nothing."""
    X, y, _ = blobs(1)
    Y, w = np.eye(4)[y], np.ones(len(X))
    Y[:30], w[:30] = np.nan, 0.0
    assert np.allclose(fit_linear(X, Y, w).logits(X), fit_linear(X[30:], Y[30:]).logits(X), atol=0.02)


@pytest.mark.parametrize("width", [2, 3, 6])
def test_blocks_are_regressions_side_by_side(width: int) -> None:
    """Each block of columns is the distribution that a head of its own would give."""
    rng = np.random.default_rng(0)
    X, y, w = blobs(4)
    Y = np.concatenate([np.eye(width)[y % width], np.eye(width)[rng.integers(0, width, len(X))]], axis=1)
    both = softmax(fit_linear(X, Y, w, C=1.0, width=width, tolerance=1e-7).logits(X), width)
    for block in (slice(0, width), slice(width, 2 * width)):
        alone = softmax(fit_linear(X, Y[:, block], w, C=1.0, tolerance=1e-7).logits(X))
        assert np.abs(both[:, block] - alone).max() < 2e-3


def test_many_rows_reach_the_same_head_by_way_of_a_few() -> None:
    """The fit on every eighth row is only where the fit on all of them starts."""
    X, y, w = blobs(5, n=MANY_ROWS + 500)
    nothing = LinearHead(np.zeros((4, 6), dtype=np.float32), np.zeros(4, dtype=np.float32))
    straight = fit_linear(X, np.eye(4)[y], w, start=nothing, tolerance=1e-7)
    assert np.abs(fit_linear(X, np.eye(4)[y], w, tolerance=1e-7).logits(X) - straight.logits(X)).max() < 0.02


def test_cross_entropy_is_the_mean_over_blocks() -> None:
    """A row of two distributions counts as one."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(5, 6)), softmax(rng.normal(size=(5, 6)), 3)
    halves = [cross_entropy(logits[:, part], targets[:, part], 2.0) for part in (slice(0, 3), slice(3, 6))]
    assert np.allclose(cross_entropy(logits, targets, 2.0, 3), np.mean(halves, axis=0))


def test_columns_that_are_not_blocks_are_refused() -> None:
    """Five columns are not blocks of two."""
    with pytest.raises(InputError, match="a multiple of 2"):
        fit_linear(np.ones((3, 2)), np.full((3, 5), 0.2), width=2)


def test_a_text_does_not_influence_its_own_out_of_fold_prediction() -> None:
    """Changing an item's target changes others' predictions but not its own, to the last bit."""
    X, y, w = blobs(2)
    folds = np.arange(len(X)) % 5
    before = out_of_fold(X, np.eye(4)[y], w, folds)
    y[7] = (y[7] + 1) % 4
    after = out_of_fold(X, np.eye(4)[y], w, folds)
    assert (before[7] == after[7]).all()
    assert (before[8] != after[8]).any()


def test_one_fold_is_refused() -> None:
    """Out-of-fold predictions need at least two folds."""
    X, y, w = blobs(3)
    with pytest.raises(InputError, match="at least two folds"):
        out_of_fold(X, np.eye(4)[y], w, np.zeros(len(X), dtype=int))


def test_values_that_are_not_finite_are_refused() -> None:
    """A nan in the features is named at once, not found in the predictions later."""
    X, y, w = blobs(3)
    X[0, 0] = np.nan
    with pytest.raises(InputError, match="all finite"):
        fit_linear(X, np.eye(4)[y], w)


def test_temperature_lowers_the_held_out_loss() -> None:
    """An overconfident model is softened, and its held-out answers become likelier."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    temperature = fit_temperature(5 * logits[:200], labels[:200])
    wanted = np.eye(4)[labels[200:]]
    assert temperature == pytest.approx(5.0, rel=0.3)
    assert cross_entropy(5 * logits[200:], wanted, temperature).mean() < cross_entropy(5 * logits[200:], wanted).mean()


def test_few_answers_leave_the_probabilities_alone() -> None:
    """With fewer than 50 held-out answers the temperature is 1."""
    assert fit_temperature(np.random.default_rng(0).normal(size=(49, 3)), np.zeros(49, dtype=int)) == 1.0


@pytest.mark.parametrize("width", [2, 4])
def test_the_objective_is_the_same_on_a_gpu(width: int) -> None:
    """Value and gradient of both implementations agree (this one runs on the CPU, so that it is tested everywhere)."""
    rng = np.random.default_rng(0)
    X, y, w = blobs(6)
    X32, Y = X.astype(np.float32), (np.eye(4)[y] if width == 4 else np.tile(np.eye(2)[y % 2], 2))
    Y32, at = Y.astype(np.float32), rng.normal(size=4 * 7)
    value, gradient = _objective(X32, Y32, w / w.sum(), 0.1, width)(at)
    other, slope = objective_on_gpu(X32, Y32, w / w.sum(), 0.1, width, device="cpu")(at)
    assert other == pytest.approx(value, rel=1e-5)
    assert np.allclose(slope, gradient, atol=1e-5)
