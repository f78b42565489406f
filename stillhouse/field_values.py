"""Values of fields: one way to write numbers, dates and choices, and where in a text such a value stands."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from stillhouse.records import CharSpan
from stillhouse.task import FieldSpec

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY, _YEAR = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?", r"(?P<year>\d{4})"
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<!\d){_YEAR}-(?P<month>\d{{1,2}})-(?P<day>\d{{1,2}})(?!\d)",
        rf"(?<!\d)(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})/{_YEAR}(?!\d)",  # month first, as in the United States
        rf"\b{_MONTH}\s+{_DAY}\s*,?\s*{_YEAR}(?!\d)",
        rf"(?<!\d){_DAY}\s+(?:day\s+of\s+)?{_MONTH}\s*,?\s*{_YEAR}(?!\d)",
    )
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|\.\d)")
_SPACES = re.compile(r"\s+")
_BLANK_DATE = re.compile(r"(?:\d{4}|\[\])-(?:\d{2}|\[\])-(?:\d{2}|\[\])")


def normal_value(spec: FieldSpec, value: object) -> str | None:
    """A value as the task writes it; None where it is none of the field's type. Nothing is guessed."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = unicodedata.normalize("NFC", str(value)).strip()
    if not text:
        return None
    if spec.type == "number":
        return _number(text)
    if spec.type == "date":
        return text if _BLANK_DATE.fullmatch(text) else next((d for _, d in _dates(text)), None)
    if spec.type == "choice":
        return next((choice for choice in spec.choices if folded(choice) == folded(text)), None)
    return text


def folded(text: str) -> str:
    """Case and white space do not tell values apart."""
    return _SPACES.sub(" ", text.strip()).casefold()


def places(spec: FieldSpec, value: str, text: str) -> list[CharSpan]:
    """Every stretch of the text that says this value, in order; of a number or date in any way of writing it."""
    if spec.type == "date":
        return [span for span, date in _dates(text) if date == value]
    if spec.type == "number":
        return [found.span() for found in _NUMBER.finditer(text) if _number(found.group()) == value]
    words = value.split()
    if not words:
        return []
    pattern = r"\s+".join(re.escape(word) for word in words)
    before, after = (r"(?<!\w)" if words[0][0].isalnum() else "", r"(?!\w)" if words[-1][-1].isalnum() else "")
    return [found.span() for found in re.finditer(f"{before}{pattern}{after}", text, re.IGNORECASE)]


def said_in(spec: FieldSpec, text: str) -> list[str]:
    """The numbers or dates that the text says, as the task writes them, in order and each once; none for other types."""
    if spec.type == "date":
        return list(dict.fromkeys(date for _, date in _dates(text)))
    if spec.type == "number":
        found = (_number(match.group()) for match in _NUMBER.finditer(text))
        return list(dict.fromkeys(number for number in found if number is not None))
    return []


def field_problems(specs: Sequence[FieldSpec], value: object) -> list[str]:
    """Expected and found for each field that cannot be used."""
    if not isinstance(value, dict):
        return [f"expected an object of fields, found {value!r}"]
    names = [spec.name for spec in specs]
    problems = [
        f"{name!r} is not a field of the task (it has {', '.join(names)})" for name in value if name not in names
    ]
    for spec in specs:
        said = value.get(spec.name)
        if said is None or said in ("", []):
            continue
        if isinstance(said, list) and not spec.many:
            problems.append(f"{spec.name}: expected one value, found {len(said)}; set many = true if there may be more")
            continue
        problems += [
            f"{spec.name}: expected {_described(spec)}, found {one!r}"
            for one in (said if isinstance(said, list) else [said])
            if normal_value(spec, one) is None
        ]
    return problems


def normal_fields(specs: Sequence[FieldSpec], value: dict[str, object]) -> dict[str, object]:
    """Every field of the task: a text, a list of texts where there may be many, None where it is missing."""
    out: dict[str, object] = {}
    for spec in specs:
        said = value.get(spec.name)
        several = said if isinstance(said, list) else [] if said is None else [said]
        values = list(dict.fromkeys(v for v in (normal_value(spec, one) for one in several) if v is not None))
        out[spec.name] = values if spec.many else (values[0] if values else None)
    return out


def _described(spec: FieldSpec) -> str:
    return {"choice": f"one of {', '.join(spec.choices)}", "date": "a date such as 2024-05-31"}.get(
        spec.type, f"a {spec.type}"
    )


def _number(text: str) -> str | None:
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    plain = found.group().replace(",", "").removeprefix("+")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain.lstrip("0") or "0" if not plain.startswith(("-", "0.")) else plain


def _dates(text: str) -> Iterator[tuple[CharSpan, str]]:
    """Each date with its span, in the order of the text."""
    found: dict[CharSpan, str] = {}
    for pattern in _DATES:
        for match in pattern.finditer(text):
            month = match["month"].casefold()[:3]
            number = int(month) if month.isdigit() else _MONTHS.index(month) + 1
            if 1 <= number <= 12 and 1 <= int(match["day"]) <= 31:
                found[match.span()] = f"{match['year']}-{number:02d}-{int(match['day']):02d}"
    yield from sorted(found.items())
