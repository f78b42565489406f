"""The engine with pseudonyms: no original leaves this machine, and what a teacher says comes back about the originals."""

import itertools
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from kinds.registry import kind_of
from stillhouse.errors import InputError, StillhouseError, TeacherAuthError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Demonstration, Item, Value, Vote
from stillhouse.settings import Privacy
from stillhouse.task import Task
from teacher.capabilities import UNPROBED, memory_key
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from teacher.privacy import AsAsked, Pseudonyms, hide
from teacher.privacy_find import Finder
from teacher.privacy_table import Form, PseudonymTable
from teacher.privacy_text import Piece, Rewritten
from teacher.privacy_values import value_back, value_to
from teacher.recorded import serving
from teacher.ways import Shown
from tests.prompts.words import KINDS, task_of
from tests.teacher.helpdesk import SOON, teacher_at
from tests.teacher.test_kinds import Scripted

PRIVACY = Privacy(ids=False, phones=True, names_file="names.txt", allow_images=False)
NAMES = ("Anna Schmidt", "Bob Li", "Zoë Petrović", "Иван Петров")
LABEL = '{"label": "one", "confidence": 0.9, "second": null}'
SINGLE, SPANS = task_of("single_label", "one", "two"), task_of("spans", "PERSON", "MAIL")


def pseudonyms(table: PseudonymTable | None = None, privacy: Privacy = PRIVACY, seed: int = 0) -> Pseudonyms:
    finder = Finder(privacy, known_names=NAMES)
    return Pseudonyms(privacy, table or PseudonymTable(None), finder, rng=random.Random(seed))


class Captured(Scripted):
    """A scripted API that also keeps every body as it arrived, probes too."""

    @property
    def sent(self) -> str:
        return "\n".join(json.dumps(body, ensure_ascii=False) for body in self.bodies)


def ask(
    task: Task, server: Scripted, *items: Item, ledger: MemoryLedger | None = None, hidden: Pseudonyms | None = None,
    more: Shown | None = None, **changes: Any,
) -> list[Vote]:  # fmt: skip
    with serving(server.app()) as url:
        teacher = teacher_at(url, **{"model": "m", "ask": "verbalised", **changes})
        return ask_sync(
            items, task.model_copy(update={"privacy": PRIVACY}), teacher, MemoryLedger() if ledger is None else ledger,
            budget=BudgetGuard(None), patience=SOON, forms_of=(hidden or pseudonyms()).forms, more=more or Shown(),
        )  # fmt: skip


def tagged(text: str) -> str:
    """What a teacher that knows people and mails says of a text: capitalised words after "by", and whatever has an @."""
    text = re.sub(r"(?<=by )(\w+ \w+)", r"[PERSON|\1]", text)
    return re.sub(r"(\S+@[\w.]+\w)", r"[MAIL|\1]", text)


PERSON = st.sampled_from(NAMES)
MAILS = ("anna.schmidt@firma.de", "zoë@x.org", "b-li7@mail.co.uk")


@st.composite
def messages(draw: st.DrawFn) -> Item:
    name, mail = draw(PERSON), draw(st.sampled_from(MAILS))
    before, between = draw(st.sampled_from(["", "Ticket! ", "(urgent) "])), draw(st.sampled_from([" ", " – ", ".\n"]))
    number = draw(st.sampled_from(["+49 170 1234567", "(415) 555-2671"]))
    return Item(f"{name} {mail}", f"{before}Opened by {name}{between}Mail {mail}, phone {number}.")


@settings(max_examples=8)
@given(st.lists(messages(), min_size=1, max_size=4, unique_by=lambda item: item.id))
def test_no_original_is_in_any_request_and_spans_are_of_the_originals(items: list[Item]) -> None:
    """Of one label, spans and fields: whatever the texts, their names, mails and numbers are in no request body."""
    fields = KINDS["fields"].model_copy(update={"privacy": PRIVACY})
    said = {"tenants": ["x"], "start date": None, "rent": None, "law": None}
    for task, answer in ((SINGLE, lambda *_: LABEL), (SPANS, lambda text, _: tagged(text)),
                         (fields, lambda text, _: json.dumps({**said, "tenants": re.findall(r"(?<=by )\w+ \w+", text)}))):  # fmt: skip
        server, ledger = Captured(answer), MemoryLedger()
        votes = ask(task, server, *items, ledger=ledger)
        kept = server.sent + "".join(reply.body.decode() for reply in ledger.replies.values())
        for original in (*MAILS, "schmidt", "Schmidt", "Petrović", "Петров", "1234567", "555-2671"):
            assert original not in kept, original
        assert [vote.usable for vote in votes] == [True] * len(items)
        assert list(ledger.votes.values()) == votes
        for item, vote in zip(items, votes, strict=True):
            name, mail = item.id.rsplit(" ", 1)
            if task is SPANS:
                assert isinstance(vote.value, list)
                marked = [(item.text[span["start"] : span["end"]], span["label"]) for span in vote.value]
                assert marked == [(name, "PERSON"), (mail, "MAIL")]
            if task is fields:
                assert isinstance(vote.value, dict)
                assert vote.value["tenants"] == [name]


HARD = st.sampled_from(
    [
        "Anna",
        "SCHMIDT",
        "annaSchmidt9",
        "a.schmidt@b.de",
        "+49 170 1234567",
        "王小明",
        "🙂",
        "e\u0301",
        "ß",
        "\ud800",
        "@",
    ]
)


@settings(max_examples=60)
@given(st.lists(HARD | st.text(max_size=4) | st.just(" "), max_size=10).map("".join), st.data())
def test_whatever_is_found_is_nowhere_in_what_is_sent(text: str, data: st.DataObject) -> None:
    """Also within other words and where nothing tells that it is one; every given token is found again."""
    start = data.draw(st.integers(0, max(len(text) - 1, 0)))
    spans = [(start, data.draw(st.integers(start + 1, len(text))))] if text else []
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=5)))
    tokens = tuple(itertools.pairwise(cuts))
    finder = Finder(PRIVACY, lambda texts: [spans if each == text else [] for each in texts], NAMES)
    item = Item("1", text, tokens=tokens)
    form = Pseudonyms(PRIVACY, PseudonymTable(None), finder, rng=random.Random(0)).forms([item], "A")["1"]
    (sent,) = hide([item], SINGLE, teacher_at("http://x/v1"), lambda *_: {"1": form}).items
    assert [form.text.back(*token) for token in sent.tokens or ()] == list(tokens)
    for start, end in form.text.entities:
        if end - start > 6 and any(start <= piece.start < end for piece in form.text.pieces):
            assert text[start:end] not in sent.text


def test_given_tokens_keep_their_number_and_their_places() -> None:
    """Also a mail that is five tokens: tags come back token for token, and the predicate is the one in focus."""
    text = "Anna wrote to anna.schmidt@firma.de"
    words = ["Anna", "wrote", "to", "anna", ".", "schmidt", "@", "firma", ".", "de"]
    spans, at = [], 0
    for word in words:
        at = text.index(word, at)
        spans.append((at, at + len(word)))
        at += len(word)
    item = Item("1", text, tokens=tuple(spans), focus=spans[1])
    form = pseudonyms().forms([item], "A")["1"]
    (sent,) = hide([item], SINGLE, teacher_at("http://x/v1"), lambda *_: {"1": form}).items
    assert sent.tokens is not None
    assert sent.focus is not None
    shown = [sent.text[a:b] for a, b in sent.tokens]
    assert len(shown) == len(words)
    assert "".join(shown[3:]) == f"{shown[3]}.{shown[5]}@example.com"
    assert sent.text[slice(*sent.focus)] == "wrote"
    tags = "\n".join(f"{n}:{word}:{'PUNCT' if word in '.@' else 'NOUN'}" for n, word in enumerate(shown, 1))
    (vote,) = ask(KINDS["tokens"], Scripted(lambda *_: tags), replace(item, focus=None))
    assert vote.value == ["PUNCT" if word in ".@" else "NOUN" for word in words]


def test_pairs_and_examples_are_hidden_with_the_same_surrogates() -> None:
    """What people say of an example is carried to its surrogates, and the same person is the same one everywhere."""
    shown = Demonstration(Item("2", "Opened by Anna Schmidt."), [{"start": 10, "end": 22, "label": "PERSON"}])
    server = Captured(lambda text, _: tagged(text))
    item = Item("1", "Opened by Anna Schmidt again", pair="SCHMIDT knows")
    (vote,) = ask(SPANS, server, item, more=Shown({"1": (shown,)}), demonstrations=1)
    assert "schmidt" not in server.sent.casefold()
    turns = server.bodies[-1]["messages"]
    assert len(turns) == 4
    name = re.search(r"by (\w+ (\w+))\.", turns[1]["content"])
    assert name is not None
    assert f"[PERSON|{name[1]}]" in turns[2]["content"]
    assert f"by {name[1]} again" in turns[3]["content"]
    assert f"{name[2].upper()} knows" in turns[3]["content"]
    assert vote.value == [{"start": 10, "end": 22, "label": "PERSON"}]


@pytest.mark.parametrize("api", ["openai_chat", "anthropic_messages"])
def test_a_batch_is_handed_in_with_surrogates(api: str) -> None:
    """The file of requests goes the same way: whatever was posted before the API refused the key names nobody."""
    bodies: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        bodies.append((await request.read()).decode())
        return web.json_response({"error": {"message": "no"}}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    known: dict[str, Any] = {}
    with serving(app) as url:
        teacher = teacher_at(url, model="m", api=api, batch=True)
        known[memory_key(teacher)] = UNPROBED.to_json()
        task = SINGLE.model_copy(update={"privacy": PRIVACY})
        with pytest.raises(TeacherAuthError):
            ask_sync(
                [Item("Bob Li", "Bob Li rang"), Item("2", "mail anna.schmidt@firma.de")], task, teacher, MemoryLedger(),
                budget=BudgetGuard(None), patience=SOON, capabilities=known, forms_of=pseudonyms().forms,
            )  # fmt: skip
    sent = "".join(bodies)
    assert " rang" in sent
    assert "@example.com" in sent
    assert not re.search(r"Bob|\bLi\b|schmidt|firma", sent)


def test_the_same_item_is_sent_in_the_same_form_for_good(tmp_path: Path) -> None:
    """A repeat in another process finds its paid replies, because its requests have the same bytes; only the owner reads who is who."""
    path = tmp_path / "pseudonyms.sqlite"
    first, again = Captured(lambda *_: LABEL), Captured(lambda *_: LABEL)
    ask(SINGLE, first, Item("1", "by Bob Li"), hidden=pseudonyms(PseudonymTable(path), seed=1))
    ask(SINGLE, again, Item("1", "by Bob Li"), hidden=pseudonyms(PseudonymTable(path), seed=2))
    assert first.sent == again.sent
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_form_is_made_anew_when_the_settings_change(tmp_path: Path) -> None:
    """A name that is added to what is known is not sent because the item was seen before; the others keep theirs."""
    table = PseudonymTable(tmp_path / "pseudonyms.sqlite")
    item = Item("1", "Bob Li and Carol Danvers")
    first = pseudonyms(table).forms([item], "A")["1"].text
    assert first.text.endswith("and Carol Danvers")
    more = Finder(PRIVACY, known_names=(*NAMES, "Carol Danvers"))
    second = Pseudonyms(PRIVACY, table, more, rng=random.Random(5)).forms([item], "A")["1"].text
    assert second.text.split(" and ")[0] == first.text.split(" and ")[0]
    assert "Carol" not in second.text
    assert AsAsked(table).forms([item], "A")["1"].text == second
    assert AsAsked(table).forms([item], "B") == {}


def test_an_id_that_is_given_to_another_text_gets_another_form() -> None:
    """As long as the first, so that only its words tell: nothing of one text is put into another."""
    hidden = pseudonyms()
    first, second = Item("1", "Bob Li rang"), Item("1", "rang Bob Li")
    assert hidden.forms([first], "A")["1"].text.text.endswith(" rang")
    assert hidden.forms([second], "A")["1"].text.text.startswith("rang ")
    assert "Bob" not in hidden.forms([first], "A")["1"].text.text


def test_two_processes_give_a_name_one_surrogate(tmp_path: Path) -> None:
    """Whoever is first; the other goes on with what it finds."""
    path = tmp_path / "pseudonyms.sqlite"
    one, other = pseudonyms(PseudonymTable(path), seed=1), pseudonyms(PseudonymTable(path), seed=2)
    one.forms([Item("1", "Anna Schmidt")], "A")
    other.forms([Item("2", "Bob Li")], "A")
    texts = [hidden.forms([Item("3", "Bob Li and Anna Schmidt")], "A")["3"].text.text for hidden in (one, other)]
    assert texts[0] == texts[1]
    assert one.table.surrogates() == other.table.surrogates()


def test_many_threads_share_one_table() -> None:
    """As a service's requests do: the same name is the same one in all of them."""
    hidden = pseudonyms()
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(
            lambda n: hidden.forms([Item(str(n), f"Bob Li {n}")], "A")[str(n)].text.text[:-2], range(10, 30)
        )
    assert len({text.rsplit(" ", 1)[0] for text in made}) == 1


def test_a_picture_is_refused_unless_it_is_allowed() -> None:
    """Nothing can be hidden in it."""
    item = Item("1", "x", image="https://host/a.png")
    with pytest.raises(InputError, match="picture"):
        pseudonyms().forms([item], "A")
    allowed = PRIVACY.model_copy(update={"allow_images": True})
    assert pseudonyms(privacy=allowed).forms([item], "A")["1"].text.text == "x"


def test_without_pseudonyms_nothing_is_sent() -> None:
    """A caller that forgets them gets an error, not a leak; what stays on this machine needs none."""
    task = SINGLE.model_copy(update={"privacy": PRIVACY})
    server = Captured(lambda *_: LABEL)
    with serving(server.app()) as url, pytest.raises(StillhouseError, match="no pseudonyms"):
        ask_sync([Item("1", "x")], task, teacher_at(url), MemoryLedger(), budget=BudgetGuard(None))
    assert server.bodies == []
    recorded = teacher_at("http://127.0.0.1:9/v1", recording="replies.jsonl")
    assert hide([Item("1", "Bob Li")], task, recorded, None).items[0].text == "Bob Li"


def form_of(text: str, *exchanged: tuple[str, str], entities: tuple[str, ...] = ()) -> Form:
    pieces = sorted((text.index(old), text.index(old) + len(old), new) for old, new in exchanged)
    spans = tuple((text.index(each), text.index(each) + len(each)) for each in entities)
    return Form(Rewritten(text, tuple(Piece(*piece) for piece in pieces), spans), Rewritten(""), "")


LEASE = form_of(
    "Anna Schmidt rents, id 4711-0815, call 0170 99", ("Anna", "Dora"), ("Schmidt", "Ashford"), ("4711", "9203"), ("0815", "5517"),
    entities=("Anna Schmidt", "4711-0815"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Dora Ashford", "Anna Schmidt"),
        ("DORA ASHFORD", "Anna Schmidt"),  # as it stands in the text
        ("Ashford, Dora", "Schmidt, Anna"),
        ("Ms Ashford", "Ms Schmidt"),
        ("9203-5517", "4711-0815"),
        ("92035517", "4711-0815"),
        ("Berlin", "Berlin"),
    ],
)
def test_a_field_that_a_surrogate_fills_is_filled_by_the_original(said: str, meant: str) -> None:
    """However the teacher writes it; what is no surrogate stays."""
    task = KINDS["fields"]
    back = value_back(task, LEASE, {"tenants": [said], "law": None})
    assert back == {"tenants": [meant], "law": None}


def test_what_people_say_of_an_original_goes_there_and_back() -> None:
    """Values of examples are of the surrogates, and come back as they were."""
    value: Value = {"tenants": ["Anna Schmidt"], "law": None}
    there = value_to(KINDS["fields"], LEASE, value)
    assert there == {"tenants": ["Dora Ashford"], "law": None}
    assert value_back(KINDS["fields"], LEASE, there) == value


def test_two_spans_in_one_surrogate_are_one() -> None:
    """A teacher may mark halves of what is one piece; its probability stays with it."""
    form = form_of("mail a@b.de now", ("a@b.de", "dora@example.com"))
    halves: Value = [
        {"start": 5, "end": 9, "label": "MAIL", "p": 0.8},
        {"start": 10, "end": 21, "label": "MAIL", "p": 0.7},
    ]
    assert value_back(SPANS, form, halves) == [{"start": 5, "end": 11, "label": "MAIL", "p": 0.8}]
    assert kind_of(SPANS).problems(Item("1", form.text.original), value_back(SPANS, form, halves)) == []
