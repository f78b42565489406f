"""vLLM itself, where it is installed and there is a GPU: it is called as `teacher.offline` calls it, and means the same.

The stand-in of the other tests is held to the same votes here.
"""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinds.registry import kind_of
from prompts.render import fill
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Item, Vote
from stillhouse.settings import Teacher
from teacher.engine import ask_sync
from teacher.offline import Engine, offline_teacher, vllm_engine, vllm_sampling
from teacher.prices import BudgetGuard
from tests.teacher.helpdesk import SOON, Memory
from tests.teacher.talker import POSITIONS, TASK, items, talker

OPTIONS: dict[str, bool | int | float | str] = {
    "max_model_len": POSITIONS,
    "gpu_memory_utilization": 0.2,
    "enforce_eager": True,
    "dtype": "bfloat16",
}
TEACHER = Teacher(name="tiny", model="tiny", local="models/tiny", vllm=OPTIONS)


def _why_not() -> str:
    if importlib.util.find_spec("vllm") is None:
        return "vllm is not installed"
    import torch

    return "" if torch.cuda.is_available() else "vllm needs a GPU"


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "it can run")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = talker().write(tmp_path_factory.mktemp("talker"))
    with vllm_engine(TEACHER, str(folder)) as loaded:
        yield loaded


def asked(engine: Engine, of: list[Item], **changes: Any) -> tuple[list[Vote], dict[str, Any]]:
    memory = Memory()
    with offline_teacher(TEACHER.model_copy(update=changes), engine, vllm_sampling) as address:
        votes = ask_sync(
            of, TASK, address, MemoryLedger(), budget=BudgetGuard(None), patience=SOON, capabilities=memory
        )
    (capabilities,) = memory.values()
    return votes, dict(capabilities)


def test_the_probe_finds_what_vllm_has(engine: Engine) -> None:
    """Logprobs, several answers and structured output."""
    _, found = asked(engine, items(1))
    assert (found["logprobs"], found["n"], found["response_format"]) == ("honoured", "honoured", "honoured")


def test_votes_are_the_models_own_probabilities(engine: Engine) -> None:
    """As far as bfloat16 has them."""
    votes, _ = asked(engine, items(8))
    common = kind_of(TASK).frame(TEACHER, "codes")
    codes = [talker().tokenizer(code).input_ids[0] for code in common.codes]
    for item, vote in zip(items(8), votes, strict=True):
        chat = [{"role": message.role, "content": message.content} for message in fill(common, item).messages]
        p = np.exp(talker().log_p(talker().prompt(chat)))[codes]
        assert (vote.status, vote.origin) == ("ok", "logprob")
        assert np.allclose(vote.probs, p, atol=0.03)
        assert math.isclose(vote.residual, 1.0 - p.sum(), abs_tol=0.05)


def test_samples_follow_the_schema(engine: Engine) -> None:
    """Two answers a request, without free whitespace, in the order of the schema."""
    votes, _ = asked(engine, items(4), ask="samples")
    assert all(vote.usable and vote.origin == "sample" for vote in votes)


def test_a_text_beyond_the_context_abstains_alone(engine: Engine) -> None:
    """vLLM's own refusal is understood, and fails nobody else's request."""
    votes, _ = asked(engine, [*items(3), Item("long", "printer " * 600)])
    assert [vote.status for vote in votes] == ["ok", "ok", "ok", "truncated"]
