"""Decision endpoints over real HTTP: the whole distribution in one call, in both shapes there are."""

import math
from typing import Any

import pytest

from prompts.delimit import enclosed
from stillhouse.errors import TeacherError
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Item, Vote
from stillhouse.settings import Data
from stillhouse.task import Label, Task
from teacher.capabilities import DECIDES
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard, Price, PriceTable
from teacher.recorded import serving
from tests.teacher.fakes import DecisionServer
from tests.teacher.helpdesk import SOON, TASK, Memory, ask_about, items, teacher_at

APIS = pytest.mark.parametrize("api", ["openai_decisions", "systemone"])
NAMES = ("bug", "praise", "other")
MANY = Task(
    name="t",
    kind="multi_label",
    labels=tuple(Label(name=name) for name in NAMES),
    data=Data(pool="p"),
    teachers=(teacher_at("http://x/v1"),),
)


def ask_many(server: DecisionServer, api: str) -> Vote:
    with serving(server.app()) as url:
        teacher = teacher_at(url, model="m", api=api)
        (vote,) = ask_sync([Item("1", "It breaks.")], MANY, teacher, MemoryLedger(), budget=BudgetGuard(None))
    return vote


@APIS
def test_a_choice_is_a_distribution_over_the_labels(api: str) -> None:
    """One call an item, no probe, no words; mass on no label is the residual."""
    server, memory, ledger = DecisionServer(), Memory(), MemoryLedger()
    with serving(server.app()) as url:
        votes = ask_about(4, teacher_at(url, model="m", api=api), ledger, capabilities=memory)
    for vote in votes:
        assert (vote.status, vote.origin) == ("ok", "decision")
        assert vote.probs[:2] == (0.7, 0.2)
        assert math.isclose(vote.residual, 0.1)
    assert len(server.bodies) == len(ledger.replies) == 4
    assert list(memory.values()) == [DECIDES.to_json()]
    assert {reply.input_tokens for reply in ledger.replies.values()} == {100}


@APIS
def test_the_reversed_order_is_asked_in_that_order_and_read_by_name(api: str) -> None:
    """The first option shown is the last label of the task."""
    server = DecisionServer()
    with serving(server.app()) as url:
        (vote,) = ask_about(1, teacher_at(url, model="m", api=api, label_order="reversed"))
    assert vote.probs[-1] == 0.7
    assert vote.probs[-2] == 0.2


@APIS
def test_each_of_many_labels_is_one_predicate(api: str) -> None:
    """Its probability is the label's, whatever the others are."""
    server = DecisionServer(says={"bug": 0.9, "praise": 0.8})
    vote = ask_many(server, api)
    assert (vote.probs, vote.residual, vote.origin, vote.status) == ((0.9, 0.8, 0.25), 0.0, "decision", "ok")
    assert len(server.bodies[0]["questions"]) == 3


@APIS
def test_a_label_without_an_answer_makes_the_vote_abstain(api: str) -> None:
    """A missing predicate is not a probability of nought, and a repair would have no words to repair."""
    server = DecisionServer(leaves_out=frozenset({"praise"}))
    assert ask_many(server, api).status == "unreadable"
    assert len(server.bodies) == 1


def test_a_declined_question_is_a_refusal() -> None:
    """The API answers 200 with an answer of the type refusal."""
    with serving(DecisionServer(refuses=frozenset({"label"})).app()) as url:
        (vote,) = ask_about(1, teacher_at(url, model="m", api="openai_decisions"))
    assert vote.status == "refused"


@pytest.mark.parametrize("says", [{"soc": "much"}, {"soc": 7.0}, {"soc": True}, {"unheard of": 0.5}])
def test_what_is_no_probability_of_a_label_is_unreadable(says: dict[str, Any]) -> None:
    """Nothing is guessed from a number that cannot be one."""
    with serving(DecisionServer(says=says).app()) as url:
        (vote,) = ask_about(1, teacher_at(url, model="m", api="openai_decisions"))
    assert (vote.status, sum(vote.probs), vote.residual) == ("unreadable", 0.0, 1.0)


@APIS
def test_the_item_is_evidence_between_markers_and_the_question_stands_apart(api: str) -> None:
    """Nothing of a chat's request for JSON is left; guidelines and descriptions are in the question."""
    server = DecisionServer()
    with serving(server.app()) as url:
        ask_about(1, teacher_at(url, model="m", api=api))
    body = server.bodies[0]
    evidence = str(body.get("input", body.get("state")))
    assert enclosed(evidence) == items(1)[0].text
    assert "JSON" not in str(body)
    assert TASK.question in str(body["questions"])
    assert TASK.labels[0].description in str(body["questions"])


@APIS
def test_decisions_for_spans_or_with_samples_are_an_error_before_anything_is_sent(api: str) -> None:
    """The kind or the way of asking is named, with what to do."""
    with pytest.raises(TeacherError, match='ask = "auto"'):
        ask_about(1, teacher_at("http://127.0.0.1:9/v1", api=api, ask="samples"))
    spans = MANY.model_copy(update={"kind": "spans"})
    teacher = teacher_at("http://127.0.0.1:9/v1", api=api)
    with pytest.raises(TeacherError, match="no decisions for this kind"):
        ask_sync([Item("1", "x")], spans, teacher, MemoryLedger(), budget=BudgetGuard(None), patience=SOON)


def test_a_decision_is_paid_for_by_its_input() -> None:
    """From the usage of the reply."""
    guard = BudgetGuard(1.0)
    prices = PriceTable(models={"m": Price(input_usd=0.1, output_usd=0.0)})
    with serving(DecisionServer().app()) as url:
        ask_about(2, teacher_at(url, model="m", api="openai_decisions"), prices=prices, budget=guard)
    assert math.isclose(guard.spent_usd, 2 * 100 * 0.1 / 1e6)
