"""Changes of labels as a person types them."""

from collections import Counter
from collections.abc import Sequence

from stillhouse.errors import InputError
from stillhouse.label_changes import Changes


def changes_of(
    *,
    rename: Sequence[str] = (),
    merge: Sequence[str] = (),
    split: Sequence[str] = (),
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> Changes:
    """From what a person typed: old=new, a,b=new, old=b,c, new or new:from=a,b, old. A name with a comma or "=" in it stands
    in double quotes.

    Raises InputError with all that cannot be read.
    """
    problems: list[str] = []

    def sides(flag: str, text: str, form: str, wanted: tuple[bool, bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What stands left and right of "=": one name, or where `wanted` more."""
        found = [_names(part) for part in _parted(text, "=")]
        if len(found) != 2 or any(
            (len(names) > 1) != more or not names for names, more in zip(found, wanted, strict=True)
        ):
            problems.append(f"--{flag} {text}: expected {form}")
            return ("",), ("",)
        return found[0], found[1]

    renamed = [sides("rename", text, "OLD=NEW", (False, False)) for text in rename]
    merged = [sides("merge", text, "OLD,OLD=NEW", (True, False)) for text in merge]
    parted = [sides("split", text, "OLD=NEW,NEW", (False, True)) for text in split]
    added: dict[str, tuple[str, ...]] = {}
    for text in add:
        name, _, olds = text.partition(":from=")
        if len(_names(name)) != 1 or (":from=" in text and not _names(olds)):
            problems.append(f"--add {text}: expected NEW, or NEW:from=OLD,OLD")
        else:
            added[_names(name)[0]] = _names(olds)
    for flag, keys in (
        ("rename", [olds[0] for olds, _ in renamed]),
        ("merge", [news[0] for _, news in merged]),
        ("split", [olds[0] for olds, _ in parted]),
    ):
        problems += [
            f"--{flag}: {key!r} is said twice" for key, times in Counter(filter(None, keys)).items() if times > 1
        ]
    if problems:
        raise InputError(
            "the changes cannot be read",
            expected="each as its option says",
            found="\n".join(["", *(f"    {problem}" for problem in problems)]),
            fix='write a name with a comma or "=" in it in double quotes, within single ones for the shell',
        )
    return Changes(
        {olds[0]: news[0] for olds, news in renamed},
        {news[0]: olds for olds, news in merged},
        {olds[0]: news for olds, news in parted},
        added,
        frozenset(name for text in remove for name in _names(text)),
    )


def _parted(text: str, mark: str) -> list[str]:
    """At each mark that stands outside of double quotes."""
    parts, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter == mark and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _names(text: str) -> tuple[str, ...]:
    parts = (part.strip() for part in _parted(text, ","))
    return tuple(part.removeprefix('"').removesuffix('"') for part in parts if part)
