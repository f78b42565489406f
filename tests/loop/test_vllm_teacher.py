"""A teacher with a table for vLLM is started for its items, asked, and gone afterwards."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loop.project import Project
from loop.teach import reachable
from stillhouse.ledger import MemoryLedger
from stillhouse.records import Vote
from stillhouse.settings import Teacher
from teacher.engine import ask_sync
from teacher.prices import BudgetGuard
from tests.teacher import tiny_vllm
from tests.teacher.talker import TASK, items, talker

TEACHER = Teacher(name="tiny", model="tiny", local="talker", vllm={"max_model_len": 512})


def test_a_vllm_teacher_is_loaded_with_its_arguments_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder beside task.toml, the arguments of the table, compact JSON; its votes are free and read as any others."""
    given: dict[str, Any] = {}

    def load(**arguments: Any) -> tiny_vllm.TinyLLM:
        given.update(arguments)
        return tiny_vllm.TinyLLM(talker())

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=load))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", tiny_vllm)
    (tmp_path / "talker").mkdir()
    project = Project(TASK.model_copy(update={"teachers": (TEACHER,)}), tmp_path / "task.toml", tmp_path / "run")
    votes: list[Vote] = []
    for ask in ("auto", "samples"):
        asked = TEACHER.model_copy(update={"ask": ask})
        with reachable(project, asked, items(4)) as address:
            votes += ask_sync(items(4), TASK, address, MemoryLedger(), budget=BudgetGuard(0.0))
    assert given["model"] == str(tmp_path / "talker")
    assert given["max_model_len"] == 512
    assert given["structured_outputs_config"]["disable_any_whitespace"] is True
    assert [vote.origin for vote in votes] == ["logprob"] * 4 + ["sample"] * 4
    assert all(vote.usable and vote.cost_usd == 0.0 for vote in votes)
