"""Who answers what: a batch dealt evenly among the people of the desk."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from argilla_setup.desk import DeskRecord


def deal(batch: Sequence[DeskRecord], annotators: Sequence[str], wanted: int = 1) -> list[DeskRecord]:
    """The batch with each record assigned to `wanted` of the annotators, or to all that may answer it if they are fewer.

    Evenly, the hardest records too: from the least certain one on, each goes to who has the fewest so far, ties by a
    draw of the item's own. The same batch is dealt the same way again, and its labels are whatever is asked in other ways
    later. Records that are assigned already stay so, and count; nobody gets what they must not answer.
    """
    load = Counter(name for record in batch for name in record.assigned)
    dealt: dict[int, tuple[str, ...]] = {}
    for at, record in sorted(enumerate(batch), key=lambda pair: _hardest_first(pair[1])):
        if record.assigned:
            continue
        free = [name for name in dict.fromkeys(annotators) if name not in record.not_by]
        free.sort(key=lambda name, item_id=record.item_id: (load[name], _draw(item_id, name)))  # type: ignore[misc]
        dealt[at] = tuple(sorted(free[: 1 if record.way != "label" else wanted]))
        load.update(dealt[at])
    return [replace(record, assigned=dealt.get(at, record.assigned)) for at, record in enumerate(batch)]


def _hardest_first(record: DeskRecord) -> tuple[bool, float, str, str]:
    hardness = -record.uncertainty if math.isfinite(record.uncertainty) else math.inf
    return record.way != "label", hardness, record.item_id, record.way


def _draw(item_id: str, name: str) -> bytes:
    return hashlib.blake2b(f"{item_id}\x1f{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
