"""Tiny language models of several families that write: causal with and without a chat template, and seq2seq."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MBartConfig,
    MBartForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.trainer.tiny_decoders import byte_level_tokenizer, write_tiny_decoder

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def write_writer(folder: Path, family: str, *, chat: bool = False, seed: int = 0, positions: int = 2048) -> Path:
    """Save a model of about 100,000 random weights to `folder`; "t5", "mbart", "neox", "mamba", "mistral", "gemma3", "llama" or "gpt2".

    `positions` are those of a Llama.
    """
    tokenizer = byte_level_tokenizer()
    if family in {"llama", "gpt2"}:
        write_tiny_decoder(folder, family, seed=seed)
        if family == "llama":  # its positions are computed, so that none has to be saved
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": positions}))
    else:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            _model(family, len(tokenizer)).save_pretrained(folder)
    if family in {"t5", "mbart"}:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    if chat:
        tokenizer.chat_template = CHAT
    tokenizer.model_max_length = 4096
    tokenizer.save_pretrained(folder)
    return folder


def _model(family: str, size: int) -> Any:
    if family == "t5":
        return T5ForConditionalGeneration(
            T5Config(
                vocab_size=size,
                d_model=64,
                d_kv=16,
                d_ff=128,
                num_layers=2,
                num_heads=4,
                pad_token_id=0,
                eos_token_id=1,
                decoder_start_token_id=0,
                initializer_factor=1.0,
            )
        )
    if family == "mbart":
        return MBartForConditionalGeneration(
            MBartConfig(
                vocab_size=size,
                d_model=64,
                encoder_layers=2,
                decoder_layers=2,
                encoder_ffn_dim=128,
                decoder_ffn_dim=128,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                max_position_embeddings=1024,
                init_std=0.15,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=1,
            )
        )
    common = {"vocab_size": size, "hidden_size": 64, "num_hidden_layers": 2, "initializer_range": 0.15}
    if family == "neox":
        heads = {"num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 1024}
        return GPTNeoXForCausalLM(GPTNeoXConfig(**common, **heads))
    if family in {"mistral", "gemma3"}:  # both look back only so far; Gemma in every other layer
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128}
        windowed = common | heads | {"max_position_embeddings": 1024, "sliding_window": 24}
        if family == "mistral":
            return MistralForCausalLM(MistralConfig(**windowed))
        return Gemma3ForCausalLM(Gemma3TextConfig(**windowed, layer_types=["sliding_attention", "full_attention"]))
    return MambaForCausalLM(MambaConfig(**common, state_size=8))
