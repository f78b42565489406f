"""The figures of people: right on answers that are easy to count, for every kind, and silent where nothing is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loop.kept import keep
from loop.people import People, people_of
from loop.people_agreement import Bootstrap, classes_of, figures_of, shared_items
from loop.people_text import people_text, plain
from loop.project import Project
from stillhouse.records import Answer, Item, Pick, Value, Way
from tests.kinds.examples import EXAMPLES
from tests.kinds.examples import task as a_task
from tests.loop.world import World, answer_by_hand, batches, write_world

ITEMS = tuple(Item(f"i{number}", f"text {number}") for number in range(20))
LABELS = ("apps", "netops", "other")


def project(home: Path = Path()) -> Project:
    return Project(a_task("single_label", LABELS), home / "task.toml", home)


def said(
    item: int | str,
    annotator: str,
    label: Value | None,
    *,
    way: Way = "label",
    blind: bool = True,
    seconds: float | None = None,
    suggested: Value | None = None,
) -> Answer:
    item_id = item if isinstance(item, str) else f"i{item}"
    rehearsed = annotator.startswith("rehearsed-")
    return Answer(item_id, annotator, label, blind, rehearsed, "", seconds=seconds, way=way, suggested=suggested)


def found(*answers: Answer, picks: tuple[Pick, ...] = (), home: Path = Path()) -> People:
    return people_of(project(home), ITEMS, picks, answers)


def named(people: People) -> dict[str, float]:
    return {f"{one.name} on {one.interval.on}": one.interval.value for one in people.figures}


def test_answers_and_passes_are_counted_by_person() -> None:
    """A pass is no answer, and both are the person's."""
    people = found(said(0, "pat", "apps"), said(1, "pat", None), said(0, "kim", "netops"))
    assert [(one.name, one.answers, one.passes) for one in people.annotators] == [("kim", 1, 0), ("pat", 1, 1)]


def test_agreement_is_of_opinions_that_did_not_see_each_other() -> None:
    """Who decides between opinions has seen them; who passed has none."""
    people = found(
        said(0, "pat", "apps"),
        said(0, "kim", "apps"),
        said(1, "pat", "apps"),
        said(1, "kim", "netops"),
        said(1, "lou", "apps", way="adjudicate"),
        said(2, "pat", "other"),
        said(2, "kim", None),
    )
    assert people.shared == 2
    assert named(people)["pairs of answers: accuracy on 2 items"] == 0.5
    pat = people.annotators[-1]
    assert pat.agreement is not None
    assert (pat.agreement.value, pat.agreement.n) == (0.5, 2)
    assert people.annotators[1].agreement is None  # lou


def test_second_opinions_stand_apart() -> None:
    """They are asked where the first answer was unlikely, so what they agree on is no measure of the rest."""
    answers = [said(n, who, LABELS[n % 2]) for n in range(6) for who in ("pat", "kim")]
    answers += [said(n, "pat", "apps") for n in range(6, 10)]
    answers += [said(n, "kim", "netops", way="second") for n in range(6, 10)]
    figures = named(found(*answers))
    assert figures["Krippendorff's alpha, labels on 6 items, blind"] == 1.0
    assert figures["pairs of answers: accuracy on 4 items, second opinions"] == 0.0
    assert figures["pairs of answers: accuracy on 10 items"] == 0.6
    assert "people agree less there" in people_text(found(*answers))


def test_classes_stand_with_the_least_agreed_on_first() -> None:
    """`apps` and `netops` are taken for each other, `other` never is; what nobody said is not there."""
    answers = [said(n, who, "other") for n in range(5) for who in ("pat", "kim")]
    answers += [said(5, "pat", "apps"), said(5, "kim", "netops"), said(6, "pat", "netops"), said(6, "kim", "netops")]
    rows = found(*answers).by_class
    assert [row.name for row in rows] == ["apps", "netops", "other"]
    assert rows[0].same == 0.0
    assert rows[1].same == pytest.approx(2 / 3)
    assert rows[2].kappa is not None
    assert (rows[2].same, rows[2].kappa.value) == (1.0, 1.0)


def test_open_conflicts_come_first_and_a_decision_settles_one() -> None:
    """With what each said, and what counts now."""
    people = found(
        said(0, "pat", "apps"),
        said(0, "kim", "netops"),
        said(0, "lou", "apps", way="adjudicate"),
        said(1, "pat", "apps"),
        said(1, "kim", "netops"),
        said(2, "pat", "apps"),
        said(2, "kim", "apps"),
    )
    assert [(one.item_id, one.settled) for one in people.conflicts] == [("i1", None), ("i0", "apps")]
    assert people.open_conflicts == 1
    assert [(opinion.annotator, opinion.value) for opinion in people.conflicts[0].said] == [
        ("pat", "apps"),
        ("kim", "netops"),
    ]


def test_time_is_of_answers_whose_time_is_known() -> None:
    """Quartiles, minutes and money of those; the others are counted, and nothing is claimed of them."""
    people = found(
        *(said(n, "pat", "apps", seconds=float(s)) for n, s in enumerate((10, 20, 30, 60))), said(5, "pat", "apps")
    )
    seconds = people.annotators[0].seconds
    assert seconds is not None
    assert (seconds.n, seconds.lower, seconds.median, seconds.upper) == (4, 17.5, 25.0, 37.5)
    assert (people.timed, people.untimed, people.minutes) == (4, 1, 2.0)
    assert people.usd == pytest.approx(2 / 60 * 30.0)


def test_rehearsed_experts_are_called_simulated_and_cost_nothing() -> None:
    """Nobody was there whose time it could be."""
    people = found(said(0, "rehearsed-1", "apps", seconds=0.2), said(0, "rehearsed-2", "netops"))
    assert (people.timed, people.untimed, people.usd) == (0, 0, 0.0)
    text = people_text(people)
    assert "rehearsed-1 (simulated)" in text
    assert "none is claimed, the experts are simulated" in text


def test_a_blind_answer_is_held_against_what_was_believed_before_it(tmp_path: Path) -> None:
    """The belief of the round before has not seen it, and the random share is the same sample for everybody."""
    here = project(tmp_path)
    belief = np.full((len(ITEMS), 3), 0.1)
    belief[:, 0] = 0.8
    keep(here, "belief-00", belief)
    picks = tuple(Pick(f"i{n}", 1, "random", 0.1, 0.2, blind=True) for n in range(4))
    answers = [said(n, "pat", "apps" if n < 3 else "other") for n in range(4)]
    accuracy = found(*answers, picks=picks, home=tmp_path).annotators[0].accuracy
    assert accuracy is not None
    assert (accuracy.value, accuracy.n) == (0.75, 4)
    assert accuracy.on == "blind answers, beside what was believed before them"


def test_suggestions_that_were_kept_are_beside_blind_answers_like_them(tmp_path: Path) -> None:
    """What was shown is what the answer says was shown; blind answers are held against what would have been."""
    here = project(tmp_path)
    belief = np.tile([0.8, 0.1, 0.1], (len(ITEMS), 1))
    keep(here, "belief-00", belief)
    picks = tuple(Pick(item.id, 1, "uncertain", 0.1, None, blind=n < 8) for n, item in enumerate(ITEMS))
    answers = [said(n, "pat", "apps" if n % 2 else "other") for n in range(8)]
    answers += [said(n, "pat", "netops", blind=False, suggested="netops" if n < 17 else "apps") for n in range(8, 20)]
    anchoring = found(*answers, picks=picks, home=tmp_path).anchoring["label"]
    assert anchoring.kept.value == 9 / 12
    assert anchoring.blind is not None
    assert anchoring.blind.value == 0.5
    assert anchoring.difference is not None
    assert anchoring.difference.value == pytest.approx(0.25)
    assert anchoring.compared == 12


def test_a_belief_of_another_pool_is_not_used(tmp_path: Path) -> None:
    """Rows that do not fit the items say nothing of them."""
    keep(project(tmp_path), "belief-00", np.full((3, 3), 1 / 3))
    picks = (Pick("i0", 1, "random", 0.1, 0.2, blind=True),)
    assert found(said(0, "pat", "apps"), picks=picks, home=tmp_path).annotators[0].accuracy is None


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_kind_has_agreement(name: str) -> None:
    """One pair agrees, one does not: the pairs' score lies between, chance-corrected figures below 1."""
    task, item, value = EXAMPLES[name]
    kind = Project(task, Path(), Path()).kind
    wrong = kind.mistake(item, value, np.random.default_rng(0))
    items = {"a": replace(item, id="a"), "b": replace(item, id="b")}
    answers = [said("a", "pat", value), said("a", "kim", value), said("b", "pat", value), said("b", "kim", wrong)]
    by = Bootstrap(0.95, np.random.default_rng(0))
    shared = shared_items(kind, items, answers)
    figures = {figure.name: figure.interval for figure in figures_of(kind, shared, by)}
    pairs = figures[f"pairs of answers: {kind.score_name}"]
    assert 0.5 <= pairs.value < 1
    assert pairs.value == pytest.approx((1 + (kind.score(value, wrong) + kind.score(wrong, value)) / 2) / 2)
    alphas = [interval.value for name, interval in figures.items() if "alpha" in name]
    assert len(alphas) == 1
    assert alphas[0] < 1
    assert classes_of(kind, shared, by)


def test_parts_that_an_answer_says_nothing_of_are_missing_not_different() -> None:
    """A tagged sentence of which somebody left one token out: the rest agrees, and the gap is no disagreement."""
    task, item, value = EXAMPLES["tokens"]
    kind = Project(task, Path(), Path()).kind
    assert isinstance(value, list)
    shared = shared_items(
        kind, {"a": replace(item, id="a")}, [said("a", "pat", value), said("a", "kim", [None, *value[1:]])]
    )
    figures = figures_of(kind, shared, Bootstrap(0.95, np.random.default_rng(0)))
    assert [figure.interval.value for figure in figures[1:]] == [1.0, 1.0]


def test_nobody_has_answered() -> None:
    """An empty store makes a sentence, and figures that are not there."""
    people = found()
    assert people_text(people) == "Nobody has answered anything yet."
    assert people.to_json()["agreement"] == []


def test_one_person_makes_no_agreement() -> None:
    """And the text says what it would take."""
    text = people_text(found(said(0, "pat", "apps")))
    assert "no item has answers of two people" in text
    assert "Conflicts" not in text


def test_texts_of_the_pool_cannot_steer_a_terminal() -> None:
    """Escapes and line ends are spaces, and what is long is cut."""
    assert plain("a\x1b[2J\nb\u202ec") == "a [2J b c"
    assert plain("x" * 500) == "x" * 79 + "…"


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run whose people have answered by hand: two of them, who read the labels in the same file."""
    world = write_world(
        tmp_path_factory.mktemp("people"), items=60, rehearse=False, gold=False, selection={"hidden_share": 0.5}
    )
    world.go()
    answer_by_hand(world, "pat")
    answer_by_hand(world, "kim")
    world.go()
    return world


def test_the_command_says_it_in_words_and_in_json(waiting: World) -> None:
    """Who answered, how far they agree, and that nothing is known of their time."""
    text = waiting.stillhouse("people", waiting.run)
    assert text.exit_code == 0, text.output
    assert "Krippendorff's alpha" in text.output
    assert "Time: not known." in text.output
    content = json.loads(waiting.stillhouse("people", waiting.run, "--json").output)
    assert [one["name"] for one in content["annotators"]] == ["kim", "pat"]
    assert content["shared_items"] == content["annotators"][0]["answers"] == 20
    assert content["anchoring"]["label"]["kept"]["n"] > 0


def test_suggestions_that_are_hidden_by_lot_do_not_reach_people(waiting: World) -> None:
    """Half of the sixteen targeted items are asked blind, and none of them is in the random share."""
    with waiting.store() as store:
        picks = store.picks(1)
    hidden = {pick.item_id for pick in picks if pick.blind and pick.inclusion_probability is None}
    assert len(hidden) == 8
    shown = {row["id"]: row["suggestion"] is not None for row in batches(waiting) if row["round"] == 1}
    assert shown == {pick.item_id: not pick.blind for pick in picks}


def test_a_link_leads_to_what_is_open() -> None:
    """And only there is one needed."""
    differ = [said(0, "pat", "apps"), said(0, "kim", "netops")]
    opened = people_of(project(), ITEMS, (), differ, link="http://desk")
    assert "1 of them open (http://desk)" in people_text(opened)
    decided = people_of(project(), ITEMS, (), [*differ, said(0, "lou", "apps", way="adjudicate")], link="http://desk")
    assert "http://desk" not in people_text(decided)
