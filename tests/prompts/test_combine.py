"""Several samples of one item as one reading, for every kind."""

import pytest

from prompts.combine import combine_samples
from prompts.parse import Reading, abstain
from stillhouse.records import Value
from stillhouse.task import KindName

LOST = abstain(0, "unreadable", "sample")


def said(value: Value, **findings: int) -> Reading:
    return Reading((), 0.0, "sample", "ok", value, findings)


def span(start: int, end: int, label: str, **p: float) -> dict[str, object]:
    return {"start": start, "end": end, "label": label, **p}


def test_chances_of_many_labels_are_averaged_over_what_was_read() -> None:
    """A sample that cannot be read does not make labels less likely."""
    one, two = (Reading(probs, 0.0, "verbalised", "ok") for probs in ((0.9, 0.8), (0.5, 0.0)))
    combined = combine_samples([one, two, abstain(2, "unreadable", "verbalised")], "multi_label")
    assert combined.probs == pytest.approx((0.7, 0.4))
    assert (combined.residual, combined.origin, combined.status) == (0.0, "sample", "repaired")


def test_a_span_has_the_share_of_samples_that_say_it() -> None:
    """By its exact place and label, weighted with the confidence it was given."""
    samples = [said([span(0, 3, "A"), span(5, 9, "B", p=0.5)]), said([span(0, 3, "A")]), said([span(0, 4, "A")]), LOST]
    value = combine_samples(samples, "spans").value
    assert value == [span(0, 3, "A", p=2 / 3), span(0, 4, "A", p=1 / 3), span(5, 9, "B", p=0.5 / 3)]


def test_a_token_has_the_tag_that_most_say() -> None:
    """With the share of those that say anything; a token nobody tagged stays open."""
    value = combine_samples([said(["X", "Y", None]), said(["X", "Z", None]), said([None, "Z", None])], "tokens").value
    assert value == [{"label": "X", "p": 1.0}, {"label": "Z", "p": pytest.approx(2 / 3)}, None]


def test_a_field_needs_more_than_half() -> None:
    """Missing is a value like others; where none has a majority the field is left out and counted."""
    combined = combine_samples(
        [
            said({"a": "1", "b": None, "c": ["x", "y"], "d": "1"}),
            said({"a": "1", "b": None, "c": ["x", "y"], "d": "2"}),
        ],
        "fields",
    )
    assert combined.value == {"a": "1", "b": None, "c": ["x", "y"]}
    assert combined.findings == {"ambiguous": 1}


@pytest.mark.parametrize("kind", ["spans", "roles", "tokens", "fields"])
def test_samples_of_which_none_can_be_read_say_why(kind: KindName) -> None:
    """The first one's status; nothing is said of the item."""
    combined = combine_samples([abstain(0, "refused", "sample"), LOST], kind)
    assert (combined.status, combined.value) == ("refused", None)


def test_findings_add_up() -> None:
    """What did not fit in any sample is counted."""
    assert combine_samples([said([], unaligned=1), said([], unaligned=2, overlap=1)], "spans").findings == {
        "unaligned": 3,
        "overlap": 1,
    }
