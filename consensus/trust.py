"""How far the opinion, the suggestions, and sources together are to be trusted: what foretells left-out answers best."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from consensus.confusions import Confusions, Priors
from consensus.judgements import Table, summed
from stillhouse.probabilities import Floats, softmax

OPINION_LIMITS, SUGGESTION_LIMITS = (0.0, 4.0), (0.0, 4.0)
ALONE_LIMITS, GROUP_LIMITS = (0.05, 1.5), (0.0, 2.0)  # sources that stand alone may err together, but do not add
ITERATIONS = 25


@dataclass(frozen=True, slots=True, eq=False)
class Trust:
    """`opinion` and `suggestion` are exponents of what was thought and shown, `bias` (w,) of the labels, `tempers` (t,)
    exponents of the answers of sources that stand alone and of each group. `foretold` is the log-likelihood of answers,
    each by all that its own group did not say.
    """

    opinion: float
    suggestion: float
    bias: NDArray[np.float64]
    tempers: NDArray[np.float64]
    foretold: float = float("nan")

    @staticmethod
    def before(table: Table, priors: Priors) -> "Trust":
        groups = table.tempers - 1
        tempers = np.full(table.tempers, (1 + priors.groups) / (groups + priors.groups))
        tempers[0] = priors.temper
        return Trust(priors.opinion, 0.0, np.zeros(table.width), tempers)

    def logits(self, table: Table) -> NDArray[np.float64]:
        """(n, w): before any answer."""
        return self.opinion * table.logs + self.suggestion * table.suggestion + self.bias + table.ruled_out

    def posterior(self, table: Table, confusions: Confusions) -> NDArray[np.float64]:
        """(n, w)."""
        voices = table.voices(np.log(confusions.likelihood(table.judgements)))
        weighed = self.tempers[table.cell_temper][:, None] * voices
        return softmax(self.logits(table) + summed(table.cell_row, weighed, len(table.logs)))

    def again(self, table: Table, confusions: Confusions, priors: Priors) -> "Trust":
        """By the penalised likelihood of each answer given all but what its own group said (Besag 1975).

        Only sources that stand alone (people) are foretold.
        """
        lesson = _Lesson.of(table, confusions)
        if not len(lesson.share):
            return (
                self  # models err alike, whatever their maker: how they foretell each other says nothing of the truth
            )
        centre = Trust.before(table, priors).flat()
        strength = np.full(len(centre), priors.trust_strength)
        strength[2] = priors.temper_strength
        strength[3 : 2 + table.tempers] = priors.groups_strength
        limits = [OPINION_LIMITS, SUGGESTION_LIMITS, ALONE_LIMITS, *[GROUP_LIMITS] * (table.tempers - 1)]
        limits += [(-np.inf, np.inf)] * table.width

        def loss(x: Floats) -> tuple[float, Floats]:
            value, slope = lesson.loss(x)
            pull = strength * (x - centre)
            return value + 0.5 * float(pull @ (x - centre)), slope + pull

        options = {"maxiter": ITERATIONS}
        x = minimize(loss, self.flat(), jac=True, method="L-BFGS-B", bounds=limits, options=options).x
        ends = 2 + table.tempers
        return Trust(float(x[0]), float(x[1]), x[ends:], x[2:ends], -lesson.loss(x)[0])

    def untempered(self) -> "Trust":
        """With sources that stand alone as if they erred independently: how good they are is seen from that."""
        tempers = self.tempers.copy()
        tempers[0] = 1.0
        return replace(self, tempers=tempers)

    def flat(self) -> NDArray[np.float64]:
        return np.concatenate([[self.opinion, self.suggestion], self.tempers, self.bias])


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """The answers that are foretold (a,): their likelihood (a, w) by true label, and what else is known of their rows:
    opinion, suggestion and what is known (a, w), and what all other groups said (t, a, w), by temper.
    """

    likelihood: Floats
    logs: Floats
    suggestion: Floats
    ruled_out: Floats
    others: Floats
    share: Floats

    @staticmethod
    def of(table: Table, confusions: Confusions) -> "_Lesson":
        alone = table.cell_temper[table.cell] == 0
        who = np.flatnonzero(alone)
        rows, cells = table.judgements.rows[who], table.cell[who]
        likelihood = confusions.likelihood(table.judgements)
        voices = table.voices(np.log(likelihood))
        others = np.zeros((table.tempers, len(who), table.width))
        for temper in range(table.tempers):
            of = table.cell_temper == temper
            others[temper] = summed(table.cell_row[of], voices[of], len(table.logs))[rows]
        others[table.cell_temper[cells], np.arange(len(who))] -= voices[cells]
        logs, suggestion, ruled_out = table.logs[rows], table.suggestion[rows], table.ruled_out[rows]
        return _Lesson(likelihood[who], logs, suggestion, ruled_out, others, table.share[who])

    def loss(self, x: Floats) -> tuple[float, Floats]:
        """Minus the log-likelihood, and its slope. x: opinion, suggestion, tempers, bias."""
        ends = 2 + len(self.others)
        logits = x[0] * self.logs + x[1] * self.suggestion + x[ends:] + self.ruled_out
        for temper, others in zip(x[2:ends], self.others, strict=True):
            logits += temper * others
        before = softmax(logits)
        joint = before * self.likelihood
        foretold = joint.sum(axis=1)
        over = (before - joint / foretold[:, None]) * self.share[:, None]
        slope = np.concatenate(
            [
                [(over * self.logs).sum(), (over * self.suggestion).sum()],
                [(others * over).sum() for others in self.others],
                over.sum(axis=0),
            ]
        )
        return -float((self.share * np.log(foretold)).sum()), slope
