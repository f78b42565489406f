"""The small parts of a run's ending."""

from stillhouse.records import Answer


def answer(item_id: str, label: str | None, annotator: str) -> Answer:
    return Answer(item_id, annotator, label, blind=False, rehearsed=False, answered_at="")


def test_agreement_counts_pairs_of_answers_to_one_item() -> None:
    """Three people make three pairs; who passed makes none."""
    from loop.summary import agreement_between

    said = [answer("i", "a", "pat"), answer("i", "a", "kim"), answer("i", "b", "lou")]
    said += [answer("k", "a", "pat"), answer("k", None, "kim")]
    assert agreement_between(said) == (3, 1)
