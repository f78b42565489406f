"""Values of fields."""

import pytest

from stillhouse.field_values import field_problems, normal_fields, normal_value, places
from stillhouse.task import FieldSpec

NUMBER = FieldSpec(name="n", type="number")
DATE = FieldSpec(name="d", type="date")
TEXT = FieldSpec(name="t")
CHOICE = FieldSpec(name="c", type="choice", choices=("New York", "Ohio"))


@pytest.mark.parametrize(
    ("spec", "written", "normal"),
    [
        (NUMBER, "1,234.50", "1234.5"),
        (NUMBER, 12, "12"),
        (NUMBER, "-0.5", "-0.5"),
        (NUMBER, "007", "7"),
        (NUMBER, "0", "0"),
        (NUMBER, "twelve", None),
        (NUMBER, "1.2.3", None),
        (NUMBER, True, None),
        (DATE, "8th day of May 2014", "2014-05-08"),
        (DATE, "May 8, 2014", "2014-05-08"),
        (DATE, "5/8/2014", "2014-05-08"),
        (DATE, "2014-05-08", "2014-05-08"),
        (DATE, "[]-05-[]", "[]-05-[]"),
        (DATE, "13/8/2014", None),
        (DATE, "soon", None),
        (CHOICE, "new  york", "New York"),
        (CHOICE, "Texas", None),
        (TEXT, "  as it is ", "as it is"),
        (TEXT, "", None),
    ],
)
def test_there_is_one_way_to_write_a_value(spec: FieldSpec, written: object, normal: str | None) -> None:
    """Numbers, dates and choices lose their many forms; what is none of the type is None, not a guess."""
    assert normal_value(spec, written) == normal


@pytest.mark.parametrize(
    ("spec", "value", "text", "found"),
    [
        (DATE, "2014-05-08", "from 5/8/2014 to May 8, 2014", ["5/8/2014", "May 8, 2014"]),
        (NUMBER, "1200", "room 1,200 or 1200, not 12003", ["1,200", "1200"]),
        (TEXT, "New York", "in new\nyork, not New Yorker", ["new\nyork"]),
        (TEXT, "C++", "C++ and c++", ["C++", "c++"]),
        (TEXT, "absent", "nothing here", []),
    ],
)
def test_a_value_is_found_wherever_the_text_says_it(spec: FieldSpec, value: str, text: str, found: list[str]) -> None:
    """In any way of writing a date or number; a text only as whole words."""
    assert [text[start:end] for start, end in places(spec, value, text)] == found


def test_all_problems_of_a_value_are_named() -> None:
    """Unknown fields, several values where one goes, values of another type."""
    problems = field_problems((NUMBER, TEXT), {"n": "many", "t": ["a", "b"], "x": 1})
    assert len(problems) == 3


def test_a_normal_value_has_every_field() -> None:
    """Missing is null, or an empty list where there may be many; repeats are one."""
    many = FieldSpec(name="m", many=True)
    assert normal_fields((NUMBER, many), {"m": ["a", "a ", "b"]}) == {"n": None, "m": ["a", "b"]}
