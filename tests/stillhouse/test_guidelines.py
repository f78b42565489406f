"""Versions of guidelines, the halves of answers, what a test shows, and the one value of task.toml that is edited."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.amendment_measures import LEAST_ITEMS, Tried, judge
from stillhouse.errors import InputError
from stillhouse.guidelines import Version, amended, half_of, words_of
from stillhouse.store import Store
from stillhouse.task_edit import with_guidelines, write_guidelines
from tests.kinds.examples import EXAMPLES

TASK = EXAMPLES["single_label"][0]
FILES = (  # what stands before the value, the value, and what stands after it
    ('name = "a"\nguidelines = ', '"old words"', '   # ours\nseed = 0\n[data]\npool = "guidelines = 3"\n'),
    ('# no guidelines yet\nname = "a"\n', "", 'question = "q?"\n[data]\npool="p"\n'),
    ('people_guidelines = """\nguidelines = "x"\n"""\nguidelines = ', '"""\nx\n"y" z"""', "\n[data]\n"),
    ("guidelines=", "'''\nabc'''", " #\n"),
    ("guidelines = ", '""', '\r\nname = "ü"\r\n'),
    ("guidelines = ", '""""quoted" at first"""', "\n"),
)


def tried(gained: int, lost: int, same: int, *, drawn: bool = True, in_play: bool = False) -> list[Tried]:
    changes = [(0.0, 1.0)] * gained + [(1.0, 0.0)] * lost + [(1.0, 1.0)] * same
    return [Tried(f"{in_play}{number}", drawn, in_play, *pair) for number, pair in enumerate(changes)]


def test_a_version_changes_with_what_people_and_teacher_read() -> None:
    """And with nothing else of the task."""
    other = amended(TASK, "Mind the gap.")
    assert other.guidelines_id() != TASK.guidelines_id()
    assert words_of(other)["guidelines"] == "Mind the gap."
    assert TASK.model_copy(update={"seed": 7}).guidelines_id() == TASK.guidelines_id()


def test_each_item_has_its_half_for_good() -> None:
    """Both halves are about as large, and an id says which."""
    halves = [half_of(f"item-{number}") for number in range(1_000)]
    assert 450 < halves.count("test") < 550
    assert half_of("item-1") == halves[1]


def test_versions_are_kept_in_the_order_they_were_seen(tmp_path: Path) -> None:
    """Whatever is learned of one later: its place stays."""
    first, second = Version("b", "", "2026", "x", words_of(TASK)), Version("a", "b", "", "y", words_of(TASK))
    with Store(tmp_path) as store:
        for version in (first, second, first):
            store.keep_version(version)
        assert store.versions() == [first, second]


def test_a_gain_is_claimed_where_the_interval_is_above_nothing() -> None:
    """Nine gained of 56, none lost; the same with half of them lost is nothing."""
    assert judge(tried(9, 0, 47), confidence=0.95, drafts=1).verdict == "helps"
    assert judge(tried(5, 4, 47), confidence=0.95, drafts=1).verdict == "not shown"


def test_a_gain_that_stands_alone_may_not_stand_among_many() -> None:
    """Six of 50 are enough for one draft, and not for twenty on the same answers."""
    verdicts = [judge(tried(6, 0, 44), confidence=0.95, drafts=drafts).verdict for drafts in (1, 20)]
    assert verdicts == ["helps", "not shown"]


def test_what_helps_here_and_harms_there_is_harm() -> None:
    """More is gained than lost, but the rest of the items, whose names are not in play, gets worse."""
    both = tried(20, 0, 5, in_play=True) + tried(0, 12, 60)
    found = judge(both, confidence=0.95, drafts=1)
    assert (found.verdict, "the rest" in found.because) == ("harms", True)
    picked = tried(20, 0, 5, drawn=False, in_play=True) + tried(0, 8, 12)
    assert judge(picked, confidence=0.95, drafts=1).verdict == "harms"


def test_drafts_that_change_nothing_seldom_help() -> None:
    """Of 60 times five drafts that gain and lose at random, one of the five is shown to help in fewer than one in twenty."""
    rng, helped = np.random.default_rng(0), 0
    for _ in range(60):
        changed = rng.random((5, 60)) < 0.2
        gains = changed & (rng.random((5, 60)) < 0.5)
        counts = [(int(row.sum()), int(many.sum() - row.sum())) for row, many in zip(gains, changed, strict=True)]
        verdicts = [judge(tried(up, down, 60 - up - down), confidence=0.95, drafts=5).verdict for up, down in counts]
        helped += "helps" in verdicts
    assert helped / 60 < 0.05


def test_few_items_claim_nothing() -> None:
    """However clear they seem."""
    assert judge(tried(LEAST_ITEMS - 1, 0, 0), confidence=0.95, drafts=1).verdict == "too few"


@pytest.mark.parametrize("parts", FILES)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=40))
def test_guidelines_change_and_nothing_else(parts: tuple[str, str, str], text: str) -> None:
    """Any text goes in and comes out; what surrounds the value is there to the byte."""
    before, _, after = parts
    new = with_guidelines("".join(parts), text)
    assert tomllib.loads(new) == {**tomllib.loads("".join(parts)), "guidelines": text}
    assert new.startswith(before)
    assert new.endswith(after)


def test_a_comment_and_the_lines_around_stay() -> None:
    """To the letter."""
    before, old, after = FILES[0]
    assert with_guidelines(before + old + after, 'say "no"') == rf'{before}"say \"no\""{after}'


def test_a_file_that_is_named_is_written_instead(tmp_path: Path) -> None:
    """task.toml is not touched; its permissions and a byte order mark stay as they are."""
    path = tmp_path / "task.toml"
    path.write_text('guidelines = "words.md"\n', encoding="utf-8")
    (tmp_path / "words.md").write_text("old\n", encoding="utf-8")
    assert write_guidelines(path, "new\nwords") == tmp_path / "words.md"
    assert (tmp_path / "words.md").read_text(encoding="utf-8") == "new\nwords\n"
    path.write_bytes(b'\xef\xbb\xbfguidelines = "old"\n')
    path.chmod(0o640)
    assert write_guidelines(path, "new") == path
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b'\xef\xbb\xbfguidelines = "new"\n', 0o640)


def test_what_cannot_be_edited_safely_is_refused() -> None:
    """A key in quotes is TOML too, but nobody guesses."""
    with pytest.raises(InputError, match="cannot be put"):
        with_guidelines('"guidelines" = "a"\n', "b")
