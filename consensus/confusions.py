"""How each source errs: its confusion, and how often it takes over what it is shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.judgements import Judgements, Table, summed
from stillhouse.probabilities import Floats


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed before anybody has said anything; strengths are in answers."""

    accuracy: float = 0.85
    accuracy_strength: float = 20.0
    shared_strength: float = 50.0  # of the confusion that all share, by true label
    own_strength: float = 30.0  # of each source's confusion, by true label
    copying: float = 0.2
    copying_strength: float = 10.0
    opinion: float = 0.5  # b: items are shared for being hard, and opinions are too sure of those
    temper: float = 0.4  # t: people err on the same items
    groups: float = 2.0  # of g groups each has t = (1 + this) / (g + this): models err on the same items too
    # Precisions of normal priors: of t of sources alone and of groups, and of b, g and bias.
    temper_strength: float = 200.0
    groups_strength: float = 300.0
    trust_strength: float = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Confusions:
    """`of` (s, w, w) is by source, true label and answer; `copying` (s,) the share of suggestions taken over unseen.
    `looks` (s,) is how many of a source's answers were looks of its own, as expected.
    """

    of: NDArray[np.float64]
    copying: NDArray[np.float64]
    looks: NDArray[np.float64]

    @staticmethod
    def before(judgements: Judgements, width: int, priors: Priors) -> "Confusions":
        sources = len(judgements.names)
        usual = np.repeat(_leaning(priors.accuracy, width)[None], sources, axis=0)
        return Confusions(usual, np.full(sources, priors.copying), np.zeros(sources))

    def likelihood(self, judgements: Judgements) -> NDArray[np.float64]:
        """(m, w): of each judgement, by true label."""
        own, copied = self._parts(judgements)
        return own + copied[:, None]

    def _parts(self, judgements: Judgements) -> tuple[Floats, Floats]:
        """(m, w) and (m,): the likelihood of having looked and said so, and of having taken it over."""
        copying = np.where(judgements.shown, self.copying[judgements.sources], 0.0)
        own = (1 - copying)[:, None] * self.of[judgements.sources, :, judgements.labels]
        return own, copying * (judgements.labels == judgements.suggested)

    def again(self, table: Table, posterior: Floats, priors: Priors) -> "Confusions":
        """The maximisation step: from the posterior (n, w) of all decisions, as means of Dirichlet and beta posteriors."""
        judgements, w = table.judgements, table.width
        sources = len(judgements.names)
        own, copied = self._parts(judgements)
        truth = posterior[judgements.rows]
        looked = truth * own / (own + copied[:, None])
        places = judgements.sources * w + judgements.labels
        counts = summed(places, looked, sources * w).reshape(sources, w, w).transpose(0, 2, 1)
        pooled = summed(judgements.labels, looked * table.share[:, None], w).T
        looks = counts.sum(axis=(1, 2))
        shown = np.bincount(judgements.sources, judgements.shown.astype(np.float64), sources)
        taken = np.bincount(judgements.sources, 1.0 - looked.sum(axis=1), sources)
        strength = priors.copying_strength
        usual = (taken.sum() + priors.copying * strength) / (shown.sum() + strength)
        copying = (taken + usual * strength) / (shown + strength)
        return Confusions(_drawn_together(counts, pooled, priors), copying, looks)


def _leaning(accuracy: float, width: int) -> NDArray[np.float64]:
    """The confusion (w, w) of a source whose errors prefer no label."""
    off = (1 - accuracy) / max(width - 1, 1)
    out: NDArray[np.float64] = np.full((width, width), off) + (accuracy - off) * np.eye(width)
    return out


def _drawn_together(counts: Floats, pooled: Floats, priors: Priors) -> NDArray[np.float64]:
    """(s, w, w) of each source and (w, w) of all -> (s, w, w), in three levels: the accuracy of all, the confusion of all
    drawn to it, and that of each source drawn to the confusion of all, bent to the source's own accuracy.
    """
    w, strength = counts.shape[1], priors.accuracy_strength
    accuracy = (np.trace(pooled) + priors.accuracy * strength) / (pooled.sum() + strength)
    shared = pooled + priors.shared_strength * _leaning(accuracy, w)
    shared /= shared.sum(axis=1, keepdims=True)
    right, total = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    usual_right = np.einsum("sy,yy->s", counts.sum(axis=2), shared)
    mean = np.trace(shared) / w
    own, usual = ((hits + priors.own_strength * mean) / (total + priors.own_strength) for hits in (right, usual_right))
    bent = np.repeat(shared[None], len(counts), axis=0)
    bent[:, np.arange(w), np.arange(w)] *= (own / (1 - own) * (1 - usual) / usual)[:, None]
    bent /= bent.sum(axis=2, keepdims=True)
    out = counts + priors.own_strength * bent
    return np.asarray(out / out.sum(axis=2, keepdims=True))
