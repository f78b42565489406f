"""Which label a spelling means: names, aliases, case and separators, and nothing that could mean two."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillhouse.errors import InputError
from stillhouse.task import Label

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EDGES = " \t\r\n.,:;!?'\"`*()[]{}<>“”‘’"
_SEPARATORS = re.compile(r"[\s_\-]+")


@dataclass(frozen=True, slots=True)
class Spellings:
    """All ways to write the labels of a task. `loose` leaves out what would be ambiguous."""

    names: tuple[str, ...]
    exact: Mapping[str, int]
    loose: Mapping[str, int]
    mention: re.Pattern[str]
    lead: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The position of a label in the task, and whether it was written exactly as its name."""

    index: int
    exactly: bool


def spellings(labels: Sequence[Label]) -> Spellings:
    exact = {label.name: index for index, label in enumerate(labels)}
    loose: dict[str, int] = {}
    ambiguous: set[str] = set()
    for index, label in enumerate(labels):
        for spelling in (label.name, *label.aliases):
            key = loosened(spelling)
            if loose.setdefault(key, index) != index:
                ambiguous.add(key)
    loose = {key: index for key, index in loose.items() if key and key not in ambiguous}
    # The longest first, so that "card arrival" is not read as a mention of "card".
    ways = sorted(loose, key=lambda key: (-len(key), key))
    one_of = "|".join(r"[\s_\-]+".join(re.escape(word) for word in way.split(" ")) for way in ways) or r"(?!)"
    mention = re.compile(rf"(?<!\w)(?:{one_of})(?!\w)")
    lead = re.compile(
        r"[^\w]{0,8}(?:(?:the\s+)?(?:best\s+)?(?:label|answer|category)(?:\s+is)?\s{0,3}[:=]?\s{0,3})?[^\w]{0,8}"
        rf"(?P<label>{one_of})(?!\w)(?=\s*$|\s*[.,:;!?()\[\]\"'`*—–]|\s*-\s|[ \t]*\n)"
    )
    return Spellings(tuple(exact), exact, loose, mention, lead)


def loosened(spelling: str) -> str:
    """Case, separators and quotes do not tell labels apart, unless two labels differ by nothing else."""
    return _SEPARATORS.sub(" ", spelling.casefold().strip(_EDGES)).strip(_EDGES)


def resolve(value: object, known: Spellings) -> Resolved | None:
    """The label a whole value names, or None."""
    if not isinstance(value, str):
        return None
    if value in known.exact:
        return Resolved(known.exact[value], exactly=True)
    index = known.loose.get(loosened(value))
    return None if index is None else Resolved(index, exactly=False)


def mentioned(text: str, known: Spellings) -> set[int]:
    """Every label whose name or alias stands somewhere in the text as whole words."""
    keys = (loosened(found.group()) for found in known.mention.finditer(text.casefold()))
    return {known.loose[key] for key in keys if key in known.loose}


def label_codes(count: int) -> tuple[str, ...]:
    """One code a label: A to Z, or two letters for all when one is not enough.

    The lengths are not mixed: a tokeniser that splits "AB" would otherwise make its "A" count for the label coded A.
    """
    if count <= len(LETTERS):
        return tuple(LETTERS[:count])
    if count > len(LETTERS) ** 2:
        raise InputError(
            "too many labels for codes",
            expected=f"at most {len(LETTERS) ** 2}",
            found=str(count),
            fix='set ask = "verbalised" for this teacher',
        )
    return tuple(LETTERS[n // 26] + LETTERS[n % 26] for n in range(count))
