"""Whether changes explain how labels became others, and what becomes of values, votes and answers of every kind."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from loop.typed_changes import changes_of
from stillhouse.errors import InputError
from stillhouse.label_changes import Changes, LabelSet, Migration, migration
from stillhouse.label_mapping import CARRIED, OPEN, answer_carried, carried, is_open, vote_carried
from stillhouse.records import Answer, Vote
from stillhouse.task import FieldSpec, KindName, Label


def labels(kind: KindName, *names: str) -> LabelSet:
    return LabelSet(kind, tuple(Label(name=name) for name in names))


def fields(*specs: Mapping[str, Any]) -> LabelSet:
    return LabelSet("fields", (), tuple(FieldSpec.model_validate(spec) for spec in specs))


def moved(kind: KindName, old: str, new: str, **typed: str) -> Migration:
    """Labels are letters; `typed` are options as a person types them."""
    return migration(
        labels(kind, *old), labels(kind, *new), changes_of(**{name: [said] for name, said in typed.items()})
    )


def vote(probs: tuple[float, ...] = (), residual: float = 0.0, value: Any = None, **more: Any) -> Vote:
    return Vote("i", "t", probs, residual, "logprob", more.pop("status", "ok"), "p", "k", 0.0, value, **more)


def answer(label: Any, **more: Any) -> Answer:
    return Answer("i", "pat", label, False, False, "2026-01-01T00:00:00+00:00", **more)


# -- whether they explain it ----------------------------------------------------------------------------------------------


def test_what_is_not_explained_is_listed_and_a_close_name_is_taken_for_a_rename() -> None:
    """Everything at once: a label that is gone, one that is new, and a new name that looks like the old one."""
    with pytest.raises(InputError) as raised:
        migration(
            labels("spans", "person", "organisation", "misc"),
            labels("spans", "person", "organization", "event"),
            Changes(),
        )
    assert "was it renamed? --rename organisation=organization" in raised.value.found
    assert "'misc' is gone" in raised.value.found
    assert "'event' is new" in raised.value.found


@pytest.mark.parametrize(
    ("old", "new", "typed", "found"),
    [
        ("ab", "bc", {"rename": "a=c", "remove": "a"}, "'a' is said to have become two things"),
        ("ab", "bc", {"rename": "x=c", "remove": "a"}, "'x' was not there before"),
        ("ab", "bc", {"rename": "a=d"}, "'d' is not in the task now"),
        ("ab", "b", {"rename": "a=b"}, "say --merge instead of --rename"),
        ("ab", "ab", {"add": "a"}, "'a' was there before"),
    ],
)
def test_a_change_that_cannot_be_is_refused(old: str, new: str, typed: dict[str, str], found: str) -> None:
    """Twice the same label, a label that never was, one that is not there, two that become one without saying so."""
    with pytest.raises(InputError, match="do not explain") as raised:
        moved("single_label", old, new, **typed)
    assert found in raised.value.found


def test_another_kind_is_another_run() -> None:
    """Labels change under a run; what they are labels of does not."""
    with pytest.raises(InputError, match="another kind"):
        migration(labels("spans", "a"), labels("roles", "a"), Changes())


def test_names_with_commas_are_typed_in_quotes_and_all_slips_are_told_at_once() -> None:
    """A comma or an equals sign inside of double quotes is part of the name."""
    said = changes_of(merge=['"a, b",c=d'], rename=['"x=y"=z'], add=["n:from=d,e", "m"])
    assert said.merge == {"d": ("a, b", "c")}
    assert said.rename == {"x=y": "z"}
    assert said.add == {"n": ("d", "e"), "m": ()}
    with pytest.raises(InputError) as raised:
        changes_of(rename=["a"], merge=["a=b"], split=["a=b"], add=[":from=a"])
    assert raised.value.found.count("expected") == 4


def test_changes_outlive_their_way_through_the_store() -> None:
    """As JSON and back they are the same, and so is a set of labels."""
    said = changes_of(rename=["a=b"], merge=["c,d=e"], split=["f=g,h"], add=["i:from=j"], remove=["k"])
    assert Changes.of_json(said.to_json()) == said
    assert len(said.words()) == 5
    before = fields({"name": "city", "type": "choice", "choices": ["x", "y"]})
    assert LabelSet.of_json(before.to_json()) == before


# -- one label an item ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "typed", "probs", "residual", "asked"),
    [
        ("abc", "dcb", {"rename": "a=d"}, (0.7, 0.1, 0.2), 0.0, False),
        ("abc", "cd", {"merge": "a,b=d"}, (0.1, 0.9), 0.0, False),
        ("abc", "bcde", {"split": "a=d,e"}, (0.2, 0.1, 0.35, 0.35), 0.0, True),
        ("abc", "abcd", {"add": "d:from=a"}, (0.7, 0.2, 0.1, 0.0), 0.0, True),
        ("abc", "abcd", {"add": "d:from=c"}, (0.7, 0.2, 0.1, 0.0), 0.0, True),
        ("abc", "abcd", {"add": "d"}, (0.7, 0.2, 0.1, 0.0), 0.0, True),
        ("abc", "bc", {"remove": "a"}, (0.2, 0.1), 0.7, True),
    ],
)
def test_a_vote_for_one_label(
    old: str, new: str, typed: dict[str, str], probs: tuple[float, ...], residual: float, asked: bool
) -> None:
    """Probabilities move, are summed, are spread, or are left open; all of it still sums to one."""
    found = vote_carried(moved("single_label", old, new, **typed), vote((0.7, 0.2, 0.1)))
    assert found.probs == pytest.approx(probs)
    assert found.residual == pytest.approx(residual)
    assert is_open(found) == asked
    assert CARRIED in found.findings


def test_a_vote_that_hardly_believed_in_a_split_label_is_not_asked_for_again() -> None:
    """Below the threshold the little it had is spread over the parts."""
    split = moved("single_label", "ab", "bcd", split="a=c,d")
    assert not is_open(vote_carried(split, vote((0.08, 0.92))))
    assert is_open(vote_carried(split, vote((0.08, 0.92)), ask_from=0.05))


def test_a_vote_that_could_not_be_read_is_asked_for_again_where_a_label_is_new() -> None:
    """It may have named it; a refusal, or a split, is no reason."""
    unread = vote((0.0, 0.0), 1.0, status="unreadable")
    found = vote_carried(moved("single_label", "ab", "abc", add="c"), unread)
    assert (found.probs, found.residual, is_open(found)) == ((0.0, 0.0, 0.0), 1.0, True)
    assert not is_open(vote_carried(moved("single_label", "ab", "abc", add="c"), replace(unread, status="refused")))
    assert not is_open(vote_carried(moved("single_label", "ab", "bcd", split="a=c,d"), unread))
    assert is_open(vote_carried(moved("single_label", "ab", "abc", add="c:from=a"), unread))


def test_what_fitted_no_label_may_be_a_new_one() -> None:
    """A vote that left much open is asked for again where a label is added, and not where one is split."""
    unsure = vote((0.02, 0.58), 0.4)
    assert is_open(vote_carried(moved("single_label", "ab", "abc", add="c:from=a"), unsure))
    assert not is_open(vote_carried(moved("single_label", "ab", "bcd", split="a=c,d"), unsure))


def test_labels_that_a_prompt_showed_are_called_as_they_are_now() -> None:
    """What was shown of a split label were its parts; what is gone was not shown."""
    found = vote_carried(
        migration(
            labels("single_label", *"abc"), labels("single_label", *"cde"), changes_of(split=["a=d,e"], remove=["b"])
        ),
        vote((0.5, 0.2, 0.3), candidates=("b", "a", "c")),
    )
    assert found.candidates == ("d", "e", "c")


@pytest.mark.parametrize(
    ("new", "typed", "value", "is_asked"),
    [
        ("cb", {"rename": "a=c"}, "c", False),
        ("c", {"merge": "a,b=c"}, "c", False),
        ("bcd", {"split": "a=c,d"}, ["c", "d"], True),
        ("abc", {"add": "c:from=a"}, ["a", "c"], True),
        ("abc", {"add": "c:from=b"}, "a", False),
        ("abc", {"add": "c"}, "a", True),
        ("b", {"remove": "a"}, None, True),
    ],
)
def test_an_answer_with_one_label(new: str, typed: dict[str, str], value: Any, is_asked: bool) -> None:
    """It is carried over, or what it may be now is known."""
    change = moved("single_label", "ab", new, **typed)
    found = carried(change, "a")
    assert (found.value, found.open) == (value, is_asked)
    now = answer_carried(change, answer("a"))
    assert (now is None) == is_asked
    assert now is None or now == answer(value)


def test_a_pass_stays_unless_what_was_missing_may_be_there_now() -> None:
    """Nobody could label it, and a label that any item may have is a reason to ask again."""
    assert answer_carried(moved("single_label", "ab", "bcd", split="a=c,d"), answer(None)) == answer(None)
    assert answer_carried(moved("single_label", "ab", "abc", add="c"), answer(None)) is None


def test_what_was_suggested_is_carried_over_with_the_answer() -> None:
    """Else it would look as if the person had changed it."""
    renamed = moved("single_label", "ab", "cb", rename="a=c")
    assert answer_carried(renamed, answer("b", suggested="a")) == answer("b", suggested="c")


# -- other kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "typed", "probs", "asked"),
    [
        ("ab", "cb", {"rename": "a=c"}, (0.8, 0.4), False),
        ("ab", "c", {"merge": "a,b=c"}, (0.88,), False),
        ("ab", "bcd", {"split": "a=c,d"}, (0.4, 0.4, 0.4), True),
        ("ab", "abc", {"add": "c:from=b"}, (0.8, 0.4, 0.0), True),
        ("ab", "b", {"remove": "a"}, (0.4,), False),
    ],
)
def test_a_vote_for_many_labels(
    old: str, new: str, typed: dict[str, str], probs: tuple[float, ...], asked: bool
) -> None:
    """Labels are decided one by one: that one is gone says nothing of the others."""
    found = vote_carried(moved("multi_label", old, new, **typed), vote((0.8, 0.4)))
    assert found.probs == pytest.approx(probs)
    assert (found.residual, is_open(found)) == (0.0, asked)


@pytest.mark.parametrize(
    ("new", "typed", "value", "is_asked"),
    [
        ("dbc", {"rename": "a=d"}, ["d", "b"], False),
        ("cd", {"merge": "a,b=d"}, ["d"], False),
        ("bcde", {"split": "a=d,e"}, ["b", {"any_of": ["d", "e"]}], True),
        ("abcd", {"add": "d:from=c"}, ["a", "b"], False),
        ("abcd", {"add": "d"}, ["a", "b"], True),
        ("bc", {"remove": "a"}, ["b"], False),
    ],
)
def test_an_answer_with_many_labels(new: str, typed: dict[str, str], value: Any, is_asked: bool) -> None:
    """In the order of the new labels, each once."""
    found = carried(moved("multi_label", "abc", new, **typed), ["a", "b"])
    assert (found.value, found.open) == (value, is_asked)


def span(label: Any, start: int = 0, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": start + 3, "label": label, **more}


@pytest.mark.parametrize("kind", ["spans", "roles"])
@pytest.mark.parametrize(
    ("new", "typed", "said", "asked", "value"),
    [
        ("cb", {"rename": "a=c"}, [span("c", p=0.8), span("b", 9)], False, [span("c"), span("b", 9)]),
        ("c", {"merge": "a,b=c"}, [span("c", p=0.8), span("c", 9)], False, [span("c"), span("c", 9)]),
        ("bcd", {"split": "a=c,d"}, None, True, [span(["c", "d"]), span("b", 9)]),
        ("abc", {"add": "c:from=a"}, [span("a", p=0.8), span("b", 9)], True, [span(["a", "c"]), span("b", 9)]),
        ("abc", {"add": "c"}, [span("a", p=0.8), span("b", 9)], True, [span("a"), span("b", 9)]),
        ("b", {"remove": "a"}, [span("b", 9)], False, [span("b", 9)]),
    ],
)
def test_spans(kind: KindName, new: str, typed: dict[str, str], said: Any, asked: bool, value: Any) -> None:
    """A vote with a span of a split label says nothing until it is asked for again; of an answer the places stay."""
    change = moved(kind, "ab", new, **typed)
    found = vote_carried(change, vote(value=[span("a", p=0.8), span("b", 9)]))
    assert (found.value, is_open(found)) == (said, asked)
    now = carried(change, [span("a"), span("b", 9)])
    assert (now.value, now.open) == (value, asked)


def test_a_span_that_the_teacher_hardly_believed_in_is_dropped_with_its_label() -> None:
    """And one that two labels marked alike is there once when they are one."""
    found = vote_carried(moved("spans", "ab", "bcd", split="a=c,d"), vote(value=[span("a", p=0.05), span("b", 9)]))
    assert (found.value, is_open(found)) == ([span("b", 9)], False)
    assert carried(moved("spans", "ab", "c", merge="a,b=c"), [span("a"), span("b")]).value == [span("c")]


def test_a_vote_that_a_change_left_nothing_of_goes_through_the_next_one() -> None:
    """It is still to be asked for again."""
    once = vote_carried(moved("spans", "ab", "bcd", split="a=c,d"), vote(value=[span("a")]))
    assert is_open(vote_carried(moved("spans", "bcd", "bce", rename="d=e"), once))


@pytest.mark.parametrize(
    ("new", "typed", "said", "asked", "value"),
    [
        ("cb", {"rename": "a=c"}, ["c", {"label": "b", "p": 0.7}, None], False, ["c", "b", None]),
        ("c", {"merge": "a,b=c"}, ["c", {"label": "c", "p": 0.7}, None], False, ["c", "c", None]),
        ("bcd", {"split": "a=c,d"}, [None, {"label": "b", "p": 0.7}, None], True, [["c", "d"], "b", None]),
        ("abc", {"add": "c:from=a"}, ["a", {"label": "b", "p": 0.7}, None], True, [["a", "c"], "b", None]),
        ("b", {"remove": "a"}, [None, {"label": "b", "p": 0.7}, None], True, [None, "b", None]),
    ],
)
def test_tags(new: str, typed: dict[str, str], said: Any, asked: bool, value: Any) -> None:
    """Only the token whose tag is open is not known; the others stay."""
    change = moved("tokens", "ab", new, **typed)
    found = vote_carried(change, vote(value=["a", {"label": "b", "p": 0.7}, None]))
    assert (found.value, is_open(found)) == (said, asked)
    now = carried(change, ["a", "b", None])
    assert (now.value, now.open) == (value, asked)


WHO, CITY = {"name": "who"}, {"name": "city", "type": "choice", "choices": ["Rome", "Oslo"]}
SAID = {"who": "Ada", "city": "Rome"}


@pytest.mark.parametrize(
    ("after", "typed", "value", "asked"),
    [
        ([{"name": "person"}, CITY], {"rename": ["who=person"]}, {"person": "Ada", "city": "Rome"}, False),
        ([{"name": "all", "many": True}], {"merge": ["who,city=all"]}, {"all": ["Ada", "Rome"]}, False),
        ([{"name": "one"}], {"merge": ["who,city=one"]}, {}, True),
        ([{"name": "x"}, {"name": "y"}, CITY], {"split": ["who=x,y"]}, {"city": "Rome"}, True),
        ([WHO, CITY, {"name": "day", "type": "date"}], {"add": ["day"]}, SAID, True),
        ([WHO, CITY, {"name": "day", "type": "date"}], {"add": ["day:from=who"]}, SAID, True),
        ([CITY], {"remove": ["who"]}, {"city": "Rome"}, False),
        ([{**WHO, "many": True}, CITY], {}, {"who": ["Ada"], "city": "Rome"}, False),
        ([{**WHO, "type": "number"}, CITY], {}, {"city": "Rome"}, True),
        (
            [WHO, {**CITY, "choices": ["Roma", "Oslo"]}],
            {"rename": ["city.Rome=city.Roma"]},
            {"who": "Ada", "city": "Roma"},
            False,
        ),
        ([WHO, {**CITY, "choices": ["Oslo"]}], {"remove": ["city.Rome"]}, {"who": "Ada"}, True),
        ([WHO, {**CITY, "choices": ["Rome", "Oslo", "Bonn"]}], {"add": ["city.Bonn:from=city.Oslo"]}, SAID, False),
        ([WHO, {**CITY, "choices": ["Rome", "Oslo", "Bonn"]}], {"add": ["city.Bonn"]}, SAID, True),
        (
            [WHO, {**CITY, "name": "town", "choices": ["south", "Oslo"]}],
            {"rename": ["city=town", "city.Rome=town.south"]},
            {"who": "Ada", "town": "south"},
            False,
        ),
    ],
)
def test_fields(after: list[dict[str, Any]], typed: dict[str, list[str]], value: Any, asked: bool) -> None:
    """Fields, their choices and their types: what can be written in the new ones is kept, what cannot is asked again."""
    change = migration(fields(WHO, CITY), fields(*after), changes_of(**typed))
    found = carried(change, SAID)
    assert (found.value, found.open) == (value, asked)
    voted = vote_carried(change, vote(value=SAID))
    assert (voted.value, is_open(voted)) == (value, asked)


def test_a_field_that_a_teacher_left_out_stays_unknown() -> None:
    """It is not taken for missing, and its new name neither."""
    change = migration(fields(WHO, CITY), fields({"name": "person"}, CITY), changes_of(rename=["who=person"]))
    assert vote_carried(change, vote(value={"city": None})).value == {"city": None}


def test_a_new_field_is_missing_where_what_it_may_be_hidden_in_is_missing() -> None:
    """Nobody has to be asked for it there."""
    change = migration(fields(WHO, CITY), fields(WHO, CITY, {"name": "nick"}), changes_of(add=["nick:from=who"]))
    found = carried(change, {"who": None, "city": "Rome"})
    assert (found.value, found.open) == ({"who": None, "city": "Rome", "nick": None}, False)


def test_choices_have_to_be_explained_too() -> None:
    """A choice that is gone is told by its field."""
    with pytest.raises(InputError) as raised:
        migration(fields(WHO, CITY), fields(WHO, {**CITY, "choices": ["Roma", "Oslo"]}), Changes())
    assert "--rename city.Rome=city.Roma" in raised.value.found


def test_marks_of_an_earlier_change_are_kept() -> None:
    """A vote that is to be asked for again is so after any later change."""
    first = vote_carried(moved("single_label", "ab", "bcd", split="a=c,d"), vote((0.9, 0.1)))
    later = vote_carried(moved("single_label", "bcd", "bce", rename="d=e"), first)
    assert OPEN in later.findings
