"""What stands beside an item: never more than whoever answers may see, and every text to the letter."""

import dataclasses
import html
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from consensus.votes import VoteTable
from kinds.kind import Layout
from loop.asked import Asked
from loop.context import TEXT_CHARS, Surroundings, one_line, paragraphs_of, quoted
from loop.project import Project
from loop.view import Corpus
from stillhouse.records import Answer, Item, Pick, Way
from stillhouse.task import Task
from tests.trainer.tiny import write_tiny_bert
from trainer.base import load_base

HOSTILE = [
    "<script>alert(1)</script> & <img src=x onerror=y>",
    "[a](javascript:alert(1)) ![x](http://e.com/p.png) <http://e.com>",
    "# head\n- list\n1. one\n> quote\n```\ncode\n```\n| a | b |\n|---|---|",
    "www.example.com http://e.com me@example.com **b** _i_ ~~s~~ `c` $x$ \\* &amp; &#60;",
    "- \n\n\n    code\u2028x\x00\x0b",
    "***",
    "===",
    "---",
    "+",
    "1)",
    "\\",
    "&",
    "<",
]
TASK = Task.model_validate(
    {
        "name": "t",
        "question": "Which?",
        "guidelines": "Bills and money go to billing.\n\nBroken cables are network trouble.\n\nElse say other.",
        "labels": [{"name": "billing", "description": "money"}, {"name": "network"}, {"name": "other"}],
        "teachers": [{"name": "A", "model": "m"}],
        "data": {"pool": "pool.jsonl"},
    }
)


def rendered(markdown: str) -> str:
    return str(MarkdownIt("gfm-like", {"html": True, "linkify": False, "typographer": False}).render(markdown))


@given(st.text(max_size=80))
@example(HOSTILE[0])
@example(HOSTILE[1])
@example(HOSTILE[2])
@example(HOSTILE[3])
@example(HOSTILE[4])
def test_any_text_is_shown_to_the_letter(text: str) -> None:
    """In a list, in bold and after other words it is text and no markup, HTML or link, and all of it is there."""
    shown = one_line(text)
    wanted = " ".join(text.replace("\0", "\ufffd").split())
    assert "\n" not in shown
    page = rendered(f"- {shown} → **{shown}x**\n")
    tags = re.findall(r"<[^>]*>", page)
    assert set(tags) <= {"<ul>", "</ul>", "<li>", "</li>", "<strong>", "</strong>", "<br>"}
    words = " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())
    assert words == " ".join(f"{wanted} → {wanted}x".split())


def test_a_long_text_is_cut() -> None:
    """What is left says so."""
    assert one_line("a" * 1000) == "a" * (TEXT_CHARS - 1) + "…"


def test_html_in_guidelines_is_shown_and_markdown_works() -> None:
    """They are the task's own words, but nothing in them runs."""
    page = rendered("\n".join(quoted("**Mind** <script>x</script> &lt;\n\n- a\n- b")))
    assert "<strong>Mind</strong>" in page
    assert "<li>a</li>" in page
    assert "<script>" not in page


def test_a_heading_in_guidelines_is_no_larger_than_the_text() -> None:
    """Beside a short message a title of the guidelines would be most of the page."""
    page = rendered("\n".join(quoted("# Routing\n\nC# is a language.")))
    assert "<strong>Routing</strong>" in page
    assert "C# is a language." in page
    assert "<h1>" not in page


def test_a_heading_stays_with_what_it_is_over() -> None:
    """Alone it says nothing."""
    assert paragraphs_of("# Money\n\nBills.\n\n\nElse.") == ["# Money\n\nBills.", "Else."]


# -- who sees what

ITEMS = tuple(
    Item(f"{n}", text) for n, text in enumerate(["pay my bill", "bill is wrong", "bill again", "cable broken"])
)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    write_tiny_bert(folder)
    return folder


def surroundings(base_folder: Path, answers: list[Answer], *, drawn: str = "") -> Surroundings:
    task = TASK.model_copy(update={"student": TASK.student.model_copy(update={"base": str(base_folder)})})
    project = Project(task, base_folder / "task.toml", base_folder)
    texts = np.eye(4, 32, dtype=np.float32)
    texts[:3, 0] = texts[:3, 1] = 1.0  # the first three are alike
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    votes = VoteTable(("A",), np.full((1, 4, 3), 1 / 3), np.ones((1, 4), dtype=bool), 3)
    corpus = Corpus(project.kind, ITEMS, Layout.of(project.kind, ITEMS), texts, texts, votes, np.full((4, 3), 1 / 3))
    picks = tuple(Pick(i.id, 1, "uncertain", 0.5, 0.1 if i.id in drawn else None, i.id in drawn) for i in ITEMS)
    return Surroundings(project, load_base(str(base_folder)), corpus, Asked(picks, (), tuple(answers), 1))


def answer(item_id: str, label: str, who: str = "pat", way: Way = "label") -> Answer:
    return Answer(item_id, who, label, blind=False, rehearsed=False, answered_at="", way=way)


BELIEVED = np.array([[0.6, 0.38, 0.02]])


def test_a_targeted_item_has_candidates_guidelines_and_answered_items_like_it(base_folder: Path) -> None:
    """What is likely with its description, one paragraph, and the nearest that people have answered."""
    shown = surroundings(base_folder, [answer("1", "billing"), answer("3", "network")]).of("0", "label", BELIEVED)
    assert "- **billing** (60%): money\n- **network** (38%)" in shown
    assert "other** (" not in shown
    assert shown.count("\n> ") == 1
    assert "- bill is wrong → **billing**" in shown
    assert "cable" not in shown.split("Like it")[1]


def test_who_answers_blind_sees_guidelines_alone(base_folder: Path) -> None:
    """Neither candidates nor anybody's answer; and the paragraph depends on nothing that was said of the item."""
    few, many = (surroundings(base_folder, [answer(each, "billing") for each in ids]) for ids in ("", "0123"))
    assert few.of("0", "label", None) == many.of("0", "second", None)
    assert few.of("0", "label", None).startswith("**From the guidelines**\n\n> ")


def test_answers_of_the_random_share_are_shown_to_nobody(base_folder: Path) -> None:
    """They measure."""
    shown = surroundings(base_folder, [answer("1", "billing"), answer("2", "billing")], drawn="1").of(
        "0", "label", BELIEVED
    )
    assert "bill is wrong" not in shown
    assert "bill again" in shown


def test_an_item_is_not_shown_its_own_answer(base_folder: Path) -> None:
    """Asked again, it would be given away."""
    assert "Like it" not in surroundings(base_folder, [answer("0", "billing")]).of("0", "label", BELIEVED)


def test_who_decides_sees_each_opinion_and_no_name(base_folder: Path) -> None:
    """In an order that says nothing of who came first."""
    said = [answer("0", "network", "zoe"), answer("0", "billing", "adam", "second")]
    shown = surroundings(base_folder, said).of("0", "adjudicate", BELIEVED)
    assert shown.startswith("**People said**\n\n- billing\n- network\n")
    assert "zoe" not in shown
    assert "In question" not in shown


def test_one_paragraph_of_guidelines_is_not_repeated(base_folder: Path) -> None:
    """People have it beside every item already."""
    near = surroundings(base_folder, [])
    task = near.project.task.model_copy(update={"guidelines": "Only this."})
    alone = dataclasses.replace(near, project=dataclasses.replace(near.project, task=task))
    assert alone.of("0", "label", None) == ""
