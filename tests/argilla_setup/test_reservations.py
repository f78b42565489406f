"""Reservations: who holds what, for how long, and what becomes of it."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from argilla_setup.server.reservations import HELD_AT_MOST, HELD_S, Reservations

DATASET, ANN, BEN = UUID(int=1), UUID(int=2), UUID(int=3)
RECORDS = [UUID(int=100 + number) for number in range(60)]


class Clock:
    """Stands still until it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_what_one_person_was_served_is_held_from_others_in_its_order() -> None:
    """The holder sees it first and in the order served; to everybody else it counts as taken."""
    reserved = Reservations()
    reserved.hold(DATASET, ANN, "queue", RECORDS[5:8], lost=())
    reserved.hold(DATASET, ANN, "queue", [RECORDS[1], RECORDS[6]], lost=())
    assert reserved.own(DATASET, ANN, "queue") == [RECORDS[5], RECORDS[6], RECORDS[7], RECORDS[1]]
    assert set(reserved.by_others(DATASET, BEN)) == {RECORDS[1], *RECORDS[5:8]}
    assert not reserved.by_others(DATASET, ANN)
    assert not reserved.by_others(UUID(int=9), BEN)


def test_two_holders_are_two() -> None:
    """Where two answers are asked, two people may hold one record, and a third is told of both."""
    reserved = Reservations()
    for person in (ANN, BEN):
        reserved.hold(DATASET, person, "queue", RECORDS[:1], lost=())
    assert reserved.by_others(DATASET, UUID(int=4)) == {RECORDS[0]: {ANN, BEN}}


def test_it_lapses_for_others_and_comes_back_to_a_holder_who_thought_long() -> None:
    """After five minutes without a sign others may have it; what nobody took is the holder's again."""
    clock = Clock()
    reserved = Reservations(clock)
    reserved.hold(DATASET, ANN, "queue", RECORDS[:3], lost=())
    clock.now_s = HELD_S
    assert not reserved.by_others(DATASET, BEN)
    reserved.hold(DATASET, BEN, "queue", RECORDS[:1], lost=())
    reserved.hold(DATASET, ANN, "queue", RECORDS[3:4], lost=reserved.by_others(DATASET, ANN))
    assert reserved.own(DATASET, ANN, "queue") == [RECORDS[1], RECORDS[2], RECORDS[3]]


def test_an_answer_is_a_sign_of_life_and_ends_the_hold() -> None:
    """The record is free where more answers are wanted, and the rest is held for longer; a closed one is nobody's."""
    clock = Clock()
    reserved = Reservations(clock)
    reserved.hold(DATASET, ANN, "queue", RECORDS[:3], lost=())
    clock.now_s = HELD_S - 1
    reserved.answered(DATASET, ANN, RECORDS[0])
    clock.now_s = HELD_S + 1
    assert set(reserved.by_others(DATASET, BEN)) == set(RECORDS[1:3])
    reserved.closed(DATASET, RECORDS[1])
    assert set(reserved.by_others(DATASET, BEN)) == {RECORDS[2]}


def test_another_search_lets_go_of_the_first() -> None:
    """A person looks at one queue at a time: what another order or filter had put first is free."""
    reserved = Reservations()
    reserved.hold(DATASET, ANN, "by doubt", RECORDS[:3], lost=())
    assert reserved.own(DATASET, ANN, "by age") == []
    reserved.hold(DATASET, ANN, "by age", RECORDS[5:6], lost=())
    assert set(reserved.by_others(DATASET, BEN)) == {RECORDS[5]}


@given(st.lists(st.lists(st.sampled_from(RECORDS), max_size=30), max_size=5))
def test_nobody_holds_much_and_nothing_twice(pages: list[list[UUID]]) -> None:
    """However many pages are served: each record once, first served first, and no more than a page looks ahead."""
    reserved = Reservations()
    for page in pages:
        reserved.hold(DATASET, ANN, "queue", page, lost=())
    served = list(dict.fromkeys(record for page in pages for record in page))
    assert reserved.own(DATASET, ANN, "queue") == served[:HELD_AT_MOST]
