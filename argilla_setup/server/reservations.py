"""Who is about to answer what: records served to one person are held back from the others while that person works.

Argilla's page fetches ten records ahead and never asks again whether they are still open, so without this people who share a
queue answer the same records. In memory only: after a restart some records may be answered twice, and nothing else.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

# By one person: the page holds up to 16 that are unanswered, and a bulk page of the second smallest size 25.
HELD_AT_MOST = 25
HELD_S = 300.0  # since the person last asked for records or answered one


@dataclass
class Held:
    """What one person holds of one queue, in the order in which it was served."""

    queue: Hashable
    record_ids: list[UUID]
    until_s: float


class Reservations:
    """One person has one queue (a search with its order) of a dataset at a time; another search lets go of the first.

    What has lapsed is free for others, but stays its holder's where nobody else has taken it: thinking long costs nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[UUID, dict[UUID, Held]] = {}  # by dataset and user

    def own(self, dataset_id: UUID, user_id: UUID, queue: Hashable) -> list[UUID]:
        """What this person holds of this queue, first served first."""
        held = self._held.get(dataset_id, {}).get(user_id)
        return list(held.record_ids) if held is not None and held.queue == queue else []

    def by_others(self, dataset_id: UUID, user_id: UUID) -> dict[UUID, set[UUID]]:
        """The records that other people at work hold, and who holds them."""
        now = self._clock()
        holders: dict[UUID, set[UUID]] = {}
        for holder, held in self._held.get(dataset_id, {}).items():
            if holder != user_id and held.until_s > now:
                for record_id in held.record_ids:
                    holders.setdefault(record_id, set()).add(holder)
        return holders

    def hold(
        self, dataset_id: UUID, user_id: UUID, queue: Hashable, served: Sequence[UUID], lost: Iterable[UUID]
    ) -> None:
        """Add what was served to what this person holds, without what others have taken (`lost`)."""
        kept = dict.fromkeys([*self.own(dataset_id, user_id, queue), *served])
        for record_id in lost:
            kept.pop(record_id, None)
        people = self._held.setdefault(dataset_id, {})
        people[user_id] = Held(queue, list(kept)[:HELD_AT_MOST], self._clock() + HELD_S)

    def answered(self, dataset_id: UUID, user_id: UUID, record_id: UUID) -> None:
        """This person is at work, and done with the record."""
        held = self._held.get(dataset_id, {}).get(user_id)
        if held is not None:
            held.until_s = self._clock() + HELD_S
            held.record_ids = [each for each in held.record_ids if each != record_id]

    def closed(self, dataset_id: UUID, record_id: UUID) -> None:
        """The record has all the answers it needs: nobody holds it any more."""
        for held in self._held.get(dataset_id, {}).values():
            held.record_ids = [each for each in held.record_ids if each != record_id]
