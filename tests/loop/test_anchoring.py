"""Anchoring is told from selection: hard items are kept less often without anybody being the freer for it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loop.anchoring import Anchoring, Believed, Reaction, anchoring_of, reactions
from loop.project import Project
from stillhouse.records import Answer, Item
from tests.kinds.examples import task as a_task


def answered(shown: bool, sure: float, same: bool) -> Reaction:
    return Reaction("pat", "label", not shown, sure, same)


def rehearsed(rng: np.random.Generator, copying: float, *, shown: int = 150, blind: int = 150) -> Anchoring:
    """The belief is calibrated; people find the truth by themselves, or take over what is shown with chance `copying`.

    Shown are the least sure of a pool, blind ones are drawn from all of it.
    """
    pool = 0.5 + 0.5 * rng.beta(3, 1, 2_000)
    hardest = np.sort(pool)[: 4 * shown]
    picked = rng.choice(hardest, shown, replace=False)
    drawn = rng.choice(pool, blind, replace=False)
    found = [answered(True, s, same) for s, same in zip(picked, says(rng, picked, copying), strict=True)]
    found += [answered(False, s, same) for s, same in zip(drawn, says(rng, drawn, 0.0), strict=True)]
    anchoring = anchoring_of(found, "label", 0.95)
    assert anchoring is not None
    return anchoring


def says(rng: np.random.Generator, sure: NDArray[np.float64], copying: float) -> NDArray[np.bool_]:
    return (rng.random(len(sure)) < sure) | (rng.random(len(sure)) < copying)


def test_without_anchoring_the_difference_is_about_nothing() -> None:
    """Plain shares differ by many points, because what is shown is hard; within like sureness they do not, and the
    interval holds 0 in at least 93 of 100 rehearsals.
    """
    rng = np.random.default_rng(0)
    plain, fair, held = [], [], 0
    for _ in range(100):
        found = rehearsed(rng, 0.0)
        assert found.blind is not None
        assert found.difference is not None
        plain.append(found.kept.value - found.blind.value)
        fair.append(found.difference.value)
        held += found.difference.lo <= 0 <= found.difference.hi
    assert np.mean(plain) < -0.1
    assert abs(np.mean(fair)) < 0.02
    assert held >= 93


def test_copying_is_found() -> None:
    """Who takes over half of what is shown keeps that part of what they would have changed."""
    rng = np.random.default_rng(1)
    found = [rehearsed(rng, 0.5, shown=400, blind=400) for _ in range(20)]
    differences = [each.difference for each in found if each.difference is not None]
    assert len(differences) == 20
    wrong = 2 * (1 - np.mean([each.kept.value for each in found]))  # half of them were kept
    assert abs(np.mean([each.value for each in differences]) - wrong / 2) < 0.03
    assert np.mean([each.lo > 0 for each in differences]) > 0.7


def test_without_suggestions_nothing_is_said() -> None:
    """An audit is all blind."""
    assert anchoring_of([answered(False, 0.9, True)], "label", 0.95) is None


def test_where_no_blind_answer_is_alike_no_difference_is_claimed() -> None:
    """All blind items were surer than any that was shown."""
    said = [answered(True, 0.5, True), answered(True, 0.6, False), answered(False, 0.99, True)]
    found = anchoring_of(said, "label", 0.95)
    assert found is not None
    assert found.difference is None
    assert found.compared == 0


def test_what_is_compared_is_counted() -> None:
    """One sureness for all: one stratum, and all shown answers are in it."""
    found = anchoring_of([answered(n % 2 == 0, 0.7, n % 3 == 0) for n in range(12)], "label", 0.95)
    assert found is not None
    assert found.compared == 6
    assert [(s.shown, s.blind) for s in found.strata] == [((2, 6), (2, 6))]


def test_a_no_to_a_suggestion_is_counted_with_the_yeses() -> None:
    """An item that was to be verified and was given a label was refused, whoever gave the label; one that was drawn blind
    and checked by a second person counts once.
    """
    items = {name: Item(name, "text") for name in ("yes", "no", "blind")}
    believed = {name: Believed("a", 0.9) for name in items}
    said = [
        Answer("yes", "pat", "a", blind=False, rehearsed=False, answered_at="", way="verify", suggested="a"),
        Answer("no", "kim", "b", blind=False, rehearsed=False, answered_at="", way="label"),
        Answer("blind", "pat", "a", blind=True, rehearsed=False, answered_at=""),
        Answer("blind", "kim", "b", blind=True, rehearsed=False, answered_at="", way="second"),
    ]
    project = Project(a_task("single_label", ("a", "b")), Path("task.toml"), Path())
    found = reactions(project, items, said, believed, verified={"yes", "no"})
    assert [(r.way, r.blind, r.same) for r in found] == [
        ("verify", False, True),
        ("verify", False, False),
        ("label", True, True),
    ]
