"""What the student abstains on goes to the teacher; what the teacher is unsure of goes to people's desk."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from argilla_setup.desk import DeskRecord
from kinds.kind import Kind
from serving.items import made_id
from serving.verdicts import Verdict, verdicts
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Suggestion

LIVE_ROUND = 0  # of what is asked at the desk outside of the loop's rounds


@dataclass(frozen=True, slots=True)
class Heard:
    """What the teachers together say of an item: calibrated probabilities (units, columns), None if nothing usable."""

    probs: Floats | None
    cost_usd: float


# Items are named by their content, so that a text asked again is known; one Heard for each, in their order.
Hear = Callable[[Sequence[Item]], Awaitable[Sequence[Heard]]]
Publish = Callable[[Sequence[DeskRecord]], int]


@dataclass(frozen=True, slots=True)
class Cascade:
    """The steps after the student. `threshold` is the expected score from which the teacher's word is taken.

    `hear` keeps replies, so that nothing is paid for twice; `publish` puts records before people, and passes over those
    that are there already.
    """

    kind: Kind
    hear: Hear
    publish: Publish
    threshold: float

    async def settle(self, items: Sequence[Item], firsts: Sequence[Verdict]) -> list[Verdict]:
        """What each item that the student abstained on comes to, given the student's verdict.

        A verdict of source "people" abstains and is the teacher's guess, or the student's where the teacher said
        nothing that can be used; its record is at the desk when this returns. Raises TeacherError, BudgetError and
        DeskError; what was paid for is kept.
        """
        named = [replace(item, id=made_id(item)) for item in items]
        asked = list({item.id: item for item in named}.values())
        heard = dict(zip([item.id for item in asked], await self.hear(asked), strict=True))
        settled, records = list[Verdict](), dict[str, DeskRecord]()
        for item, first in zip(named, firsts, strict=True):
            verdict = self._verdict(item, first, heard[item.id])
            settled.append(verdict)
            if verdict.source == "people":
                records[item.id] = self._record(item, verdict, heard[item.id])
        if records:
            await asyncio.to_thread(self.publish, list(records.values()))
        return settled

    def _verdict(self, item: Item, first: Verdict, heard: Heard) -> Verdict:
        if heard.probs is None:
            return replace(first, source="people", cost_usd=heard.cost_usd)
        units = [self.kind.units(item)]
        (verdict,) = verdicts(self.kind, [item], units, heard.probs, thresholds=None, threshold=self.threshold)
        return replace(verdict, source="people" if verdict.abstained else "teacher", cost_usd=heard.cost_usd)

    def _record(self, item: Item, verdict: Verdict, heard: Heard) -> DeskRecord:
        words, doubt = "", 1.0
        if heard.probs is not None:
            found = self.kind.doubt(item, self.kind.units(item), heard.probs)
            words, doubt = found.words, found.score
        suggestion = None
        if verdict.label is not None and verdict.probability is not None:
            agent = "student" if heard.probs is None else "teacher"
            suggestion = Suggestion(self.kind.normal(item, verdict.label), verdict.probability, agent, words)
        reason = "the teacher said nothing usable" if heard.probs is None else "student and teacher are unsure"
        return DeskRecord(item, LIVE_ROUND, reason, doubt, blind=False, suggestion=suggestion)
