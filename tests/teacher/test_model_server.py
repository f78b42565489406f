"""The engine against a model that really generates: capabilities, distributions, windows, repairs, faults and limits."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from kinds.registry import kind_of
from prompts.render import fill
from prompts.windows import windows_of
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Item, Vote
from stillhouse.settings import Teacher
from teacher.engine import ask_sync
from teacher.faults import Fault, Faults
from teacher.prices import BudgetGuard
from teacher.recorded import serving
from tests.prompts.hostile import HOSTILE
from tests.teacher.helpdesk import SOON, Memory
from tests.teacher.model_server import ModelServer
from tests.teacher.talker import TASK, items, talker
from tests.teacher.tiny_vllm import SamplingParams, StructuredOutputsParams, TinyLLM

ALL = ("logprobs", "n", "response_format")
BOTH_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
LONG = Item("long", "printer jam. my email is locked. " * 12)


def asked(server: ModelServer, of: list[Item], *, ledger: MemoryLedger | None = None, **changes: Any) -> list[Vote]:
    memory = changes.pop("capabilities", {})
    with serving(server.app()) as url:
        teacher = Teacher(**{"name": "t", "model": "tiny", "base_url": url, "max_tries": 4, **changes})
        return ask_sync(
            of, TASK, teacher, ledger or MemoryLedger(), budget=BudgetGuard(None), patience=SOON, capabilities=memory
        )


def found(server: ModelServer, **changes: Any) -> dict[str, Any]:
    memory = Memory()
    votes = asked(server, items(2), capabilities=memory, **changes)
    assert len(votes) == 2
    (capabilities,) = memory.values()
    return dict(capabilities)


def own_probs(item: Item) -> NDArray[np.float64]:
    """What the model thinks of each code, computed without a server."""
    common = kind_of(TASK).frame(TASK.teachers[0], "codes")
    codes = [talker().tokenizer(code).input_ids[0] for code in common.codes]
    chat = [{"role": message.role, "content": message.content} for message in fill(common, item).messages]
    out: NDArray[np.float64] = np.exp(talker().log_p(talker().prompt(chat)))[codes]
    return out


def test_an_api_that_has_everything_is_found_to() -> None:
    """By one tiny call."""
    server = ModelServer()
    capabilities = found(server)
    assert {name: capabilities[name] for name in ALL} == dict.fromkeys(ALL, "honoured")
    assert capabilities["top_logprobs"] == 20
    assert server.log.requests == 1 + 2


@pytest.mark.parametrize("ignored", [*ALL, "everything"])
def test_what_is_silently_ignored_is_found_out(ignored: str) -> None:
    """HTTP 200, and nothing came of it; the rest is as it is."""
    parts = set(ALL) if ignored == "everything" else {ignored}
    capabilities = found(ModelServer(ignores=frozenset(parts)))
    assert {name: capabilities[name] for name in ALL} == {
        name: "ignored" if name in parts else "honoured" for name in ALL
    }


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("refused", ["logprobs", "n", "response_format", "temperature"])
def test_what_is_refused_with_400_is_left_out(refused: str, named: bool) -> None:
    """Whether or not the error names it, the items get their votes."""
    parts = BOTH_LOGPROBS if refused == "logprobs" else frozenset({refused})
    assert found(ModelServer(refuses=parts, names_what_it_refuses=named))[refused] == "refused"


def test_a_cap_on_top_logprobs_is_found() -> None:
    """20 are refused and 5 are not; five are enough for three labels."""
    server = ModelServer(most_top_logprobs=5)
    assert found(server)["top_logprobs"] == 5
    assert server.bodies[-1]["top_logprobs"] == 5


@pytest.mark.parametrize("most", [5, 20])
def test_the_distribution_is_the_models_own(most: int) -> None:
    """To the digits of the logprobs; what is not on a code is residual."""
    votes = asked(ModelServer(most_top_logprobs=most), items(10))
    for item, vote in zip(items(10), votes, strict=True):
        assert (vote.status, vote.origin) == ("ok", "logprob")
        assert np.allclose(vote.probs, own_probs(item), rtol=1e-5)
        assert math.isclose(vote.residual, 1.0 - own_probs(item).sum(), abs_tol=1e-6)


def test_with_labels_reversed_the_codes_are_others_and_the_order_the_tasks() -> None:
    """The model sees another prompt, and its probabilities come back under the right labels."""
    (vote,) = asked(ModelServer(), items(1), label_order="reversed")
    assert not np.allclose(vote.probs, own_probs(items(1)[0])[::-1], rtol=1e-5)
    assert math.isclose(sum(vote.probs) + vote.residual, 1.0)


def test_a_long_text_is_the_mean_of_its_windows() -> None:
    """Each window's distribution is the model's own."""
    (vote,) = asked(ModelServer(), [LONG], context_tokens=40)
    parts = [part for _, part in windows_of(LONG, 40)]
    assert vote.findings["windows"] == len(parts) > 2
    assert np.allclose(vote.probs, np.mean([own_probs(part) for part in parts], axis=0), rtol=1e-5)


def test_a_text_beyond_the_context_is_truncated_and_alone() -> None:
    """The model's own words for it are understood."""
    votes = asked(ModelServer(), [*items(3), Item("long", "printer " * 600)])
    assert [vote.status for vote in votes] == ["ok", "ok", "ok", "truncated"]


def test_structured_output_needs_no_repair() -> None:
    """Without logprobs and n every reply is one line of JSON with a label of the task, label first."""
    ledger = MemoryLedger()
    votes = asked(ModelServer(ignores=frozenset({*BOTH_LOGPROBS, "n"})), items(6), ledger=ledger)
    assert {vote.origin for vote in votes} == {"verbalised"}
    assert all(vote.usable for vote in votes)
    assert len(ledger.replies) == 1 + 6
    for reply in list(ledger.replies.values())[1:]:
        (choice,) = orjson.loads(reply.body)["choices"]
        assert list(orjson.loads(choice["message"]["content"])) == ["label", "confidence", "second"]


def test_samples_differ_and_come_in_one_call() -> None:
    """At the temperature of samples; tokens of both are counted."""
    ledger = MemoryLedger()
    asked(ModelServer(ignores=BOTH_LOGPROBS), items(8), ledger=ledger)
    replies = list(ledger.replies.values())[1:]
    said = [[c["message"]["content"] for c in orjson.loads(reply.body)["choices"]] for reply in replies]
    assert {len(pair) for pair in said} == {2}
    assert any(one != other for one, other in said)
    counted = [len(talker().tokenizer("".join(pair)).input_ids) for pair in said]
    assert all(reply.output_tokens >= count for reply, count in zip(replies, counted, strict=True))


def test_anthropics_shape_is_spoken_too() -> None:
    """Structured output by output_config, stop reasons and usage as that API has them."""
    ledger = MemoryLedger()
    votes = asked(ModelServer(), items(4), api="anthropic_messages", ledger=ledger)
    assert all(vote.usable and vote.origin == "verbalised" for vote in votes)
    assert len(ledger.replies) == 1 + 4
    assert all(reply.input_tokens > 100 and reply.output_tokens > 5 for reply in list(ledger.replies.values())[1:])


def test_max_tokens_cuts_a_reply_and_says_so() -> None:
    """finish_reason "length", and usage that counts what was said."""
    ledger = MemoryLedger()
    fault = Fault("content", content='{"label":"pri', finish_reason="length")
    server = ModelServer(ignores=BOTH_LOGPROBS | {"n"}, faults=Faults(texts={items(1)[0].text: (fault,)}))
    (vote,) = asked(server, items(1), ledger=ledger)
    assert vote.status == "repaired"
    assert server.bodies[-1]["max_tokens"] == 8 * server.bodies[-2]["max_tokens"]
    schema = dict(kind_of(TASK).frame(TASK.teachers[0], "verbalised").schema or {})
    short = SamplingParams(max_tokens=3, structured_outputs=StructuredOutputsParams(json=schema))
    (output,) = TinyLLM(talker()).chat([[{"role": "user", "content": "jam"}]], [short])
    assert (output.outputs[0].finish_reason, len(output.outputs[0].token_ids)) == ("length", 3)


@pytest.mark.parametrize(
    "fault",
    [Fault("wrong_json"), Fault("empty_choices"), Fault("content", content="Hm."), Fault("content", content=None)],
    ids=["wrong-json", "empty-choices", "prose", "none"],
)
def test_an_unreadable_reply_is_repaired_by_the_model(fault: Fault) -> None:
    """Asked again, it answers the question; both replies are kept."""
    ledger = MemoryLedger()
    server = ModelServer(faults=Faults(texts={items(1)[0].text: (fault,)}))
    (vote,) = asked(server, items(1), ledger=ledger)
    assert vote.status == "repaired"
    assert len(ledger.replies) == 3
    if fault.content is not None:
        assert [message["role"] for message in server.bodies[-1]["messages"]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 408),
        Fault("status", 429, retry_after_s=0.02),
        Fault("status", 500),
        Fault("disconnect"),
        Fault("drip", seconds=0.2),
        Fault("hang", seconds=0.1),
    ],
    ids=["408", "429", "500", "disconnect", "drip", "hang"],
)
def test_every_item_gets_its_vote_through_each_fault(fault: Fault) -> None:
    """Three requests go wrong; the votes are those of an undisturbed run, and nothing is in doubt."""
    ledger = MemoryLedger()
    votes = asked(ModelServer(faults=Faults(first=(fault,) * 3)), items(6), ledger=ledger)
    assert [vote.item_id for vote in votes] == [item.id for item in items(6)]
    for item, vote in zip(items(6), votes, strict=True):
        assert np.allclose(vote.probs, own_probs(item), rtol=1e-5)
    assert not ledger.in_doubt


@pytest.mark.parametrize(
    ("requests_per_s", "tokens_per_s"), [(40.0, None), (None, 8_000.0)], ids=["of requests", "of tokens"]
)
def test_limits_that_are_stated_are_kept_to(requests_per_s: float | None, tokens_per_s: float | None) -> None:
    """The probe's reply tells of the bucket: from then on requests leave no faster than it fills, and hardly one is refused,
    where without a word of it many are.
    """
    refused = []
    for told in (True, False):
        faults = Faults(states_limits=told, burst_s=0.2, requests_per_s=requests_per_s, tokens_per_s=tokens_per_s)
        server = ModelServer(faults=faults)
        votes = asked(server, items(30), max_tries=12)
        assert {vote.status for vote in votes} == {"ok"}
        assert server.log.statuses[200] == 31
        refused.append(server.log.statuses[429])
    assert refused[0] <= 3 < refused[1], refused


def test_texts_that_command_the_teacher_change_nothing_of_the_protocol() -> None:
    """Each is asked in two turns with the parameters of any other item, and each gets a vote of its own."""
    short = [text for text in HOSTILE if len(text) < 400]
    server = ModelServer()
    votes = asked(server, [Item(f"h{number}", text) for number, text in enumerate(short)])
    assert len(votes) == len(short) > 50
    assert {(vote.status, vote.origin) for vote in votes} <= {("ok", "logprob"), ("truncated", "logprob")}
    assert sum(vote.usable for vote in votes) > 0.9 * len(short)
    probe, *bodies = server.bodies
    assert len(bodies) == len(votes)
    assert {tuple(message["role"] for message in body["messages"]) for body in bodies} == {("system", "user")}
    assert {body["messages"][0]["content"] for body in bodies} == {bodies[0]["messages"][0]["content"]}
    parameters = [{name: value for name, value in body.items() if name != "messages"} for body in bodies]
    assert all(each == parameters[0] for each in parameters)
    assert probe["n"] == 2
