"""How fast a student is trained on a CPU: ours against transformers' Trainer, one after the other in one process.

python -m benchmarks.student_training [--quick] [--rows N] [--seeds N] [--cache FOLDER] --json OUT
Both train the same adapter (LoRA on the same linear layers of the same base) and the same head from the same start on the
same messages of Banking77, for as many epochs. The Trainer has its defaults (batches of 8, padded to their longest,
dropout of the base on) but for the learning rate, which is a fourth of ours because its batches are a sixteenth.
Speeds are tokens without padding per second of CPU time on one thread.
"""

import argparse
import contextlib
import io
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.banking import BASE, Banking, Messages, load_banking
from benchmarks.figures import Figure, at_least, report
from stillhouse.settings import Student
from trainer.base import Base, load_base
from trainer.features import embed
from trainer.inputs import Inputs
from trainer.linear import LinearHead, fit_linear
from trainer.lora import Depth, Lesson, adapt, merged, target_linears, train_lora
from trainer.windows import tokenise

EPOCHS = 2
TRAINER_RATE = 1e-3
FASTER = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Tokens a CPU-second, and the accuracy on test."""

    speed: float
    accuracy: float


class Pooled(torch.nn.Module):
    """The student as a module that the Trainer takes: mean of the last states, of length 1, and the head on it."""

    def __init__(self, encoder: Any, head: LinearHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(head.weight.shape[1], len(head.bias))
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight))
            self.head.bias.copy_(torch.from_numpy(head.bias))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[:, :, None].float()
        vectors = torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1)
        logits = self.head(vectors)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def by_the_trainer(base: Base, banking: Banking, messages: Messages, head: LinearHead, seed: int) -> Outcome:
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    settings = settings_of()
    model = Pooled(adapt(base, settings, seed), head)
    encoded = base.tokenizer(messages.texts, truncation=True, max_length=settings.max_tokens)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": int(label)}
        for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], messages.labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        arguments = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=8,
            learning_rate=TRAINER_RATE,
            seed=seed,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(base.tokenizer))
        clock = time.process_time()
        trainer.train()
        seconds = time.process_time() - clock
    tokens = EPOCHS * sum(map(len, encoded["input_ids"]))
    head = LinearHead(model.head.weight.detach().numpy(), model.head.bias.detach().numpy())
    return Outcome(tokens / seconds, accuracy(base, model.encoder, head, banking.test))


def by_ours(
    base: Base, banking: Banking, messages: Messages, head: LinearHead, seed: int, recipe: Depth = "lora"
) -> Outcome:
    lesson = Lesson(banking.targets(messages.labels), np.ones(len(messages)), len(banking.labels))
    windows = tokenise(base, Inputs(messages.texts), settings_of().max_tokens)
    clock = time.process_time()
    adapted = train_lora(base, windows, lesson, head, settings_of(), seed, recipe=recipe)
    seconds = time.process_time() - clock
    return Outcome(adapted.taught.tokens / seconds, accuracy(base, adapted.model, adapted.head, banking.test))


def settings_of() -> Student:
    return Student(base=BASE, epochs=EPOCHS, threads=1)


def accuracy(base: Base, model: Any, head: LinearHead, test: Messages) -> float:
    changed = replace(base, encoder=merged(model))
    logits = head.logits(embed(changed, Inputs(test.texts), threads=1).vectors)
    return float((logits.argmax(axis=1) == test.labels).mean())


def peak_flops() -> float:
    """The best of several matrix products of the base's own shapes, in floating point operations a second."""
    best = 0.0
    for rows, inner, columns in ((1024, 384, 1536), (1024, 1536, 384), (1024, 384, 384)):
        a, b = torch.randn(rows, inner), torch.randn(columns, inner)
        for _ in range(20):
            clock = time.process_time()
            torch.nn.functional.linear(a, b)
            best = max(best, 2 * rows * inner * columns / max(time.process_time() - clock, 1e-9))
    return best


def flops_a_token(base: Base) -> float:
    """Two for each weight forward, two backward: frozen weights take no gradient, and the first layer's queries, keys and
    values pass none on. What the adapter itself and attention take is not counted.
    """
    linears = dict(base.encoder.named_modules())
    sizes: dict[str, int] = {name: linears[name].weight.numel() for name in target_linears(base.encoder)}
    first = sum(size for name, size in sizes.items() if ".layer.0.attention.self." in name)
    return 4.0 * sum(sizes.values()) - 2.0 * first


def main() -> None:
    given = _arguments()
    torch.set_num_threads(1)
    rows, seeds, tested = (300, 1, 300) if given.quick else (given.rows, given.seeds, given.tested)
    base = load_base(BASE)
    with tempfile.TemporaryDirectory() as temporary:
        banking = load_banking(base, given.cache or Path(temporary))
    if tested:
        banking = Banking(
            banking.labels,
            banking.train,
            banking.test.take(np.random.default_rng(8).permutation(len(banking.test))[:tested]),
            banking.pool,
            banking.votes,
        )
    theirs, ours, top, peaks = [], [], [], []
    for seed in range(seeds):
        messages = banking.train.take(np.random.default_rng([seed, 6]).permutation(len(banking.train))[:rows])
        head = fit_linear(messages.features, banking.targets(messages.labels))
        peaks.append(peak_flops())
        ours.append(by_ours(base, banking, messages, head, seed))
        theirs.append(by_the_trainer(base, banking, messages, head, seed))
        top.append(by_ours(base, banking, messages, head, seed, "top"))
        print(f"seed {seed}: ours {ours[-1]}, Trainer {theirs[-1]}, upper half {top[-1]}", flush=True)
    report(_figures(base, ours, theirs, top, peaks, rows), given.json)


def _figures(
    base: Base, ours: list[Outcome], theirs: list[Outcome], top: list[Outcome], peaks: list[float], rows: int
) -> list[Figure]:
    speeds = {
        name: np.array([one.speed for one in outcomes])
        for name, outcomes in {"ours": ours, "Trainer": theirs, "ours, upper half of the layers": top}.items()
    }
    figures = [
        Figure(f"{name}: tokens a CPU-second", round(float(speed.mean())), "", None) for name, speed in speeds.items()
    ]
    ratio = speeds["ours"] / speeds["Trainer"]
    figures.append(at_least(f"ours over the Trainer ({_range(ratio)} over seeds)", float(ratio.mean()), FASTER))
    upper = speeds["ours, upper half of the layers"] / speeds["Trainer"]
    figures.append(Figure(f"upper half over the Trainer ({_range(upper)})", round(float(upper.mean()), 2), "", None))
    share = speeds["ours"] * flops_a_token(base) / np.array(peaks)
    figures.append(Figure("peak of matrix products, float32, GFLOP/s", round(float(np.mean(peaks)) / 1e9, 1), "", None))
    figures.append(Figure("ours: share of that peak", round(float(share.mean()), 3), "", None))
    gain = np.array([a.accuracy - b.accuracy for a, b in zip(ours, theirs, strict=True)])
    noise = 2 * gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
    for name, outcomes in (("ours", ours), ("Trainer", theirs), ("ours, upper half", top)):
        value = float(np.mean([one.accuracy for one in outcomes]))
        figures.append(Figure(f"{name}: accuracy on test, {rows} messages taught", round(value, 4), "", None))
    said = f"ours - Trainer: accuracy, paired over {len(gain)} seeds (± {noise:.4f})"
    figures.append(Figure(said, round(float(gain.mean()), 4), ">= -noise", bool(gain.mean() >= -abs(noise))))
    return figures


def _range(values: Any) -> str:
    return f"{np.min(values):.2f} to {np.max(values):.2f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 messages, one seed")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tested", type=int, help="only so many test messages, drawn at random")
    parser.add_argument("--cache", type=Path, help="keep the features here")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
