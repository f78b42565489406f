"""What must not leave this machine is found, in texts as people write them."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from stillhouse.errors import InputError
from stillhouse.records import Item
from stillhouse.settings import Privacy, PrivacyPattern
from teacher.privacy_find import Entity, Finder, NameIndex, merged, spacy_names

TEXTS = Path(__file__).parents[2] / "benchmarks" / "privacy_texts.jsonl"
BARE = Privacy(names=False, mails=False, phones=False, ids=False)


def found(finder: Finder, *items: Item) -> list[list[str]]:
    return [
        [item.text[e.start : e.end] for e in text] + [item.pair[e.start : e.end] for e in pair]
        for item, (text, pair) in zip(items, finder.find(items), strict=True)
    ]


def test_mails_phones_and_ids_are_found_in_a_hundred_texts() -> None:
    """No less than was measured (docs/benchmarks.md): 23 of 25 mails, 35 of 35 phones, 61 of 67 ids, and of eighteen texts
    without any, one that has something in it.
    """
    rows = [json.loads(line) for line in TEXTS.read_text("utf-8").splitlines()]
    items = [Item(str(number), row["text"]) for number, row in enumerate(rows)]
    hits, false = Counter[str](), 0
    for row, (entities, _) in zip(rows, Finder(Privacy(names=False)).find(items), strict=True):
        for wanted in row["entities"]:
            start = row["text"].index(wanted["quote"])
            end = start + len(wanted["quote"])
            hits[wanted["what"]] += any(e.start <= start and e.end >= end for e in entities)
        false += not row["entities"] and bool(entities)
    assert hits["mail"] >= 23
    assert hits["phone"] >= 35
    assert hits["id"] >= 61
    assert false <= 1


def test_a_pattern_of_ones_own_hides_its_group() -> None:
    """What says which sort of id it is may stay."""
    patterns = (PrivacyPattern(name="ticket", regex=r"INC(\d+)"), PrivacyPattern(name="key", regex=r"K-\w+"))
    finder = Finder(BARE.model_copy(update={"patterns": patterns}))
    assert found(finder, Item("1", "INC0042 opened with K-x9")) == [["0042", "K-x9"]]


def test_names_of_a_column_are_found_in_any_case() -> None:
    """The customer's own name, whole or a word of it, also as people type it; other words stay."""
    finder = Finder(BARE.model_copy(update={"names": True, "name_columns": ("customer",)}))
    items = [Item("1", "thx, anna. Meier? MEIER! anna-lena meier, Annabel", {"customer": "Anna-Lena Meier"})]
    assert found(finder, *items) == [["anna", "Meier", "MEIER", "anna-lena meier"]]


def test_a_name_found_once_is_found_all_over_its_item() -> None:
    """A detector that sees it in the text hides it in the pair; in lower case a single word could be another word."""
    finder = Finder(
        BARE.model_copy(update={"names": True}),
        find_names=lambda ts: [[(0, 4)] * ("Mark" in t[:4]) for t in ts],
    )
    items = [Item("1", "Mark was here", pair="so Mark left a mark"), Item("2", "MARK and mark")]
    assert found(finder, *items) == [["Mark", "Mark"], []]


def test_a_number_found_once_is_found_all_over_its_item() -> None:
    """Also where nothing tells that it is one: in the pair, or within other signs."""
    patterns = (PrivacyPattern(name="key", regex=r"key (\w+)"),)
    finder = Finder(BARE.model_copy(update={"patterns": patterns}))
    assert found(finder, Item("1", "key x9y8z7, that is _x9y8z7_", pair="x9y8z7!")) == [["x9y8z7"] * 3]


def test_accents_may_be_signs_of_their_own() -> None:
    """The same name, composed or not."""
    composed, apart = "Zo\u00eb", "Zoe\u0308"
    assert [apart[a:b] for a, b in NameIndex([composed]).spans(apart)] == [apart]


def test_a_dictionary_is_searched_by_words() -> None:
    """Long lists cost nothing more a text; parts of words are no names."""
    index = NameIndex(["Ana Silva", "van Dam"])
    text = "Ana met Silvan, ana silva and Dam."
    assert {text[a:b] for a, b in index.spans(text)} == {"Ana", "ana silva", "Dam"}


def test_a_spacy_model_finds_its_people(tmp_path: Path) -> None:
    """By path, and only entities with one of the labels; a model that is not there is an error that says how to get it."""
    import spacy

    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Anna"}, {"label": "GPE", "pattern": "Paris"}])
    nlp.to_disk(tmp_path / "model")
    find = spacy_names(str(tmp_path / "model"), ("PERSON",))
    assert find(["Anna in Paris", ""]) == [[(0, 4)], []]
    with pytest.raises(InputError, match="spacy download nowhere_sm"):
        spacy_names("nowhere_sm", ("PERSON",))


def test_what_is_kept_is_not_hidden() -> None:
    """A product that is called like a person stays."""
    finder = Finder(BARE.model_copy(update={"names": True, "keep": ("jenkins",)}), known_names=("Jenkins", "Otto"))
    assert found(finder, Item("1", "Jenkins failed for Otto")) == [["Otto"]]


def test_of_what_overlaps_nothing_is_left_over() -> None:
    """One within the other goes; two that cross are hidden together."""
    assert merged([Entity(2, 5, "name"), Entity(0, 9, "mail")]) == [Entity(0, 9, "mail")]
    assert merged([Entity(0, 5, "phone"), Entity(3, 9, "card")]) == [Entity(0, 9, "id")]
    assert merged([Entity(0, 5, "id"), Entity(0, 5, "ip")]) == [Entity(0, 5, "ip")]


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Privacy that is wanted and not there is an error, never a text that is sent as it is."""

    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(InputError, match=re.escape("pip install presidio-analyzer phonenumbers")):
        Finder(Privacy(names=False)).check()
