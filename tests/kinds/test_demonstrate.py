"""What is written as a reply is read as the value it was written from; what would not be is no example."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinds.demonstrate import MOST_BYTES, example_of
from kinds.kind import Kind
from kinds.registry import kind_of
from prompts.candidates import candidates_frame, with_candidates
from prompts.parse import parse_code, parse_logprobs
from stillhouse.records import Demonstration, Item, Value
from tests.kinds.examples import EXAMPLES, task, tokens

LEASE: dict[str, Any] = EXAMPLES["fields"][2]  # type: ignore[assignment]
TEACHER = task("single_label", ("a", "b")).teachers[0]
PLAIN = st.text("abcdefgh", min_size=1, max_size=8)
PIECES = [*"ab [|]:{}\"'\\/\n.,<>", "é", "e\u0301", "👩🏽‍💻", "ﬁ", "\u200d", "İ", "書", "[person|", "<text-"]
NASTY = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


def read_back(kind: Kind, item: Item, value: Value) -> Value | None:
    """What the kind reads in the reply that it writes, as the value stands in files."""
    common = kind.frame(TEACHER, "verbalised")
    reading = kind.read(common, item, kind.write(common, item, value))
    if reading.value is not None:
        return kind.normal(item, reading.value)
    names = kind.task.label_names
    if kind.task.kind == "single_label":
        return names[reading.probs.index(max(reading.probs))]
    return [name for name, p in zip(names, reading.probs, strict=True) if p > 0.5]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_reply_of_each_kind_reads_as_its_value(name: str) -> None:
    """The form that is shown is the form that is read."""
    of_kind, item, value = EXAMPLES[name]
    kind = kind_of(of_kind)
    assert read_back(kind, item, value) == kind.normal(item, value)
    example = example_of(kind, kind.frame(TEACHER, "verbalised"), Demonstration(item, value))
    assert example is not None
    assert example.reply.content == kind.write(kind.frame(TEACHER, "verbalised"), item, value)


def spans_in(text: str, cuts: list[int], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    edges = sorted({min(cut, len(text)) for cut in cuts})
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    return [{"start": a, "end": b, "label": labels[n % len(labels)]} for n, (a, b) in enumerate(pairs)]


@given(words=st.lists(PLAIN, min_size=1, max_size=12), marked=st.lists(st.integers(0, 11), max_size=5, unique=True))
def test_spans_of_plain_words_can_always_be_shown(words: list[str], marked: list[int]) -> None:
    """With words that repeat, too: brackets say where, and an occurrence does."""
    text = " ".join(words)
    at = tokens(text)
    for name in ("spans", "overlapping"):
        kind = kind_of(EXAMPLES[name][0])
        labels = kind.task.label_names
        value = [
            {"start": at[n][0], "end": at[n][1], "label": labels[n % len(labels)]}
            for n in sorted(marked)
            if n < len(words)
        ]
        item = Item("x", text)
        assert read_back(kind, item, value) == kind.normal(item, value)
        assert example_of(kind, kind.frame(TEACHER, "verbalised"), Demonstration(item, value)) is not None


@given(text=NASTY, cuts=st.lists(st.integers(0, 40), max_size=6))
def test_a_nasty_text_is_shown_rightly_or_not_at_all(text: str, cuts: list[int]) -> None:
    """Brackets, markers, half characters: an example never teaches a form that is read as something else."""
    for name in ("spans", "overlapping"):
        kind = kind_of(EXAMPLES[name][0])
        item = Item("x", text)
        value = spans_in(text, cuts, kind.task.label_names)
        if example_of(kind, kind.frame(TEACHER, "verbalised"), Demonstration(item, value)) is not None:
            assert read_back(kind, item, value) == kind.normal(item, value)


@given(words=st.lists(PLAIN, min_size=1, max_size=9), data=st.data())
def test_tags_of_tokens_can_always_be_shown(words: list[str], data: st.DataObject) -> None:
    """Each token comes back with its own tag."""
    of_kind = EXAMPLES["tokens"][0]
    kind, text = kind_of(of_kind), " ".join(words)
    tag = st.sampled_from(of_kind.label_names)
    value = data.draw(st.lists(tag, min_size=len(words), max_size=len(words)))
    item = Item("x", text, tokens=tokens(text))
    assert read_back(kind, item, value) == value


@given(chosen=st.sets(st.sampled_from(EXAMPLES["multi_label"][0].label_names)))
def test_any_set_of_labels_can_be_shown(chosen: set[str]) -> None:
    """None at all is one of them."""
    of_kind, item, _ = EXAMPLES["multi_label"]
    kind = kind_of(of_kind)
    value = kind.normal(item, list(chosen))
    assert read_back(kind, item, value) == value


def test_what_cannot_be_shown_is_no_example() -> None:
    """An untagged token, a field that stands nowhere in the text, a picture, a text of pages."""
    cases: list[tuple[str, Item, Value]] = [
        ("tokens", EXAMPLES["tokens"][1], ["PRON", None, "PRON", "DET", "NOUN"]),
        ("fields", EXAMPLES["fields"][1], {**LEASE, "who": "Zoë Washburne"}),
        ("single_label", Item("1", "red", image="https://example.com/p.png"), "red"),
        ("single_label", Item("1", "red " * MOST_BYTES), "red"),
    ]
    for name, item, value in cases:
        kind = kind_of(EXAMPLES[name][0])
        assert example_of(kind, kind.frame(TEACHER, "verbalised"), Demonstration(item, value)) is None


def test_a_label_is_shown_by_its_code() -> None:
    """Where labels are asked by code; in the frame's own order."""
    kind = kind_of(EXAMPLES["single_label"][0])
    for order, code in (("as_given", "C"), ("reversed", "A")):
        common = kind.frame(TEACHER.model_copy(update={"label_order": order}), "codes")
        example = example_of(kind, common, Demonstration(Item("1", "sky"), "blue"))
        assert example is not None
        assert example.reply.content == code


MANY = task("single_label", tuple(f"label {number:02d}" for number in range(40)))


def test_mass_on_none_of_these_is_residual() -> None:
    """It is never shared out among the labels that were shown, and other labels have none."""
    common = with_candidates(candidates_frame(MANY, TEACHER), ["label 07", "label 03"])
    top = {"A": -0.7, " B": -2.0, "C": -1.2, "D": -3.0}
    reading = parse_logprobs("A", [("A", top)], common.codes, common.labels, common.other)
    assert reading.status == "ok"
    assert [round(p, 2) for p in reading.probs if p] == [0.5, 0.14]
    assert reading.probs[3] > reading.probs[7] > 0
    assert reading.residual == pytest.approx(1 - sum(reading.probs))


@pytest.mark.parametrize("logprobs", [True, False])
def test_none_of_these_is_an_answer(logprobs: bool) -> None:
    """All of it is residual then, and the vote is no abstention."""
    common = with_candidates(candidates_frame(MANY, TEACHER), ["label 07", "label 03"])
    said = (
        parse_logprobs("C", [("C", {"C": -0.01})], common.codes, common.labels, common.other)
        if logprobs
        else parse_code("C", common.codes, common.labels, common.other)
    )
    assert (said.status, sum(said.probs)) == ("ok", 0.0)
    assert said.residual == 1.0


def test_a_blank_is_no_code_of_a_label_that_is_not_shown() -> None:
    """Labels without a code share the empty one, which no token may stand for."""
    common = with_candidates(candidates_frame(MANY, TEACHER), ["label 07", "label 03"])
    reading = parse_logprobs("A", [("A", {"A": -0.7, " ": -0.8})], common.codes, common.labels, common.other)
    assert sum(p > 0 for p in reading.probs) == 1
