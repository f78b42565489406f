"""What a test of other guidelines shows: paired figures on held-out answers, corrected for how many drafts were tested on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import binomtest

from stillhouse.measures import paired_mean_difference
from stillhouse.records import Interval

LEAST_ITEMS = 30  # of held-out answers; fewer claim nothing
LEAST_OF_A_ROW = 10
Verdict = Literal["helps", "harms", "not shown", "too few"]


@dataclass(frozen=True, slots=True)
class Tried:
    """One held-out item: its score under the guidelines before and after, whether it was drawn at random, and whether a name
    that the draft is about is in play (what people say, or what was said before or after).
    """

    item_id: str
    drawn: bool
    in_play: bool
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Row:
    """Mean scores of some of the items, and the paired difference. `p_value` is McNemar's exact one (McNemar 1947), None
    where scores are not 0 or 1.
    """

    name: str
    before: float
    after: float
    gained: int
    lost: int
    difference: Interval
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Judged:
    """`rows` have the intervals of the given confidence, corrected for `drafts` by Bonferroni: each is the one that would be
    right if it were looked at alone, at a confidence of 1 - (1 - confidence) / drafts.
    """

    rows: tuple[Row, ...]
    drafts: int
    verdict: Verdict
    because: str

    def to_json(self) -> dict[str, Any]:
        rows = [
            {
                "name": row.name,
                "before": row.before,
                "after": row.after,
                "gained": row.gained,
                "lost": row.lost,
                "difference": row.difference.to_json(),
                "p_value": row.p_value,
            }
            for row in self.rows
        ]
        return {"verdict": self.verdict, "because": self.because, "drafts": self.drafts, "rows": rows}


def judge(tried: Sequence[Tried], *, confidence: float, drafts: int) -> Judged:
    """The claim is about all held-out items: a gain is shown where the corrected interval lies above 0. Harm is looked for
    more eagerly, since nobody is hurt by a draft that is not taken: in all items, those with no name in play and those drawn
    at random, each by its interval uncorrected.
    """
    parts = (
        ("all held-out answers", list(tried)),
        ("where it should help", [one for one in tried if one.in_play]),
        ("the rest", [one for one in tried if not one.in_play]),
        ("drawn at random", [one for one in tried if one.drawn]),
    )
    corrected = 1 - (1 - confidence) / max(drafts, 1)
    rows = tuple(_row(name, part, corrected) for name, part in parts if part)
    if len(tried) < LEAST_ITEMS:
        return Judged(rows, drafts, "too few", f"{len(tried)} held-out answers claim nothing; {LEAST_ITEMS} may")
    for name, part in parts:
        if name != "where it should help" and len(part) >= LEAST_OF_A_ROW:
            plain = _row(name, part, confidence).difference
            if plain.hi < 0:
                return Judged(rows, drafts, "harms", f"{_points(plain)} points on {len(part)}, {name}")
    gain = rows[0].difference
    said = f"{_points(gain)} points on {len(tried)} held-out answers"
    said += f", corrected for {drafts} drafts tested on them" if drafts > 1 else ""
    return Judged(rows, drafts, "helps" if gain.lo > 0 else "not shown", said)


def _row(name: str, tried: Sequence[Tried], confidence: float) -> Row:
    before, after = (np.array([getattr(one, side) for one in tried], dtype=np.float64) for side in ("before", "after"))
    gained, lost = int((after > before).sum()), int((after < before).sum())
    whole = bool(np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all())
    p_value = float(binomtest(gained, gained + lost).pvalue) if whole and gained + lost else 1.0
    difference = paired_mean_difference(before, after, confidence, name)
    return Row(name, float(before.mean()), float(after.mean()), gained, lost, difference, p_value if whole else None)


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.lo:+.1f}, {100 * interval.hi:+.1f}]"
