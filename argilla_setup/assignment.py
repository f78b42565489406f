"""Who answers what: a batch dealt evenly among the people of the desk."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from argilla_setup.desk import Desk, DeskRecord
from stillhouse.records import Way

Dealt = Mapping[tuple[str, Way], tuple[str, ...]]  # by item and way


def deal(
    batch: Sequence[DeskRecord], annotators: Sequence[str], wanted: int = 1, *, dealt: Dealt = MappingProxyType({})
) -> list[DeskRecord]:
    """The batch with each record assigned to `wanted` of the annotators, or to all that may answer it if they are fewer.

    Evenly, the hardest records too: from the least certain one on, each goes to who has the fewest so far, ties by a
    draw of the item's own. The same batch is dealt the same way again. Records that are assigned already stay so, and
    count; so do those that were `dealt` before to people who are still among the annotators, so that nobody's queue
    changes hands because more is asked. Nobody gets what they must not answer.
    """
    batch = [_as_dealt(record, dealt, annotators) for record in batch]
    load = Counter(name for record in batch for name in record.assigned)
    new: dict[int, tuple[str, ...]] = {}
    for at, record in sorted(enumerate(batch), key=lambda pair: _hardest_first(pair[1])):
        if record.assigned:
            continue
        free = [name for name in dict.fromkeys(annotators) if name not in record.not_by]
        free.sort(key=lambda name, item_id=record.item_id: (load[name], _draw(item_id, name)))  # type: ignore[misc]
        new[at] = tuple(sorted(free[: 1 if record.way != "label" else wanted]))
        load.update(new[at])
    return [replace(record, assigned=new.get(at, record.assigned)) for at, record in enumerate(batch)]


def dealt_at(desk: Desk) -> Dealt:
    """What is open at the desk, and to whom it was dealt."""
    return {(record.item.id, record.way): record.assigned for record in desk.open()}


def _as_dealt(record: DeskRecord, dealt: Dealt, annotators: Sequence[str]) -> DeskRecord:
    names = dealt.get((record.item_id, record.way), ())
    stays = bool(names) and not record.assigned and set(names) <= set(annotators) - set(record.not_by)
    return replace(record, assigned=names) if stays else record


def _hardest_first(record: DeskRecord) -> tuple[float, str, str]:
    return -record.uncertainty if math.isfinite(record.uncertainty) else math.inf, record.item_id, record.way


def _draw(item_id: str, name: str) -> bytes:
    return hashlib.blake2b(f"{item_id}\x1f{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
