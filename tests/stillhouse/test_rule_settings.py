"""[[rules]] of task.toml: what is accepted, and every mistake told at once."""

from pathlib import Path

import pytest

from stillhouse.errors import TaskError
from stillhouse.task_file import load_task

LABELS = '[[labels]]\nname = "a"\n[[labels]]\nname = "b"\n'
DATA = '[data]\npool = "pool.jsonl"\nmetadata = ["guess"]\n'
TEACHER = '[[teachers]]\nname = "one"\nmodel = "m"\n'


def written(folder: Path, *rules: str, teacher: str = TEACHER, top: str = "") -> Path:
    path = folder / "task.toml"
    tables = "".join(f"[[rules]]\n{rule}\n" for rule in rules)
    path.write_text(f'name = "t"\n{top}{LABELS}{DATA}{teacher}{tables}', encoding="utf-8")
    return path


def problems(folder: Path, *rules: str, teacher: str = TEACHER, top: str = "") -> tuple[str, ...]:
    with pytest.raises(TaskError) as caught:
        load_task(written(folder, *rules, teacher=teacher, top=top))
    return caught.value.problems


def test_each_way_of_a_rule_loads(tmp_path: Path) -> None:
    """Keywords, a file of them, an expression, a function and a column."""
    task = load_task(
        written(
            tmp_path,
            'name = "k"\nlabel = "a"\nkeywords = ["x"]',
            'name = "f"\nlabels = ["a", "b"]\nkeywords_file = "x.txt"',
            'name = "r"\nlabel = "b"\nagainst = true\nregex = "x+"',
            'name = "p"\npython = "mod:say"',
            'name = "c"\ncolumn = "guess"',
        )
    )
    assert [rule.names for rule in task.rules] == [("a",), ("a", "b"), ("b",), (), ()]


def test_rules_alone_will_do_for_one_label(tmp_path: Path) -> None:
    """No teacher need be there."""
    assert load_task(written(tmp_path, 'name = "k"\nlabel = "a"\nkeywords = ["x"]', teacher="")).teachers == ()


def test_rules_alone_will_not_do_where_silence_is_no_abstention(tmp_path: Path) -> None:
    """Of many labels a rule says one; without a teacher nothing says that the others do not apply."""
    found = problems(tmp_path, 'name = "k"\nlabel = "a"\nkeywords = ["x"]', teacher="", top='kind = "multi_label"\n')
    assert len(found) == 1
    assert 'rules alone do for the kind "single_label" or "tokens", found kind "multi_label"' in found[0]


def test_without_rules_and_teachers_a_teacher_is_missing(tmp_path: Path) -> None:
    """As it always was."""
    assert problems(tmp_path, teacher="") == ("teachers: expected at least one [[teachers]] table, found none",)


def test_every_mistake_of_rules_is_told_at_once(tmp_path: Path) -> None:
    """Names, labels and columns that are not there, and what does not go together."""
    found = problems(
        tmp_path,
        'name = "twice"\nlabel = "a"\nkeywords = ["x"]',
        'name = "twice"\nlabel = "gone"\nkeywords = ["x"]',
        'name = "col"\ncolumn = "other"',
        'name = "fun"\nlabel = "a"\npython = "mod:say"',
        'name = "none"\nregex = "x"',
    )
    assert found == (
        "rules: the name 'twice' is used twice",
        "rules: 'twice': 'gone' is not a label of the task",
        "rules: 'col': the column 'other' is not among data.metadata; add it there",
        "rules: 'fun': expected no label, because the function says which, found a",
        "rules: 'none': expected label, found none",
    )


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ('label = "a"', "expected one of keywords, keywords_file, regex, python, column, found none"),
        ('label = "a"\nregex = "x"\nkeywords = ["y"]', "found keywords and regex"),
        ('label = "a"\nregex = "(x"', "expected a regular expression, found '(x'"),
        ('label = "a"\nregex = "x*"', "matches nothing at all"),
        ('label = "a"\nkeywords = ["x", " "]', "expected words in every keyword"),
        ('label = "a"\nlabels = ["b"]\nregex = "x"', "expected label or labels, found both"),
        ('python = "mod:say"\nmatch_case = true', "match_case is for keywords and regex, found python"),
        ('label = "a"\nkeyword = ["x"]', "did you mean 'keywords'?"),
    ],
)
def test_what_one_rule_has_wrong_is_said(tmp_path: Path, rule: str, problem: str) -> None:
    """Expected and found."""
    assert problem in "\n".join(problems(tmp_path, f'name = "r"\n{rule}'))


def test_rules_that_mark_a_text_are_for_one_label_each(tmp_path: Path) -> None:
    """A span is not against something, and a column says nothing of a span."""
    found = problems(
        tmp_path,
        'name = "r"\nlabels = ["a", "b"]\nregex = "x"',
        'name = "c"\ncolumn = "guess"',
        top='kind = "spans"\n',
    )
    assert found == (
        "rules: 'r': against and labels are for labels of a text, found kind \"spans\"",
        "rules: 'c': a column holds what is said of the whole text, found kind \"spans\"",
    )


def test_no_teacher_is_called_as_the_rules_are(tmp_path: Path) -> None:
    """Their votes would be taken for each other."""
    found = problems(tmp_path, 'name = "k"\nlabel = "a"\nkeywords = ["x"]', teacher=TEACHER.replace('"one"', '"rules"'))
    assert found == ("teachers: 'rules' is what the rules are called: expected another name",)
