"""Numbers, dates and choices as teachers write them."""

import pytest

from prompts.field_replies import choice_text, date_text, field_value, is_missing, number_text
from stillhouse.task import FieldSpec


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("5", "5"),
        ("5 (five) years", "5"),
        ("$1,250.50", "1250.50"),
        ("1.250,50 €", "1250.50"),
        ("1,250", "1250"),
        ("12,5", "12.5"),
        ("1.234.567", "1234567"),
        ("1 250 000", "1250000"),
        ("−3.5 %", "-3.5"),
        ("3 to 4", None),
        ("five", None),
        ("1,2.3,4", None),
    ],
)
def test_a_number_is_read_however_it_is_parted(written: str, number: str | None) -> None:
    """Words around it do not matter; two numbers are none."""
    assert number_text(written) == number


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2014-02-10", "2014-02-10"),
        ("2014-2-1", "2014-02-01"),
        ("2014-02-10T00:00:00Z", "2014-02-10"),
        ("2/10/2014", "2014-02-10"),
        ("13/4/2020", "2020-04-13"),
        ("[]/[]/2014", "2014-[]-[]"),
        ("2014-[]-[]", "2014-[]-[]"),
        ("2014", "2014-[]-[]"),
        ("2014-02", "2014-02-[]"),
        ("February 2014", "2014-02-[]"),
        ("Feb. 10th, 2014", "2014-02-10"),
        ("10 February 2014", "2014-02-10"),
        ("10th day of February, 2014", "2014-02-10"),
        ("2014-02-30", None),
        ("13/13/2014", None),
        ("next Friday", None),
        ("10 Foo 2014", None),
        ("[]-[]-[]", None),
    ],
)
def test_a_date_is_read_in_the_usual_forms(written: str, date: str | None) -> None:
    """A part that is left out is []; a day that no calendar has is none."""
    assert date_text(written) == date


def test_a_choice_is_spelled_loosely_but_not_between_two() -> None:
    """Case and separators do not count, unless they are all that tells choices apart."""
    assert choice_text("new_york", ("New York", "Texas")) == "New York"
    assert choice_text("new_york", ("New York", "new york")) is None
    assert choice_text("NY", ("New York",)) is None


def test_values_that_are_no_text_are_unreadable() -> None:
    """Nested objects, yes and no."""
    assert field_value({"a": 1}, FieldSpec(name="x")) is None
    assert field_value(True, FieldSpec(name="x", type="number")) is None
    assert field_value(0.1, FieldSpec(name="x", type="number")) == "0.1"


def test_none_is_missing_unless_it_is_a_choice() -> None:
    """The task's own word wins."""
    assert is_missing("None", FieldSpec(name="x"))
    assert not is_missing("none", FieldSpec(name="x", type="choice", choices=("None", "some")))
