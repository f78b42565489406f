"""The data sets of the benchmarks, one function each: a task, a pool and a gold set with truths, and votes for both.

Votes are recorded replies of large language models where there are any, else those of `benchmarks.simulated_teacher`;
`votes_are` says which. The public data is not part of the project (see `benchmarks.figures.data_or_skip`); the
helpdesk is. `left_out` counts what of a data set the corpus does not hold, by reason.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import simulated_fields, simulated_spans
from benchmarks import simulated_teacher as simulated
from benchmarks.corpus import (
    HELPDESK,
    SIMULATED,
    Corpus,
    Example,
    abstention,
    corpus_of,
    example_of,
    helpdesk_split,
    lines_of,
    parted,
    read_vote,
    replies_of,
    reply_words,
    rows_of,
    simulate,
    task_of,
    train_and_test,
    vote_of,
    whole_sentences,
)
from benchmarks.corpus_values import Row, fields_of_spans, joined_tokens, normal_date, party_names, spans_of_tags
from prompts.labels import spellings
from prompts.parse import parse_verbalised
from prompts.structured import read_fields, read_multi_label, read_tagged
from stillhouse.field_values import normal_fields
from stillhouse.records import Item, Value, Vote
from stillhouse.task import Task

POOL, GOLD = 2000, 500
UNREADABLE_AT_MOST = 0.1  # a recorded source that abstains more often is left out
ROLES_AT_LEAST = 20  # occurrences of a role in the train split
FINER_GOLD = 300  # of the 1,075 sentences with recorded votes
ENTITY_TYPES = ("PERSON", "DEVICE", "APP", "LOCATION", "CODE", "TIME")
_ROLE = re.compile(r"ARG[0-4]|ARGM-[A-Z]+")


# -- single label


def banking77(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """77 intents; pool and gold are of the 3,000 train messages that have recorded votes."""
    known = {row["id"]: row["label"] for row in rows_of("banking77", "train")}
    rows = rows_of("banking77_votes", "pool")
    examples = [example_of(row, known[row["id"]]) for row in rows]
    task = task_of("banking77", "single_label", sorted(set(known.values())), ("A", "B"))
    pool, held, left = parted(examples, n, gold, seed)
    votes = [
        read_vote(source, ex.item, parse_verbalised(reply_words(ex.row["votes"][at]), spellings(task.labels)))
        for at, source in enumerate(("A", "B"))
        for ex in (*pool, *held)
    ]
    return corpus_of(task, pool, held, votes, "recorded: one LLM under two prompts", left)


def banking77_simulated(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """77 intents, with a teacher that knows them less well than the recorded one."""
    return _simulated_labels("banking77", "banking77_simulated", n, gold, seed)


def ag_news(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Four topics of news."""
    return _simulated_labels("ag_news", "ag_news", n, gold, seed)


def helpdesk_urgency(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """Four steps of urgency in their order; the annotated messages, split as the example has them."""
    labels = ("low", "normal", "high", "critical")
    task = task_of("helpdesk_urgency", "single_label", labels, ("recorded-A", "recorded-B"), ordinal=True)
    pool, held = helpdesk_split("urgency", n, gold, lambda row: str(row["urgency"]))
    replies = replies_of("replies.jsonl", "urgency")
    votes = [
        read_vote(
            f"recorded-{variant}", ex.item, parse_verbalised(replies[variant, ex.item.id], spellings(task.labels))
        )
        for variant in "AB"
        for ex in (*pool, *held)
    ]
    return corpus_of(task, pool, held, votes, "recorded: one LLM under two prompts", {})


def babe(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Is a sentence of the news biased, given its topic? Two texts an item; 13 LLMs, zero-shot and four-shot.

    Gold is of the train split too: only three of the models answered for the test split. Sources that are unreadable
    for more than a tenth of the rows are left out.
    """
    rows = rows_of("babe_llm", "train")
    count, unread = Counter[str](), Counter[str]()
    for row in rows:
        for name, label in _babe_votes(row).items():
            count[name] += 1
            unread[name] += label is None
    sources = sorted(name for name in count if unread[name] <= UNREADABLE_AT_MOST * len(rows))
    task = task_of(
        "babe",
        "single_label",
        ("Biased", "Non-biased"),
        sources,
        question="Is this sentence on the topic biased by its choice of words?",
        data={"pair": "topic"},
    )
    examples = [example_of(row, row["label"], pair=row["topic"]) for row in rows]
    pool, held, left = parted(examples, n, gold, seed)
    left = {**left, "sources mostly unreadable": len(count) - len(sources)}
    votes = [
        _label_vote(task, source, example.item, _babe_votes(example.row)[source])
        for source in sources
        for example in (*pool, *held)
    ]
    return corpus_of(task, pool, held, votes, "recorded: 13 LLMs, zero-shot and 4-shot", left)


# -- multi label


def goemotions(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """27 emotions and neutral."""
    return _simulated_label_sets("goemotions", n, gold, seed)


def cuad_clauses(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """37 categories of contract clauses."""
    return _simulated_label_sets("cuad_clauses", n, gold, seed)


def helpdesk_topics(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """16 topics; the votes are derived from what the teacher said of the one main topic and the runner-up."""
    labels = sorted({row["route"] for row in lines_of(HELPDESK / "experts.jsonl")})
    task = task_of("helpdesk_topics", "multi_label", labels, ("derived-A", "derived-B"))
    pool, held = helpdesk_split("topics", n, gold, lambda row: [name for name in labels if name in row["topics"]])
    replies = replies_of("replies_derived.jsonl", "topics")
    votes = [
        read_vote(f"derived-{variant}", ex.item, read_multi_label(replies[variant, ex.item.id], spellings(task.labels)))
        for variant in "AB"
        for ex in (*pool, *held)
    ]
    return corpus_of(task, pool, held, votes, "derived from the recorded route replies of one LLM, two prompts", {})


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
    task = task_of("wnut17", "spans", labels, SIMULATED)
    pool, held, left = train_and_test("wnut17", n, gold, seed, lambda row: row["spans"])
    habits = simulated_spans.SpanHabits(error_rate=0.31, spurious_rate=0.14, confused=confused)
    votes = simulate(seed, pool, held, lambda t, items, truths: simulated_spans.spans(t, items, truths, labels, habits))
    return corpus_of(task, pool, held, votes, "simulated: two variants", left)


def finer_ner(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Persons, places and organisations in financial news: the test split, which two LLMs have tagged.

    A sentence for which a model's answer is not in the recording has an unreadable vote of it.
    """
    task = task_of("finer_ner", "spans", ("PER", "LOC", "ORG"), ("gpt-3.5-turbo", "gpt-4"))
    examples = [example_of(row, row["spans"]) for row in rows_of("finer_ner_llm", "test")]
    pool, held, left = parted(examples, n, min(gold, FINER_GOLD), seed)
    votes = []
    for source in ("gpt-3.5-turbo", "gpt-4"):
        for example in (*pool, *held):
            said = next((said["tags"] for said in example.row["llm"] if said["model"] == source), None)
            value = None if said is None else spans_of_tags(joined_tokens(example.row["tokens"]), said)
            votes.append(
                vote_of(source, example.item, value=value) if said is not None else abstention(source, example.item)
            )
    return corpus_of(task, pool, held, votes, "recorded: gpt-3.5-turbo and gpt-4", left)


def helpdesk_entities(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """Six types of entities in messages to a helpdesk; the annotated messages, split as the example has them."""
    task = task_of("helpdesk_entities", "spans", ENTITY_TYPES, ("recorded-A",))
    pool, held = helpdesk_split("entities", n, gold, lambda row: list(row["entities"]))
    replies = replies_of("replies.jsonl", "entities")
    votes = [
        read_vote("recorded-A", ex.item, read_tagged(replies["A", ex.item.id], ex.item.text, spellings(task.labels)))
        for ex in (*pool, *held)
    ]
    return corpus_of(task, pool, held, votes, "recorded: one LLM", {})


# -- tokens and roles


def ud_ewt_pos(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """A universal part of speech for each given token."""
    labels = sorted(simulated.TAG_CONFUSIONS)
    task = task_of("ud_ewt_pos", "tokens", labels, SIMULATED, data={"tokens": "tokens"})
    pool, held, left = train_and_test("ud_ewt_pos", n, gold, seed, lambda row: row["tags"])
    votes = simulate(seed, pool, held, simulated.tags)
    return corpus_of(task, pool, held, votes, "simulated: two variants", left)


def propbank_ewt_srl(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Who did what to whom: role spans on given tokens for one predicate.

    Roles are ARG0 to ARG4 and every ARGM that stands at least 20 times in the train split. Continuations (C-),
    references (R-) and the rest are left out and counted. A sentence is in the pool or in gold with all its predicates.
    """
    train, test = rows_of("propbank_ewt_srl", "train"), rows_of("propbank_ewt_srl", "test")
    count = Counter(tag[2:] for row in train for tag in row["tags"] if tag.startswith("B-"))
    labels = sorted(role for role, many in count.items() if _ROLE.fullmatch(role) and many >= ROLES_AT_LEAST)
    common = [role for role, _ in count.most_common() if role in labels]
    confused = {role: tuple(other for other in common if other != role)[:3] for role in labels}
    task = task_of(
        "propbank_ewt_srl", "roles", labels, SIMULATED, data={"tokens": "tokens", "focus": "predicate_index"}
    )
    pool = whole_sentences(train, n, seed, avoid=frozenset())
    held = whole_sentences(test, gold, seed, avoid=frozenset(example.item.text for example in pool))
    others = sum(span["label"] not in {*labels, "V"} for ex in (*pool, *held) for span in ex.row["spans"])
    pool, held = ([_with_roles(example, labels) for example in part] for part in (pool, held))
    habits = simulated_spans.SpanHabits(error_rate=0.33, spurious_rate=0.08, confused=confused)
    votes = simulate(seed, pool, held, lambda t, items, truths: simulated_spans.spans(t, items, truths, labels, habits))
    return corpus_of(task, pool, held, votes, "simulated: two variants", {"spans of other roles": others})


# -- fields


def snips_slots(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """39 fields of short commands, each with any number of texts."""
    rows = rows_of("snips_slots", "train")
    names = sorted(rows[0]["fields"])
    fields = [{"name": name, "many": True} for name in names]
    task = task_of("snips_slots", "fields", (), SIMULATED, fields=fields)
    pool, held, left = train_and_test(
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

    return corpus_of(task, pool, held, simulate(seed, pool, held, vote), "simulated: two variants", left)


def cuad_fields(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:
    """Eight fields of a contract, three of them dates. A date that is none ("Perpetual") counts as missing.

    Parties are a list of names here: what the contract calls them, in brackets and quotes after the name in the data,
    is left out, for no text has both side by side. Few renewal terms, notice periods and expiry dates stand in the text
    as they are written here: lawyers normalised or inferred them.
    """
    dates = ("agreement_date", "effective_date", "expiration_date")
    names = list(rows_of("cuad_fields", "train")[0]["fields"])
    fields = [{"name": name, "type": "date" if name in dates else "text", "many": name == "parties"} for name in names]
    task = task_of("cuad_fields", "fields", (), SIMULATED, fields=fields)
    undated = Counter[str]()

    def truth(row: Row) -> Value:
        value: dict[str, object] = {name: row["fields"][name] or None for name in names}
        value["parties"] = party_names(row["fields"]["parties"])
        for name in dates:
            value[name] = normal_date(row["fields"][name])
            undated["dates that are none"] += bool(row["fields"][name]) and value[name] is None
        return normal_fields(task.fields, value)

    pool, held, left = train_and_test("cuad_fields", n, gold, seed, truth)
    votes = simulate(
        seed,
        pool,
        held,
        lambda t, items, truths: simulated_fields.fields(t, items, truths, task.fields, error_rate=0.4),
    )
    return corpus_of(task, pool, held, votes, "simulated: two variants", {**left, **undated})


def helpdesk_fields(n: int = POOL, gold: int = GOLD, seed: int = 0) -> Corpus:  # noqa: ARG001
    """Who, what, where and when of a message, each with any number of texts; derived from entities on both sides."""
    names = [name.lower() for name in ENTITY_TYPES]
    task = task_of(
        "helpdesk_fields", "fields", (), ("derived-A",), fields=[{"name": name, "many": True} for name in names]
    )

    def truth(row: Row) -> Value:
        spans = [{**span, "label": span["label"].lower()} for span in row["entities"]]
        return fields_of_spans(task, row["text"], spans)

    pool, held = helpdesk_split("entities", n, gold, truth)
    replies = replies_of("replies_derived.jsonl", "fields")
    votes = [
        read_vote("derived-A", ex.item, read_fields(replies["A", ex.item.id], ex.item.text, task.fields))
        for ex in (*pool, *held)
    ]
    return corpus_of(task, pool, held, votes, "derived from the recorded tagged replies of one LLM", {})


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


def _with_roles(example: Example, labels: Sequence[str]) -> Example:
    return replace(example, truth=[span for span in example.row["spans"] if span["label"] in labels])


def _slots_confused(marked: Iterable[Sequence[Row]], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """A slot is taken for the commonest slots that share a word of its name, or for the commonest of all."""
    order = [name for name, _ in Counter(span["label"] for spans in marked for span in spans).most_common()]
    kin = {name: [o for o in order if o != name and set(o.split("_")) & set(name.split("_"))] for name in names}
    return {name: tuple((kin[name] or [o for o in order if o != name])[:2]) for name in names}


def _simulated_labels(data: str, name: str, n: int, gold: int, seed: int) -> Corpus:
    pool, held, left = train_and_test(data, n, gold, seed, lambda row: row["label"])
    labels = sorted({row["label"] for row in rows_of(data, "train")})
    votes = simulate(seed, pool, held, lambda t, items, truths: simulated.single_label(t, items, truths, labels))
    return corpus_of(
        task_of(name, "single_label", labels, SIMULATED), pool, held, votes, "simulated: two variants", left
    )


def _simulated_label_sets(name: str, n: int, gold: int, seed: int) -> Corpus:
    labels = sorted({label for row in rows_of(name, "train") for label in row["labels"]})
    pool, held, left = train_and_test(
        name, n, gold, seed, lambda row: [label for label in labels if label in row["labels"]]
    )
    votes = simulate(seed, pool, held, lambda t, items, truths: simulated.multi_label(t, items, truths, labels))
    return corpus_of(
        task_of(name, "multi_label", labels, SIMULATED), pool, held, votes, "simulated: two variants", left
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
        return abstention(source, item, probs=(0.0,) * len(task.labels))
    probs = tuple(float(name == label) for name in task.label_names)
    return vote_of(source, item, probs=probs, origin="sample")
