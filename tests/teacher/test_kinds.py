"""A teacher is asked about every kind of task through the same engine, and its votes say what its replies said."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from prompts.delimit import enclosed
from prompts.windows import windows
from stillhouse.errors import TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Item, Vote
from stillhouse.task import Task
from teacher.capabilities import UNPROBED, Capabilities, plan_of
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard, estimate
from teacher.recorded import load_recording, recorded_teacher, serving
from tests.prompts.words import KIND_ITEM, KINDS, PAIRED, TEXT, TOKENS, WORDS, task_of
from tests.teacher.helpdesk import HELPDESK, REPLIES, SOON, TASK, items, teacher_at

ENTITIES = task_of("spans", "PERSON", "DEVICE", "APP", "LOCATION", "CODE", "TIME")
EVERYTHING = Capabilities("honoured", "honoured", "honoured", "honoured")
TAGGED = TEXT.replace("Ana Silva", "[PERSON|Ana Silva]").replace("Canon", "[DEVICE|Cannon]")


@dataclass
class Scripted:
    """An API that takes everything and gives `n` answers, which `answer` makes of the text it is asked about."""

    answer: Callable[[str, int], str]
    finish: str = "stop"
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = body["messages"][-1]["content"] if len(body["messages"]) <= 2 else body["messages"][1]["content"]
        text = enclosed(asked if isinstance(asked, str) else asked[0]["text"])
        choices = [
            {"message": {"role": "assistant", "content": self.answer(text or "", sample)}, "finish_reason": self.finish}
            for sample in range(body.get("n", 1))
        ]
        if text is not None:
            self.bodies.append(body)
        return web.json_response({"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 5}})


def ask(task: Task, url: str, *asked: Item, **changes: Any) -> list[Vote]:
    teacher = teacher_at(url, **{"model": "m", "ask": "verbalised", **changes})
    return ask_sync(asked, task, teacher, MemoryLedger(), budget=BudgetGuard(None), patience=SOON)


def test_recorded_entities_become_spans_of_their_messages() -> None:
    """The recording's tagged texts are played, aligned and voted; offsets are those of the pool's texts."""
    known = load_recording(REPLIES, items=items(120)).models["entities/A"]
    pool = [item for item in items(120) if item.text in known]
    with recorded_teacher(REPLIES, items=pool) as url:
        votes = ask(ENTITIES, url, *pool, model="entities/A", ask="auto")
    texts = {item.id: item.text for item in pool}
    marked = [(texts[v.item_id][s["start"] : s["end"]], s["label"]) for v in votes for s in _spans(v)]
    assert {vote.status for vote in votes} == {"ok"}
    assert len(marked) > 20
    said = {json.loads(line)["id"]: json.loads(line).get("tagged") for line in _entity_lines()}
    assert marked == [pair for vote in votes for pair in _tags(said[vote.item_id])]


def _entity_lines() -> list[str]:
    return [line for line in REPLIES.read_text("utf-8").splitlines() if '"entities"' in line]


def _tags(tagged: str) -> list[tuple[str, str]]:
    pieces = tagged.split("[")[1:]
    return [(piece.split("|")[1].split("]")[0], piece.split("|")[0]) for piece in pieces]


def _spans(vote: Vote) -> list[dict[str, Any]]:
    return [span for span in vote.value or [] if isinstance(span, dict)]


REPLIES_OF_KINDS: dict[str, tuple[str, Any]] = {
    "multi_label": ('{"labels": {"repair": 0.7}}', None),
    "spans": (TAGGED, [("Ana Silva", "PERSON"), ("Canon", "DEVICE")]),
    "quotes": ('{"spans": [{"quote": "Ana  silva", "occurrence": 1, "label": "PERSON"}]}', [("Ana Silva", "PERSON")]),
    "tokens": (
        "\n".join(f"{n}:{word}:{'PUNCT' if word == '.' else 'NOUN'}" for n, word in enumerate(WORDS, 1)),
        ["NOUN"] * 13 + ["PUNCT"],
    ),
    "roles": ('{"spans": [{"quote": "Silva", "occurrence": 1, "label": "ARG0"}]}', [("Silva", "ARG0")]),
    "fields": (
        '{"tenants": ["Ana Silva"], "start date": "3 May 2024", "rent": null, "law": null}',
        {"tenants": ["Ana Silva"], "start date": "2024-05-03", "rent": None, "law": None},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_reply_of_each_kind_becomes_a_vote(name: str) -> None:
    """Its value in the vote, its words in the ledger; label kinds have probs instead."""
    reply, expected = REPLIES_OF_KINDS[name]
    with serving(Scripted(lambda _, __: reply).app()) as url:
        (vote,) = ask(KINDS[name], url, KIND_ITEM)
    assert vote.usable
    if name == "multi_label":
        assert vote.probs[1] == 0.7
        assert vote.value is None
        return
    assert vote.probs == ()
    spans = name in {"spans", "quotes", "roles"}
    assert ([(TEXT[s["start"] : s["end"]], s["label"]) for s in _spans(vote)] if spans else vote.value) == expected


def test_findings_are_kept_in_the_vote() -> None:
    """What did not fit is not lost with the reply."""
    with serving(Scripted(lambda _, __: f"{TAGGED} [SHIP|Canon]").app()) as url:
        (vote,) = ask(KINDS["spans"], url, KIND_ITEM)
    assert vote.findings == {"unknown_label": 1}
    assert vote.status == "repaired"


def test_an_unreadable_reply_is_asked_again_and_then_abstains() -> None:
    """One repair, with the words of the kind; no value is made up."""
    server = Scripted(lambda _, __: "Hm.")
    with serving(server.app()) as url:
        (vote,) = ask(KINDS["spans"], url, KIND_ITEM)
    assert (vote.status, vote.value, vote.residual, vote.probs) == ("unreadable", None, 1.0, ())
    assert len(server.bodies) == 2
    assert "brackets" in server.bodies[1]["messages"][-1]["content"]


def test_a_text_that_was_cut_off_is_truncated() -> None:
    """Tags that are missing because the reply ended are not absent; the repair has more room."""
    server = Scripted(lambda _, __: TAGGED, finish="length")
    with serving(server.app()) as url:
        (vote,) = ask(KINDS["spans"], url, KIND_ITEM)
    assert (vote.status, vote.value) == ("truncated", None)
    first, again = (body["max_tokens"] for body in server.bodies)
    assert again > 2 * first


def test_samples_of_spans_agree_to_a_share() -> None:
    """Two answers in one call: what both say is certain, what one says is even."""
    with serving(
        Scripted(lambda _, sample: TAGGED if sample else TAGGED.replace("[DEVICE|Cannon]", "Canon")).app()
    ) as url:
        (vote,) = ask(KINDS["spans"], url, KIND_ITEM, ask="samples")
    assert [(span["label"], span["p"]) for span in _spans(vote)] == [("PERSON", 1.0), ("DEVICE", 0.5)]
    assert vote.origin == "sample"


def test_logprobs_are_never_used_where_one_token_is_no_answer() -> None:
    """Left to choose, the plan takes samples; told to take logprobs, it says that this kind has none."""
    teacher = teacher_at("http://127.0.0.1", ask="auto")
    styles = frozenset({"verbalised"})
    assert plan_of(teacher, EVERYTHING, styles).how == "samples"  # type: ignore[arg-type]
    assert plan_of(teacher, EVERYTHING).how == "logprobs"
    for known in (EVERYTHING, UNPROBED, None):
        with pytest.raises(TeacherError, match="kind of task"):
            plan_of(teacher_at("http://127.0.0.1", ask="logprobs"), known, styles)  # type: ignore[arg-type]


def test_a_kind_that_repeats_the_text_has_room_for_it() -> None:
    """The limit of a reply, and with it the worst case of its cost, grows with the text."""
    server = Scripted(lambda text, _: text)
    with serving(server.app()) as url:
        ask(KINDS["spans"], url, KIND_ITEM, Item("long", TEXT * 20))
    rooms = sorted(body["max_tokens"] for body in server.bodies)
    assert rooms[-1] - rooms[0] > len(TEXT) * 19 // 4
    short, long = (
        estimate([item], KINDS["spans"], teacher_at("http://127.0.0.1"), rng=np.random.default_rng(0)).output_tokens
        for item in (KIND_ITEM, Item("long", TEXT * 20))
    )
    assert long > short


def test_items_of_one_text_with_other_predicates_or_pairs_are_told_apart(tmp_path: Path) -> None:
    """The recording plays to each question its own reply."""
    asked = [Item(f"i{at}", TEXT, tokens=TOKENS, focus=TOKENS[at]) for at in (2, 7)]
    paired = [Item(f"p{pair}", TEXT, pair=pair) for pair in ("coal", "wind")]
    replies = tmp_path / "replies.jsonl"
    rows = [
        {"id": "i2", "task": "srl", "variant": "A", "spans": [{"quote": "Ana Silva", "label": "ARG0"}]},
        {"id": "i7", "task": "srl", "variant": "A", "spans": [{"quote": "3 May 2024", "label": "ARGM-TMP"}]},
        {"id": "pcoal", "task": "team", "variant": "A", "label": "soc", "confidence": 0.9, "second": None},
        {"id": "pwind", "task": "team", "variant": "A", "label": "apps", "confidence": 0.9, "second": None},
    ]
    replies.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    with recorded_teacher(replies, items=[*asked, *paired]) as url:
        roles = ask(KINDS["roles"], url, *asked, model="srl/A")
        stances = ask(PAIRED, url, *paired, model="team/A")
    assert [[TEXT[s["start"] : s["end"]] for s in _spans(vote)] for vote in roles] == [["Ana Silva"], ["3 May 2024"]]
    assert [PAIRED.label_names[int(np.argmax(vote.probs))] for vote in stances] == ["soc", "apps"]


def test_a_recording_of_texts_answers_whatever_is_asked_about_them(tmp_path: Path) -> None:
    """Texts from a file have no pair: their reply is played with and without one."""
    messages, replies = tmp_path / "messages.jsonl", tmp_path / "replies.jsonl"
    messages.write_text(json.dumps({"id": "a", "text": TEXT}), "utf-8")
    replies.write_text(
        json.dumps({"id": "a", "task": "team", "variant": "A", "label": "soc", "confidence": 0.9}), "utf-8"
    )
    with recorded_teacher(replies, [messages]) as url:
        votes = ask(PAIRED, url, Item("a", TEXT), Item("b", TEXT, pair="coal"), model="team/A")
    assert [vote.usable for vote in votes] == [True, True]


def test_a_picture_goes_along_as_a_content_part() -> None:
    """The words first, then the address; the recorded teacher finds the text in them."""
    item = Item("a", TEXT, image="https://example.com/p.png")
    server = Scripted(lambda _, __: '{"labels": {"rent": 0.9}}')
    with serving(server.app()) as url:
        (vote,) = ask(KINDS["multi_label"], url, item)
    words, picture = server.bodies[0]["messages"][1]["content"]
    assert vote.probs[0] == 0.9
    assert (words["type"], enclosed(words["text"])) == ("text", TEXT)
    assert picture == {"type": "image_url", "image_url": {"url": "https://example.com/p.png"}}
    known = items(1)[0]
    with recorded_teacher(REPLIES, items=[known]) as url:
        seen = Item(known.id, known.text, image="https://example.com/p.png")
        assert [vote.item_id for vote in ask(TASK, url, seen, model="team/A")] == [known.id]


def test_a_long_text_is_asked_in_windows_and_voted_on_once() -> None:
    """Each window is a call of its own; spans are those of the whole text, found once."""
    text = "Nothing happens here at all today. " * 900 + "Ana Silva left. " + "Then it was quiet again for long. " * 200
    server = Scripted(lambda said, _: said.replace("Ana Silva", "[PERSON|Ana Silva]"))
    with serving(server.app()) as url:
        (vote,) = ask(KINDS["spans"], url, Item("a", text))
    assert len(server.bodies) == len(windows(text, 6_000)) == vote.findings["windows"] == 2
    assert [text[s["start"] : s["end"]] for s in _spans(vote)] == ["Ana Silva"]
    assert estimate(
        [Item("a", text)], KINDS["spans"], teacher_at("http://127.0.0.1"), rng=np.random.default_rng(0)
    ).calls == len(server.bodies)


def test_the_annotated_pool_is_all_recorded() -> None:
    """Every message with known entities has its tagged text."""
    said = load_recording(REPLIES, [HELPDESK / "pool_annotated.jsonl"]).models["entities/A"]
    assert len(said) == len((HELPDESK / "pool_annotated.jsonl").read_text("utf-8").splitlines())


def test_a_text_is_asked_in_windows_of_the_teachers_context() -> None:
    """As `context_tokens` says; spans are those of the whole text, and the estimate counts every window."""
    text = "".join(f"Ana Silva came at {hour}. " for hour in range(8))
    server = Scripted(lambda window, _: window.replace("Ana Silva", "[PERSON|Ana Silva]"))
    with serving(server.app()) as url:
        (vote,) = ask(KINDS["spans"], url, Item("long", text), context_tokens=10)
    assert len(server.bodies) == len(windows(text, 10)) > 1
    assert [text[s["start"] : s["end"]] for s in _spans(vote)] == ["Ana Silva"] * 8
    teacher = teacher_at("http://127.0.0.1", ask="verbalised", context_tokens=10)
    found = estimate([Item("long", text)], KINDS["spans"], teacher, rng=np.random.default_rng(0))
    assert found.calls == len(server.bodies)
