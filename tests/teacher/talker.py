"""A tiny language model that has learned to answer the teacher's prompts: real tokens, real logprobs, a real chat template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from kinds.registry import kind_of
from prompts.render import fill
from stillhouse.records import Item
from stillhouse.settings import Data, Teacher
from stillhouse.task import Label, Task
from tests.trainer.tiny import LABELS, messages
from tests.trainer.tiny_decoders import byte_level_tokenizer
from tests.trainer.tiny_writers import CHAT

STEPS, ROWS = 70, 8
POSITIONS = 512
TASK = Task(
    name="desk",
    kind="single_label",
    question="What is it about?",
    labels=tuple(Label(name=name) for name in LABELS),
    data=Data(pool="pool.jsonl"),
    teachers=(Teacher(name="tiny", model="tiny"),),
)


@dataclass(frozen=True, eq=False)
class Talker:
    """The model and its tokenizer; a prompt with its reply is at most `longest_tokens`."""

    model: Any
    tokenizer: Any
    longest_tokens: int = POSITIONS

    def prompt(self, asked: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the model speaks."""
        text = self.tokenizer.apply_chat_template([*asked], tokenize=False, add_generation_prompt=True)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    @torch.inference_mode()
    def log_p(self, tokens: Sequence[int]) -> NDArray[np.float64]:
        """(vocabulary,) log-probabilities of the token after these, computed from nothing."""
        logits = self.model(torch.tensor([[*tokens]])).logits[0, -1]
        out: NDArray[np.float64] = torch.log_softmax(logits.double(), dim=-1).numpy()
        return out

    def write(self, folder: Path) -> Path:
        """Saved as transformers loads it."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder


def items(count: int, *, seed: int = 5) -> list[Item]:
    return [Item(f"i{number:03d}", text) for number, text in enumerate(messages(count, seed=seed)[0])]


@cache
def talker(seed: int = 0) -> Talker:
    """About 100,000 weights, trained for three seconds to give codes and lines of JSON as the prompts ask for them."""
    torch.set_num_threads(1)  # for matrices as small as these more would only wait for each other
    rng = np.random.default_rng(seed)
    asked = _lessons(rng)
    tokenizer = byte_level_tokenizer((_shown(chat) + reply for chat, reply in asked[:60]), 700)
    tokenizer.chat_template = CHAT
    tokenizer.model_max_length = POSITIONS
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,  # of 32 dimensions: kernels for GPUs know none smaller
                max_position_embeddings=POSITIONS,
                initializer_range=0.05,
                tie_word_embeddings=True,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
    _teach(model, tokenizer, asked, rng)
    return Talker(model.eval(), tokenizer)


def _lessons(rng: np.random.Generator) -> list[tuple[list[dict[str, str]], str]]:
    """Conversations as the engine has them, half of them by code, and what a good teacher says."""
    kind, teacher = kind_of(TASK), TASK.teachers[0]
    frames = kind.frame(teacher, "codes"), kind.frame(teacher, "verbalised")
    lessons = []
    texts, labels = messages(400, seed=1)
    for number, (text, label) in enumerate(zip(texts, labels.tolist(), strict=True)):
        common = frames[number % 2]
        chat = [{"role": m.role, "content": m.content} for m in fill(common, Item("", text)).messages]
        sure, second = int(rng.integers(60, 100)), LABELS[(label + 1) % len(LABELS)]
        said = f'{{"label":"{LABELS[label]}","confidence":0.{sure},"second":"{second}"}}'
        lessons.append((chat, common.codes[label] if common.style == "codes" else said))
    return lessons


def _shown(chat: Sequence[Mapping[str, str]]) -> str:
    return "".join(f"<|{m['role']}|>\n{m['content']}</s>\n" for m in chat) + "<|assistant|>\n"


def _teach(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    asked: Sequence[tuple[list[dict[str, str]], str]],
    rng: np.random.Generator,
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=STEPS)
    cut = [(tokenizer(_shown(chat)).input_ids, tokenizer(f"{reply}</s>").input_ids) for chat, reply in asked]
    for _ in range(STEPS):
        rows = [cut[int(number)] for number in rng.integers(0, len(cut), ROWS)]
        longest = max(len(prompt) + len(reply) for prompt, reply in rows)
        ids, targets = torch.zeros((ROWS, longest), dtype=torch.long), torch.full((ROWS, longest), -100)
        for row, (prompt, reply) in enumerate(rows):
            end = len(prompt) + len(reply)
            ids[row, :end] = torch.tensor([*prompt, *reply])
            targets[row, len(prompt) : end] = torch.tensor(reply)
        optimizer.zero_grad()
        model(ids, labels=targets).loss.backward()
        optimizer.step()
        schedule.step()
