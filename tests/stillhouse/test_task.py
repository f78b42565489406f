"""Reading task.toml: what is accepted as it stands, and every mistake told at once."""

import re
from pathlib import Path

import pytest

from stillhouse.errors import InputError, TaskError
from stillhouse.task import QUESTIONS
from stillhouse.task_file import load_task

HELPDESK = Path(__file__).parents[2] / "examples" / "helpdesk" / "team.toml"

TOP = 'name = "t"\n'
LABELS = '[[labels]]\nname = "a"\n[[labels]]\nname = "b"\n'
REST = '[data]\npool = "pool.jsonl"\n[[teachers]]\nname = "one"\nmodel = "m"\n'


def _written(folder: Path, text: str) -> Path:
    path = folder / "task.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(TaskError) as caught:
        load_task(_written(folder, text))
    return caught.value.problems


def test_the_helpdesk_example_loads() -> None:
    """What we ship is valid, and keeps the order of its labels."""
    task = load_task(HELPDESK)
    assert task.label_names[:3] == ("apps", "collab", "devices")
    assert [teacher.name for teacher in task.teachers] == ["recorded-A", "recorded-B"]


def test_guidelines_may_be_a_file_beside_the_task() -> None:
    """Its text is read in; people read the common guidelines first, then what only they are told."""
    task = load_task(HELPDESK)
    policy = (HELPDESK.parent / "policy.md").read_text(encoding="utf-8").strip()
    assert task.people_guidelines == policy
    assert task.guidelines_for_people == f"{task.guidelines}\n\n{policy}"


def test_a_small_task_loads_with_defaults(tmp_path: Path) -> None:
    """Labels, a pool and a teacher are enough."""
    task = load_task(_written(tmp_path, TOP + LABELS + REST))
    assert task.label_names == ("a", "b")
    assert task.selection.batch == 95


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """A team mends its file in one go: no mistake hides another."""
    problems = _problems(
        tmp_path,
        TOP
        + 'guidelines = "gone.md"\n'
        + '[[labels]]\nname = "a"\n[[labels]]\nname = "b"\naliases = ["A"]\n[[labels]]\nname = "a"\n'
        + REST
        + "[selection]\nbach = 10\nrandom_share = 1.5\n"
        + '[desk]\nkind = "argilla"\n',
    )
    assert len(problems) == 6, problems
    text = "\n".join(problems)
    assert "guidelines: expected a text file at 'gone.md'" in text
    assert "labels: 'A' names both 'a' and 'b'" in text
    assert "selection.bach: unknown key; did you mean 'batch'?" in text
    assert "selection.random_share: Input should be less than or equal to 1, found 1.5" in text
    assert "desk.url: expected the address of the Argilla server" in text


def test_a_mistake_inside_one_label_does_not_hide_a_duplicate(tmp_path: Path) -> None:
    """Labels are compared even where one of them has an unknown key."""
    labels = '[[labels]]\nname = "a"\ndescripton = "x"\n[[labels]]\nname = "a"\n'
    assert _problems(tmp_path, TOP + labels + REST) == (
        "labels.0.descripton: unknown key; did you mean 'description'?",
        "labels: 'a' stands twice in 'a'",
    )


def test_a_label_that_cannot_be_read_is_not_called_missing(tmp_path: Path) -> None:
    """Two labels of which one has no name are one mistake, not two."""
    labels = '[[labels]]\nname = "a"\n[[labels]]\ndescription = "x"\n'
    assert _problems(tmp_path, TOP + labels + REST) == ("labels.1.name: Field required",)


def test_one_label_is_not_a_choice(tmp_path: Path) -> None:
    """At least two labels."""
    assert _problems(tmp_path, TOP + '[[labels]]\nname = "a"\n' + REST) == ("labels: expected at least 2, found 1",)


def test_an_alias_may_not_repeat_its_own_label(tmp_path: Path) -> None:
    """Spellings are compared without case and outer blanks, as replies are."""
    labels = '[[labels]]\nname = "a"\naliases = [" A "]\n[[labels]]\nname = "b"\n'
    assert _problems(tmp_path, TOP + labels + REST) == ("labels: ' A ' stands twice in 'a'",)


def test_two_teachers_may_not_share_a_name(tmp_path: Path) -> None:
    """The name is the source of a vote."""
    twice = REST + '[[teachers]]\nname = "one"\nmodel = "n"\n'
    assert _problems(tmp_path, TOP + LABELS + twice) == ("teachers: the name 'one' is used twice",)


def test_a_task_needs_a_teacher(tmp_path: Path) -> None:
    """An empty list is a mistake of its own."""
    text = TOP + "teachers = []\n" + LABELS + '[data]\npool = "p"\n'
    assert _problems(tmp_path, text) == ("teachers: expected at least one [[teachers]] table, found none",)


def test_a_guess_is_a_key_of_the_same_table(tmp_path: Path) -> None:
    """`samples` belongs to a teacher: in [data] it is not offered back as the right spelling of itself."""
    text = TOP + LABELS + '[data]\npool = "p"\nsamples = 3\n[[teachers]]\nname = "one"\nmodel = "m"\n'
    assert _problems(tmp_path, text) == ("data.samples: unknown key",)


@pytest.mark.parametrize("share", ["nan", "-0.1", "inf"])
def test_a_share_lies_between_0_and_1(tmp_path: Path, share: str) -> None:
    """Not a number is not a share either."""
    (problem,) = _problems(tmp_path, TOP + LABELS + REST + f"[selection]\nrandom_share = {share}\n")
    assert problem.startswith("selection.random_share:")


def test_labels_named_like_other_values_stay_strings(tmp_path: Path) -> None:
    """TOML, not YAML: no, on and 1.0 are names."""
    labels = "".join(f'[[labels]]\nname = "{name}"\n' for name in ("no", "on", "1.0"))
    assert load_task(_written(tmp_path, TOP + labels + REST)).label_names == ("no", "on", "1.0")


def test_a_label_that_is_a_number_is_refused(tmp_path: Path) -> None:
    """It is not turned into a string silently."""
    labels = '[[labels]]\nname = 1.0\n[[labels]]\nname = "b"\n'
    assert _problems(tmp_path, TOP + labels + REST) == ("labels.0.name: Input should be a valid string, found 1.0",)


def test_guidelines_that_only_look_long_are_a_text(tmp_path: Path) -> None:
    """Several lines that end in .md are the guidelines themselves."""
    task = load_task(_written(tmp_path, TOP + 'guidelines = "first\\nsee policy.md"\n' + LABELS + REST))
    assert task.guidelines == "first\nsee policy.md"


def test_guidelines_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    """A file of another encoding is a mistake of the task, not a crash."""
    (tmp_path / "policy.md").write_bytes(b"caf\xe9")
    (problem,) = _problems(tmp_path, TOP + 'people_guidelines = "policy.md"\n' + LABELS + REST)
    assert problem.startswith("people_guidelines: expected a text file at 'policy.md', found: ")


def test_a_missing_task_says_how_to_write_one(tmp_path: Path) -> None:
    """InputError, not FileNotFoundError."""
    with pytest.raises(InputError, match="stillhouse init") as caught:
        load_task(tmp_path / "task.toml")
    assert not isinstance(caught.value, TaskError)


def test_a_folder_in_place_of_the_task_is_an_input_error(tmp_path: Path) -> None:
    """No foreign exception leaks."""
    with pytest.raises(InputError, match="directory"):
        load_task(tmp_path)


def test_bad_toml_names_the_line(tmp_path: Path) -> None:
    """The line is what a person looks for."""
    with pytest.raises(InputError, match=re.escape("at line 2")):
        load_task(_written(tmp_path, TOP + "question = no\n"))


def test_a_task_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    """The byte and its line, not an offset into the file."""
    path = tmp_path / "task.toml"
    path.write_bytes(TOP.encode() + b'question = "caf\xe9?"\n')
    with pytest.raises(InputError, match=re.escape("the byte 0xe9, which is not UTF-8 (at line 2)")):
        load_task(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """Windows editors write one."""
    path = tmp_path / "task.toml"
    path.write_text(TOP + LABELS + REST, encoding="utf-8-sig")
    assert load_task(path).name == "t"


def test_the_schema_hash_follows_the_labels_and_nothing_else(tmp_path: Path) -> None:
    """Answers fit as long as the names and their order do."""
    first = load_task(_written(tmp_path, TOP + LABELS + REST))
    described = LABELS.replace('name = "a"', 'name = "a"\ndescription = "new"')
    again = load_task(_written(tmp_path, TOP + described + REST))
    swapped = '[[labels]]\nname = "b"\n[[labels]]\nname = "a"\n'
    other = load_task(_written(tmp_path, TOP + swapped + REST))
    assert first.schema_hash() == again.schema_hash() != other.schema_hash()


@pytest.mark.parametrize(
    ("kind", "more"), [("single_label", LABELS), ("spans", LABELS), ("fields", '[[fields]]\nname = "who"\n')]
)
def test_the_question_suits_the_kind_unless_the_team_writes_its_own(tmp_path: Path, kind: str, more: str) -> None:
    """Nobody is asked for the label that fits best where passages are to be marked."""
    text = f'{TOP}kind = "{kind}"\n'
    assert load_task(_written(tmp_path, text + more + REST)).question == QUESTIONS[kind]  # type: ignore[index]
    own = 'question = "Who is meant?"\n'
    assert load_task(_written(tmp_path, text + own + more + REST)).question == "Who is meant?"


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("demonstrations = 8\n", "expected one with demonstrations = 0"),
        ('api = "systemone"\ntemperature = 0.5\n', "expected neither demonstrations nor temperature"),
        ('local = "model"\nsecond_order_share = 0.1\n', "because a local model is asked once"),
    ],
)
def test_what_a_teacher_cannot_be_shown_is_told(tmp_path: Path, table: str, found: str) -> None:
    """Examples need somebody who begins without; models that write nothing have neither temperature nor orders."""
    (problem,) = _problems(tmp_path, TOP + LABELS + REST + table)
    assert found in problem


def test_a_second_order_is_for_labels_of_a_text(tmp_path: Path) -> None:
    """Other kinds have no distribution whose mean could be taken."""
    text = TOP + 'kind = "spans"\n' + LABELS + REST + "second_order_share = 0.1\n"
    (problem,) = _problems(tmp_path, text)
    assert 'second_order_share is for labels of a text, found kind "spans"' in problem


@pytest.mark.parametrize(
    ("desk", "problem"),
    [
        ('annotators = ["pat", "pat"]', "desk.annotators: expected each name once"),
        ('annotators = ["pat"]\nmin_submitted = 2', "desk.annotators: expected at least 2"),
        (
            'annotators = ["pat"]\nsecond_opinions = 0.1\nadjudicators = ["sam"]',
            "desk.annotators: expected at least 2",
        ),
        ("second_opinions = 0.1", "desk.second_opinions: expected desk.adjudicators"),
        (
            'second_opinions = 0.1\nadjudicators = ["sam"]\nmin_submitted = 2',
            "desk.second_opinions: expected min_submitted = 1",
        ),
        ("verify_from = 0.5", "desk.verify_from"),
        ("enough = 0.0", "desk.enough"),
    ],
)
def test_a_desk_that_cannot_work_is_refused(tmp_path: Path, desk: str, problem: str) -> None:
    """Who is to answer, decide or give a second opinion must be there."""
    (found,) = _problems(tmp_path, TOP + LABELS + REST + f"[desk]\n{desk}\n")
    assert problem in found
