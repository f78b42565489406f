"""Replies that are more than a label are read as they were meant, or counted for what was wrong with them."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.fold import fold
from prompts.labels import spellings
from prompts.parse import Reading
from prompts.structured import ABSENT, read_fields, read_multi_label, read_numbered_tags, read_quotes, read_tagged
from stillhouse.task import FieldSpec, Label
from tests.prompts.hostile import HOSTILE
from tests.prompts.test_align import TEXTS

LABELS = spellings([Label(name="PERSON"), Label(name="APP", aliases=("software",)), Label(name="first_line")])
TEXT = "Ana says GitLab is slow.\n\nGitLab again, ANA"
SPECS = (
    FieldSpec(name="party", many=True),
    FieldSpec(name="amount", type="number"),
    FieldSpec(name="signed on", type="date"),
    FieldSpec(name="law", type="choice", choices=("New York", "none")),
)


def spans(value: Any) -> list[tuple[str, str]]:
    return [(TEXT[span["start"] : span["end"]], span["label"]) for span in value]


def listed(reading: Reading) -> list[dict[str, Any]]:
    return [span for span in reading.value or [] if isinstance(span, dict)]


def test_a_reply_with_the_text_twice_and_other_tags_is_unreadable() -> None:
    """Which of both is the answer, and which one the text commanded, is not to be guessed; twice the same is one answer."""
    once, other = (
        "[PERSON|Ana] says GitLab is slow. / GitLab again, ANA",
        "Ana says [APP|GitLab] is slow. / GitLab again, ANA",
    )
    assert read_tagged(f"{once}\n{other}", TEXT, LABELS).status == "unreadable"
    assert spans(read_tagged(f"{once}\n{once}", TEXT, LABELS).value) == [("Ana", "PERSON")]
    assert read_tagged("[PERSON|jam] [APP|jam]", "jam", LABELS).status == "unreadable"


# -- many labels


def test_each_label_has_its_own_chance() -> None:
    """As asked: an object of confidences; what is not named was not said to be absent."""
    reading = read_multi_label('{"labels": {"APP": 0.9, "PERSON": 0.2}}', LABELS)
    assert (reading.probs, reading.residual, reading.origin, reading.status) == (
        (0.2, 0.9, ABSENT),
        0.0,
        "verbalised",
        "ok",
    )
    assert ABSENT > 0


def test_no_label_is_an_answer() -> None:
    """An empty object says that none applies."""
    reading = read_multi_label('{"labels": {}}', LABELS)
    assert (reading.probs, reading.status) == ((ABSENT,) * 3, "ok")


@pytest.mark.parametrize(
    "reply",
    [
        '{"labels": ["APP"]}',
        '{"labels": "software"}',
        'Here: ```json\n{"Labels": {"app": true}}\n```',
        '{"label": "APP"}',
    ],
)
def test_names_without_numbers_are_one_sample(reply: str) -> None:
    """A list, a name, a yes: named is likely, not certain."""
    reading = read_multi_label(reply, LABELS)
    assert reading.probs == (ABSENT, 1 - ABSENT, ABSENT)
    assert (reading.origin, reading.status) == ("sample", "repaired")


def test_a_recording_of_a_single_label_is_read() -> None:
    """The label has its confidence, the second half of what is left."""
    reading = read_multi_label('{"label": "APP", "confidence": 0.8, "second": "PERSON"}', LABELS)
    assert reading.probs == pytest.approx((0.1, 0.8, ABSENT))
    assert reading.usable


def test_an_unknown_label_is_counted_and_the_others_stay() -> None:
    """Nothing is made of a name that means no label; alone it makes the reply unreadable."""
    reading = read_multi_label('{"labels": {"APP": 0.9, "SHIP": 0.9, "PERSON": 7}}', LABELS)
    assert (reading.probs, reading.status) == ((ABSENT, 0.9, ABSENT), "repaired")
    assert reading.findings == {"unknown_label": 1, "unreadable": 1}
    assert read_multi_label('{"labels": {"SHIP": 0.9}}', LABELS).status == "unreadable"


# -- inline tags


@pytest.mark.parametrize(
    "reply",
    [
        '{"tagged": "[PERSON|Ana] says [APP|GitLab] is slow. /  / GitLab again, [PERSON|ANA]"}',
        "[PERSON|Ana] says [software|GitLab] is slow.\n\nGitLab again, [person|ANA]",
        "Here is the text:\n[PERSON|Ana] says [APP|GitLb] is slow. GitLab again, [PERSON|Ana]",
    ],
)
def test_tags_become_spans_of_the_true_text(reply: str) -> None:
    """As JSON, as plain text, or with words of the teacher's own around it."""
    reading = read_tagged(reply, TEXT, LABELS)
    assert spans(reading.value) == [("Ana", "PERSON"), ("GitLab", "APP"), ("ANA", "PERSON")]
    assert reading.usable
    assert not reading.findings


def test_a_text_without_tags_says_that_there_are_none() -> None:
    """But only where it is the text; a refusal, half of it, or other words say nothing."""
    assert (read_tagged(TEXT, TEXT, LABELS).value, read_tagged(TEXT, TEXT, LABELS).status) == ([], "ok")
    assert read_tagged("I'm sorry, I can't help.", TEXT, LABELS).status == "refused"
    assert read_tagged("Ana says GitLab", TEXT, LABELS).status == "unreadable"
    assert read_tagged('{"spans": []}', TEXT, LABELS).status == "unreadable"
    assert read_tagged("No entities.", TEXT, LABELS).value is None


def test_what_does_not_fit_is_named() -> None:
    """An unknown label, words that are not there, a tag inside a tag, a tag that never ends."""
    reply = "[SHIP|Ana] says [APP|[APP|GitLab] is slow].\n\nGitLab [PERSON|Zebulon Quux] again, [PERSON|ANA"
    reading = read_tagged(reply, TEXT, LABELS)
    assert spans(reading.value) == [("GitLab is slow", "APP")]
    assert reading.findings == {"unknown_label": 1, "overlap": 1, "unaligned": 2}
    assert reading.status == "repaired"


@given(TEXTS, st.sets(st.integers(0, 60), max_size=6), st.booleans())
def test_tags_put_into_any_text_come_back(text: str, cuts: set[int], broken: bool) -> None:
    """Graphemes, right to left, joiners, line ends: text[start:end] is what was tagged, also with " / " for a line end."""
    at = sorted(cut for cut in cuts if cut <= len(text))
    places = [(a, b) for a, b in zip(at[::2], at[1::2], strict=False) if text[a:b].strip() and "\n" not in text[a:b]]
    if broken:  # then a tag that parts a letter from its accent may come back with either
        places = [place for place in places if whole_characters(text, *place) == place]
    tagged, done = "", 0
    for a, b in places:
        tagged += f"{text[done:a]}[APP|{text[a:b]}]"
        done = b
    tagged += text[done:]
    if not broken:
        assert [(span["start"], span["end"]) for span in listed(read_tagged(tagged, text, LABELS))] == places
        return
    reply = json.dumps({"tagged": tagged.replace("\n", " / ")})
    read = listed(read_tagged(reply, text, LABELS))
    assert {fold(text[span["start"] : span["end"]]).text.strip() for span in read} <= {
        fold(text[slice(*place)]).text.strip() for place in places
    }


def whole_characters(text: str, start: int, end: int) -> tuple[int, int]:
    """The stretch with the marks of its last letter, and with the letter of the marks it begins with."""
    while end < len(text) and unicodedata.category(text[end])[0] == "M":
        end += 1
    while start > 0 and unicodedata.category(text[start])[0] == "M":
        start -= 1
    return start, end


def test_brackets_of_the_text_are_text() -> None:
    """Even what looks like a tag there marks nothing, and a tag may have brackets in it."""
    text = "call f[0] or say [APP|x]"
    reading = read_tagged("call [APP|f[0]] or say [APP|x]", text, LABELS)
    assert reading.value == [{"start": 5, "end": 9, "label": "APP"}]


# -- quotes


def test_quotes_become_spans() -> None:
    """By words and occurrence; labels may overlap, and a confidence is kept."""
    reply = {
        "spans": [
            {"quote": "GitLab", "occurrence": 2, "label": "APP", "confidence": 0.7},
            {"quote": "gitlab again", "occurrence": 1, "label": "PERSON"},
        ]
    }
    reading = read_quotes(json.dumps(reply), TEXT, LABELS)
    assert spans(reading.value) == [("GitLab", "APP"), ("GitLab again", "PERSON")]
    first, second = listed(reading)
    assert (first["p"], "p" in second) == (0.7, False)
    assert (reading.status, reading.origin) == ("ok", "verbalised")


def test_quotes_that_do_not_fit_are_named_and_left_out() -> None:
    """Each for its own reason; nothing is put at a likely place."""
    reply = {
        "spans": [
            {"quote": "GitLab", "label": "APP"},
            {"quote": "Zebulon Quux", "occurrence": 1, "label": "APP"},
            {"quote": "slow", "occurrence": 1, "label": "SHIP"},
            {"quote": "says GitLab", "occurrence": 1, "label": "PERSON"},
            {"quote": "says", "occurrence": 1, "label": "PERSON"},
            "GitLab",
        ]
    }
    reading = read_quotes(json.dumps(reply), TEXT, LABELS)
    assert spans(reading.value) == [("says GitLab", "PERSON")]
    assert reading.findings == {"ambiguous": 1, "unaligned": 2, "unknown_label": 1, "overlap": 1}
    assert read_quotes('{"spans": [{"quote": "Zebulon Quux", "label": "APP"}]}', TEXT, LABELS).status == "unreadable"
    assert read_quotes('{"spans": []}', TEXT, LABELS).value == []
    assert read_quotes('{"spans": [{"quote": "Ana", "label": "PER', TEXT, LABELS).status == "unreadable"


# -- tags of tokens

WORDS = ("10:30", ":", "the", "the", "end")
TAGS = spellings([Label(name=name) for name in ("NUM", "PUNCT", "DET", "NOUN", "nsubj:pass")])


def test_numbered_lines_become_tags() -> None:
    """Words and tags may have colons themselves."""
    reading = read_numbered_tags("1:10:30:NUM\n2:::PUNCT\n3:the:DET\n4:the:nsubj:pass\n5:end:NOUN", WORDS, TAGS)
    assert reading.value == ["NUM", "PUNCT", "DET", "nsubj:pass", "NOUN"]
    assert (reading.status, reading.findings) == ("ok", {})


@pytest.mark.parametrize(
    ("reply", "tags", "findings"),
    [
        ("1:10:30:NUM\n3:the:DET\n4:the:DET\n5:end:NOUN", ["NUM", None, "DET", "DET", "NOUN"], {"count_mismatch": 1}),
        # The teacher lost count after the first line: words tell what numbers do not.
        ("1:10:30:NUM\n2:the:DET\n3:the:DET\n4:end:NOUN", ["NUM", None, "DET", "DET", "NOUN"], {"count_mismatch": 1}),
        ("1:10:30:NUM\n2:::PUNCT\n3:the:DET\n4:The:DET\n5:edn:NOUN", ["NUM", "PUNCT", "DET", "DET", "NOUN"], {}),
        (
            "1:10:30:NUM\n2:::PUNCT\n3:the:DET\n4:the:XX\n5:end:noun",
            ["NUM", "PUNCT", "DET", None, "NOUN"],
            {"unknown_label": 1},
        ),
    ],
)
def test_lines_that_are_missing_or_wrong_leave_their_token_open(
    reply: str, tags: list[str | None], findings: dict[str, int]
) -> None:
    """No tag slips to the next token."""
    reading = read_numbered_tags(reply, WORDS, TAGS)
    assert (reading.value, reading.findings) == (tags, findings)
    assert reading.usable


def test_two_tags_for_one_token_are_none() -> None:
    """Which one was meant cannot be told."""
    reading = read_numbered_tags("3:the:DET\n3:the:NOUN\n5:end:NOUN", WORDS, TAGS)
    assert reading.value == [None, None, None, None, "NOUN"]
    assert reading.findings["count_mismatch"]


def test_words_instead_of_lines_are_unreadable() -> None:
    """As is a refusal, by its name."""
    assert read_numbered_tags("The first is a number.", WORDS, TAGS).status == "unreadable"
    assert read_numbered_tags("I'm sorry, no.", WORDS, TAGS).status == "refused"


# -- fields


def test_fields_are_brought_to_their_form() -> None:
    """Numbers, dates and choices as the task writes them; missing is a value."""
    reply = {"party": "Acme Ltd", "amount": "$1,250.50", "signed on": "February 10, 2014", "law": "new york"}
    reading = read_fields(json.dumps(reply), "between Acme  Ltd and ...", SPECS)
    assert reading.value == {"party": ["Acme Ltd"], "amount": "1250.5", "signed on": "2014-02-10", "law": "New York"}
    assert (reading.status, reading.findings) == ("repaired", {})
    missing = read_fields('{"party": [], "amount": null, "signed on": "n/a", "law": "none"}', "x", SPECS)
    assert missing.value == {"party": [], "amount": None, "signed on": None, "law": "none"}


def test_a_clean_reply_is_ok() -> None:
    """Written as asked, nothing had to be changed."""
    reply = {"party": ["Acme", "Bob"], "amount": "3", "signed on": "2014-02-[]", "law": None}
    assert read_fields(json.dumps(reply), "Acme and Bob", SPECS).status == "ok"


def test_fields_that_cannot_be_read_are_left_out_and_counted() -> None:
    """Two numbers, no date, no choice of the list; a field not named; a name that is no field; words of no text."""
    reply = {"party": ["Quux"], "amount": "3 or 4", "law": "Texas", "colour": "red"}
    reading = read_fields(json.dumps(reply), "nothing of that", SPECS)
    assert reading.value == {"party": ["Quux"]}
    assert reading.findings == {"unreadable": 2, "missing": 1, "unknown_field": 1, "unaligned": 1}
    assert read_fields('{"amount": "3 or 4"}', "x", SPECS).status == "unreadable"
    assert read_fields('{"amount": "3"} or {"amount": "4"}', "x", SPECS).status == "unreadable"


# -- all of them


@given(
    st.text()
    | st.sampled_from(HOSTILE)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["labels", "spans", "tagged", "amount", "party", "quote", "label", "PERSON", "APP"]), x
            )
        ),
    ).map(json.dumps)
)
def test_no_reply_is_an_error(reply: str) -> None:
    """Any words give a reading whose numbers are in range; one that is not usable says nothing."""
    readings = (
        read_multi_label(reply, LABELS),
        read_tagged(reply, TEXT, LABELS),
        read_quotes(reply, TEXT, LABELS),
        read_numbered_tags(reply, WORDS, TAGS),
        read_fields(reply, TEXT, SPECS),
    )
    for reading in readings:
        assert all(0 <= p <= 1 for p in reading.probs)
        assert reading.usable or (reading.value is None and reading.residual == 1.0 and not any(reading.probs))
    for reading in readings[1:3]:
        assert all(0 <= s["start"] < s["end"] <= len(TEXT) for s in listed(reading))
