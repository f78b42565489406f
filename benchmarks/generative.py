"""How fast a student that writes learns and writes: a small Llama with random weights on the slots of SNIPS.

python -m benchmarks.generative [--quick] [--json OUT]
A model from scratch learns too little from a few hundred texts to be judged by its quality; speed does not depend on
that. Says how much of the time of writing is the model's and how much the grammar's.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.corpora import snips_slots
from benchmarks.figures import Figure, arguments, data_or_skip, report
from stillhouse.settings import Student
from trainer.base import Base, load_base
from trainer.decoding import write
from trainer.generative import fit_generative

WORDS = 8_000  # of the vocabulary
LAYERS, WIDTH, POSITIONS = 4, 256, 1024


def random_llama(folder: Path, texts: list[str]) -> Base:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS)
    wrapped.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return load_base(str(folder), writes=True)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.perf_counter()
    found = work()
    return time.perf_counter() - clock, found


def main() -> None:
    given = arguments(__doc__ or "")
    data_or_skip("snips_slots")
    n = 40 if given.quick else 200
    corpus = snips_slots(n=2000, gold=200)
    texts = [item.text for item in corpus.pool[:n]]
    values = [truth for truth in corpus.truths[:n] if isinstance(truth, dict)]
    with tempfile.TemporaryDirectory() as folder:
        base = random_llama(Path(folder), [item.text for item in corpus.pool])
        settings = Student(base=folder, recipe="generate", learning_rate=3e-3, epochs=1, threads=2)
        student = fit_generative(texts, values, np.ones(n), corpus.task.fields, settings, seed=0, base=base)
        whole, _ = seconds(lambda: student.predict(texts))
        reader, grammar = student.reader, student.reader.grammar
        lattices_s, lattices = seconds(lambda: [grammar.lattices(text) for text in texts])
        prompts = [reader.prompt(text) for text in texts]
        batch_s, written = seconds(
            lambda: write(student.base.encoder, prompts, [grammar.write(lattice) for lattice in lattices])
        )
    decided = sum(len(log) for one in written for log in one.decisions.values())
    tokens = sum(len(one.tokens) for one in written)
    figures = [
        ("training, tokens/s", student.facts["tokens_per_s"]),
        ("writing, texts/s", n / whole),
        ("writing, tokens of objects/s in one batch", tokens / batch_s),
        ("share of written tokens that the model decides", decided / tokens),
        ("lattices, ms a text", 1000 * lattices_s / n),
        ("fields of the schema", len(corpus.task.fields)),
    ]
    report(
        [Figure(f"student that writes: {name}", round(float(value), 4), "", None) for name, value in figures],
        given.json,
    )


if __name__ == "__main__":
    main()
