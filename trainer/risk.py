"""From which probability on a student may be trusted: thresholds certified to be wrong at most so often where it answers.

Learn then test (Angelopoulos et al. 2021) with fixed-sequence testing: thresholds are tried from strict to lax, each by a
test of "the error among what is answered here exceeds the wish", until the first that is not rejected. Whatever the
student is worth, the chance that the threshold taken breaks its promise is at most 1 - confidence. That holds if

- the items were drawn uniformly from texts like the ones to be labelled, without regard to how hard they are;
- their answers have not taught, chosen or calibrated this student.

The thresholds are those at which 1, 2, 3 ... steps of the items themselves are answered. That costs nothing: where the
true error among the answered first comes to exceed the wish it is equal to it, so the errors down to that threshold are
binomial with the wish as their chance, however many items happen to lie there. (It takes probabilities that differ; with
many equal ones it is an approximation, which simulations show to be safe: tests/trainer/test_risk.py.)

Each wish (error, confidence) is a promise by itself; who tries many and keeps the one that suits has tested too often.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from stillhouse.errors import InputError
from stillhouse.probabilities import Floats

STEPS = 40  # thresholds from the first to the one that answers everything
REPORTED = (0.01, 0.02, 0.03, 0.05, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class RiskScores:
    """What can be certified on. `sure` (n,) is how sure the student is of each item (its expected score), `error` (n,) is
    1 - the score it got; `on` says which items; `whole` that an item is right or wrong and nothing between.
    """

    sure: NDArray[np.float64]
    error: NDArray[np.float64]
    on: str
    whole: bool

    def to_json(self) -> str:
        kept = {"on": self.on, "whole": self.whole, "sure": self.sure.tolist(), "error": self.error.tolist()}
        return json.dumps(kept, ensure_ascii=False, allow_nan=False) + "\n"

    @staticmethod
    def of_json(text: str) -> "RiskScores":
        """Raises ValueError, KeyError or TypeError where it is no such file."""
        read = json.loads(text)
        sure, error = (np.array(read[name], np.float64) for name in ("sure", "error"))
        return RiskScores(sure, error, str(read["on"]), bool(read["whole"]))


@dataclass(frozen=True, slots=True)
class Bound:
    """A wish and what came of it: at `threshold` and above, the mean error is at most `max_error`, with `confidence`.

    `threshold` is None where none could be certified, and `why` says why not. Of `n` items `answered` are at or above it,
    `errors` of them wrong (shares added up).
    """

    max_error: float
    confidence: float
    threshold: float | None
    n: int
    answered: int
    errors: float
    on: str
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def promise(self) -> str:
        return f"at most {100 * self.max_error:g} % wrong where it answers, with {100 * self.confidence:g} % confidence"


def fewest_items(max_error: float, confidence: float) -> int:
    """How many items, all right, it takes to certify anything: 59 for 5 %, 99 for 3 %, 299 for 1 % (at .95)."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_error))


def certified_threshold(scores: RiskScores, max_error: float, confidence: float) -> Bound:
    """The lowest threshold whose error among answered items is certified. Raises InputError for a wish that is none."""
    if not (0.0 < max_error < 1.0 and 0.5 <= confidence < 1.0):
        raise InputError(
            "this error cannot be promised",
            expected="an error between 0 and 1, and a confidence from 0.5 to below 1",
            found=f"error {max_error:g}, confidence {confidence:g}",
            fix="ask for 0.03, say, with 0.95",
        )
    n, least = len(scores.sure), fewest_items(max_error, confidence)
    found, tried = None, (0, 0.0)
    for threshold in thresholds_to_try(scores.sure, least):
        errors = scores.error[scores.sure >= threshold]
        if p_value(errors, max_error, whole=scores.whole) > 1 - confidence:
            break
        found, tried = float(threshold), (len(errors), float(errors.sum()))
    if found is None:
        why = _why_not(scores, max_error, confidence, least)
        return Bound(max_error, confidence, None, n, 0, 0.0, scores.on, why)
    return Bound(max_error, confidence, found, n, *tried, scores.on)


def thresholds_to_try(sure: Floats, least: int) -> NDArray[np.float64]:
    """Falling thresholds, the last 0; none where all items (n,) are too few. How right they are has no part in it."""
    n = len(sure)
    if n < least:
        return np.empty(0)
    counts = np.unique(np.linspace(_first(n, least), n, STEPS).round().astype(int))
    falling = np.sort(sure)[::-1]
    return np.append(falling[counts[:-1] - 1], 0.0)


def _first(n: int, least: int) -> int:
    """How many of n items the first threshold answers: between what an errorless student needs and all, in the middle of
    their logarithms. With fewer one error ends the search, with more it begins where errors are; simulated, this promises
    most often beside 1.1 to 3 times what is needed.
    """
    return math.ceil(math.sqrt(n * least))


def p_value(errors: Floats, max_error: float, *, whole: bool) -> float:
    """How likely so few errors (m,) are where their mean in truth exceeds `max_error`: at most this.

    Of whole errors the binomial tail, which is exact; of shares the bound of Hoeffding and Bentkus (Bates et al. 2021,
    section 3). Of nothing, 1.
    """
    m, seen = len(errors), float(np.sum(errors))
    if m == 0:
        return 1.0
    if whole:
        return float(bdtr(round(seen), m, max_error))
    mean = min(seen / m, max_error)
    hoeffding = math.exp(-m * _relative_entropy(mean, max_error))
    bentkus = math.e * float(bdtr(math.ceil(seen - 1e-9), m, max_error))
    return min(hoeffding, bentkus, 1.0)


def _relative_entropy(a: float, b: float) -> float:
    """Of coins with chances a <= b < 1, in nats."""
    first = a * math.log(a / b) if a > 0 else 0.0
    return first + (1 - a) * math.log((1 - a) / (1 - b))


def _why_not(scores: RiskScores, max_error: float, confidence: float, least: int) -> str:
    n = len(scores.sure)
    if n < least:
        return (
            f"{n} answers are too few: {max_error:g} with confidence {confidence:g} takes at least {least}, even where "
            "nothing is wrong"
        )
    surest = np.argsort(-scores.sure, kind="stable")[: _first(n, least)]
    wrong = float(scores.error[surest].sum())
    return (
        f"of the {len(surest)} items it is surest of, {wrong:g} are wrong, which is too many to promise {max_error:g}"
    )


def bounds_to_report(scores: RiskScores, confidence: float, wished: float | None = None) -> tuple[Bound, ...]:
    """For a page: the wish, or where there is none, the usual errors from 1 to 10 %, each a promise by itself."""
    return tuple(certified_threshold(scores, error, confidence) for error in ((wished,) if wished else REPORTED))
