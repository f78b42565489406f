"""A small world of every kind of task: the helpdesk's own examples cut short, and sentences made here with their recording."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.task_file import load_task
from tests.loop.world import HELPDESK, Row, Table, World, rows_of, toml, write_rows
from tests.trainer.tiny import write_tiny_bert

POOL, GOLD, BATCH, HUMAN_LABELS = 70, 25, 10, 20
LONGEST = 70
EXAMPLES = {"multi_label": "topics", "ordinal": "urgency", "spans": "entities", "fields": "fields"}
SETTINGS: dict[str, Table] = {
    "student": {"base": "base", "recipe": "head", "max_tokens": 64, "threads": 1},
    "budget": {"human_labels": HUMAN_LABELS},
    "selection": {"batch": BATCH, "near_duplicate_cosine": 1.0},
    "stop": {"min_gain": 0.0, "target_accuracy": 1.0},  # only the budget ends it
}
NAMES, VERBS = ("Ada", "Bob", "Eve", "Tom", "Ana", "Leo"), ("sees", "sends", "finds", "moves")
NOUNS, ADVERBS = ("printer", "laptop", "key", "phone"), ("today", "again", "twice")


def write_kind_world(home: Path, name: str, teacher: Table | None = None) -> World:
    """`name` is one of KINDS; `teacher` says where the first teacher is, if not in its recording."""
    home.mkdir(parents=True, exist_ok=True)
    write_tiny_bert(home / "base")
    head, pool, gold, replies = _example(EXAMPLES[name]) if name in EXAMPLES else _made(name)
    write_rows(home / "pool.jsonl", pool)
    write_rows(home / "gold.jsonl", gold)
    write_rows(home / "experts.jsonl", [{"id": row["id"], "label": row["label"]} for row in pool])
    write_rows(home / "replies.jsonl", replies)
    model = f"{replies[0]['task']}/A"
    asked = {"name": "A", "model": model, **(teacher or {"recording": "replies.jsonl"})}
    columns = {"gold": "gold.jsonl", "pool": "pool.jsonl"}
    parts = [head[0], "[data]\n" + toml({**columns, **head[1]}), "[[teachers]]\n" + toml(asked)]
    desk = {"kind": "files", "rehearse": "experts.jsonl"}
    parts += [f"[{table}]\n" + toml(values) for table, values in {**SETTINGS, "desk": desk}.items()]
    world = World(home)
    world.task.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return world


Written = tuple[tuple[str, Table], list[Row], list[Row], list[Row]]


def _example(name: str) -> Written:
    """What the example's own task says of its labels, and some of its rows."""
    task = load_task(HELPDESK / f"{name}.toml")
    known, gold, recording = task.desk.rehearse, task.data.gold, task.teachers[0].recording
    assert known
    assert gold
    assert recording
    right = {row["id"]: row[task.desk.rehearse_label] for row in rows_of(HELPDESK / known)}
    held = [(row, row[task.data.gold_label]) for row in _short(gold, GOLD)]
    pool = [(row, right[row["id"]]) for row in _short(task.data.pool, POOL)]
    rows = [{"id": row["id"], "text": row["text"], "label": label} for row, label in [*pool, *held]]
    wanted = {row["id"] for row in rows}
    replies = [row for row in rows_of(HELPDESK / recording) if row["id"] in wanted and row["task"] == name]
    named = [
        f"[[{'fields' if task.fields else 'labels'}]]\n" + toml(each.model_dump())
        for each in task.fields or task.labels
    ]
    top = toml({"name": name, "kind": task.kind, "question": task.question, "ordinal": task.ordinal})
    return ("\n".join([top, *named]), {}), rows[:POOL], rows[POOL:], replies


def _short(name: str, count: int) -> list[Row]:
    """The first rows whose texts have few words: each word is a unit, and costs time."""
    return [row for row in rows_of(HELPDESK / name) if len(row["text"]) <= LONGEST][:count]


@dataclass(frozen=True, slots=True)
class Sentence:
    """Who does what: four or five words, one after another."""

    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def at(self, first: int, last: int) -> tuple[int, int]:
        """Words `first` to `last` in characters."""
        start = sum(len(word) + 1 for word in self.words[:first])
        return start, start + len(" ".join(self.words[first : last + 1]))

    def span(self, first: int, last: int, label: str) -> Row:
        start, end = self.at(first, last)
        return {"start": start, "end": end, "label": label}


def sentences(count: int) -> list[Sentence]:
    """Different ones, in an order that mixes their words."""
    every = [(a, b, "the", c, d) for a, b, c, d in itertools.product(NAMES, VERBS, NOUNS, ADVERBS)]
    order = np.random.default_rng(0).permutation(len(every))[:count]
    return [Sentence(every[at]) for at in order]


@dataclass(frozen=True, slots=True)
class Made:
    """A kind by its task, its columns, the right value of a sentence, and how a teacher words a value."""

    head: str
    columns: Table
    row: Callable[[Sentence, int], Row]
    right: Callable[[Sentence, Row], Any]
    wrong: Callable[[Sentence, Any], Any]
    reply: Callable[[Sentence, Any], Row]


def _tokens_reply(sentence: Sentence, tags: Any) -> Row:
    return {
        "reply": "\n".join(
            f"{n}:{word}:{tag}" for n, (word, tag) in enumerate(zip(sentence.words, tags, strict=True), 1)
        )
    }


def _quotes_reply(sentence: Sentence, spans: Any) -> Row:
    return {
        "spans": [
            {
                "quote": sentence.text[span["start"] : span["end"]],
                "occurrence": 1,
                "label": span["label"],
                "confidence": 0.8,
            }
            for span in spans
        ]
    }


def _labels(*names: str) -> str:
    return "\n".join(f'[[labels]]\nname = "{name}"' for name in names)


MADE = {
    "pair": Made(
        f'name = "mentions"\nquestion = "Does the text mention it?"\n{_labels("no", "yes")}',
        {"pair": "target"},
        lambda sentence, at: {"text": sentence.text, "target": (NOUNS[at % 4] if at % 3 else sentence.words[3])},
        lambda _, row: "yes" if row["target"] in row["text"].split() else "no",
        lambda _, label: "no" if label == "yes" else "yes",
        lambda _, label: {"label": label, "confidence": 0.8, "second": "no" if label == "yes" else "yes"},
    ),
    "tokens": Made(
        f'name = "pos"\nkind = "tokens"\n{_labels("PROPN", "VERB", "DET", "NOUN", "ADV")}',
        {"tokens": "words"},
        lambda sentence, _: {"text": sentence.text, "words": list(sentence.words)},
        lambda *_: ["PROPN", "VERB", "DET", "NOUN", "ADV"],
        lambda _, tags: ["NOUN", *tags[1:]],
        _tokens_reply,
    ),
    "roles": Made(
        f'name = "srl"\nkind = "roles"\n{_labels("A0", "A1", "TMP")}',
        {"tokens": "words", "focus": "predicate"},
        lambda sentence, _: {"text": sentence.text, "words": list(sentence.words), "predicate": 1},
        lambda sentence, _: [sentence.span(0, 0, "A0"), sentence.span(2, 3, "A1"), sentence.span(4, 4, "TMP")],
        lambda _, spans: spans[:2],
        _quotes_reply,
    ),
    "overlapping": Made(
        f'name = "layers"\nkind = "spans"\noverlapping = true\n{_labels("NAME", "EVENT")}',
        {},
        lambda sentence, _: {"text": sentence.text},
        lambda sentence, _: [sentence.span(0, 0, "NAME"), sentence.span(0, 1, "EVENT")],
        lambda _, spans: spans[:1],
        _quotes_reply,
    ),
}
KINDS = (*EXAMPLES, *MADE)


def _made(name: str) -> Written:
    """Sentences whose teacher is wrong wherever something is done "twice", and here and there by chance."""
    kind, rng = MADE[name], np.random.default_rng(1)
    rows, replies = [], []
    for at, sentence in enumerate(sentences(POOL + GOLD)):
        row = {"id": f"s{at:03d}", **kind.row(sentence, at)}
        row["label"] = kind.right(sentence, row)
        said = kind.wrong(sentence, row["label"]) if "twice" in sentence.words or rng.random() < 0.1 else row["label"]
        rows.append(row)
        replies.append({"id": row["id"], "task": name, "variant": "A", **kind.reply(sentence, said)})
    return (kind.head, kind.columns), rows[:POOL], rows[POOL:], replies
