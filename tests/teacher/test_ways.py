"""What single items are shown: examples, the labels in both orders, only the labels that may fit; and at what temperature."""

import json
import math
from typing import Any

import pytest

from kinds.registry import kind_of
from stillhouse.errors import TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Demonstration, Item, Vote
from stillhouse.settings import Teacher
from stillhouse.task import Label, Task
from teacher.capabilities import Capabilities, plan_of
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from teacher.recorded import serving
from teacher.ways import Shown, Ways
from tests.teacher.fakes import PromptServer
from tests.teacher.helpdesk import SOON, TASK, items, teacher_at

MANY = TASK.model_copy(update={"labels": tuple(Label(name=f"label {number:02d}") for number in range(40))})
EXAMPLES = (
    Demonstration(Item("e1", "No sound"), "devices"),
    Demonstration(Item("e2", "Forgot my password"), "identity"),
)


def asked(
    server: PromptServer,
    ledger: MemoryLedger,
    more: Shown,
    task: Task = TASK,
    memory: dict[str, Any] | None = None,
    **settings: Any,
) -> list[Vote]:
    """Votes on five messages. The address stands in the keys of requests, so it must not change with the server."""
    with serving(server.app()) as url:
        teacher = teacher_at(url, **{"model": "m", "recording": None, **settings})
        known = memory if memory is not None else {}
        return ask_sync(
            items(5), task, teacher, ledger, budget=BudgetGuard(None), capabilities=known, patience=SOON, more=more
        )


def verbalised(label: str) -> str:
    return json.dumps({"label": label, "confidence": 0.8, "second": None})


def first_shown(body: dict[str, Any]) -> str:
    """A teacher that always takes the first label it is shown."""
    lines = body["messages"][0]["content"].splitlines()
    return verbalised(next(line[2:].partition(":")[0] for line in lines if line.startswith("- ")))


def test_examples_stand_before_the_item_and_the_vote_names_them() -> None:
    """Only where an item has some; an item without is asked in words that speak of none."""
    server = PromptServer(lambda _: verbalised("soc"))
    shown = items(5)[2]
    votes = asked(server, MemoryLedger(), Shown({shown.id: EXAMPLES}), demonstrations=2)
    roles = {tuple(message["role"] for message in body["messages"]) for body in server.bodies}
    assert roles == {("system", "user"), ("system", "user", "assistant", "user", "assistant", "user")}
    (body,) = (body for body in server.bodies if len(body["messages"]) == 6)
    assert "No sound" in body["messages"][1]["content"]
    assert json.loads(body["messages"][4]["content"])["label"] == "identity"
    assert shown.text.strip() in body["messages"][5]["content"]
    assert [vote.demonstrations for vote in votes] == [(), (), ("e1", "e2"), (), ()]
    assert all(("examples" in body["messages"][0]["content"]) == (len(body["messages"]) > 2) for body in server.bodies)
    assert len({vote.prompt_id for vote in votes}) == 2


def test_what_is_no_example_is_not_shown() -> None:
    """A picture cannot go with an example; if nothing is left to show, the prompt is the plain one."""
    server = PromptServer(lambda _: verbalised("soc"))
    picture = Demonstration(Item("p", "See here", image="https://example.com/p.png"), "devices")
    shown = {item.id: (picture,) for item in items(5)}
    votes = asked(server, MemoryLedger(), Shown(shown), demonstrations=2)
    assert {len(body["messages"]) for body in server.bodies} == {2}
    assert {vote.demonstrations for vote in votes} == {()}


def test_both_orders_are_averaged_and_the_first_is_not_paid_twice() -> None:
    """A teacher that takes what stands first is torn between the ends of the list; and a repeat asks nobody."""
    server, ledger, task = PromptServer(first_shown), MemoryLedger(), TASK
    memory: dict[str, Any] = {}
    with serving(server.app()) as url:
        teacher = teacher_at(url, model="m", recording=None)

        def ask(more: Shown) -> list[Vote]:
            guard = BudgetGuard(None)
            return ask_sync(
                items(5), task, teacher, ledger, budget=guard, capabilities=memory, patience=SOON, more=more
            )

        once, counts = ask(Shown()), [len(server.bodies)]
        for _ in range(2):
            both = ask(Shown(both_orders=True))
            counts.append(len(server.bodies))
    assert counts == [5, 10, 10]
    names = task.label_names
    for first, vote in zip(once, both, strict=True):
        assert dict(zip(names, first.probs, strict=True))[names[0]] == pytest.approx(0.8)
        assert dict(zip(names, vote.probs, strict=True))[names[0]] == pytest.approx(0.4)
        assert dict(zip(names, vote.probs, strict=True))[names[-1]] == pytest.approx(0.4)
        assert vote.residual == pytest.approx(0.2)
        assert vote.prompt_id.split("+")[0] == first.prompt_id
    assert ledger.votes[both[0].item_id, "A"] == both[0]


def test_an_order_that_cannot_be_read_leaves_the_other() -> None:
    """Half an opinion is one; it is not watered down."""
    first = verbalised("apps")
    server = PromptServer(lambda body: first if first_shown(body) == first else "no idea at all")
    votes = asked(server, MemoryLedger(), Shown(both_orders=True))
    assert {(vote.status, vote.probs[0]) for vote in votes} == {("ok", 0.8)}


def test_only_the_labels_that_may_fit_are_shown() -> None:
    """By code, in the task's order; what is said for "none of these" stays open."""
    said = {"B": math.log(0.6), "A": math.log(0.1), "C": math.log(0.25)}
    server, shown = PromptServer(lambda _: said, coded=True), ("label 30", "label 02")
    votes = asked(server, MemoryLedger(), Shown(candidates={item.id: shown for item in items(5)}), MANY)
    asked_for = server.bodies[0]["messages"][1]["content"]
    assert "A = label 02\nB = label 30\nC = none of these\n" in asked_for
    assert "label 03" not in json.dumps(server.bodies[0])
    assert {vote.candidates for vote in votes} == {shown}
    assert votes[0].origin == "logprob"
    assert votes[0].probs[30] == pytest.approx(0.6)
    assert votes[0].residual == pytest.approx(0.3)
    assert sum(p > 0 for p in votes[0].probs) == 2


def test_who_is_not_asked_by_code_is_shown_all_labels() -> None:
    """An API without logprobs has nothing to gain from few of them."""
    server = PromptServer(lambda _: verbalised("label 07"), coded=True)
    more = Shown(candidates={item.id: ("label 30",) for item in items(5)})
    votes = asked(server, MemoryLedger(), more, MANY, ask="verbalised")
    assert all(label.name in server.bodies[0]["messages"][0]["content"] for label in MANY.labels)
    assert {vote.candidates for vote in votes} == {()}


@pytest.mark.parametrize(("settings", "sent"), [({}, 0.0), ({"temperature": 0.3}, 0.3)])
def test_the_temperature_is_the_teachers_own(settings: dict[str, Any], sent: float) -> None:
    """It is part of the question: another temperature is another request."""
    server = PromptServer(lambda _: verbalised("soc"))
    asked(server, MemoryLedger(), Shown(), ask="verbalised", **settings)
    assert {body["temperature"] for body in server.bodies} == {sent}


def test_a_temperature_that_is_refused_is_told() -> None:
    """It is not quietly left out."""
    known = Capabilities("ignored", "ignored", "ignored", "refused")
    with pytest.raises(TeacherError, match="temperature"):
        plan_of(Teacher(name="a", model="m", temperature=0.5), known)


def test_frames_and_examples_are_made_once() -> None:
    """Items with the same examples share them."""
    teacher = Teacher(name="a", model="m", demonstrations=2)
    ways = Ways(kind_of(TASK), teacher, None, Shown({item.id: EXAMPLES for item in items(2)}))
    first, second = (next(iter(ways.of(item))) for item in items(2))
    assert first.common is second.common
    assert all(a is b for a, b in zip(first.examples, second.examples, strict=True))
