"""A tiny model with random weights of every architecture that can be a base, each with a tokenizer as its family has it."""

import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, WordPiece
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from tests.trainer.tiny import WORDS

LETTERS = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
BERT_NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_NAMES = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
MANY = {"max_position_embeddings": 64, "initializer_range": 0.2}
ROBERTA_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 66}
GROUPED = {"num_key_value_heads": 1}
MBART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.2,
    "pad_token_id": 1,
}
RELATIVE = {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
# Family: the model's class, what its config is told, and the tokenizer. A decoder's has no frame (Qwen) or begins with <s>.
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "bert": ("Bert", SIZES | MANY, "bert"),
    "roberta": ("Roberta", SIZES | MANY | ROBERTA_IDS, "roberta"),
    "xlm-roberta": ("XLMRoberta", SIZES | MANY | ROBERTA_IDS, "roberta"),
    "modernbert": (
        "ModernBert",
        SIZES | MANY | {"pad_token_id": 0, "global_attn_every_n_layers": 2, "local_attention": 8},
        "bert",
    ),
    "deberta": ("Deberta", SIZES | MANY | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, "bert"),
    "deberta-v2": ("DebertaV2", SIZES | MANY | RELATIVE | {"position_biased_input": False}, "bert"),
    "mbart": ("MBart", MBART, "roberta"),
    "llama": ("Llama", SIZES | MANY | GROUPED, "begins"),
    "qwen2": ("Qwen2", SIZES | MANY | GROUPED, "bare"),
    "qwen3": ("Qwen3", SIZES | MANY | GROUPED | {"head_dim": 16}, "bare"),
    "mistral": ("Mistral", SIZES | MANY | GROUPED | {"sliding_window": 16}, "begins"),
}


def write_tiny(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Save the model (2 layers of 32 dimensions, 64 positions) to `folder` and give the folder back."""
    name, how, tokenizer = FAMILIES[family]
    read = TOKENIZERS[tokenizer]()
    config = getattr(transformers, f"{name}Config")(vocab_size=len(read), **how)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    read.save_pretrained(folder)
    return folder


def _word_pieces(names: Mapping[str, str]) -> PreTrainedTokenizerFast:
    vocabulary = {piece: place for place, piece in enumerate([*names.values(), *WORDS.split(), *LETTERS])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=names["unk"]))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = names["cls"], names["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{first} $A {last}",
        f"{first} $A {last} $B {last}",
        [(first, vocabulary[first]), (last, vocabulary[last])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **{f"{name}_token": token for name, token in names.items()}
    )


def _byte_level(*, begins: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=350,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


TOKENIZERS: Mapping[str, Callable[[], PreTrainedTokenizerFast]] = {
    "bert": lambda: _word_pieces(BERT_NAMES),
    "roberta": lambda: _word_pieces(ROBERTA_NAMES),
    "begins": lambda: _byte_level(begins=True),
    "bare": lambda: _byte_level(begins=False),
}
