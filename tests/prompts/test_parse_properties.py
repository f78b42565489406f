"""Whatever a teacher says, reading it does not raise, and mass is neither made nor lost."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from prompts.combine import combine_samples
from prompts.labels import label_codes, spellings
from prompts.parse import Reading, parse_code, parse_label, parse_logprobs, parse_verbalised
from tests.prompts.words import TASK, TRAPS

LABELS = [spellings(TASK.labels), spellings(TRAPS.labels)]
WORDS = st.sampled_from(
    [*TASK.label_names, *TRAPS.label_names, "bank card", "{", "}", '"label"', ":", ",", "```", "\n", "0.7", "<think>"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS
SHAPED = st.fixed_dictionaries({}, optional={"label": SCALARS, "confidence": SCALARS, "second": SCALARS, "x": SCALARS})
REPLIES = st.one_of(st.text(), st.lists(WORDS).map(" ".join), SHAPED.map(json.dumps))
TOKENS = st.lists(
    st.tuples(st.sampled_from(["A", " B", "\n", "The"]), st.dictionaries(st.text(max_size=2), st.floats()))
)


def is_sound(reading: Reading) -> bool:
    whole = math.fsum(reading.probs) + reading.residual
    bounded = all(0.0 <= p <= 1.0 for p in (*reading.probs, reading.residual))
    silent = reading.usable or (not any(reading.probs) and reading.residual == 1.0)
    return bounded and silent and math.isclose(whole, 1.0, abs_tol=1e-9)


@given(REPLIES)
def test_any_reply_gives_a_sound_reading(text: str) -> None:
    """Never raises; probs and residual make 1; what is not usable abstains."""
    for labels in LABELS:
        codes = label_codes(len(labels.names))
        assert is_sound(parse_verbalised(text, labels))
        assert is_sound(parse_label(text, labels))
        assert is_sound(parse_code(text, codes, labels))


@given(st.text(max_size=5), TOKENS)
def test_any_logprobs_give_a_sound_reading(text: str, tokens: list[tuple[str, dict[str, float]]]) -> None:
    """Positive, infinite and missing numbers included."""
    codes = label_codes(len(LABELS[0].names))
    assert is_sound(parse_logprobs(text, tokens, codes, LABELS[0]))


@given(st.lists(REPLIES, min_size=1, max_size=5))
def test_any_samples_give_a_sound_reading(texts: list[str]) -> None:
    """The mean of sound readings is sound."""
    assert is_sound(combine_samples([parse_verbalised(text, LABELS[0]) for text in texts]))


@given(st.sampled_from(TASK.label_names), st.floats(0, 1))
def test_what_was_asked_for_is_read_as_it_was_said(label: str, confidence: float) -> None:
    """A reply in the form asked for is ok, and its label has its confidence."""
    reading = parse_verbalised(json.dumps({"label": label, "confidence": confidence, "second": None}), LABELS[0])
    assert reading.status == "ok"
    assert reading.probs[TASK.label_names.index(label)] == confidence


def test_depth_and_length_do_not_stop_the_parser() -> None:
    """Replies made to break a parser are unreadable, and read in no time."""
    for text in ('{"label":' * 50_000, "{" * 50_000, "[" * 50_000, "A" + " " * 50_000, '{"a":' * 900 + "1" + "}" * 900):
        assert not parse_verbalised(text, LABELS[0]).usable
        assert not parse_code(text + ":" + " " * 1000 + "x", label_codes(10), LABELS[0]).usable
