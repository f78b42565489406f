"""How much a local teacher saves: one forward a label against cache, batch, tree and codes, on models with random weights.

python -m benchmarks.local_likelihood [--quick] [--json OUT]
77 labels and a prompt of about 300 tokens, of which the text of the item is about 60. One thread; times are processor
time, so that other work on the machine does not count. With --quick only 16 of the labels are asked one by one, and the
time is scaled. What a model would answer does not matter for speed; that all ways agree does.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from benchmarks.figures import Figure, arguments, at_least, report
from prompts.labels import label_codes
from trainer.likelihood import Options, Scorer
from trainer.likelihood_models import LocalModel, load_local

POOL = Path(__file__).parents[1] / "examples" / "helpdesk" / "pool.jsonl"
LABELS, SYSTEM_TOKENS, ITEM_TOKENS, ITEMS = 77, 240, 60, 4
SPECIAL = ("<pad>", "</s>")
CODES = label_codes(LABELS)


def texts() -> list[str]:
    return [json.loads(line)["text"] for line in POOL.read_text(encoding="utf-8").splitlines()]


def tokenizer_of(corpus: list[str], *, closed: bool) -> PreTrainedTokenizerFast:
    """Byte-level BPE in which every code is one token, with or without a space before it; `closed` ends texts."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=8_000,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    coded = [f"{code} {code}" for code in CODES] * 200
    tokenizer.train_from_iterator([*corpus, *coded], trainer)
    if closed:
        tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=2048, **dict(zip(("pad_token", "eos_token"), SPECIAL, strict=True))
    )


def llama(size: int) -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=512,
            intermediate_size=1376,
            num_hidden_layers=7,
            num_attention_heads=8,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            initializer_range=0.05,
        )
    )


def t5(size: int) -> Any:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=size,
            d_model=512,
            d_kv=64,
            d_ff=1024,
            num_layers=4,
            num_heads=8,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    )


def written(folder: Path, make: Callable[[int], Any], corpus: list[str], *, closed: bool = False) -> LocalModel:
    tokenizer = tokenizer_of(corpus, closed=closed)
    torch.manual_seed(0)
    make(8_000).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_local(str(folder))


def worlds(local: LocalModel, corpus: list[str]) -> tuple[str, list[str], tuple[str, ...]]:
    """A system text, messages and 77 names of two to four words, of the lengths this benchmark is about."""
    rng = np.random.default_rng(0)
    ids = local.tokenizer(" ".join(corpus[:200]), add_special_tokens=False).input_ids
    system = local.tokenizer.decode(ids[:SYSTEM_TOKENS])
    at = (SYSTEM_TOKENS + ITEM_TOKENS * n for n in range(1, ITEMS + 1))
    users = [local.tokenizer.decode(ids[start : start + ITEM_TOKENS]) + "\nLabel:" for start in at]
    words = sorted({word for text in corpus[:200] for word in text.split() if word.isalpha() and len(word) > 3})
    names: dict[str, None] = {}
    while len(names) < LABELS:
        names[" ".join(rng.choice(words, int(rng.integers(2, 5))).tolist())] = None
    return system, users, tuple(names)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    clock = time.process_time()
    found = work()
    return time.process_time() - clock, found


@torch.inference_mode()
def one_by_one(local: LocalModel, prompt: str, names: tuple[str, ...]) -> NDArray[np.float64]:
    """A forward a label, of which only the label's places are scored."""
    before = len(local.cut(prompt))
    found = []
    for name in names:
        if local.way == "seq2seq":
            tokens, start = local.target(name, end=True)
            given = {"input_ids": torch.tensor([local.cut(prompt)]), "decoder_input_ids": torch.tensor([tokens[:-1]])}
        else:
            tokens, start = local.ended(prompt + local.answer(name), end=True), before
            given = {"input_ids": torch.tensor([tokens[:-1]])}
        few = {} if local.way == "seq2seq" else {"logits_to_keep": len(tokens) - start}
        log_p = local.model(**given, **few).logits[0, start - len(tokens) :].double().log_softmax(dim=-1)
        found.append(float(log_p.gather(1, torch.tensor(tokens[start:])[:, None]).sum()))
    return np.array(found)


@torch.inference_mode()
def cached_batch(local: LocalModel, prompt: str, names: tuple[str, ...]) -> NDArray[np.float64]:
    """The prompt once, then its keys and values repeated for a batch of labels."""
    before = local.cut(prompt)
    out = local.model(input_ids=torch.tensor([before]), use_cache=True, logits_to_keep=1)
    rows = [local.ended(prompt + local.answer(name), end=True)[len(before) :] for name in names]
    longest = max(map(len, rows)) - 1
    ids = torch.tensor([row[:-1] + [0] * (longest - len(row) + 1) for row in rows])
    cache = out.past_key_values
    cache.batch_repeat_interleave(len(rows))
    logits = local.model(input_ids=ids, cache=cache).logits
    first = out.logits.expand(len(rows), 1, -1)
    log_p = torch.cat([first, logits], dim=1).double().log_softmax(dim=-1)
    return np.array([sum(float(log_p[n, at, token]) for at, token in enumerate(row)) for n, row in enumerate(rows)])


def measured(local: LocalModel, name: str, corpus: list[str], *, quick: bool) -> list[Figure]:
    system, users, labels = worlds(local, corpus)
    prompt = local.prompt(system, users[0])
    asked = labels[:16] if quick else labels
    local.model(
        input_ids=torch.tensor([[2, 3]]),
        **({"decoder_input_ids": torch.tensor([[0]])} if local.way == "seq2seq" else {}),
    )
    naive_s, naive = seconds(lambda: one_by_one(local, prompt, asked))
    naive_s *= len(labels) / len(asked)
    by_name, by_code = Options(labels, end=True), Options(CODES)
    single_s, single = seconds(lambda: Scorer(local, system, by_name).scores(users[:1])[0, 0])
    scorer = Scorer(local, system, by_name)
    scorer.scores(users[:2])
    kept_s, _ = seconds(lambda: scorer.scores(users))
    single_code_s, _ = seconds(lambda: Scorer(local, system, by_code).scores(users[:1]))
    coder = Scorer(local, system, by_code)
    coder.scores(users[:2])
    codes_s, _ = seconds(lambda: coder.scores(users))
    ways = {"one forward a label": naive_s}
    if local.way == "tree":
        ways["cache and a batch of labels"], batched = seconds(lambda: cached_batch(local, prompt, labels))
        assert np.abs(batched - single).max() < 1e-3
    ways |= {
        "all labels at once, first item": single_s,
        "all labels at once, an item of many": kept_s / len(users),
        "codes, first item": single_code_s,
        "codes, an item of many": codes_s / len(users),
    }
    far = float(np.abs(single[: len(naive)] - naive).max())
    size = sum(weights.numel() for weights in local.model.parameters()) / 1e6
    figures = [
        Figure(f"{name}: weights, millions", round(size, 1), "", None),
        Figure(f"{name}: tokens of a prompt", len(local.cut(prompt)), "", None),
        Figure(f"{name}: mean tokens of a label with its end", float(scorer.answer_tokens().mean()), "", None),
        Figure(f"{name}: tokens of the longest code", int(coder.answer_tokens().max()), "", None),
        *(Figure(f"{name}: ms an item, {way}", round(1000 * s, 1), "", None) for way, s in ways.items()),
        Figure(f"{name}: furthest from one forward a label, nats", float(f"{far:.1e}"), "<= 0.0001", far <= 1e-4),
    ]
    for way in list(ways)[1:]:
        goal = 20 if way.endswith("of many") else None
        figure = f"{name}: times faster than one forward a label, {way}"
        faster = naive_s / ways[way]
        figures.append(at_least(figure, faster, goal) if goal else Figure(figure, round(faster, 1), "", None))
    return figures


def main() -> None:
    given = arguments(__doc__ or "")
    torch.set_num_threads(1)
    corpus = texts()
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(written(Path(folder) / "llama", llama, corpus), "Llama", corpus, quick=given.quick)
        seq2seq = written(Path(folder) / "t5", t5, corpus, closed=True)
        figures += measured(seq2seq, "T5", corpus, quick=given.quick)
    report(figures, given.json)


if __name__ == "__main__":
    main()
