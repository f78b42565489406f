"""Each way of a rule on each kind of task, and what the team's own rules can do wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinds.kind import Layout
from loop.project import Project
from loop.rules import rule_votes, table_of
from stillhouse.errors import TaskError
from stillhouse.records import Item, Vote
from stillhouse.task import Task
from tests.kinds.examples import EXAMPLES

TEXTS = ("The printer is out of toner", "My PASSWORD expired", "Printer password?", "Hello")


def votes_on(home: Path, items: list[Item], *rules: dict[str, Any], **task: Any) -> list[dict[int, list[str]]]:
    """What each rule says: the columns by unit."""
    given = {"name": "t", "data": {"pool": "p"}, "teachers": [{"name": "m", "model": "m"}], **task}
    project = Project(Task.model_validate({**given, "rules": rules}), home / "task.toml", home)
    kind = project.kind
    found = rule_votes(project, kind, Layout.of(kind, items), items)
    return [
        {
            int(row): [name for name, yes in zip(kind.columns, said, strict=True) if yes]
            for row, said in zip(vote.rows, vote.said, strict=True)
        }
        for vote in found
    ]


def items_of(*texts: str, **more: Any) -> list[Item]:
    return [Item(str(number), text, **more) for number, text in enumerate(texts)]


def named(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


LABELS = {"labels": named("onsite", "first_line", "other")}
MANY = {"kind": "multi_label", "labels": named("print", "login")}


def example(kind: str) -> tuple[dict[str, Any], Item]:
    """A kind's own example: its task without teachers, and its item."""
    task, item, _ = EXAMPLES[kind]
    return task.model_dump(exclude={"rules", "teachers", "name"}), item


def words_said(item: Item, home: Path, kind: str, rule: dict[str, Any]) -> dict[str, list[str]]:
    """What a rule says of the words or tokens of a kind's example."""
    task, item = example(kind)
    project = Project(
        Task.model_validate({**task, "name": "t", "teachers": [{"name": "m", "model": "m"}], "rules": [rule]}),
        home / "task.toml",
        home,
    )
    spans = project.kind.units(item)
    (said,) = votes_on(home, [item], rule, **task)
    return {item.text[spans[row][0] : spans[row][1]]: columns for row, columns in said.items()}


def test_keywords_say_their_label_where_they_stand(tmp_path: Path) -> None:
    """And abstain elsewhere; case does not count."""
    rules = (
        {"name": "p", "label": "onsite", "keywords": ["printer", "toner"]},
        {"name": "w", "label": "first_line", "keywords": ["password"]},
        {"name": "c", "label": "first_line", "keywords": ["password"], "match_case": True},
    )
    found = votes_on(tmp_path, items_of(*TEXTS), *rules, **LABELS)
    assert found == [
        {0: ["onsite"], 2: ["onsite"]},
        {1: ["first_line"], 2: ["first_line"]},
        {2: ["first_line"]},
    ]


def test_one_of_several_labels_and_none_of_them(tmp_path: Path) -> None:
    """`labels` leave open which, `against` claims the rest."""
    rules = (
        {"name": "two", "labels": ["onsite", "other"], "keywords": ["toner"]},
        {"name": "not", "label": "onsite", "against": True, "keywords": ["hello"]},
    )
    found = votes_on(tmp_path, items_of(*TEXTS), *rules, **LABELS)
    assert found == [{0: ["onsite", "other"]}, {3: ["first_line", "other"]}]


def test_the_pair_of_a_text_is_searched_too(tmp_path: Path) -> None:
    """A question about two texts is about both."""
    items = [Item("1", "a claim", pair="its printer")]
    found = votes_on(tmp_path, items, {"name": "p", "label": "onsite", "regex": "print"}, **LABELS)
    assert found == [{0: ["onsite"]}]


def test_of_many_labels_only_those_are_said_that_the_rule_names(tmp_path: Path) -> None:
    """They apply, or with `against` do not; of the others nothing is said."""
    rules = (
        {"name": "p", "label": "print", "keywords": ["printer"]},
        {"name": "n", "label": "login", "against": True, "keywords": ["toner"]},
    )
    assert votes_on(tmp_path, items_of(TEXTS[0]), *rules, **MANY) == [{0: ["print"]}, {0: ["not login"]}]


def test_a_column_says_its_label_or_nothing(tmp_path: Path) -> None:
    """Names and aliases in any case; an empty cell abstains."""
    labels = [{"name": "onsite", "aliases": ["on-site"]}, {"name": "other"}]
    data = {"pool": "p", "metadata": ["guess"]}
    items = [Item(str(n), "x", metadata={"guess": g}) for n, g in enumerate(["On-Site", "", "other"])]
    found = votes_on(tmp_path, items, {"name": "c", "column": "guess"}, labels=labels, data=data)
    assert found == [{0: ["onsite"], 2: ["other"]}]


def test_a_function_says_a_value_or_abstains(tmp_path: Path) -> None:
    """It is loaded from beside task.toml and given the item."""
    (tmp_path / "own.py").write_text("def say(item):\n    return 'other' if len(item.text) < 6 else None\n")
    assert votes_on(tmp_path, items_of(*TEXTS), {"name": "p", "python": "own:say"}, **LABELS) == [{3: ["other"]}]


def test_spans_are_marked_where_they_are_found(tmp_path: Path) -> None:
    """Begin and inside of the label; words left unmarked are not said to be outside."""
    _, item = example("spans")
    said = words_said(item, tmp_path, "spans", {"name": "a", "label": "app", "regex": r"auto\w+ \d+"})
    assert said == {"AutoCAD": ["B-app"], "2024": ["I-app"]}


def test_the_first_group_of_an_expression_is_what_is_marked(tmp_path: Path) -> None:
    """What stands around it only says where."""
    _, item = example("overlapping")
    said = words_said(item, tmp_path, "overlapping", {"name": "a", "label": "phrase", "regex": r"asked (for) \w+"})
    assert said == {"for": ["B-phrase"]}


def test_a_gazetteer_marks_its_names(tmp_path: Path) -> None:
    """A file of phrases, one a line, empty lines left out."""
    (tmp_path / "people.txt").write_text("José García\n\nEva Novák\n", encoding="utf-8")
    _, item = example("spans")
    said = words_said(item, tmp_path, "spans", {"name": "g", "label": "person", "keywords_file": "people.txt"})
    assert said == {"José": ["B-person"], "García": ["I-person"]}


def test_tokens_are_tagged(tmp_path: Path) -> None:
    """Those that a match touches."""
    _, item = example("tokens")
    assert words_said(item, tmp_path, "tokens", {"name": "d", "label": "DET", "keywords": ["the", "a"]}) == {
        "the": ["DET"]
    }


def test_roles_are_marked_on_tokens(tmp_path: Path) -> None:
    """As spans are."""
    _, item = example("roles")
    said = words_said(item, tmp_path, "roles", {"name": "o", "label": "ARG1", "regex": r"the \w+"})
    assert said == {"the": ["B-ARG1"], "book": ["I-ARG1"]}


def test_a_field_is_filled_with_what_is_a_value_of_it(tmp_path: Path) -> None:
    """A match that is no number fills no number."""
    _, item = example("fields")
    said = words_said(item, tmp_path, "fields", {"name": "y", "label": "year", "regex": r"(?:in|room) ([\w,]+)"})
    assert said == {"1": ["B-year"], ",": ["I-year"], "200": ["I-year"]}


def test_a_column_fills_a_field_where_the_text_has_its_value(tmp_path: Path) -> None:
    """Other words are left open."""
    task, item = example("fields")
    data = {"pool": "p", "metadata": ["guess"]}
    known = Item(item.id, item.text, metadata={"guess": "3 May 2024"})
    rule = {"name": "c", "label": "day", "column": "guess"}
    (said,) = votes_on(tmp_path, [known], rule, **{**task, "data": data})
    assert list(said.values()) == [["B-day"], ["I-day"], ["I-day"]]


def test_a_hostile_expression_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    """It is told after a second, with the item it was on; the rule is not tried again."""
    items = items_of("a" * 60 + "!", "a" * 60 + "!")
    with pytest.raises(TaskError) as caught:
        votes_on(tmp_path, items, {"name": "slow", "label": "other", "regex": "(a|aa)+$"}, **LABELS)
    (problem,) = caught.value.problems
    assert problem.startswith("rules: 'slow': the expression took longer than 1 s on item '0'")


def test_what_is_wrong_with_all_rules_is_told_at_once(tmp_path: Path) -> None:
    """Functions that fail or return what is no value, columns with unknown labels, files that are not there."""
    (tmp_path / "own.py").write_text("def bad(item):\n    return 'gone'\ndef fails(item):\n    return item.texts\n")
    data = {"pool": "p", "metadata": ["guess"]}
    items = [Item("1", "x", metadata={"guess": "nobody"})]
    rules = (
        {"name": "bad", "python": "own:bad"},
        {"name": "fails", "python": "own:fails"},
        {"name": "missing", "python": "own:missing"},
        {"name": "col", "column": "guess"},
        {"name": "file", "label": "other", "keywords_file": "gone.txt"},
    )
    with pytest.raises(TaskError) as caught:
        votes_on(tmp_path, items, *rules, data=data, **LABELS)
    file, bad, fails, missing, column = caught.value.problems
    assert "keywords_file: expected a text file at 'gone.txt'" in file
    assert "item '1': ValueError: 'gone' is not a label of the task" in bad
    assert "item '1': AttributeError" in fails
    assert "rules: 'missing': python: 'own:missing' cannot be loaded" in missing
    assert "expected a label of the task in the column 'guess', or nothing, found 'nobody'" in column


def test_rules_follow_task_toml_and_leave_teachers_alone(tmp_path: Path) -> None:
    """Nothing is stored: another rule is another table, and a task without rules has the teachers' own."""
    items = items_of(*TEXTS)
    vote = Vote("0", "m", (0.1, 0.8, 0.1), 0.0, "verbalised", "ok", "p", "r", 0.0)
    tables = []
    for rules in ([], [{"name": "p", "label": "onsite", "keywords": ["toner"]}]):
        given = {"name": "t", "data": {"pool": "p"}, "teachers": [{"name": "m", "model": "m"}], **LABELS}
        project = Project(Task.model_validate({**given, "rules": rules}), tmp_path / "task.toml", tmp_path)
        layout = Layout.of(project.kind, items)
        tables.append(table_of(project, project.kind, layout, items, [vote]))
    bare, ruled = tables
    assert (bare.sources, ruled.sources) == (("m",), ("m", "rules"))
    np.testing.assert_array_equal(ruled.of_teachers().probs, bare.probs)
    assert ruled.usable[1].tolist() == [True, False, False, False]
