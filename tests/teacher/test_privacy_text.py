"""Surrogates and their places: whatever a text holds, each character of it is found again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from teacher.privacy_find import Entity, What, merged
from teacher.privacy_surrogates import Surrogates, pieces_of
from teacher.privacy_text import Piece, Rewritten

WORDS = [
    "Anna",
    "schmidt",
    "O'Neil",
    "Jean-Luc",
    "王小明",
    "Иван",
    "a.b@firma.de",
    "10.0.0.1",
    "+49 170 123",
    "é",
    "ß",
    "İ",
    " ",
    "42",
    ".",
]


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, list[Piece]]:
    """A text, and pieces of it in order with something else in their place."""
    text = draw(st.text(max_size=30))
    edges = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pieces = [
        Piece(start, end, draw(st.text(max_size=6)))
        for start, end in zip(edges[::2], edges[1::2], strict=False)
        if end > start
    ]
    return text, pieces


@given(texts())
def test_what_is_not_exchanged_is_where_it_was(made: tuple[str, list[Piece]]) -> None:
    """Every character outside the pieces is found in the rewritten text, and from there in the original."""
    text, pieces = made
    rewritten = Rewritten(text, tuple(pieces))
    for at in range(len(text)):
        if any(piece.start <= at < piece.end for piece in pieces):
            continue
        start, end = rewritten.to(at, at + 1)
        assert rewritten.text[start:end] == text[at]
        assert rewritten.back(start, end) == (at, at + 1)


@given(texts())
def test_a_piece_and_its_surrogate_are_each_others_place(made: tuple[str, list[Piece]]) -> None:
    """A part of a piece stands for all of it, in both directions."""
    text, pieces = made
    rewritten = Rewritten(text, tuple(pieces))
    for piece in pieces:
        start, end = rewritten.to(piece.start, piece.end)
        assert rewritten.text[start:end] == piece.surrogate
        if not piece.surrogate:
            continue
        assert rewritten.changed(start, end)
        for at in range(start, end):
            assert rewritten.back(at, at + 1) == (piece.start, piece.end)
        for at in range(piece.start, piece.end):
            assert rewritten.to(at, at + 1) == (start, end)


@given(texts())
def test_the_original_comes_back_from_its_pieces(made: tuple[str, list[Piece]]) -> None:
    """To put the original stretches into the rewritten text gives the original text."""
    text, pieces = made
    there = Rewritten(text, tuple(pieces))
    spans = [there.to(piece.start, piece.end) for piece in pieces]
    back = tuple(Piece(*span, text[p.start : p.end]) for span, p in zip(spans, pieces, strict=True))
    assert Rewritten(there.text, back).text == text


SORTS: tuple[What, ...] = ("name", "mail", "phone", "card", "iban", "ip", "id")


@st.composite
def found(draw: st.DrawFn) -> tuple[str, list[Entity], list[int]]:
    """A text of words that are hard on surrogates, entities of any sort in it, and edges of given tokens."""
    text = "".join(draw(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=10)))
    entities = []
    for _ in range(draw(st.integers(0, 3)) if text else 0):
        start = draw(st.integers(0, len(text) - 1))
        entities.append(Entity(start, draw(st.integers(start + 1, len(text))), draw(st.sampled_from(SORTS))))
    entities = [e for e in merged(entities) if e.what != "mail" or "@" in text[e.start : e.end]]
    return text, entities, draw(st.lists(st.integers(0, len(text)), max_size=4).map(sorted))


@given(found(), st.integers())
def test_pieces_of_any_entity_are_within_it_and_across_no_token(
    made: tuple[str, list[Entity], list[int]], seed: int
) -> None:
    """In order, without overlap, each something else than it was: a given token stays a token of its own."""
    text, entities, cuts = made
    surrogates = Surrogates(random.Random(seed))
    at = 0
    for entity in entities:
        for piece in pieces_of(text, entity, cuts, surrogates):
            assert at <= piece.start < piece.end <= entity.end
            assert piece.start >= entity.start
            assert piece.surrogate not in {"", text[piece.start : piece.end]}
            assert not any(piece.start < cut < piece.end for cut in cuts)
            at = piece.end


@given(st.lists(st.sampled_from(["Anna", "Berta Meier", "MEIER", "meier", "Zoë", "王小明", "Иван"]), min_size=1))
def test_the_same_name_has_the_same_surrogate_in_every_text(names: list[str]) -> None:
    """Whatever stands around it, whichever case it is in; and two names never share one."""
    surrogates = Surrogates(random.Random(0))
    given_to: dict[str, str] = {}
    for name in names * 2:
        text = f"so {name} said"
        for piece in pieces_of(text, Entity(3, 3 + len(name), "name"), [], surrogates):
            word = text[piece.start : piece.end].casefold()
            assert given_to.setdefault(word, piece.surrogate.casefold()) == piece.surrogate.casefold()
    assert len(set(given_to.values())) == len(given_to)


def shown(text: str, what: What, surrogates: Surrogates | None = None) -> str:
    entity = Entity(0, len(text), what)
    return Rewritten(text, tuple(pieces_of(text, entity, [], surrogates or Surrogates(random.Random(1))))).text


def test_surrogates_look_like_the_thing() -> None:
    """The case of names, the form of numbers, the country of phones and accounts; mails at example.com."""
    both = Surrogates(random.Random(1))
    mail = shown("anna.schmidt@firma.co.uk", "mail", both)
    anna, schmidt = shown("Anna Schmidt", "name", both).split()
    assert mail == f"{anna.lower()}.{schmidt.lower()}@mail.example.com"
    assert shown("ANNA", "name", both) == anna.upper()
    assert shown("info@firma.de", "mail") == "info@example.com"
    assert shown("van der Berg", "name").startswith("van der ")
    phone = shown("+49 (170) 12-34-56", "phone")
    assert phone[:5] == "+49 ("
    assert [char if not char.isdigit() else "0" for char in phone] == [*"+00 (000) 00-00-00"]
    assert shown("DE89 3704 0044", "iban")[:2] == "DE"
    assert shown("10.1.2.3", "ip").startswith("198.1")
    assert shown("AB-12", "id")[2] == "-"
    assert shown("AB-12", "id")[:2].isupper()


def test_check_digits_are_right() -> None:
    """A card number passes Luhn's sum and an IBAN gives 1 modulo 97 (ISO 13616), as those they stand for do."""
    card = [int(digit) for digit in shown("4111 1111 1111 1111", "card") if digit.isdigit()]
    assert sum(d if n % 2 else sum(divmod(2 * d, 10)) for n, d in enumerate(card)) % 10 == 0
    iban = shown("DE89 3704 0044 0532 0130 00", "iban").replace(" ", "")
    assert int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


def test_a_surrogate_is_no_word_of_the_texts() -> None:
    """It could not be told from that word when the teacher says it."""
    first = Surrogates(random.Random(3)).of("name", "anna", lambda rng, _: rng.choice(["Clara", "Dora"]))
    avoiding = Surrogates(random.Random(3), avoid=frozenset({first.casefold()}))
    assert avoiding.of("name", "anna", lambda rng, _: rng.choice(["Clara", "Dora"])) != first
