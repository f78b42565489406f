"""What goes to the desk: a round's picks and what is asked further, each as people get it."""

from collections.abc import Sequence

from argilla_setup.assignment import Dealt, deal
from argilla_setup.desk import DeskRecord
from kinds.kind import Kind, Layout
from loop.asked import Asked, is_measured
from loop.asked_again import narrowed
from loop.context import Surroundings
from loop.view import Corpus
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Pick, Suggestion, Way
from stillhouse.settings import Desk


def records_of(
    corpus: Corpus,
    asked: Asked,
    number: int,
    believed: Floats,
    settings: Desk,
    near: Surroundings | None,
    dealt: Dealt,
) -> list[DeskRecord]:
    """Everything that round `number` has asked for so far, dealt to people; the same each time it is made.

    `believed` (u, k) is the belief before the round. Without `near` nothing is shown beside an item. `dealt` is who has
    what of it already.
    """
    picks = asked.of_round(number)
    suggestions = suggestions_of(corpus, believed, picks) | narrowed(corpus, believed, asked.again, picks)
    found = []
    for pick in picks:
        at = corpus.number[pick.item_id]
        for way in asked.ways(pick.item_id):
            if number <= asked.relabelled and not asked.is_open(pick.item_id, way):
                continue  # answered in the labels of before, and not to be answered again in those of now
            seen = None if is_blind(pick, way) else believed[corpus.layout.rows(at)]
            found.append(
                _record(
                    corpus.items[at],
                    pick,
                    way,
                    asked,
                    suggestions[pick.item_id],
                    context="" if near is None else near.of(pick.item_id, way, seen),
                    vector=tuple(map(float, corpus.texts[at])),
                )
            )
    asked_first = [record for record in found if record.way != "adjudicate"]
    if settings.annotators:
        asked_first = deal(asked_first, settings.annotators, asked.wanted, dealt=dealt)
    decisions = [record for record in found if record.way == "adjudicate"]
    return [*asked_first, *deal(decisions, settings.adjudicators, dealt=dealt)]


def _record(
    item: Item, pick: Pick, way: Way, asked: Asked, suggestion: Suggestion, *, context: str, vector: tuple[float, ...]
) -> DeskRecord:
    asking = asked.further.get(pick.item_id, {}).get(way)
    blind = is_blind(pick, way)
    refused = way == "label" and asking is not None
    return DeskRecord(
        item=item,
        round=pick.round,
        reason=pick.reason if asking is None else asking.reason,
        uncertainty=pick.score if asking is None else asking.score,
        blind=blind,
        suggestion=None if blind or refused or way == "adjudicate" else suggestion,
        way=way,
        context=context,
        assigned=() if asking is None else asking.assigned,
        not_by=() if asking is None else asking.not_by,
        vector=vector,
    )


def is_blind(pick: Pick, way: Way) -> bool:
    """Whether the person sees nothing that was said of the item: on the random share, and for a second opinion."""
    return pick.blind or is_measured(pick) or way == "second"


def suggestions_of(corpus: Corpus, believed: Floats, picks: Sequence[Pick]) -> dict[str, Suggestion]:
    """What was believed (u, k) of each pick before its round; the part that is least sure is named."""
    thresholds = corpus.kind.thresholds(believed)
    return {
        pick.item_id: _suggestion(
            corpus.kind, corpus.layout, corpus.items, corpus.number[pick.item_id], believed, thresholds
        )
        for pick in picks
    }


def _suggestion(
    kind: Kind, layout: Layout, items: Sequence[Item], at: int, believed: Floats, thresholds: Floats | None
) -> Suggestion:
    item, rows = items[at], layout.rows(at)
    value = kind.decode(item, layout.spans[rows], believed[rows], thresholds)
    parts = value if isinstance(value, list) else []
    return Suggestion(
        label=kind.normal(item, value),
        score=kind.expected_score(layout.spans[rows], believed[rows]),
        agent="belief",
        doubt=kind.doubt(item, layout.spans[rows], believed[rows]).words,
        part_scores=tuple(float(part["p"]) for part in parts if isinstance(part, dict) and "p" in part),
    )
