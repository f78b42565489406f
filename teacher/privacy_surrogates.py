"""Something that looks like the thing itself: a name for a name, a number for a number, always the same for the same one."""

import itertools
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kinds.words import word_spans
from stillhouse.records import CharSpan
from teacher.privacy_find import Entity, folded, privacy_words
from teacher.privacy_text import Piece

_WORDS = {name: tuple(words.split()) for name, words in privacy_words().items()}
TRIES = 200  # for a surrogate that nobody has yet; of very short ids there are not enough, and two may share one
_LETTERS, _HEX = "abcdefghijklmnopqrstuvwxyz", "abcdef"
_RUN = re.compile(r"[^\W_]+")


@dataclass(slots=True)
class Surrogates:
    """What has been given so far, by what it is and its key; `fresh` is what nobody has written down yet.

    `avoid` holds words, in lower case, that stand in the texts at hand: a surrogate that stood there already could not be
    told from the word itself. `rng` should be the system's own, so that nothing can be guessed from what is sent.
    """

    rng: random.Random
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    fresh: dict[tuple[str, str], str] = field(default_factory=dict)
    avoid: frozenset[str] = frozenset()
    _used: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._used = {(what, surrogate.casefold()) for (what, _), surrogate in self.known.items()}

    def of(self, what: str, key: str, make: Callable[[random.Random, int], str]) -> str:
        """The surrogate of a key; `make` proposes one, given how often it was asked before."""
        found = self.known.get((what, key))
        if found is None:
            found = self._new(what, key, make)
            self.known[what, key] = self.fresh[what, key] = found
            self._used.add((what, found.casefold()))
        return found

    def _new(self, what: str, key: str, make: Callable[[random.Random, int], str]) -> str:
        proposal = ""
        for tried in range(TRIES):
            proposal = make(self.rng, tried)
            folded = proposal.casefold()
            taken = (what, folded) in self._used or (what, folded) in self.known or folded in self.avoid
            if folded != key and not taken:
                break
        return proposal


def pieces_of(text: str, entity: Entity, cuts: Sequence[int], surrogates: Surrogates) -> list[Piece]:
    """The entity in pieces, none across one of the `cuts` (edges of given tokens), and none that stays as it is."""
    shaped = {"name": _name, "mail": _mail, "ip": _ip}.get(entity.what, _number)
    return [
        piece
        for piece in shaped(text, entity, cuts, surrogates)
        if text[piece.start : piece.end] != piece.surrogate and piece.end > piece.start
    ]


def _name(text: str, entity: Entity, cuts: Sequence[int], surrogates: Surrogates) -> Iterator[Piece]:
    first = True
    for start, end in _units(text, entity.start, entity.end, cuts):
        said = text[start:end]
        if said.isdigit():
            yield Piece(start, end, _digits(said, surrogates))
        elif said[0].isalpha() and said.casefold() not in _WORDS["particles"]:
            yield Piece(start, end, _word(said, surrogates, given=first))
            first = False


def _mail(text: str, entity: Entity, cuts: Sequence[int], surrogates: Surrogates) -> Iterator[Piece]:
    """Words before the @ are names as elsewhere; the domain is example.com, with as many parts as it had."""
    at = text.rindex("@", entity.start, entity.end)
    for start, end in _units(text, entity.start, at, cuts):
        said = text[start:end]
        if said.isdigit():
            yield Piece(start, end, _digits(said, surrogates))
        elif said[0].isalpha() and said.casefold() not in _WORDS["roles"]:
            yield Piece(start, end, _word(said, surrogates, given=True))
    labels = [
        part
        for found in re.finditer(r"[^.]+", text[at + 1 : entity.end])
        for part in _cut(at + 1 + found.start(), at + 1 + found.end(), cuts)
    ]
    for number, (start, end) in enumerate(labels):
        from_end = len(labels) - number
        yield Piece(start, end, "com" if from_end == 1 and len(labels) > 1 else "example" if from_end <= 2 else "mail")


def _ip(text: str, entity: Entity, cuts: Sequence[int], surrogates: Surrogates) -> Iterator[Piece]:
    """Version 4: from 198.18.0.0/15, which belongs to nobody (RFC 2544); else hexadecimal digits for such."""
    said = text[entity.start : entity.end]
    runs = [(entity.start + run.start(), entity.start + run.end()) for run in re.finditer(r"\d+", said)]
    if ":" in said or any(start < cut < end for start, end in runs for cut in cuts):
        yield from _number(text, entity, cuts, surrogates)
        return

    def make(rng: random.Random, tried: int) -> str:  # noqa: ARG001
        return f"198.{rng.randrange(18, 20)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"

    octets = surrogates.of("ip", said, make).split(".")
    for (start, end), octet in zip(runs, octets, strict=False):
        yield Piece(start, end, octet)


def _number(text: str, entity: Entity, cuts: Sequence[int], surrogates: Surrogates) -> Iterator[Piece]:
    """Letter for letter and digit for digit: however it is written, with spaces or without, it is the same number."""
    said = text[entity.start : entity.end]
    key = _lower("".join(_RUN.findall(said)))
    kept = _kept(said, key, entity.what)

    def make(rng: random.Random, tried: int) -> str:  # noqa: ARG001
        return _valid(key[:kept] + _same_shape(key[kept:], rng), entity.what)

    made = surrogates.of(entity.what, key, make)
    at = 0
    for run in _RUN.finditer(said):
        for start, end in _cut(entity.start + run.start(), entity.start + run.end(), cuts):
            cased = zip(text[start:end], made[at : at + end - start], strict=True)
            at += end - start
            yield Piece(start, end, "".join(new.upper() if old.isupper() else new for old, new in cased))


def _kept(said: str, key: str, what: str) -> int:
    """How many characters say which country or sort it is, and stay."""
    if what == "iban":
        return 2
    if what == "card":
        return 1
    if what != "phone":
        return 0
    runs = _RUN.findall(said)
    if said.startswith("+"):
        return len(runs[0]) if len(runs) > 1 and len(runs[0]) <= 3 else 1 if key[0] in "17" else 2
    return 4 if key.startswith("00") else 1 if key.startswith("0") or (key.startswith("1") and len(key) == 11) else 0


def _valid(said: str, what: str) -> str:
    """With the check digits that its sort has."""
    if what == "card" and said.isdigit():
        return said[:-1] + _luhn(said[:-1])
    if what == "iban" and said.isascii() and len(said) > 4:
        rest = said[4:] + said[:2] + "00"
        return f"{said[:2]}{98 - int(''.join(str(int(char, 36)) for char in rest)) % 97:02d}{said[4:]}"
    return said


def _luhn(digits: str) -> str:
    doubled = [int(digit) * (2 - number % 2) for number, digit in enumerate(reversed(digits))]
    return str(-sum(each - 9 * (each > 9) for each in doubled) % 10)


def _same_shape(said: str, rng: random.Random) -> str:
    letters = {char for char in said if char.isalpha()}
    pool = _HEX if letters and letters <= set(_HEX) and len(said) >= 12 else _LETTERS
    out = []
    for number, char in enumerate(said):
        if char.isdecimal():
            out.append(str(rng.randrange(1 if number == 0 and char != "0" else 0, 10)))
        else:
            out.append(rng.choice(pool) if char.isalpha() else char)
    return "".join(out)


def _lower(said: str) -> str:
    """Character for character, which `str.lower` is not in every language."""
    return "".join(char.lower() if len(char.lower()) == 1 else char for char in said)


def _digits(said: str, surrogates: Surrogates) -> str:
    return surrogates.of("digits", said, lambda rng, _: _same_shape(said, rng))


def _word(said: str, surrogates: Surrogates, *, given: bool) -> str:
    """A word of a name, in the case it was written in."""
    key = folded(said)

    def make(rng: random.Random, tried: int) -> str:
        if len(said) == 1 and said.isascii():
            return rng.choice(_LETTERS).upper()
        if not all("LATIN" in unicodedata.name(char, "") for char in said if char.isalpha()):
            return "".join(_letter_like(char, rng) for char in key)
        return _latin(key, rng, tried, given=given)

    made = surrogates.of("initial" if len(said) == 1 and said.isascii() else "name", key, make)
    return made.upper() if said.isupper() and len(said) > 1 else made.lower() if said.islower() else made


def _latin(key: str, rng: random.Random, tried: int, *, given: bool) -> str:
    """A first name for a first name, of a woman for a woman's where it is a common one; else a family name."""
    pools = [pool for pool in (_WORDS["women"], _WORDS["men"]) if key.capitalize() in pool]
    if tried < TRIES // 4 and (given or pools):
        return rng.choice(pools[0] if pools else _WORDS["women"] + _WORDS["men"])
    middle = rng.choice(("", "", "ing", "er", "en", "el")) if tried > TRIES // 2 else ""
    return rng.choice(_WORDS["beginnings"]) + middle + rng.choice(_WORDS["ends"])


def _letter_like(char: str, rng: random.Random) -> str:
    """Another letter of the same alphabet."""
    if "CJK" in unicodedata.name(char, ""):
        return rng.choice(_WORDS["han"])
    row = ord(char) & ~31
    alike = [
        chr(code) for code in range(row, row + 32) if unicodedata.category(chr(code)) == unicodedata.category(char)
    ]
    return rng.choice(alike) if char.isalpha() else char


def _units(text: str, start: int, end: int, cuts: Sequence[int]) -> Iterator[CharSpan]:
    for a, b in word_spans(text[start:end]).tolist():
        yield from _cut(start + a, start + b, cuts)


def _cut(start: int, end: int, cuts: Sequence[int]) -> Iterator[CharSpan]:
    edges = [start, *(cut for cut in cuts if start < cut < end), end]
    yield from itertools.pairwise(edges)
