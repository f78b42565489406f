"""Where the items stand that people are asked: in which ways each is out, who has answered, what is still open."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from loop.asked_again import asked_again
from loop.project import rounds_before
from stillhouse.label_mapping import Carried
from stillhouse.records import Answer, Asking, Pick, Way
from stillhouse.store import Store

# One person's later word on an item replaces the earlier one, and a decision is the last.
LATER: Mapping[Way, int] = {"verify": 0, "label": 1, "second": 2, "adjudicate": 3}


@dataclass(frozen=True, eq=False)
class Asked:
    """All that was asked and answered so far. An item asked for a label wants `wanted` answers, any other way one.

    `again` are items asked anew because labels changed (`loop.asked_again`), the last time after `relabelled` rounds.
    """

    picks: tuple[Pick, ...]
    askings: tuple[Asking, ...]
    answers: tuple[Answer, ...]
    wanted: int
    again: Mapping[str, Carried] = field(default_factory=dict)
    relabelled: int = 0

    @cached_property
    def pick_of(self) -> dict[str, Pick]:
        return {pick.item_id: pick for pick in self.picks}

    @cached_property
    def said(self) -> dict[str, tuple[Answer, ...]]:
        """The answers to each item, one a person."""
        found: dict[str, list[Answer]] = defaultdict(list)
        for answer in self.answers:
            found[answer.item_id].append(answer)
        return {item_id: tuple(answers) for item_id, answers in found.items()}

    @cached_property
    def further(self) -> dict[str, dict[Way, Asking]]:
        """What each item was asked beyond the first label."""
        found: dict[str, dict[Way, Asking]] = defaultdict(dict)
        for asking in self.askings:
            if asking.item_id in self.pick_of:
                found[asking.item_id][asking.way] = asking
        return dict(found)

    @property
    def checks(self) -> int:
        """How many answers were asked for beyond the first that an item is wanted for: they cost people time as well."""
        return sum(way in {"second", "adjudicate"} for further in self.further.values() for way in further)

    def ways(self, item_id: str) -> tuple[Way, ...]:
        """In which ways the item is out, in the order in which it was asked."""
        further = self.further.get(item_id, {})
        first: tuple[Way, ...] = () if "verify" in further else ("label",)
        return (*first, *sorted(further, key=LATER.__getitem__))

    def is_open(self, item_id: str, way: Way) -> bool:
        """Whether an answer is still to come. A pass is an answer: a record that nobody can label must not wait forever."""
        said = self.said.get(item_id, ())
        if way == "verify":  # what was refused is asked for a label
            return not said and "label" not in self.further.get(item_id, {})
        if way == "label":
            return len(said) < (self.wanted if "verify" not in self.further.get(item_id, {}) else 1)
        return not any(LATER[answer.way] >= LATER[way] for answer in said)

    def open_in(self, round_number: int) -> list[tuple[str, Way]]:
        """The records of a round that wait for somebody."""
        return [
            (pick.item_id, way)
            for pick in self.of_round(round_number)
            for way in self.ways(pick.item_id)
            if self.is_open(pick.item_id, way)
        ]

    def due_in(self, round_number: int) -> list[tuple[str, Way]]:
        """The records that a round waits for: its own, and those of earlier ones that are asked anew."""
        earlier = sorted({pick.round for pick in self.picks} - {round_number})
        anew = [record for number in earlier for record in self.open_in(number) if record[0] in self.again]
        return [*self.open_in(round_number), *anew]

    def of_round(self, round_number: int) -> list[Pick]:
        return [pick for pick in self.picks if pick.round == round_number]

    def answered(self, round_number: int) -> float:
        """The share of a round's items that have the answers they were first to have."""
        picks = self.of_round(round_number)
        have = sum(not self._waits(pick.item_id) for pick in picks)
        return have / len(picks) if picks else 1.0

    def _waits(self, item_id: str) -> bool:
        return any(self.is_open(item_id, way) for way in self.ways(item_id) if way in {"verify", "label"})

    def is_done(self, round_number: int, enough: float) -> bool:
        """Whether the loop may go on: little enough is open, and nothing of the random share, on which figures rest."""
        still = self.due_in(round_number)
        most = round((1.0 - enough) * len(self.of_round(round_number)), 9)
        return len(still) <= most and not any(is_measured(self.pick_of[item_id]) for item_id, _ in still)

    def for_figures(self) -> list[Pick]:
        """The picks, of which a random draw counts as one only once all of it is answered and checked.

        What people answer first is no random part of it: they begin with what is listed first, and put off what is hard.
        """
        waiting = {
            self.pick_of[item_id].round
            for number in {pick.round for pick in self.picks}
            for item_id, _ in self.open_in(number)
            if is_measured(self.pick_of[item_id])
        }
        return [
            replace(pick, inclusion_probability=None) if is_measured(pick) and pick.round in waiting else pick
            for pick in self.picks
        ]


def asked_of(store: Store, wanted: int) -> Asked:
    return Asked(
        tuple(store.picks()),
        tuple(store.askings()),
        tuple(store.answers()),
        wanted,
        asked_again(store),
        rounds_before(store),
    )


def is_measured(pick: Pick) -> bool:
    """Whether figures rest on the item: it was drawn at random."""
    return pick.inclusion_probability is not None


def to_keep(answers: Iterable[Answer], known: Sequence[Answer]) -> list[Answer]:
    """The answers to write, the last word of each person last; none that would replace a later word than itself."""
    rank = {(answer.item_id, answer.annotator): LATER[answer.way] for answer in known}
    in_order = sorted(answers, key=lambda answer: LATER[answer.way])
    return [answer for answer in in_order if LATER[answer.way] >= rank.get((answer.item_id, answer.annotator), 0)]
