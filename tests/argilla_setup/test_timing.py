"""How long an answer took is told where it can be told, and nowhere else."""

import datetime as dt

from argilla_setup.timing import LONGEST_S, by_person, seconds_each

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def at(first_s: float, last_s: float | None = None) -> tuple[dt.datetime, dt.datetime]:
    """Saved first and last, in seconds after the start."""
    return START + dt.timedelta(seconds=first_s), START + dt.timedelta(seconds=first_s if last_s is None else last_s)


def test_each_answer_took_as_long_as_since_the_one_before() -> None:
    """In whatever order they are read; the first of all has nothing before it."""
    assert seconds_each([at(12), at(0), at(7.5)]) == [4.5, None, 7.5]


def test_a_long_gap_and_several_at_once_tell_nothing() -> None:
    """A pause is not work, and nobody reads a text in a tenth of a second."""
    assert seconds_each([at(0), at(LONGEST_S + 1), at(LONGEST_S + 1.1), at(LONGEST_S + 9.1)]) == [None, None, None, 8.0]


def test_an_edit_has_no_time_but_what_follows_is_timed_from_it() -> None:
    """Whoever went back to an earlier answer was not at work on the next one meanwhile."""
    assert seconds_each([at(0), at(10, 100), at(105)]) == [None, None, 5.0]


def test_people_are_timed_each_by_themselves() -> None:
    """Two at once are not in each other's way."""
    assert by_person([("ann", at(0)), ("ben", at(1)), ("ann", at(4)), ("ben", at(9))]) == [None, None, 4.0, 8.0]
