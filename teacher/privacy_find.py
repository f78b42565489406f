"""What must not leave this machine, found in texts: names, mails, phone numbers and ids."""

import importlib
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from kinds.words import word_spans
from stillhouse.errors import InputError
from stillhouse.records import CharSpan, Item
from stillhouse.settings import Privacy

What = Literal["name", "mail", "phone", "card", "iban", "ip", "id"]
# Which stretches of each text are names of people.
NameFinder = Callable[[Sequence[str]], Sequence[Sequence[CharSpan]]]
FEWEST_REPEATED = 5  # characters: shorter ids stand in other words by chance
FEWEST_DIGITS = 7  # of a phone number
NO_PHONE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}(?:[ T]\d{1,2})?|\d+[.,]\d{1,3}")
SURE_ENOUGH = 0.3  # of presidio's scores: what has a check digit has 1, a bare number of some length .05
MAIL = re.compile(r"[^\s@<>()\[\],;:\"'|=/]+@[\w-]+(?:\.[\w-]+)*\w", re.UNICODE)
# What presidio needs context for: numbers of nine digits and more, whole or in groups, and codes with a few letters before.
DIGITS_OF_AN_ID = 9
GROUPED_NUMBER = re.compile(r"(?<![\w.,-])\d{1,5}(?:[ ./-]\d{1,5}){2,}(?!\w|[.,]\d)")
DATE = re.compile(r"\d{4}([-./])\d{1,2}\1\d{1,2}|\d{1,2}([-./])\d{1,2}\2\d{4}")
LONG_NUMBER = re.compile(r"(?<![\w.,])(?:[A-Z]{1,3})?\d{9,}(?![\w]|[.,]\d)|(?<!\w)[A-Z]{1,3}\d{7,8}(?!\w)")
_SORTS: Mapping[str, What] = {"CreditCardRecognizer": "card", "IbanRecognizer": "iban", "IpRecognizer": "ip"}


@cache
def privacy_words() -> dict[str, str]:
    """Lists of words, parted by spaces, by name."""
    lists: dict[str, str] = tomllib.loads(Path(__file__).with_name("privacy_words.toml").read_text("utf-8"))
    return lists


@dataclass(frozen=True, slots=True)
class Entity:
    start: int
    end: int
    what: What


@dataclass(frozen=True)
class Finder:
    """Everything that `settings` ask for. `find_names` is the detector of names, `known_names` a dictionary of them.

    Raises InputError where presidio is wanted and not installed.
    """

    settings: Privacy
    find_names: NameFinder | None = None
    known_names: tuple[str, ...] = ()

    def find(self, items: Sequence[Item]) -> Iterator[tuple[list[Entity], list[Entity]]]:
        """What is in the text and the pair of each item. A name found once is found wherever the item has it."""
        said: list[Sequence[CharSpan]] = [()] * (2 * len(items))
        if self.settings.names and self.find_names is not None:
            said = list(self.find_names([text for item in items for text in (item.text, item.pair)]))
        for number, item in enumerate(items):
            texts = (item.text, item.pair)
            spans = said[2 * number : 2 * number + 2]
            found = [text[start:end] for text, each in zip(texts, spans, strict=True) for start, end in each]
            columns = [str(item.metadata[name]) for name in self.settings.name_columns if name in item.metadata]
            names = NameIndex(found, in_any_case=columns) if self.settings.names else NameIndex()
            first = [self._found(text, each, names) for text, each in zip(texts, spans, strict=True)]
            text, pair = (again(text, texts, first) for text in texts)
            yield text, pair

    def _found(self, text: str, spans: Sequence[CharSpan], names: "NameIndex") -> list[Entity]:
        if not text:
            return []
        found = list(self._patterns(text))
        if self.settings.names:
            found += [Entity(start, end, "name") for start, end in spans]
            found += [Entity(*span, "name") for index in (names, self._dictionary) for span in index.spans(text)]
        return merged([entity for entity in found if text[entity.start : entity.end].casefold() not in self._kept])

    def _patterns(self, text: str) -> Iterator[Entity]:
        if self.settings.mails:
            yield from (Entity(*match.span(), "mail") for match in MAIL.finditer(text))
        if self.settings.phones:
            yield from self._numbers_to_call(text)
        if self.settings.ids:
            yield from self._ids(text)
        for pattern in self.settings.patterns:
            for match in re.finditer(pattern.regex, text):
                span = match.span(1 if match.re.groups else 0)
                if span[0] < span[1]:
                    yield Entity(*span, "id")

    def _numbers_to_call(self, text: str) -> Iterator[Entity]:
        if sum(char.isdigit() for char in text) < FEWEST_DIGITS:
            return
        for region in self.settings.regions or ("ZZ",):
            for leniency in (self._phones.Leniency.VALID, self._phones.Leniency.POSSIBLE):
                for match in self._phones.PhoneNumberMatcher(text, region, leniency=leniency):
                    if leniency == self._phones.Leniency.VALID or _like_a_phone_number(match.raw_string):
                        yield Entity(match.start, match.end, "phone")

    def _ids(self, text: str) -> Iterator[Entity]:
        yield from (Entity(*match.span(), "id") for match in LONG_NUMBER.finditer(text))
        for match in GROUPED_NUMBER.finditer(text):
            if sum(map(str.isdigit, match.group())) >= DIGITS_OF_AN_ID and not DATE.search(match.group()):
                yield Entity(*match.span(), "id")
        for recogniser, what in self._recognisers:
            for result in recogniser.analyze(text, recogniser.supported_entities, None):
                if result.score >= SURE_ENOUGH:
                    yield Entity(result.start, result.end, what)

    @cached_property
    def _dictionary(self) -> "NameIndex":
        return NameIndex(self.known_names)

    @cached_property
    def _kept(self) -> frozenset[str]:
        return frozenset(word.casefold() for word in self.settings.keep)

    @cached_property
    def _phones(self) -> Any:
        return _imported("phonenumbers")

    @cached_property
    def _recognisers(self) -> list[tuple[Any, What]]:
        there = _imported("presidio_analyzer.predefined_recognizers")
        names = privacy_words()["recognisers"].split()
        return [(getattr(there, name)(), _SORTS.get(name, "id")) for name in names]

    def check(self) -> None:
        """InputError where something that is wanted is not installed; otherwise only the first text would tell."""
        if self.settings.phones:
            _ = self._phones
        if self.settings.ids:
            _ = self._recognisers


class NameIndex:
    """Names to be found in texts. One of several words is found in any case; each of its words, and a single word, where
    it is not written in lower case, as "will" and "mark" are words too, or if the name is of those `in_any_case`.
    """

    def __init__(self, names: Iterable[str] = (), in_any_case: Sequence[str] = ()) -> None:
        self._by_first: dict[str, set[tuple[str, ...]]] = {}
        self._in_any_case = {folded(name[start:end]) for name in in_any_case for start, end in _letters(name)}
        for name in (*names, *in_any_case):
            words = tuple(folded(name[start:end]) for start, end in _letters(name))
            named = [(word,) for word in words if word not in _particles() and len(word) > 1]
            for sequence in {words, *named} if named else ():
                self._by_first.setdefault(sequence[0], set()).add(sequence)

    def spans(self, text: str) -> list[CharSpan]:
        if not self._by_first:
            return []
        spans = _letters(text)
        words = [folded(text[start:end]) for start, end in spans]
        found = []
        for at, word in enumerate(words):
            for sequence in self._by_first.get(word, ()):
                last = at + len(sequence) - 1
                alike = tuple(words[at : last + 1]) == sequence
                if alike and (len(sequence) > 1 or word in self._in_any_case or not _small(text[slice(*spans[at])])):
                    found.append((spans[at][0], spans[last][1]))
        return found


def spacy_names(model: str, labels: Sequence[str]) -> NameFinder:
    """The entities of a spaCy model, by name or path, that have one of the labels. Raises InputError."""
    spacy = _imported("spacy")
    try:
        nlp = spacy.load(model)
    except (OSError, ValueError) as error:
        raise InputError(
            f"privacy.spacy_model: {model} cannot be loaded",
            expected="a spaCy model that is installed, or the path of one",
            found=str(error),
            fix=f"install it: python -m spacy download {model}",
        ) from error

    def find(texts: Sequence[str]) -> list[list[CharSpan]]:
        return [[(e.start_char, e.end_char) for e in doc.ents if e.label_ in labels] for doc in nlp.pipe(texts)]

    return find


def again(text: str, texts: Sequence[str], found: Sequence[Sequence[Entity]]) -> list[Entity]:
    """Everything that was found in one of the texts, wherever this text says it letter for letter: what is a phone number in
    one place is none the less one where nothing tells.
    """
    here = [entity for of, entities in zip(texts, found, strict=True) if of == text for entity in entities]
    said = {part: e.what for of, entities in zip(texts, found, strict=True) for e in entities for part in _parts(of, e)}
    more = [
        Entity(match.start(), match.end(), what)
        for part, what in said.items()
        if len(part) >= FEWEST_REPEATED
        for match in re.finditer(re.escape(part), text)
    ]
    return merged([*here, *more])


def _parts(text: str, entity: Entity) -> list[str]:
    """What is looked for again: each word of a name, which may be a part of another word (a login), and all else as it is."""
    said = text[entity.start : entity.end]
    return [said[a:b] for a, b in _letters(said)] if entity.what == "name" else [said]


def merged(found: Iterable[Entity]) -> list[Entity]:
    """In order, none over another: of two, one within the other goes, and two that cross are one id together."""
    out: list[Entity] = []
    for entity in sorted(found, key=lambda each: (each.start, -each.end, _ORDER.index(each.what))):
        last = out[-1] if out else None
        if last is None or entity.start >= last.end:
            out.append(entity)
        elif entity.end > last.end:
            what: What = last.what if last.what == entity.what else "id"
            out[-1] = Entity(last.start, entity.end, what)
    return out


_ORDER = ("mail", "iban", "card", "ip", "name", "phone", "id")  # of two that are the same stretch, the first


def _like_a_phone_number(said: str) -> bool:
    """Digits in groups, long enough, and neither a date nor an amount: what no country's plan says is written so too."""
    return sum(char.isdigit() for char in said) >= FEWEST_DIGITS and not said.isdigit() and not NO_PHONE.fullmatch(said)


@cache
def _particles() -> frozenset[str]:
    return frozenset(privacy_words()["particles"].split())


def _small(word: str) -> bool:
    """Written in lower case, in a script that has cases."""
    return word == word.lower() != word.upper()


def folded(word: str) -> str:
    """One spelling of a word, whatever its case, and whether its accents are signs of their own."""
    return unicodedata.normalize("NFC", word.casefold())


def _letters(text: str) -> list[CharSpan]:
    return [(start, end) for start, end in word_spans(text).tolist() if text[start].isalpha()]


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"[privacy] is on, but {name.partition('.')[0].replace('_', '-')} is not installed",
            expected="the packages of the extra privacy, or phones = false and ids = false",
            found=str(error),
            fix="pip install presidio-analyzer phonenumbers",
        ) from error
