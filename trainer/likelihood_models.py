"""A language model of this machine as a teacher: found, checked, loaded, and its prompts cut into tokens."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from prompts.specials import specials_of, without_specials
from stillhouse.errors import ModelError
from trainer.base import check_weights, find_local, quiet_transformers
from trainer.features import device
from trainer.likelihood_forward import reads_trees

Way = Literal["tree", "rows", "seq2seq"]
WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
RELATIVE = frozenset({"t5", "mt5", "umt5"})  # their positions have no end, whatever n_positions says
UNLIMITED = 10**9
SAID = "answered"  # stands for an answer where a chat template is asked how a turn ends


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A causal or seq2seq language model with its tokenizer. `way` is how it is asked: "tree" reads many continuations
    in one forward, "rows" one by one. `longest_tokens` bounds a prompt with its answer.
    """

    name: str
    sha256: str
    model: Any
    tokenizer: Any
    way: Way
    longest_tokens: int

    @cached_property
    def chat(self) -> bool:
        return bool(getattr(self.tokenizer, "chat_template", None))

    def prompt(self, system: str, user: str) -> str:
        """The text up to where the model speaks, in the form of the tokenizer's chat template where it has one."""
        system, user = (without_specials(text, self._specials) for text in (system, user))
        if not self.chat:
            return f"{system}\n\n{user}"
        both = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        try:
            text = self._rendered(both)
        except Exception:  # noqa: BLE001  # templates without a system role raise what they like
            text = ""
        return text if system in text else self._rendered([{"role": "user", "content": f"{system}\n\n{user}"}])

    def answer(self, text: str) -> str:
        """An answer as it continues a prompt: after a chat's header as it is, after a line with a space."""
        return text if self.chat or self.way == "seq2seq" else f" {text}"

    def cut(self, text: str) -> list[int]:
        """Tokens of a prompt. A chat template writes its own special tokens, a plain prompt gets those of a start."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        if self.way == "seq2seq":
            whole: list[int] = self.tokenizer(text).input_ids
            return whole
        return ids if self.chat else [*self._start, *ids]

    def ended(self, text: str, *, end: bool) -> list[int]:
        """Tokens of a prompt with an answer; `end` closes the answer, so that one may begin like another."""
        if not end:
            return self.cut(text)
        return [*self.cut(text), self._closing] if self.chat else self.cut(text + "\n")

    def target(self, text: str, *, end: bool) -> tuple[list[int], int]:
        """What a seq2seq model's decoder reads and says, and the place of the first token that is the answer's own."""
        labels: list[int] = self.tokenizer(text_target=text).input_ids
        first = self.model.prepare_decoder_input_ids_from_labels(labels=torch.tensor([labels], device=device()))[0, 0]
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        lead = next((place for place, token in enumerate(labels) if token not in special), 0)
        last = max((place for place, token in enumerate(labels) if token not in special), default=len(labels) - 1)
        return [int(first), *labels[: last + 1 + end]], 1 + lead

    @cached_property
    def _start(self) -> list[int]:
        """A beginning-of-text token, where this tokenizer puts one before a text by itself."""
        bare = self.tokenizer("a", add_special_tokens=False).input_ids
        whole: list[int] = self.tokenizer("a").input_ids
        at = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
        return whole[:at]

    @cached_property
    def _closing(self) -> int:
        """The token that ends the model's turn, as the chat template has it."""
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": SAID}]
        _, _, end = self._rendered(turns, ask=False).rpartition(SAID)
        after: list[int] = self.tokenizer(end, add_special_tokens=False).input_ids
        return after[0] if after else int(self.tokenizer.eos_token_id)

    @cached_property
    def _specials(self) -> tuple[str, ...]:
        return specials_of(self.tokenizer)

    def _rendered(self, messages: list[dict[str, str]], *, ask: bool = True) -> str:
        # Reasoning first would push all of the answer's probability onto one label; templates that do not know the
        # switch leave it alone.
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=ask, enable_thinking=False
            )
        )


def load_local(name: str, *, expected_sha256: str | None = None) -> LocalModel:
    """Load a causal or seq2seq language model: a folder, a Hub id or `package:NAME`; bfloat16 on a GPU, else float32.

    Only safetensors are read and no code that comes with the model is run. Raises ModelError where it cannot be found,
    is not complete, or does not write text.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    quiet_transformers()
    folder = find_local(name)
    sha256 = check_weights(name, folder, expected_sha256)
    seq2seq = _writes(name, folder)
    dtype = "float32" if device().type == "cpu" else "bfloat16"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        of_class = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
        model = of_class.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, dtype=dtype)
    except Exception as error:
        raise ModelError(
            f"model {name!r} cannot be loaded",
            expected="a model and a tokenizer that transformers knows, without code of their own",
            found=f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}",
            fix="take another model for this teacher, or save it again with save_pretrained",
        ) from error
    model.eval().requires_grad_(False).to(device())
    way: Way = "seq2seq" if seq2seq else "tree" if reads_trees(model) else "rows"
    return LocalModel(name, sha256, model, tokenizer, way, _longest(model.config, tokenizer))


def _writes(name: str, folder: Path) -> bool:
    """Whether it is seq2seq. Raises ModelError for a model that does not write at all."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classes = config.get("architectures") or []
    if not any(one.endswith(WRITERS) for one in classes):
        raise ModelError(
            f"model {name!r} does not write",
            expected="a causal or seq2seq language model, such as Llama, Qwen, Mistral, T5 or mBART",
            found=", ".join(classes) or str(config.get("model_type", "unknown")),
            fix="correct `local` of this teacher in task.toml",
        )
    return bool(config.get("is_encoder_decoder"))


def _longest(config: Any, tokenizer: Any) -> int:
    """What positions and the tokenizer allow."""
    text = config.get_text_config()
    if text.model_type in RELATIVE:
        return UNLIMITED
    sizes = [getattr(text, key, None) for key in ("max_position_embeddings", "n_positions")]
    limits = [int(size) for size in (*sizes, tokenizer.model_max_length) if size and size < UNLIMITED]
    return min(limits, default=UNLIMITED)
