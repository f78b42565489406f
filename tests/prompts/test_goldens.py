"""Every prompt that is sent, as a person would read it: STILLHOUSE_GOLDENS=write writes the files again."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kinds.demonstrate import example_of
from kinds.registry import kind_of
from prompts.candidates import candidates_frame, with_candidates
from prompts.render import Style, fill, frame, render, repair
from stillhouse.records import Demonstration, Item, Value
from stillhouse.settings import Teacher
from stillhouse.task import Task
from tests.prompts.words import KIND_ITEM, KINDS, MANY, PAIRED, REVERSED, ROLE_ITEM, TASK, TEACHER, TRAPS

GOLDENS = Path(__file__).parent / "goldens"
FEW_SHOT = TEACHER.model_copy(update={"demonstrations": 2})
ITEM = Item("hd-1", "Laptop won't start & says <disk error>.\n\nSent from my phone")
CASES: dict[str, tuple[Task, Teacher, Style]] = {
    "helpdesk_verbalised": (TASK, TEACHER, "verbalised"),
    "helpdesk_verbalised_reversed": (TASK, REVERSED, "verbalised"),
    "helpdesk_codes": (TASK, TEACHER, "codes"),
    "helpdesk_codes_reversed": (TASK, REVERSED, "codes"),
    "bare_verbalised": (TRAPS, TEACHER, "verbalised"),
    "many_codes": (MANY, TEACHER, "codes"),
}


def check(name: str, text: str) -> None:
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("STILLHOUSE_GOLDENS") == "write":
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_a_prompt_reads_as_its_golden(name: str) -> None:
    """The words sent to a teacher change only on purpose."""
    task, teacher, style = CASES[name]
    check(name, render(task, teacher, ITEM, style).text())


@pytest.mark.parametrize("style", ["verbalised", "codes"])
def test_a_repair_reads_as_its_golden(style: Style) -> None:
    """The words that ask again change only on purpose."""
    common = frame(TASK, TEACHER, style)
    check(f"repair_{style}", repair(common, fill(common, ITEM), "Hm, hard to say.").text())


@pytest.mark.parametrize("name", KINDS)
def test_a_prompt_of_each_kind_and_its_repair_read_as_their_golden(name: str) -> None:
    """What each kind asks, and how it asks again, changes only on purpose."""
    common = kind_of(KINDS[name]).frame(TEACHER, "verbalised")
    prompt = fill(common, ROLE_ITEM if name == "roles" else KIND_ITEM)
    check(f"kind_{name}", repair(common, prompt, "Hm, hard to say.").text())


def test_a_pair_and_a_picture_read_as_their_golden() -> None:
    """The second text has the name of its column, and markers of its own."""
    item = replace(ITEM, pair="nuclear energy", image="https://example.com/p.png")
    check("pair_verbalised", render(PAIRED, TEACHER, item, "verbalised").text())


@pytest.mark.parametrize("name", KINDS)
def test_the_prompt_id_of_each_kind_follows_order_and_words(name: str) -> None:
    """As for single labels; the item does not count."""
    task = KINDS[name]
    reworded = task.model_copy(update={"guidelines": "Other."})
    ids = {
        kind_of(which).frame(teacher, "verbalised").prompt_id
        for which, teacher in ((task, TEACHER), (task, REVERSED), (reworded, TEACHER), (task, TEACHER))
    }
    assert len(ids) == 3


def test_the_prefix_is_the_same_for_all_items() -> None:
    """What is common comes first and does not depend on the item, so that an API can cache it."""
    first, second = (render(TASK, TEACHER, Item(text, text), "verbalised") for text in ("a", "b"))
    assert first.messages[0] == second.messages[0]
    assert first.messages[1] != second.messages[1]


def test_the_prompt_id_follows_the_words() -> None:
    """Another style, order, guideline or description is another prompt; another item is not."""
    reworded = TASK.model_copy(update={"guidelines": "Other."})
    ids = [
        frame(TASK, TEACHER, "verbalised").prompt_id,
        frame(TASK, REVERSED, "verbalised").prompt_id,
        frame(TASK, TEACHER, "codes").prompt_id,
        frame(reworded, TEACHER, "verbalised").prompt_id,
    ]
    assert len(set(ids)) == 4
    assert render(TASK, TEACHER, ITEM, "verbalised").prompt_id == ids[0]


def test_what_only_people_are_told_is_not_sent() -> None:
    """The policy of the helpdesk's people is not in the teacher's prompt."""
    assert TASK.people_guidelines
    assert TASK.people_guidelines[:40] not in render(TASK, TEACHER, ITEM, "verbalised").text()


LEASE = {"tenants": ["Acme Ltd"], "start date": "2024-05-03", "rent": None, "law": None}
EXAMPLES: dict[str, Value] = {
    "multi_label": ["rent"],
    "spans": [{"start": 0, "end": 9, "label": "PERSON"}, {"start": 24, "end": 29, "label": "DEVICE"}],
    "quotes": [{"start": 0, "end": 9, "label": "PERSON"}, {"start": 24, "end": 29, "label": "DEVICE"}],
    "tokens": ["NOUN", "NOUN", "VERB", *["NOUN"] * 10, "PUNCT"],
    "roles": [{"start": 0, "end": 9, "label": "ARG0"}, {"start": 16, "end": 29, "label": "ARG1"}],
    "fields": LEASE,
}


@pytest.mark.parametrize("name", KINDS)
def test_examples_of_each_kind_read_as_their_golden(name: str) -> None:
    """They stand between what is common and the item, in the form of its question and of its reply."""
    kind = kind_of(KINDS[name])
    common = kind.frame(FEW_SHOT, "verbalised")
    shown = ROLE_ITEM if name == "roles" else KIND_ITEM
    example = example_of(kind, common, Demonstration(shown, EXAMPLES[name]))
    assert example is not None
    asked = replace(shown, id="other", text=shown.text.replace("Acme", "Emca"))
    check(f"examples_{name}", fill(common, asked, [example]).text())


@pytest.mark.parametrize("style", ["verbalised", "codes"])
def test_examples_of_one_label_read_as_their_golden(style: Style) -> None:
    """The last of the two is the nearest to the item."""
    kind = kind_of(TASK)
    common = kind.frame(FEW_SHOT, style)
    pairs = [("The VPN drops every hour", "netops"), ("I forgot my password", "identity")]
    examples = [example_of(kind, common, Demonstration(Item(text, text), label)) for text, label in pairs]
    check(f"examples_{style}", fill(common, ITEM, [each for each in examples if each is not None]).text())


def test_the_labels_that_may_fit_read_as_their_golden() -> None:
    """In the task's order, whatever the order of the ranking; an example of another label is none of these."""
    kind = kind_of(MANY)
    common = with_candidates(candidates_frame(MANY, FEW_SHOT), [f"label {number:02d}" for number in (70, 3, 12)])
    pairs = [("Three", "label 03"), ("Forty", "label 40")]
    examples = [example_of(kind, common, Demonstration(Item(text, text), label)) for text, label in pairs]
    prompt = fill(common, ITEM, [each for each in examples if each is not None])
    check("candidates", repair(common, prompt, "Hm, hard to say.").text())


def test_examples_and_their_replies_change_the_prompt_id() -> None:
    """A vote says which it saw; the frame's own id stays readable in it."""
    kind = kind_of(TASK)
    common = kind.frame(FEW_SHOT, "verbalised")
    ids = []
    for label in ("apps", "identity"):
        example = example_of(kind, common, Demonstration(Item("x", "I forgot my password"), label))
        assert example is not None
        ids.append(fill(common, ITEM, [example]).prompt_id)
    assert {found.partition(".")[0] for found in ids} == {common.prompt_id}
    assert len({*ids, common.prompt_id, frame(TASK, TEACHER, "verbalised").prompt_id}) == 4
