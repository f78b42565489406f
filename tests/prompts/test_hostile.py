"""Hostile pool texts change neither the prompt around them nor what the reply is understood to say."""

import orjson
import pytest

from prompts.delimit import enclosed, sendable
from prompts.labels import spellings
from prompts.parse import parse_verbalised
from prompts.render import fill, frame
from stillhouse.records import Item
from teacher.wire import Asking, chat_body
from tests.prompts.hostile import HOSTILE
from tests.prompts.words import TASK, TEACHER


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_stays_between_its_markers(text: str) -> None:
    """The text comes back exactly, once, and the messages around it are those of any other text."""
    for style in ("verbalised", "codes"):
        common = frame(TASK, TEACHER, style)
        prompt = fill(common, Item("h", text))
        assert [message.role for message in prompt.messages] == ["system", "user"]
        assert prompt.messages[0].content == common.system
        user = prompt.messages[1].content
        assert enclosed(user) == sendable(text)
        tag = user[len("<text-") : user.index(">")]
        assert user.count(tag) == 2
        harmless = fill(common, Item("h", "need 7-zip")).messages[1].content
        assert user.rsplit("\n", 1)[1] == harmless.rsplit("\n", 1)[1]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_text_stays_one_json_string_of_the_request(text: str) -> None:
    """The request has the same shape whatever the text says."""
    body = orjson.loads(chat_body("m", fill(frame(TASK, TEACHER, "verbalised"), Item("h", text)), Asking(60)))
    assert sorted(body) == ["max_tokens", "messages", "model", "temperature"]
    assert enclosed(body["messages"][1]["content"]) == sendable(text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_reply_that_quotes_a_hostile_text_is_never_read_as_its_label(text: str) -> None:
    """A teacher may quote the text before it answers; the quotation wins nothing over the answer."""
    reading = parse_verbalised(
        f'The text says: {text}\n{{"label": "devices", "confidence": 0.7, "second": null}}', spellings(TASK.labels)
    )
    devices = TASK.label_names.index("devices")
    assert not reading.usable or reading.probs[devices] == 0.7


def test_there_are_at_least_thirty_hostile_texts() -> None:
    """The set is as large as promised, and no text stands in it twice."""
    assert len(set(HOSTILE)) == len(HOSTILE) >= 30
