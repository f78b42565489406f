"""Does a promised error hold, what share is answered under it, and does a student need more than a temperature?

python -m benchmarks.risk [--quick] [--seeds 200] --json OUT
The product's student (a head on the frozen base) taught by known labels of a third of Banking77's train messages and of half of
the helpdesk's pool; items to certify on are drawn at random from the test messages and from the other half, and the
promise is checked on all that is left. Seeds are draws of these items.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.corpus import BASE, HELPDESK, lines_of, rows_of
from benchmarks.figures import Figure, arguments, at_most, report
from consensus.calibration import Calibration
from stillhouse.measures import expected_calibration_error, negative_log_likelihood, wilson
from stillhouse.probabilities import Floats, Ints, one_hot, softmax
from trainer.base import load_base
from trainer.calibrate import fit_temperature
from trainer.features import embed_cached
from trainer.inputs import Inputs
from trainer.linear import fit_linear, out_of_fold
from trainer.risk import RiskScores, certified_threshold

ERRORS, COUNTS, CONFIDENCE, C = (0.03, 0.05, 0.1), (200, 500), 0.95, 10.0
PENALTIES = (1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A student's logits (n, k) on items that it was not taught, and their truth; the same, cross-fitted, of its lesson."""

    name: str
    logits: Floats
    truth: Ints
    held_logits: Floats
    held_truth: Ints


def world_of(
    name: str, taught: Sequence[dict[str, str]], fresh: Sequence[dict[str, str]], label: str, cache: Path
) -> World:
    base = load_base(BASE)
    names = sorted({row[label] for row in taught})
    index = {team: at for at, team in enumerate(names)}
    X, Z = (
        embed_cached(base, Inputs([row["text"] for row in rows]), cache, threads=1).vectors for rows in (taught, fresh)
    )
    y, z = (np.array([index[row[label]] for row in rows]) for rows in (taught, fresh))
    head = fit_linear(X, one_hot(y, len(names)), C=C)
    crossed = out_of_fold(X, one_hot(y, len(names)), None, np.arange(len(y)) % 5, C=C)
    return World(name, head.logits(Z).astype(np.float64), z, np.log(np.maximum(crossed, 1e-12)).astype(np.float64), y)


def helpdesk(cache: Path) -> World:
    known = {row["id"]: row["team"] for row in lines_of(HELPDESK / "experts.jsonl")}
    rows = [{"text": row["text"], "team": known[row["id"]]} for row in lines_of(HELPDESK / "pool.jsonl")]
    order = np.random.default_rng(4).permutation(len(rows))
    half = len(rows) // 2
    return world_of("helpdesk", [rows[i] for i in order[:half]], [rows[i] for i in order[half:]], "team", cache)


def banking77(cache: Path) -> World:
    taught = rows_of("banking77", "train")[::3]
    return world_of("Banking77", taught, rows_of("banking77", "test"), "label", cache)


def promises(world: World, seeds: int) -> list[Figure]:
    """How often each promise was broken on the items left, and the share answered there, 0 where none was made."""
    temperature = fit_temperature(world.held_logits, world.held_truth)
    probs = softmax(world.logits / temperature)
    sure, error = probs.max(axis=1), (probs.argmax(axis=1) != world.truth).astype(float)
    figures = [Figure(f"{world.name}: error without abstaining", round(float(error.mean()), 4), "", None)]
    for count in COUNTS:
        for wish in ERRORS:
            broken, answered, made = 0, [], 0
            for seed in range(seeds):
                drawn = np.random.default_rng([seed, 6]).permutation(len(sure))
                some, rest = drawn[:count], drawn[count:]
                bound = certified_threshold(RiskScores(sure[some], error[some], "", whole=True), wish, CONFIDENCE)
                kept = sure[rest] >= (np.inf if bound.threshold is None else bound.threshold)
                made += bound.threshold is not None
                broken += bool(kept.any() and error[rest][kept].mean() > wish)
                answered.append(float(kept.mean()))
            what = f"{world.name}, {count} items, at most {wish:.0%} wrong"
            # As far as so many draws can tell: 5 % must not lie below the interval of the share.
            figures.append(at_most(f"{what}: lower bound of the share broken", wilson(broken, seeds, 0.95)[0], 0.05))
            figures.append(Figure(f"{what}: broken, of {seeds}", broken, "", None))
            figures.append(Figure(f"{what}: promised, of {seeds}", made, "", None))
            figures.append(Figure(f"{what}: share answered, mean", round(float(np.mean(answered)), 3), "", None))
    return figures


def calibrators(world: World) -> list[Figure]:
    """Log loss and calibration error on the fresh items of a temperature, and of temperature with a bias for each label."""
    k = world.logits.shape[1]
    plain = fit_temperature(world.held_logits, world.held_truth)
    tried = {
        "as trained": Calibration("identity", 1.0, np.zeros(k)),
        "temperature": Calibration("temperature", 1 / plain, np.zeros(k)),
    }
    for penalty in PENALTIES:
        tried[f"temperature and biases, penalty {penalty:g}"] = _biased(world, penalty)
    figures = []
    for name, one in tried.items():
        probs = softmax(one.exponent * world.logits + one.bias)
        right = probs.argmax(axis=1) == world.truth
        figures += [
            Figure(f"{world.name}, {name}: log loss", round(negative_log_likelihood(probs, world.truth), 4), "", None),
            Figure(
                f"{world.name}, {name}: calibration error",
                round(expected_calibration_error(probs.max(axis=1), right), 4),
                "",
                None,
            ),
            Figure(f"{world.name}, {name}: accuracy", round(float(right.mean()), 4), "", None),
        ]
    return figures


def _biased(world: World, penalty: float) -> Calibration:
    """Vector scaling with one temperature (Guo et al. 2017, section 4), biases drawn to 0."""
    from scipy.optimize import minimize

    targets = one_hot(world.held_truth, world.held_logits.shape[1])

    def loss(x: Floats) -> tuple[float, Floats]:
        probs = softmax(x[0] * world.held_logits + x[1:])
        over = probs - targets
        value = -np.log((probs * targets).sum(axis=1) + 1e-12).sum() + penalty / 2 * (x[1:] ** 2).sum()
        return float(value), np.concatenate([[(over * world.held_logits).sum()], over.sum(axis=0) + penalty * x[1:]])

    found = minimize(loss, np.concatenate([np.ones(1), np.zeros(targets.shape[1])]), jac=True, method="L-BFGS-B").x
    return Calibration("ridge", float(found[0]), found[1:])


def main() -> None:
    given = arguments(__doc__ or "")
    seeds = given.seeds or (50 if given.quick else 200)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as cache:
        for make in (helpdesk,) if given.quick else (helpdesk, banking77):
            world = make(Path(cache))
            figures += promises(world, seeds) + calibrators(world)
            report(figures, given.json)


if __name__ == "__main__":
    main()
