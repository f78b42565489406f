"""How long an answer took, as far as the times at which a person's answers arrived can tell."""

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterable, Sequence

LONGEST_S = 600.0  # of a longer gap nobody knows how much was work
SHORTEST_S = 0.3  # in less nobody reads anything: several were sent at once
_AT_ONCE = dt.timedelta(seconds=1)

Moments = tuple[dt.datetime, dt.datetime]  # when a response was first saved, and when last


def seconds_each(moments: Sequence[Moments]) -> list[float | None]:
    """Seconds of each response of one person: from what they saved before it until it was saved.

    None for the first of all, after a long gap, where several were sent at once, and for one that was saved more than
    once (a draft, an edit): how long its first saving took says too little, and its last too much.
    """
    saved = sorted({moment for pair in moments for moment in pair})
    return [_seconds(pair, saved) for pair in moments]


def _seconds(moments: Moments, saved: Sequence[dt.datetime]) -> float | None:
    first, last = moments
    before = bisect_left(saved, first)
    if last - first > _AT_ONCE or not before:
        return None
    gap_s = (first - saved[before - 1]).total_seconds()
    return round(gap_s, 3) if SHORTEST_S <= gap_s <= LONGEST_S else None


def by_person(rows: Iterable[tuple[str, Moments]]) -> list[float | None]:
    """The same for the responses of several people, in their order."""
    listed = list(rows)
    found: list[float | None] = [None] * len(listed)
    for person in {person for person, _ in listed}:
        at = [number for number, (name, _) in enumerate(listed) if name == person]
        for number, seconds in zip(at, seconds_each([listed[number][1] for number in at]), strict=True):
            found[number] = seconds
    return found
