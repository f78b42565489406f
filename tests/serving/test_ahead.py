"""Running ahead: the order stays, errors come where their part would have, and not more is made than asked for."""

import threading
from collections.abc import Iterator

import pytest

from serving.ahead import ahead


def counted(upto: int, made: list[int]) -> Iterator[int]:
    for number in range(upto):
        made.append(number)
        yield number


@pytest.mark.parametrize("upto", [0, 1, 2, 50])
def test_parts_come_in_their_order(upto: int) -> None:
    """However many there are."""
    assert list(ahead(counted(upto, []))) == list(range(upto))


def test_at_most_so_many_are_made_before_they_are_asked_for() -> None:
    """Or memory would not be bounded."""
    made: list[int] = []
    for number in ahead(counted(50, made), most=3):
        assert len(made) <= number + 1 + 3


def test_parts_are_made_in_another_thread() -> None:
    """While this one works."""

    def names() -> Iterator[str]:
        yield threading.current_thread().name

    assert next(iter(ahead(names()))) != threading.current_thread().name


def test_an_error_comes_where_its_part_would_have() -> None:
    """After the parts before it."""

    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ConnectionError("three")

    parts = ahead(broken())
    assert [next(parts), next(parts)] == [1, 2]
    with pytest.raises(ConnectionError, match="three"):
        next(parts)


def test_one_that_is_left_early_stops() -> None:
    """The thread is gone, and what it reads is read no further."""
    made: list[int] = []
    parts = ahead(counted(50, made))
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert len(made) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
