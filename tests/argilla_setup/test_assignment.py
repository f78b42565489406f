"""A batch is dealt evenly, the same way each time, and never to somebody who must not answer."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from argilla_setup.assignment import Dealt, deal
from argilla_setup.desk import DeskRecord
from tests.argilla_setup.people import a_record, asked_again

PEOPLE = ("ann", "ben", "cho")


def batch_of(count: int) -> list[DeskRecord]:
    return [a_record(f"i{n}", uncertainty=n / 100) for n in range(count)]


def load(records: list[DeskRecord]) -> Counter[str]:
    return Counter(name for record in records for name in record.assigned)


@given(st.integers(0, 40), st.integers(1, 3), st.integers(1, 3))
def test_everybody_gets_as_many_and_as_hard_ones(count: int, people: int, wanted: int) -> None:
    """Loads differ by one at most, of the whole and of the hardest part; a record never twice to one person."""
    dealt = deal(batch_of(count), PEOPLE[:people], wanted)
    assert all(len(set(record.assigned)) == min(people, wanted) for record in dealt)
    for part in (dealt, dealt[count // 2 :]):
        counts = [load(part)[name] for name in PEOPLE[:people]]
        assert max(counts) - min(counts) <= 1


def test_a_batch_is_dealt_the_same_way_whatever_its_order() -> None:
    """A run that was killed deals as it had dealt."""
    batch = batch_of(20)
    there = {record.item_id: record.assigned for record in deal(batch, PEOPLE)}
    back = {record.item_id: record.assigned for record in deal(batch[::-1], PEOPLE)}
    assert there == back


def test_what_is_assigned_stays_and_counts() -> None:
    """Others get what makes it even."""
    mine = [a_record(f"m{n}", assigned=("ann",)) for n in range(4)]
    dealt = deal([*mine, *batch_of(4)], ("ann", "ben"))
    assert dealt[:4] == mine
    assert load(dealt) == {"ann": 4, "ben": 4}


def test_another_opinion_is_somebody_elses_and_one_is_enough() -> None:
    """Whoever answered before gets nothing; where nobody else is left, nobody is assigned."""
    batch = [asked_again(f"i{n}", "second", not_by=("ann",)) for n in range(6)]
    assert load(deal(batch, PEOPLE, wanted=2)) == {"ben": 3, "cho": 3}
    assert deal(batch, ("ann",)) == batch


def test_single_follow_ups_do_not_all_go_to_the_first_name() -> None:
    """They come one at a time, when nobody has a load yet."""
    alone = [deal([a_record(f"i{n}")], PEOPLE)[0].assigned for n in range(30)]
    assert len(set(alone)) == 3


def test_nothing_known_of_uncertainty_is_dealt_last() -> None:
    """An uncertainty that is no number breaks nothing."""
    dealt = deal([a_record("nan", uncertainty=float("nan")), *batch_of(2)], ("ann",))
    assert load(dealt) == {"ann": 3}


def test_nobodys_queue_changes_hands_because_more_is_asked() -> None:
    """What is open stays with those it was dealt to; what was answered meanwhile is not known any more."""
    batch = batch_of(9)
    first = deal(batch, PEOPLE)
    dealt: Dealt = {(record.item_id, record.way): record.assigned for record in first[3:]}
    later = [asked_again(f"i{n}", "second", not_by=("ann",), uncertainty=0.99) for n in range(3)]
    again = deal([*later, *batch], PEOPLE, dealt=dealt)
    assert again[6:] == first[3:]
    assert all(record.assigned and record.assigned != ("ann",) for record in again[:3])


def test_what_somebody_leaves_open_is_dealt_to_those_who_are_left() -> None:
    """Taken out of the annotators, a person keeps nothing; the others keep theirs."""
    batch = batch_of(9)
    first = deal(batch, PEOPLE)
    again = deal(batch, PEOPLE[1:], dealt={(record.item_id, record.way): record.assigned for record in first})
    assert set(load(again)) == {"ben", "cho"}
    assert all(after == before for before, after in zip(first, again, strict=True) if before.assigned != ("ann",))
    assert abs(load(again)["ben"] - load(again)["cho"]) <= 1
