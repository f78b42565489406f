"""What replies are understood to say, one by one."""

import math

import pytest

from prompts.combine import combine_samples
from prompts.labels import label_codes, spellings
from prompts.parse import Reading, parse_code, parse_logprobs, parse_verbalised
from stillhouse.errors import InputError
from tests.prompts.words import TASK, TRAPS

TEAMS = spellings(TASK.labels)
TRAPPED = spellings(TRAPS.labels)
CODES = label_codes(len(TEAMS.names))
GOOD = '{"label": "soc", "confidence": 0.8, "second": "identity"}'


def mass(reading: Reading, names: tuple[str, ...] = TEAMS.names) -> dict[str, float]:
    return {name: round(p, 9) for name, p in zip(names, reading.probs, strict=True) if p}


def test_the_second_label_gets_half_of_what_is_left() -> None:
    """0.8 leaves 0.2: half for the second, half unsaid."""
    reading = parse_verbalised(GOOD, TEAMS)
    assert (reading.status, reading.origin) == ("ok", "verbalised")
    assert mass(reading) == {"soc": 0.8, "identity": 0.1}
    assert math.isclose(reading.residual, 0.1)


def test_the_second_label_never_gets_more_than_the_first() -> None:
    """A confidence of 0.2 leaves 0.8, half of which would overtake the label."""
    assert mass(parse_verbalised('{"label": "soc", "confidence": 0.2, "second": "apps"}', TEAMS)) == {
        "soc": 0.2,
        "apps": 0.2,
    }


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"Here you are:\n{GOOD}\nIt mentions phishing, not apps.",
        f"<think>apps? no.</think>{GOOD}",
        '{"Label": "SOC", "Confidence": "80 %", "second": "Identity."}',
        '{"label": ["soc"], "confidence": 80, "second": "identity"}',
        '{"label": "soc", "confidence": "0.8", "second": "identity"}',
    ],
)
def test_another_form_with_the_same_meaning_is_repaired(text: str) -> None:
    """Fences, prose, thoughts, case and percent change the status and nothing else."""
    reading = parse_verbalised(text, TEAMS)
    assert reading.status == "repaired"
    assert mass(reading) == {"soc": 0.8, "identity": 0.1}


@pytest.mark.parametrize("text", ['{"label": "soc"}', '{"label": "soc", "confidence": null}', "soc", "Label: **SOC**"])
def test_a_label_without_confidence_is_one_sample(text: str) -> None:
    """All mass on the label, and its origin says that no number was given."""
    reading = parse_verbalised(text, TEAMS)
    assert (reading.status, reading.origin, reading.residual) == ("repaired", "sample", 0.0)
    assert mass(reading) == {"soc": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I think it could be a few teams.",
        "apps or collab",
        "apps, not soc",
        "People cannot log in",
        '{"label": "helpdesk", "confidence": 0.9}',
        '{"label": "soc", "confidence": -1}',
        '{"label": "soc", "confidence": 7}',
        '{"label": "soc", "confidence": 1000}',
        '{"label": "soc", "confidence": NaN}',
        '{"label": "soc", "confidence": "high"}',
        '{"label": "soc", "confidence": true}',
        '{"label": "soc", "label": "apps", "confidence": 0.9}',
        '{"label": "soc", "confidence": 0.9} {"label": "apps", "confidence": 0.9}',
        '{"label": "soc", "why": {"label": "apps"}',
        '{"label": ["soc", "apps"], "confidence": 0.9}',
        '{"label": 3}',
        "<think>soc",
    ],
)
def test_what_could_mean_two_things_is_unreadable(text: str) -> None:
    """No guess: all mass is residual."""
    reading = parse_verbalised(text, TEAMS)
    assert (reading.status, reading.residual, mass(reading)) == ("unreadable", 1.0, {})


@pytest.mark.parametrize("second", ['"soc"', '"helpdesk"', "7"])
def test_a_second_label_that_means_nothing_leaves_its_mass_unsaid(second: str) -> None:
    """The label keeps its confidence, and the vote counts as repaired."""
    reading = parse_verbalised(f'{{"label": "soc", "confidence": 0.8, "second": {second}}}', TEAMS)
    assert (reading.status, mass(reading)) == ("repaired", {"soc": 0.8})


@pytest.mark.parametrize("text", ["I'm sorry, but I can't help with that.", "I cannot assist with this request."])
def test_a_refusal_in_words_is_refused(text: str) -> None:
    """It is counted as what it is, and abstains."""
    assert parse_verbalised(text, TEAMS).status == "refused"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Card Arrival", "card_arrival"),
        ("card-arrival", "card_arrival"),
        ("bank card", "card"),
        ("card", "card"),
        ("+1", "+1"),
        ("no", "no"),
        ("None of these.", "no"),
    ],
)
def test_spellings_name_their_label(text: str, label: str) -> None:
    """Aliases, case and separators; a label inside another's name is not it."""
    assert mass(parse_verbalised(text, TRAPPED), TRAPPED.names) == {label: 1.0}


@pytest.mark.parametrize(
    ("text", "status"), [("J", "ok"), (" J.", "repaired"), ("J = soc", "repaired"), ("soc", "repaired")]
)
def test_a_code_without_logprobs_is_one_sample(text: str, status: str) -> None:
    """J is soc, the tenth label."""
    reading = parse_code(text, CODES, TEAMS)
    assert (reading.status, reading.origin, mass(reading)) == (status, "sample", {"soc": 1.0})


@pytest.mark.parametrize("text", ["K", "j", "A = soc", "A or B", "AB", "A soc"])
def test_a_code_that_names_no_label_or_another_is_unreadable(text: str) -> None:
    """A code beside the name of another label contradicts itself."""
    assert parse_code(text, CODES, TEAMS).status == "unreadable"


def test_logprobs_of_codes_are_a_distribution_with_the_unseen_as_residual() -> None:
    """Spellings of one code are added; what is no code is residual."""
    top = {"A": math.log(0.5), " A": math.log(0.1), "J": math.log(0.3), "The": math.log(0.05)}
    reading = parse_logprobs("A", [("A", top)], CODES, TEAMS)
    assert (reading.status, reading.origin) == ("ok", "logprob")
    assert mass(reading) == {"apps": 0.6, "soc": 0.3}
    assert math.isclose(reading.residual, 0.1)


def test_a_blank_before_the_code_is_passed_over() -> None:
    """Some models begin with a line break; the code's own alternatives count."""
    tokens = [("\n", {"\n": 0.0}), ("B", {"B": math.log(0.9)})]
    assert mass(parse_logprobs("\nB", tokens, CODES, TEAMS)) == {"collab": 0.9}


def test_alternatives_of_a_token_that_is_no_code_mean_nothing() -> None:
    """A teacher that starts a sentence is not following the protocol."""
    reading = parse_logprobs("The best", [("The", {"The": -0.1, "A": -3.0})], CODES, TEAMS)
    assert reading.status == "unreadable"


def test_codes_of_many_labels_all_have_two_letters() -> None:
    """So the first letter of one is never the code of another."""
    codes = label_codes(77)
    assert len(set(codes)) == 77
    assert {len(code) for code in codes} == {2}
    with pytest.raises(InputError, match="at most 676"):
        label_codes(677)


def test_samples_share_their_confidence() -> None:
    """Two samples that differ: each label gets half of what it was given."""
    one = parse_verbalised('{"label": "soc", "confidence": 0.8, "second": null}', TEAMS)
    two = parse_verbalised('{"label": "apps", "confidence": 0.6, "second": null}', TEAMS)
    both = combine_samples([one, two])
    assert (both.status, both.origin, mass(both)) == ("ok", "sample", {"soc": 0.4, "apps": 0.3})


def test_a_sample_that_cannot_be_read_leaves_its_share_unsaid() -> None:
    """One of two readable: half the mass is residual at least."""
    one = parse_verbalised('{"label": "soc", "confidence": 0.8, "second": null}', TEAMS)
    both = combine_samples([one, parse_verbalised("?", TEAMS)])
    assert (both.status, mass(both)) == ("repaired", {"soc": 0.4})
    assert combine_samples([parse_verbalised("?", TEAMS)] * 2).status == "unreadable"
