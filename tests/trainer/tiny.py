"""A tiny BERT with random weights and a small WordPiece vocabulary, and messages of two sorts to teach it."""

import string
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from stillhouse.settings import Student

WORDS = "printer toner paper jam tray scanner password login account locked reset email the my is not please again"
PRINTING, SIGNING_IN = WORDS.split()[:6], WORDS.split()[6:12]
LABELS = ("printing", "signing_in", "other")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """Save the model (2 layers of 32 dimensions, 64 positions) to `folder` and give the folder back."""
    pieces = [*SPECIAL, *WORDS.split(), *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    frame = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, frame)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


def messages(n: int, *, seed: int = 0) -> tuple[list[str], NDArray[np.int64]]:
    """`n` messages and their labels; an "other" message uses common words only."""
    rng = np.random.default_rng(seed)
    topics = (PRINTING, SIGNING_IN, WORDS.split()[12:])
    labels = rng.integers(0, 3, n)
    texts = [
        " ".join(rng.choice(topics[label], 3).tolist() + rng.choice(WORDS.split(), int(rng.integers(1, 6))).tolist())
        for label in labels
    ]
    return texts, labels


def settings(base: Path | str, **changes: object) -> Student:
    """Small steps and one thread, so that a LoRA student of 100 messages takes well under a second."""
    quick: dict[str, object] = {
        "base": str(base),
        "tokens_per_batch": 256,
        "epochs": 2,
        "threads": 1,
        "learning_rate": 2e-3,
    }
    return Student.model_validate(quick | changes)
