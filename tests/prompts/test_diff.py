"""The parts that two sequences share."""

from hypothesis import given
from hypothesis import strategies as st

from prompts.diff import same_parts

WORDS = st.lists(st.sampled_from(list("abcdefgh")), max_size=40)


@given(WORDS, WORDS)
def test_blocks_are_equal_rising_and_apart(a: list[str], b: list[str]) -> None:
    """Each block is the same on both sides, and begins after the one before on both."""
    at_a = at_b = 0
    for i, j, n in same_parts(a, b):
        assert a[i : i + n] == b[j : j + n]
        assert i >= at_a
        assert j >= at_b
        at_a, at_b = i + n, j + n


@given(WORDS, st.sets(st.integers(0, 39)))
def test_what_is_left_after_deletions_is_found_whole(a: list[str], gone: set[int]) -> None:
    """With distinct words, everything that was kept is matched."""
    distinct = [f"{word}{number}" for number, word in enumerate(a)]
    kept = [word for number, word in enumerate(distinct) if number not in gone]
    assert sum(n for _, _, n in same_parts(kept, distinct)) == len(kept)


def test_too_much_work_is_left_unmatched() -> None:
    """Two long sequences of one element, whose ends differ, are not compared pair by pair."""
    assert same_parts(["x", *["a"] * 5000, "y"], ["z", *["a"] * 4000, "w"]) == []
