"""The values of a schema's fields as teachers write them, brought to the task's form (`stillhouse.field_values`)."""

import datetime as dt
import re

from prompts.labels import loosened
from prompts.reply import NOTHING
from stillhouse.field_values import normal_value
from stillhouse.task import FieldSpec

BLANK = "[]"  # a part of a date that the text leaves open
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_NUMBER = re.compile(r"[-−+]?\d[\d,. '\u00a0\u202f]*")
_PART = r"(\d{1,2}|\[\s*\]|_+|\?+|XX)"
_YEAR = r"(\d{4}|\[\s*\]|_+|\?+|X{4})"
_ISO = re.compile(rf"{_YEAR}(?:[-/.]{_PART}(?:[-/.]{_PART})?)?(?:T[\d:.Z+-]*)?", re.IGNORECASE)
_LOCAL = re.compile(rf"{_PART}[-/.]{_PART}[-/.]{_YEAR}", re.IGNORECASE)
_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.?\s+(?:(\d{1,2})(?:st|nd|rd|th)?,?\s+)?(\d{4})")
_DAY_FIRST = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?(?:\s+day)?(?:\s+of)?\s+([a-z]{3,9})\.?,?\s+(\d{4})")


def is_missing(value: object, spec: FieldSpec) -> bool:
    """Whether a value says that the text does not fill the field."""
    if isinstance(value, str):
        folded = value.casefold().strip()
        return folded in NOTHING and not any(folded == choice.casefold() for choice in spec.choices)
    return value is None or value == []


def field_value(value: object, spec: FieldSpec) -> str | None:
    """One value in the task's form; None where it cannot be read, or could be read in two ways."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    written = (f"{value:.10f}" if isinstance(value, float) else str(value)).strip()
    plain = {"number": number_text, "date": date_text}.get(spec.type)
    if plain is not None:
        return normal_value(spec, plain(written))
    return choice_text(written, spec.choices) if spec.type == "choice" else normal_value(spec, written)


def choice_text(written: str, choices: tuple[str, ...]) -> str | None:
    """The choice that is spelled so, exactly or else up to case and separators if that means only one."""
    if written in choices:
        return written
    alike = [choice for choice in choices if loosened(choice) == loosened(written)]
    return alike[0] if len(alike) == 1 else None


def number_text(written: str) -> str | None:
    """The only number in some words, as digits with a point: "$ 1,250.50" is 1250.50. Two numbers are unreadable.

    Where commas and points both stand, the last of them is the decimal sign; a comma alone before three digits parts
    thousands, as does anything that stands twice.
    """
    found = [match.group().rstrip(",. '\u00a0\u202f") for match in _NUMBER.finditer(written)]
    if len(found) != 1:
        return None
    digits = re.sub(r"[ '\u00a0\u202f]", "", found[0]).replace("−", "-").removeprefix("+")
    comma, point = digits.rfind(","), digits.rfind(".")
    if comma >= 0 and point >= 0:
        thousands, decimal = (",", ".") if point > comma else (".", ",")
        if digits.count(decimal) > 1:
            return None
        digits = digits.replace(thousands, "").replace(decimal, ".")
    elif digits.count(",") > 1 or re.fullmatch(r"-?\d{1,3},\d{3}", digits):
        digits = digits.replace(",", "")
    elif digits.count(".") > 1:
        digits = digits.replace(".", "")
    return digits.replace(",", ".")


def date_text(written: str) -> str | None:
    """YYYY-MM-DD, with [] for a part that is left blank. 3/4/2020 is the 4th of March, as in
    `stillhouse.field_values`; 13/4/2020 can only be the 13th of April.
    """
    words = " ".join(written.casefold().split()).strip(" .,;")
    if found := _ISO.fullmatch(words):
        return _date(*found.groups())
    if found := _LOCAL.fullmatch(words):
        first, second, year = found.groups()
        return _date(year, first, second) or _date(year, second, first)
    if found := _MONTH_FIRST.fullmatch(words):
        month, day, year = found.groups()
    elif found := _DAY_FIRST.fullmatch(words):
        day, month, year = found.groups()
    else:
        return None
    number = _MONTHS.get(month[:3])
    return _date(year, str(number), day) if number is not None else None


def _date(year: str | None, month: str | None, day: str | None) -> str | None:
    parts = [part if part and part.isdecimal() else "" for part in (year, month, day)]
    try:
        # 2000 was a leap year: a 29 February without a year is possible.
        dt.date(int(parts[0] or 2000), int(parts[1] or 1), int(parts[2] or 1))
    except ValueError:
        return None
    if not any(parts):
        return None
    return "-".join(part.zfill(width) if part else BLANK for part, width in zip(parts, (4, 2, 2), strict=True))
