"""The simulated teacher errs by habit: what it gets wrong hangs on labels and words, so it can be learned."""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import simulated_fields
from benchmarks import simulated_teacher as simulated
from benchmarks.simulated_spans import SpanHabits, span_values
from benchmarks.simulated_teacher import SimulatedTeacher
from stillhouse.records import Item
from stillhouse.task import FieldSpec

A, B = (SimulatedTeacher(f"simulated-{variant}", variant, seed=0) for variant in "AB")
LABELS = ("card", "cash", "loan", "fees")
HABITS = SpanHabits(error_rate=0.4, spurious_rate=0.2, confused={"PER": ("ORG",), "ORG": ("PER",)})


def labelled(n: int = 2000) -> tuple[list[Item], list[str]]:
    """Texts of a word that tells the label and one of forty that do not."""
    rng = np.random.default_rng(0)
    truths = [LABELS[at] for at in rng.integers(0, len(LABELS), n)]
    items = [Item(f"i{at}", f"{truth} w{rng.integers(0, 40)} n{at}") for at, truth in enumerate(truths)]
    return items, truths


def first_labels(teacher: SimulatedTeacher, items: list[Item], truths: list[str]) -> list[str]:
    votes = simulated.single_label(teacher, items, truths, LABELS)
    return [LABELS[int(np.argmax(vote.probs))] for vote in votes]


def marked(between: str = "who works for") -> tuple[list[Item], list[list[dict[str, Any]]]]:
    """Sentences with a person of two words and a company of one."""
    rng = np.random.default_rng(1)
    items, truths = [], []
    for at in range(500):
        person, company = f"Ann P{rng.integers(0, 60)}", f"Firm{rng.integers(0, 60)}"
        text = f"then {person} {between} {company} said so"
        start = text.index(company)
        items.append(Item(f"s{at}", text))
        truths.append(
            [
                {"start": 5, "end": 5 + len(person), "label": "PER"},
                {"start": start, "end": start + len(company), "label": "ORG"},
            ]
        )
    return items, truths


def test_single_labels_are_right_at_the_announced_rate() -> None:
    """Four of five labels are the truth, whatever the texts."""
    items, truths = labelled()
    said = first_labels(A, items, truths)
    assert np.mean([a == b for a, b in zip(said, truths, strict=True)]) == 0.8


def test_errors_can_be_learned_from_words() -> None:
    """Half of the items teach for which labels and words the teacher is right; on the other half that mostly holds."""
    items, truths = labelled()
    right = [said == truth for said, truth in zip(first_labels(A, items, truths), truths, strict=True)]
    keys = [tuple(item.text.split()[:2]) for item in items]
    known: dict[tuple[str, ...], Counter[bool]] = defaultdict(Counter)
    for key, outcome in zip(keys[:1000], right[:1000], strict=True):
        known[key][outcome] += 1
    told = [
        (known[key].most_common(1)[0][0] if known[key] else True) == r
        for key, r in zip(keys[1000:], right[1000:], strict=True)
    ]
    assert np.mean(told) > 0.88  # "always right" would be told correctly of 0.8


def test_confidence_is_too_high() -> None:
    """The mean stated confidence is above the accuracy, and nearly as high where the label is wrong."""
    items, truths = labelled()
    votes = simulated.single_label(A, items, truths, LABELS, accuracy=0.7)
    right = np.array([LABELS[int(np.argmax(v.probs))] == t for v, t in zip(votes, truths, strict=True)])
    stated = np.array([max(vote.probs) for vote in votes])
    assert stated.mean() > right.mean() + 0.05
    assert 0 < stated[right].mean() - stated[~right].mean() < 0.15


def test_variants_err_partly_alike() -> None:
    """They share more errors than chance would have them share, and not all."""
    items, truths = labelled()
    wrong = [
        {i for i, (s, t) in enumerate(zip(first_labels(v, items, truths), truths, strict=True)) if s != t}
        for v in (A, B)
    ]
    assert 0.2 * 400 * 1.5 < len(wrong[0] & wrong[1]) < 0.9 * 400


def test_the_seed_decides() -> None:
    """The same seed says the same again, another seed something else."""
    items, truths = labelled(300)
    again = SimulatedTeacher("simulated-A", "A", seed=0)
    other = SimulatedTeacher("simulated-A", "A", seed=1)
    assert simulated.single_label(A, items, truths, LABELS) == simulated.single_label(again, items, truths, LABELS)
    assert simulated.single_label(A, items, truths, LABELS) != simulated.single_label(other, items, truths, LABELS)


def test_many_labels_are_missed_and_added() -> None:
    """The announced shares of the true labels are missing and of the others said."""
    items, truths = labelled()
    votes = simulated.multi_label(A, items, [[truth] for truth in truths], LABELS, missed=0.28, spurious=0.25)
    said = [{name for name, p in zip(LABELS, vote.probs, strict=True) if p > 0.5} for vote in votes]
    assert np.mean([truth in found for truth, found in zip(truths, said, strict=True)]) == 0.72
    assert np.mean([len(found - {truth}) for truth, found in zip(truths, said, strict=True)]) == 0.25


def test_spans_err_in_boundary_label_and_existence() -> None:
    """All three errors occur, spurious spans too, and no two spans of an item overlap."""
    items, truths = marked()
    found: Counter[str] = Counter()
    for item, truth, value in zip(items, truths, span_values(A, items, truths, ("PER", "ORG"), HABITS), strict=True):
        ends = [(span["start"], span["end"]) for span in value]
        assert all(a[1] <= b[0] for a, b in pairwise(ends)), item
        true = {(s["start"], s["end"]): s["label"] for s in truth}
        for span in value:
            place = (span["start"], span["end"])
            touches = any(place[0] < end and place[1] > start for start, end in true)
            kind = "right" if true.get(place) == span["label"] else "label" if place in true else "boundary"
            found[kind if touches else "spurious"] += 1
    assert found["right"] == 600  # 1,000 spans, 40 % in error
    assert min(found["label"], found["boundary"], found["spurious"]) > 30
    assert sum(found.values()) - found["spurious"] < 1000  # some are missed


def test_neighbours_are_merged() -> None:
    """Of two spans with a short word between, some become one, which then is the only one there."""
    items, truths = marked("of")
    values = span_values(A, items, truths, ("PER", "ORG"), HABITS)
    both = [(truth[0]["start"], truth[1]["end"]) for truth in truths]
    merged = [
        value for value, ends in zip(values, both, strict=True) if ends in {(s["start"], s["end"]) for s in value}
    ]
    assert 20 < len(merged) < 250


def test_a_surface_is_treated_alike_everywhere() -> None:
    """Most names are always right or always wrong: a convention, not noise."""
    items, truths = marked()
    fate: dict[str, list[bool]] = defaultdict(list)
    for item, truth, value in zip(items, truths, span_values(A, items, truths, ("PER", "ORG"), HABITS), strict=True):
        right = {(s["start"], s["end"], s["label"]) for s in value}
        for s in truth:
            fate[item.text[s["start"] : s["end"]]].append((s["start"], s["end"], s["label"]) in right)
    often = [outcomes for outcomes in fate.values() if len(outcomes) >= 5]
    assert np.mean([max(np.mean(o), 1 - np.mean(o)) for o in often]) > 0.8


def test_nothing_is_marked_over_the_focus() -> None:
    """An argument never covers the predicate it belongs to."""
    text = "the Board Sold Shares"
    tokens = ((0, 3), (4, 9), (10, 14), (15, 21))
    items = [Item(f"r{at}", text, tokens=tokens, focus=(10, 14)) for at in range(40)]
    truths = [[{"start": 0, "end": 9, "label": "ORG"}, {"start": 15, "end": 21, "label": "PER"}] for _ in items]
    habits = SpanHabits(error_rate=1.0, spurious_rate=1.0, confused={})
    values = span_values(A, items, truths, ("PER", "ORG"), habits)
    assert all(span["end"] <= 10 or span["start"] >= 14 for value in values for span in value)


def test_tags_are_confused_as_the_map_says() -> None:
    """A wrong tag is one of those that the true tag is taken for; punctuation is hardly ever wrong."""
    words = [("is", "AUX"), ("Mill", "PROPN"), ("that", "SCONJ"), ("runs", "VERB"), (".", "PUNCT")]
    text = " ".join(word for word, _ in words)
    tokens = tuple((text.index(word), text.index(word) + len(word)) for word, _ in words)
    items = [Item(f"t{at}", text, tokens=tokens) for at in range(200)]
    truths = [[tag for _, tag in words]] * 200
    wrong: Counter[str] = Counter()
    for vote in simulated.tags(A, items, truths, accuracy=0.8):
        assert isinstance(vote.value, list)
        for said, (_, tag) in zip(vote.value, words, strict=True):
            assert said["label"] == tag or said["label"] in simulated.TAG_CONFUSIONS[tag]
            wrong[tag] += said["label"] != tag
    assert wrong.total() == 200
    assert wrong["PUNCT"] == 0


def test_wrong_fields_are_never_the_truth() -> None:
    """The announced share of filled fields is wrong: missing, cut, misread or of another field."""
    specs = (
        FieldSpec(name="title"),
        FieldSpec(name="by", many=True),
        FieldSpec(name="signed", type="date"),
        FieldSpec(name="ended", type="date"),
    )
    items = [Item(f"f{at}", f"Lease (A) {at} of w{at % 9}") for at in range(300)]
    truths = [
        {"title": f"Lease {at % 7} (A)", "by": ["Ann Poe", "Bo"], "signed": "2014-05-08", "ended": None}
        for at in range(300)
    ]
    wrong = Counter[str]()
    for truth, vote in zip(
        truths, simulated_fields.fields(A, items, truths, specs, error_rate=0.3, spurious=0.1), strict=True
    ):
        assert isinstance(vote.value, dict)
        wrong.update(name for name in truth if vote.value[name] != truth[name])
    assert wrong["title"] + wrong["by"] + wrong["signed"] == 270
    assert wrong["ended"] == 30
