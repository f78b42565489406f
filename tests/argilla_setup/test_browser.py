"""The desk as annotators have it before them: the pages of the real server in a real browser."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, sync_playwright

from argilla_setup.annotators import ensure_users
from argilla_setup.argilla_desk import ArgillaDesk
from argilla_setup.desk import DeskRecord
from argilla_setup.embedded import Connection
from argilla_setup.markdown import as_markdown
from stillhouse.records import Suggestion
from stillhouse.task import Task
from tests.argilla_setup.browsing import CHROMIUMS, Reader, chromium, started
from tests.argilla_setup.people import a_record, a_task, asked_again, unique

PASSWORD = "seven words are enough"
HOSTILE = "<img src=x onerror=alert(1)> <script>alert(2)</script> [a](javascript:alert(3)) **bold** & {{ 7 * 7 }}"
SettledDesk = Callable[..., ArgillaDesk]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip(f"no browser on this machine: expected one of {', '.join(CHROMIUMS)}")
    with sync_playwright() as playwright, started(playwright, executable) as found:
        yield found


@pytest.fixture(scope="module")
def annotator(embedded: Connection) -> str:
    """Somebody who has a name and a password, and nothing else."""
    name = unique("ann")
    desk = ArgillaDesk(embedded.url, embedded.api_key, a_task(unique("members")))
    ensure_users(desk, [name], lambda _: PASSWORD)
    return name


@pytest.fixture(scope="module")
def reader(browser: Browser, embedded: Connection, annotator: str) -> Reader:
    """They signed in, once for all that follows."""
    reader = Reader(browser, embedded.url)
    reader.signs_in(annotator, PASSWORD)
    reader.page.wait_for_url(lambda url: "sign-in" not in url)
    return reader


@pytest.fixture
def publish(embedded: Connection) -> Callable[..., ArgillaDesk]:
    """A desk of its own with these records on it."""

    def made(*records: DeskRecord, task: Task | None = None) -> ArgillaDesk:
        desk = ArgillaDesk(embedded.url, embedded.api_key, task or a_task(unique("seen")))
        desk.publish(records)
        return desk

    return made


def test_an_annotator_labels_by_mouse_and_by_keyboard(reader: Reader, publish: SettledDesk, annotator: str) -> None:
    """The hardest comes first; a suggestion is filled in and marked, and gone from a blind item. A number chooses and sends,
    Enter sends what is suggested; each answer arrives with what was shown.
    """
    desk = publish(
        a_record("hard", "Parcel lost?", uncertainty=0.9),
        a_record("blind", "Who pays for this?", blind=True, uncertainty=0.5),
        a_record("easy", "Parcel late", uncertainty=0.1),
    )
    reader.opens(desk.link())
    reader.reads("Parcel lost?")
    assert reader.chosen() == reader.suggested() == ["delivery"]
    reader.label("returns").click()
    assert reader.chosen() == ["returns"]
    reader.submits()

    reader.reads("Who pays for this?")
    assert reader.chosen() == reader.suggested() == []
    reader.presses("1")

    reader.reads("Parcel late")
    assert reader.suggested() == ["delivery"]
    reader.presses("Enter")

    reader.is_done()
    found = {answer.item_id: (answer.label, answer.blind, answer.suggested) for answer in desk.collect()}
    assert found == {
        "hard": ("returns", False, "delivery"),
        "blind": ("billing", True, None),
        "easy": ("delivery", False, "delivery"),
    }
    assert {answer.annotator for answer in desk.collect()} == {annotator}


def test_texts_and_context_are_shown_and_do_nothing(reader: Reader, publish: SettledDesk) -> None:
    """Markdown that Stillhouse writes is laid out; what a text of the pool holds is seen to the letter and never runs."""
    context = f"**Rule:** look at the words.\n\n- like {as_markdown(HOSTILE)}"
    reader.opens(publish(a_record("i", HOSTILE, context=context)).link())
    reader.reads("Rule:")
    texts = reader.page.get_by_text(HOSTILE)
    assert texts.count() == 2
    shown = reader.page.get_by_role("listitem").filter(has=texts).last
    assert shown.locator("img, script, a, strong").count() == 0
    assert reader.page.locator("strong").get_by_text("Rule:").count() == 1
    assert reader.dialogs == []


def test_a_suggestion_is_accepted_or_refused_by_one_key(reader: Reader, publish: SettledDesk) -> None:
    """Asked for yes or no: the suggestion stands beside the text; yes is an answer, no is not one of any label."""
    desk = publish(
        asked_again("right", "verify", uncertainty=0.4),
        replace(asked_again("wrong", "verify", uncertainty=0.2), suggestion=Suggestion("billing", 0.97, "belief")),
    )
    reader.opens(desk.link(way="verify"))
    reader.page.locator("strong").get_by_text("delivery", exact=True).wait_for()
    reader.presses("1")
    reader.page.locator("strong").get_by_text("billing", exact=True).wait_for()
    reader.presses("2")
    reader.is_done()
    assert [(answer.item_id, answer.label, answer.way) for answer in desk.collect()] == [
        ("right", "delivery", "verify")
    ]
    assert [(denial.item_id, denial.value) for denial in desk.denied()] == [("wrong", "billing")]


def test_a_link_leads_to_what_is_ones_own(reader: Reader, publish: SettledDesk, annotator: str) -> None:
    """What is assigned to somebody else is not in it, and what is assigned to nobody is."""
    desk = publish(
        a_record("theirs", "For another person", assigned=("somebody",), uncertainty=0.9),
        a_record("anyones", "For anyone", uncertainty=0.5),
        a_record("mine", "For this person", assigned=(annotator,), uncertainty=0.1),
    )
    reader.opens(desk.link(annotator))
    reader.reads("For anyone")
    reader.presses("Enter")
    reader.reads("For this person")
    reader.presses("Enter")
    reader.is_done()
    assert {answer.item_id for answer in desk.collect()} == {"anyones", "mine"}


def test_one_of_many_labels_is_found_by_typing(reader: Reader, publish: SettledDesk) -> None:
    """More than twenty are searched, without the mouse."""
    names = tuple(f"{place} {what}" for place in ("north", "south", "east") for what in "abcdefghij")
    desk = publish(a_record("m", "Which of thirty?", blind=True), task=a_task(unique("many"), names))
    reader.opens(desk.link())
    reader.reads("Which of thirty?")
    reader.page.get_by_placeholder("Search labels").fill("east g")
    reader.label("south g").wait_for(state="hidden")
    reader.label("east g").click()
    reader.submits()
    reader.is_done()
    assert [answer.label for answer in desk.collect()] == ["east g"]


def test_no_request_leaves_this_machine(reader: Reader, publish: SettledDesk) -> None:
    """Of all pages that were open in these tests, and of one that is opened now."""
    reader.opens(publish(a_record("i", "Alone?")).link())
    reader.reads("Alone?")
    reader.page.wait_for_load_state("networkidle")
    assert len(reader.requests) > 20
    assert reader.outside() == []
