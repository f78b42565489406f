"""Where asked items stand: what is open, when a round is done, and which random draws count."""

from collections.abc import Sequence

from loop.asked import Asked, to_keep
from stillhouse.records import Answer, Asking, Pick, Way


def pick(item_id: str, number: int = 1, *, drawn: bool = False) -> Pick:
    return Pick(item_id, number, "random" if drawn else "uncertain", 0.5, 0.1 if drawn else None, blind=drawn)


def said(item_id: str, who: str = "pat", way: Way = "label", label: str | None = "x") -> Answer:
    return Answer(item_id, who, label, blind=False, rehearsed=False, answered_at="", way=way)


def asked(picks: Sequence[Pick], answers: Sequence[Answer] = (), *ways: tuple[str, Way], wanted: int = 1) -> Asked:
    return Asked(tuple(picks), tuple(Asking(i, way, 1, "", 0.0) for i, way in ways), tuple(answers), wanted)


def test_an_item_is_open_until_enough_people_have_answered() -> None:
    """A pass is an answer too."""
    picks = [pick("a"), pick("b")]
    assert asked(picks, [said("a")], wanted=2).open_in(1) == [("a", "label"), ("b", "label")]
    assert asked(picks, [said("a"), said("a", "sam", label=None)], wanted=2).open_in(1) == [("b", "label")]


def test_a_second_opinion_is_somebody_elses() -> None:
    """The first answer does not close it, the second does; a decision closes all."""
    picks = [pick("a")]
    assert asked(picks, [said("a")], ("a", "second")).open_in(1) == [("a", "second")]
    assert not asked(picks, [said("a"), said("a", "sam", "second")], ("a", "second")).open_in(1)
    two = [said("a"), said("a", "sam", "second")]
    assert asked(picks, two, ("a", "second"), ("a", "adjudicate")).open_in(1) == [("a", "adjudicate")]


def test_a_refused_suggestion_is_open_again_for_a_label() -> None:
    """Yes or no is asked instead of the label; once the label is asked for, only that is awaited."""
    picks = [pick("a")]
    assert asked(picks, [], ("a", "verify")).open_in(1) == [("a", "verify")]
    assert not asked(picks, [said("a", way="verify")], ("a", "verify")).open_in(1)
    assert asked(picks, [], ("a", "verify"), ("a", "label")).open_in(1) == [("a", "label")]


def test_a_round_is_done_once_enough_is_answered_and_all_that_measures() -> None:
    """A share of the targeted items may stay open, but no drawn one."""
    picks = [pick("r", drawn=True), pick("a"), pick("b"), pick("c")]
    assert not asked(picks, [said("r")]).is_done(1, 0.5)
    assert asked(picks, [said("r"), said("a")]).is_done(1, 0.5)
    assert not asked(picks, [said(each) for each in "abc"]).is_done(1, 0.5)
    assert not asked(picks, [said("r"), said("a")]).is_done(1, 1.0)


def test_a_draw_counts_once_all_of_it_is_answered() -> None:
    """Before that, and while one of its answers is to be checked, no figure rests on any of it."""
    picks = [pick("r", drawn=True), pick("s", drawn=True), pick("a"), pick("t", 2, drawn=True)]
    everything = [said(each) for each in "rsat"]

    def counted(found: Asked) -> list[str]:
        return [each.item_id for each in found.for_figures() if each.inclusion_probability is not None]

    assert counted(asked(picks, everything)) == ["r", "s", "t"]
    assert counted(asked(picks, everything[1:])) == ["t"]
    assert counted(asked(picks, everything, ("r", "second"))) == ["t"]
    assert counted(asked(picks, everything, ("a", "second"))) == ["r", "s", "t"]


def test_a_persons_later_word_stays() -> None:
    """A decision is written after the answers it is about, and an answer of before does not replace it."""
    decided, first = said("a", "sam", "adjudicate"), said("a", "sam")
    assert to_keep([decided, first], []) == [first, decided]
    assert to_keep([first], [decided]) == []
    assert to_keep([said("a", "sam", "adjudicate", "y")], [decided])
