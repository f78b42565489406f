"""Who is right where several answered: majority, Dawid-Skene (crowd-kit), CROWDLAB (cleanlab) and consensus.annotators.

python -m benchmarks.annotators [--quick] [--seeds 5] --json OUT
Needs `pip install crowd-kit cleanlab` beside the project; a method whose package is missing is left out and said so.
Real judgements (ConvAbuse, BABE) are drawn anew by seed, and held against other people's judgements of the same items;
simulated anchored and careless annotators against known labels. All methods get the same classifier's cross-fitted
probabilities. Priors were chosen on the other half of the real rows and on other seeds of the simulated crowds.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import crowds
from benchmarks.calibration import helpdesk_team
from benchmarks.corpus import BASE
from benchmarks.crowds import UNKNOWN, Crowd
from benchmarks.figures import Figure, arguments, report
from consensus.annotators import BLIND, Judgements, consensus_of
from stillhouse.probabilities import Floats
from trainer.base import load_base

Method = Callable[[Crowd], Floats]
OURS = "consensus.annotators"
FIRST_SEED = 100  # of the report; the seeds before chose the priors
DRAWS = 2000


def by_majority(crowd: Crowd) -> Floats:
    return crowds.shares_of(crowd.judgements, *crowd.opinion.shape)


def by_dawid_skene(crowd: Crowd) -> Floats:
    pd, aggregation = import_module("pandas"), import_module("crowdkit.aggregation")

    said, (n, k) = crowd.judgements, crowd.opinion.shape
    frame = pd.DataFrame({"task": said.rows, "worker": said.sources, "label": said.labels})
    found = aggregation.DawidSkene(n_iter=100).fit(frame).probas_.reindex(columns=range(k)).fillna(0.0)
    probs = np.full((n, k), 1.0 / k)
    probs[found.index.to_numpy()] = found.to_numpy()
    return probs


def by_crowdlab(crowd: Crowd, *, calibrated: bool = False) -> Floats:
    """The posterior behind cleanlab's consensus label; only a private function gives it for all labels."""
    cleanlab = import_module("cleanlab.multiannotator")
    scaling = import_module("cleanlab.internal.multiannotator_utils")

    said, probs = crowd.judgements, np.full(crowd.opinion.shape, 1.0 / crowd.opinion.shape[1])
    table = np.full((len(probs), len(said.names)), np.nan)
    table[said.rows, said.sources] = said.labels
    judged = ~np.isnan(table).all(axis=1)
    table, opinion = table[judged][:, np.unique(said.sources)], crowd.opinion[judged]
    found = cleanlab.get_label_quality_multiannotator(
        table,
        opinion,
        calibrate_probs=calibrated,
        verbose=False,
        return_detailed_quality=False,
        return_annotator_stats=False,
    )
    label = found["label_quality"]["consensus_label"].to_numpy()
    if calibrated:
        opinion = scaling.temp_scale_pred_probs(opinion, scaling.find_best_temp_scaler(table, opinion))
    counts = (~np.isnan(table)).sum(axis=1)
    stats = cleanlab._get_consensus_stats(table, opinion, counts, label, "crowdlab", verbose=False)  # noqa: SLF001
    probs[judged] = stats[2]
    return probs


def by_ours(crowd: Crowd) -> Floats:
    return consensus_of(crowd.opinion, crowd.judgements).probs


def by_ours_unshown(crowd: Crowd) -> Floats:
    """Without being told what was shown."""
    said = crowd.judgements
    blind = Judgements(said.names, said.rows, said.sources, said.labels, np.full(len(said), BLIND), said.groups)
    return consensus_of(crowd.opinion, blind).probs


def methods() -> dict[str, Method]:
    found: dict[str, Method] = {"majority": by_majority}
    if there("crowdkit", "crowd-kit"):
        found["Dawid-Skene"] = by_dawid_skene
    if there("cleanlab", "cleanlab"):
        found["CROWDLAB"] = by_crowdlab
        found["CROWDLAB, calibrated"] = lambda crowd: by_crowdlab(crowd, calibrated=True)
    found["ours, not told what was shown"] = by_ours_unshown
    found[OURS] = by_ours
    return found


def there(module: str, package: str) -> bool:
    if find_spec(module) is not None:
        return True
    print(f"left out: {module} is not here; pip install {package}", file=sys.stderr)
    return False


def measured(makers: Iterable[Callable[[int], Crowd]], seeds: int) -> list[Figure]:
    figures, tried = [], methods()
    print("| judgements | items | method | accuracy | log loss |\n|---|---|---|---|---|")
    for make in makers:
        scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in tried}
        ids: list[str] = []
        name = ""
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            crowd = make(seed)
            name = crowd.name
            judged = np.bincount(crowd.judgements.rows, minlength=len(crowd.truth)) > 0
            rows = np.flatnonzero(judged & (crowd.truth != UNKNOWN))
            ids += [crowd.ids[int(row)] for row in rows]
            for method, of in tried.items():
                probs, truth = of(crowd)[rows], crowd.truth[rows]
                scores[method].append(np.stack([crowds.hits(probs, truth), crowds.likelihoods(probs, truth)], axis=1))
        figures += compared(name, {m: np.concatenate(parts) for m, parts in scores.items()}, ids)
    return figures


def compared(name: str, scores: dict[str, NDArray[np.float64]], ids: list[str]) -> list[Figure]:
    """Ours less the best other, with a bootstrap interval over items (Efron & Tibshirani 1993): all draws of an item are one.

    The best is known only afterwards, which is in its favour.
    """
    _, item = np.unique(ids, return_inverse=True)
    count = np.bincount(item)
    means = {method: score.mean(axis=0) for method, score in scores.items()}
    for method, (right, loss) in means.items():
        print(f"| {name} | {len(count)} | {method} | {right:.4f} | {loss:.4f} |", flush=True)
    others = [method for method in means if not method.startswith(("ours", OURS))]
    rng, figures = np.random.default_rng(1), []
    drawn = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), size=DRAWS).astype(np.float64)
    for column, what in enumerate(("accuracy", "log loss")):
        sign = 1 if column == 0 else -1
        best = max(others, key=lambda method: sign * means[method][column])
        difference = scores[OURS][:, column] - scores[best][:, column]
        summed = np.bincount(item, difference)
        found = (drawn @ summed) / (drawn @ count)
        lo, hi = np.quantile(found, (0.025, 0.975))
        value = float(difference.mean())
        label = f"{name}: {what} less {best}'s [{lo:+.4f}, {hi:+.4f}]"
        goal = ">= 0" if column == 0 else "<= 0"
        figures.append(Figure(label, round(value, 4), goal, sign * round(value, 4) >= 0))
    return figures


def main() -> None:
    given = arguments(__doc__ or "")
    seeds = given.seeds or (1 if given.quick else 5)
    warnings.filterwarnings("ignore")  # crowd-kit and cleanlab warn of what newer pandas will do
    base = load_base(BASE)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        team = helpdesk_team(base, cache, 600 if given.quick else 2550)
        n = 400 if given.quick else 1000
        makers: list[Callable[[int], Crowd]] = [
            lambda seed: crowds.simulated(team, "careless", seed, n=n, each=3),
            lambda seed: crowds.simulated(team, "anchored", seed, n=n),
            lambda seed: crowds.simulated(team, "anchored and careless", seed, n=n),
        ]
        if not given.quick:
            makers += [
                lambda seed: crowds.convabuse(base, cache, seed, least=2),
                lambda seed: crowds.convabuse(base, cache, seed, least=1),
                lambda seed: crowds.babe_experts(base, cache, seed),
                lambda seed: crowds.babe_students(base, cache, seed),
                lambda seed: crowds.babe_models(base, cache, seed, experts=0),
                lambda seed: crowds.babe_models(base, cache, seed, experts=1),
            ]
        report(measured(makers, seeds), given.json)


if __name__ == "__main__":
    main()
