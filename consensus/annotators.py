"""What several sources say of the same decisions, weighed by how each errs: one posterior, and each source's quality.

    p(y) ~ softmax(b log opinion(y) + g [y = suggestion] + bias(y)) * product of p(answer | y, source) ** t
    p(l | y, source, suggestion s) = (1 - a) C[y, l] + a [l = s],   blind: a = 0

C is a source's confusion (Dawid & Skene 1979), drawn to one that all sources share, and that to the diagonal (Kim &
Ghahramani 2012; Passonneau & Carpenter 2014): who has said little is taken for an ordinary source. a is how often a
source takes over what it is shown without a look of its own. `opinion` has not seen the answers that it is combined with
(the idea of CROWDLAB, Goh et al. 2022). Sources err together, so b, g, bias and t are not those of independent errors:
they make each answer likeliest as foretold by all that its own group of sources did not say. A group (the prompts of one
model) speaks with one voice, the mean of its members' log-likelihoods, and has a t of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from consensus.confusions import Confusions, Priors
from consensus.judgements import BLIND, UNKNOWN, Judgements, Table
from consensus.trust import Trust
from stillhouse.probabilities import Floats, Ints

__all__ = ["BLIND", "UNKNOWN", "Consensus", "Judgements", "Priors", "Quality", "consensus_of"]

STEPS, STEPS_A_TRUST = 200, 5
TOLERANCE = 1e-3  # the largest change of the posterior from one fit of the trust to the next


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a source is: `accuracy` is the chance that an answer of its own, without a suggestion, is right on
    decisions like those it judged, with an interval; `copying` how often it takes over what it is shown without a look of
    its own. `shown` of its `answers` were given with a suggestion.
    """

    name: str
    answers: int
    shown: int
    accuracy: float
    lo: float
    hi: float
    copying: float


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """`probs` (n, w) is the posterior of each decision; where nobody said anything, the opinion as far as it is trusted.

    `confusions` (s, w, w) are by source, true label and answer.
    """

    probs: NDArray[np.float64]
    qualities: tuple[Quality, ...]
    confusions: NDArray[np.float64]
    trust: Trust


def consensus_of(
    opinion: Floats,
    judgements: Judgements,
    *,
    known: Ints | None = None,
    confidence: float = 0.95,
    priors: Priors | None = None,
) -> Consensus:
    """The posterior of decisions (n, w), by expectation maximisation (Dempster et al. 1977). Deterministic.

    A row of nan in `opinion` is one of which nothing is thought. `known` (n,) are decisions that somebody had the last word
    on, UNKNOWN elsewhere: they say how good the sources are.
    """
    priors, table = priors or Priors(), Table.of(opinion, judgements, known)
    confusions = Confusions.before(judgements, table.width, priors)
    trust = Trust.before(table, priors)
    probs = trust.posterior(table, confusions)
    for _ in range(0, STEPS, STEPS_A_TRUST):
        before = probs
        for _ in range(STEPS_A_TRUST):
            confusions = confusions.again(table, probs, priors)
            probs = trust.untempered().posterior(table, confusions)
        trust = trust.again(table, confusions, priors)
        probs = trust.posterior(table, confusions)
        if np.abs(probs - before).max(initial=0.0) < TOLERANCE:
            break
    return Consensus(probs, _qualities(table, probs, confusions, confidence, priors), confusions.of, trust)


def _qualities(
    table: Table, probs: Floats, confusions: Confusions, confidence: float, priors: Priors
) -> tuple[Quality, ...]:
    judgements, found = table.judgements, []
    for source, name in enumerate(judgements.names):
        theirs = judgements.sources == source
        usual = probs[judgements.rows[theirs]].mean(axis=0) if theirs.any() else np.full(table.width, 1 / table.width)
        accuracy = float(usual @ np.diag(confusions.of[source]))
        answers = confusions.looks[source] + priors.own_strength
        lo, hi = beta.interval(confidence, accuracy * answers, (1 - accuracy) * answers)
        shown = int(judgements.shown[theirs].sum())
        copying = float(confusions.copying[source])
        found.append(Quality(name, int(theirs.sum()), shown, accuracy, float(lo), float(hi), copying))
    return tuple(found)
