"""Tiny Llamas and GPT-2s with random weights and a small byte-level BPE vocabulary, and invoices to read."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stillhouse.task import FieldSpec

FIELDS = (
    FieldSpec(name="number", type="number"),
    FieldSpec(name="seller"),
    FieldSpec(name="date", type="date"),
    FieldSpec(name="terms", type="choice", choices=("net 30", "net 60", "paid")),
    FieldSpec(name="goods", many=True),
)
SELLERS = ("ACME", "Initech GmbH", "Umbrella & Sons", "Hooli", "Stark Works")
GOODS = ("bolts", "steel wire", "paper", "glue")
MONTHS = ("January", "March", "May", "August", "October")


def invoices(n: int, *, seed: int = 0) -> tuple[list[str], list[dict[str, Any]]]:
    """`n` texts such as "Invoice 123 from ACME, 3 May 2024, net 30: bolts, glue" and their values."""
    rng = np.random.default_rng(seed)
    texts, values = [], []
    for _ in range(n):
        number, day, month = int(rng.integers(100, 1000)), int(rng.integers(1, 29)), int(rng.integers(5))
        seller, terms = str(rng.choice(SELLERS)), str(rng.choice(["net 30", "net 60", "paid", ""]))
        goods = [str(one) for one in rng.permutation(GOODS)[: rng.integers(0, 3)]]
        dated = bool(rng.integers(2))
        text = f"Invoice {number} from {seller}" + (f", {day} {MONTHS[month]} 2024" if dated else "")
        texts.append(text + (f", {terms}" if terms else "") + (f": {', '.join(goods)}" if goods else ""))
        values.append(
            {
                "number": str(number),
                "seller": seller,
                "date": f"2024-{(1, 3, 5, 8, 10)[month]:02d}-{day:02d}" if dated else None,
                "terms": terms or None,
                "goods": goods,
            }
        )
    return texts, values


def byte_level_tokenizer(texts: Iterable[str] | None = None, size: int = 400) -> PreTrainedTokenizerFast:
    """A vocabulary of at most `size`, learned from the texts, or from invoices."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(invoices(300, seed=7)[0] if texts is None else texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", model_max_length=256)


def write_tiny_decoder(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Save the model (2 layers of 64 dimensions, 256 positions) to `folder` and give the folder back."""
    tokenizer = byte_level_tokenizer()
    size, spread = len(tokenizer), 0.15
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any
        if family == "llama":
            model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=size,
                    hidden_size=64,
                    intermediate_size=128,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    num_key_value_heads=2,
                    max_position_embeddings=256,
                    initializer_range=spread,
                )
            )
        else:
            model = GPT2LMHeadModel(
                GPT2Config(vocab_size=size, n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=spread)
            )
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
