"""What is put to a model whose answers' likelihoods are read: goldens, and what stands before and after a label."""

import pytest

from prompts.likelihood import Choice, by_code, by_name, yes_or_no
from prompts.render import fill
from stillhouse.records import Item
from tests.prompts.test_goldens import ITEM, check
from tests.prompts.words import KINDS, REVERSED, TASK, TEACHER


def _shown(choice: Choice) -> str:
    asked = choice.message(ITEM) + choice.tails[0]
    return f"--- system ---\n{choice.common.system}\n--- user ---\n{asked}\n--- answers ---\n" + "\n".join(
        choice.answers
    )


def test_a_question_by_name_reads_as_its_golden() -> None:
    """The words change only on purpose."""
    check("likelihood_name", _shown(by_name(TASK, TEACHER)) + "\n")


def test_a_question_by_yes_or_no_reads_as_its_golden() -> None:
    """The words change only on purpose."""
    check("likelihood_yes_no", _shown(yes_or_no(KINDS["multi_label"], TEACHER)) + "\n")


def test_a_question_by_code_is_that_of_an_api() -> None:
    """The same words and id, so that votes of one prompt can be compared; codes in the order of the task's labels."""
    choice = by_code(TASK, REVERSED)
    assert choice.message(ITEM) == fill(choice.common, ITEM).messages[-1].content
    assert choice.answers == choice.common.codes
    assert choice.answers[0] > choice.answers[-1]


@pytest.mark.parametrize("text", ["plain", 'Does the label "', "a\x00b\x00"])
def test_a_text_does_not_move_the_label(text: str) -> None:
    """Whatever the text holds, the message ends where the label's name begins."""
    choice = yes_or_no(KINDS["multi_label"], TEACHER)
    message = choice.message(Item("i", text))
    assert text in message
    assert message.endswith('Does the label "')
