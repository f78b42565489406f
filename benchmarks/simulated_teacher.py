"""A simulated teacher: votes made from the truth, with the systematic errors of a large language model. No model ran.

Data sets without recorded replies need votes whose errors can be learned, as those of a real teacher can: noise that
is uniform would make every method look alike. So an error is not drawn for each item. Every chance to err (a text, a
label, a span, a token, a field) has a *proneness*: a sum of four hashes in [0, 1), of its label, of its label and a
word of the text, of the same as this variant sees them, and of the item itself. The most prone share errs, and how it
errs (which neighbour it is taken for, which boundary) hangs on label and word. Two variants share the first two parts.

Everything is a function of the seed, the ids and the texts given; whatever comes from here says "simulated".
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.probabilities import Floats
from stillhouse.records import CharSpan, Item, Value, Vote
from stillhouse.task import FieldSpec

PROMPT_ID = "simulated"
LABEL_SHARE, WORD_SHARE, VARIANT_SHARE, ITEM_SHARE = 0.3, 0.4, 0.15, 0.15  # of proneness
COMMON_WORD = 0.05  # a word in more of the texts than this says nothing about a text
RARE_WORD = 3  # a word in fewer texts than this cannot be learned from
NEIGHBOURS = 2
MERGED_GAP = 4  # characters between two spans that may be taken for one
_WORD = re.compile(r"\w+(?:['’.@/-]\w+)*|[^\w\s]")

# What a universal part of speech is taken for, most likely first, and how prone to it the tag is.
TAG_CONFUSIONS: Mapping[str, tuple[str, ...]] = {
    "ADJ": ("NOUN", "VERB"),
    "ADP": ("SCONJ", "ADV"),
    "ADV": ("ADJ", "ADP"),
    "AUX": ("VERB",),
    "CCONJ": ("SCONJ",),
    "DET": ("PRON",),
    "INTJ": ("ADV", "NOUN"),
    "NOUN": ("PROPN", "ADJ"),
    "NUM": ("ADJ", "NOUN"),
    "PART": ("ADP", "ADV"),
    "PRON": ("DET", "SCONJ"),
    "PROPN": ("NOUN", "ADJ"),
    "PUNCT": ("SYM",),
    "SCONJ": ("ADP", "PRON"),
    "SYM": ("PUNCT",),
    "VERB": ("AUX", "ADJ"),
    "X": ("PROPN", "NOUN"),
}
TAG_DIFFICULTY: Mapping[str, float] = {
    **dict.fromkeys(("AUX", "SCONJ", "PART", "X", "INTJ"), 0.95),
    **dict.fromkeys(("PROPN", "ADV", "ADJ", "SYM"), 0.75),
    **dict.fromkeys(("ADP", "VERB", "NOUN", "NUM"), 0.5),
    **dict.fromkeys(("DET", "PRON", "CCONJ"), 0.2),
    "PUNCT": -1.0,  # any teacher knows a comma
}


@dataclass(frozen=True, slots=True)
class SimulatedTeacher:
    """One variant of the simulated teacher; `source` is the name its votes carry."""

    source: str
    variant: str
    seed: int

    def chance(self, *keys: object) -> float:
        """A number in [0, 1) that the seed and the keys decide, the same for all variants."""
        digest = hashlib.blake2b("\x1f".join(map(str, (self.seed, *keys))).encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2**48

    def proneness(self, label: str, word: str, *place: object, difficulty: float | None = None) -> float:
        """How apt to err this teacher is at one place of an item; `difficulty` replaces the label's own hash."""
        hard = self.chance("label", label) if difficulty is None else difficulty
        return (
            LABEL_SHARE * hard
            + WORD_SHARE * self.chance("word", label, word)
            + VARIANT_SHARE * self.chance(self.variant, label, word)
            + ITEM_SHARE * self.chance(self.variant, "item", *place)
        )

    def sure(self, right: bool, *place: object) -> float:
        """A stated confidence: too high throughout, and hardly lower where it is wrong."""
        low, high = (0.75, 0.98) if right else (0.6, 0.95)
        return round(low + (high - low) * self.chance(self.variant, "sure", *place), 2)

    def one_of(self, options: Sequence[str], *keys: object) -> str:
        """Earlier options are likelier."""
        return options[int(self.chance("which", *keys) ** 2 * len(options))]

    def vote(
        self, item: Item, *, probs: tuple[float, ...] = (), residual: float = 0.0, value: Value | None = None
    ) -> Vote:
        return Vote(item.id, self.source, probs, residual, "verbalised", "ok", PROMPT_ID, "", 0.0, value)


@dataclass(frozen=True, slots=True)
class SpanHabits:
    """How a teacher marks spans. Rates are shares of the true spans; `confused` says what a label is taken for."""

    error_rate: float
    spurious_rate: float
    confused: Mapping[str, tuple[str, ...]]
    boundary: float = 0.45  # of the errors; the rest is split between another label and a miss
    relabel: float = 0.3


def words_of(text: str) -> list[CharSpan]:
    return [found.span() for found in _WORD.finditer(text)]


def key_words(texts: Sequence[str]) -> list[str]:
    """The most common of a text's telling words (in at least 3 texts, in at most 5 % of them); "" where it has none."""
    bags = [{text[a:b].casefold() for a, b in words_of(text)} for text in texts]
    count = Counter(word for bag in bags for word in bag)
    most = max(RARE_WORD, COMMON_WORD * len(texts))
    telling = [[word for word in bag if word[0].isalnum() and RARE_WORD <= count[word] <= most] for bag in bags]
    return [max(words, key=lambda word: (count[word], word), default="") for words in telling]


def neighbours(texts: Sequence[str], truths: Sequence[Sequence[str]], labels: Sequence[str]) -> dict[str, list[str]]:
    """For each label the labels whose texts have the most similar words (cosine of tf-idf sums), nearest first."""
    vocabulary: dict[str, int] = {}
    bags = [{text[a:b].casefold() for a, b in words_of(text)} for text in texts]
    for word in sorted(set().union(*bags)):
        vocabulary[word] = len(vocabulary)
    index = {name: row for row, name in enumerate(labels)}
    sums: Floats = np.zeros((len(labels), len(vocabulary)))
    frequency = Counter(word for bag in bags for word in bag)
    for bag, names in zip(bags, truths, strict=True):
        for word in bag:
            for name in names:
                sums[index[name], vocabulary[word]] += np.log(len(texts) / frequency[word])
    norms = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    close = (sums / norms) @ (sums / norms).T
    np.fill_diagonal(close, -1.0)
    order = np.argsort(-close, axis=1, kind="stable")[:, :NEIGHBOURS]
    return {name: [labels[at] for at in order[row] if at != row] for row, name in enumerate(labels)}


def most_prone(proneness: Sequence[float], rate: float) -> list[bool]:
    """Which chances to err are taken: the share `rate` of them that is most prone."""
    count = round(rate * len(proneness))
    taken = set(np.argsort(-np.asarray(proneness), kind="stable")[:count].tolist())
    return [at in taken for at in range(len(proneness))]


def single_label(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[str],
    labels: Sequence[str],
    *,
    accuracy: float = 0.8,
) -> list[Vote]:
    """Right for the share `accuracy` of the items, else a neighbouring label, said with much the same confidence."""
    texts = [item.text for item in items]
    near, words = neighbours(texts, [[truth] for truth in truths], labels), key_words(texts)
    prone = [teacher.proneness(t, w, i.id) for i, t, w in zip(items, truths, words, strict=True)]
    votes = []
    for item, truth, word, errs in zip(items, truths, words, most_prone(prone, 1 - accuracy), strict=True):
        other = teacher.one_of(near[truth], truth, word)
        first, second = (other, truth) if errs else (truth, other)
        if errs and teacher.chance("second", item.id) < 0.4:  # the truth does not even come second
            second = near[other][0] if near[other][0] != truth else near[other][-1]
        said = teacher.sure(not errs, item.id)
        probs = [0.0] * len(labels)
        probs[labels.index(second)] = (1 - said) / 2
        probs[labels.index(first)] = said
        votes.append(teacher.vote(item, probs=tuple(probs), residual=max(0.0, 1.0 - sum(probs))))
    return votes


def multi_label(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Sequence[str]],
    labels: Sequence[str],
    *,
    missed: float = 0.28,
    spurious: float = 0.25,
) -> list[Vote]:
    """Misses the share `missed` of the labels and adds neighbours of the right ones, `spurious` for each right one."""
    texts = [item.text for item in items]
    near, words = neighbours(texts, truths, labels), key_words(texts)
    places = [(at, name) for at, names in enumerate(truths) for name in names]
    prone = [teacher.proneness(name, words[at], items[at].id, name) for at, name in places]
    tempted = [teacher.proneness(f"+{name}", words[at], items[at].id, name) for at, name in places]
    present = [{name: 0.02 + 0.08 * teacher.chance(item.id, name) for name in labels} for item in items]
    for (at, name), errs in zip(places, most_prone(tempted, spurious), strict=True):
        if errs:
            added = teacher.one_of(near[name], name, words[at])
            present[at][added] = teacher.sure(False, items[at].id, added)
    for (at, name), errs in zip(places, most_prone(prone, missed), strict=True):
        present[at][name] = (
            0.05 + 0.35 * teacher.chance(teacher.variant, items[at].id, name)
            if errs
            else teacher.sure(True, items[at].id, name)
        )
    return [
        teacher.vote(item, probs=tuple(round(chances[name], 2) for name in labels))
        for item, chances in zip(items, present, strict=True)
    ]


def tags(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Sequence[str]],
    *,
    confused: Mapping[str, tuple[str, ...]] = TAG_CONFUSIONS,
    difficulty: Mapping[str, float] = TAG_DIFFICULTY,
    accuracy: float = 0.88,
) -> list[Vote]:
    """One tag a token; what a tag is taken for hangs on the word, as with a convention that was not understood."""
    places = [(at, number) for at, item in enumerate(items) for number in range(len(item.tokens or ()))]
    word = {
        (at, number): item.text[a:b].casefold()
        for at, item in enumerate(items)
        for number, (a, b) in enumerate(item.tokens or ())
    }
    prone = [
        teacher.proneness(tag, word[at, n], items[at].id, n, difficulty=difficulty.get(tag))
        for at, n in places
        if (tag := truths[at][n])
    ]
    said: list[list[Any]] = [[] for _ in items]
    for (at, number), errs in zip(places, most_prone(prone, 1 - accuracy), strict=True):
        truth = truths[at][number]
        tag = teacher.one_of(confused[truth], truth, word[at, number]) if errs else truth
        said[at].append({"label": tag, "p": teacher.sure(not errs, items[at].id, number)})
    return [teacher.vote(item, value=value) for item, value in zip(items, said, strict=True)]


def spans(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    habits: SpanHabits,
) -> list[Vote]:
    """Spans with errors of boundary, label and existence; never two that overlap, and never over an item's focus."""
    marked = span_values(teacher, items, truths, labels, habits)
    return [teacher.vote(item, value=value) for item, value in zip(items, marked, strict=True)]


def span_values(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Sequence[Mapping[str, Any]]],
    labels: Sequence[str],
    habits: SpanHabits,
) -> list[list[dict[str, Any]]]:
    """As `spans`, without the votes around them."""
    words = [list(item.tokens) if item.tokens is not None else words_of(item.text) for item in items]
    heads = [[_head(item.text, span) for span in truth] for item, truth in zip(items, truths, strict=True)]
    seen = Counter(head for row in heads for head in row)
    places = [(at, number) for at, truth in enumerate(truths) for number in range(len(truth))]
    prone = [teacher.proneness(truths[at][n]["label"], heads[at][n], items[at].id, n) for at, n in places]
    wrong = {place for place, errs in zip(places, most_prone(prone, habits.error_rate), strict=True) if errs}
    values: list[list[dict[str, Any]]] = []
    for at, (item, truth) in enumerate(zip(items, truths, strict=True)):
        page = _Page(item, words[at])
        for span in truth:
            page.take(span["start"], span["end"])
        out, merged = [], False
        for number, span in enumerate(truth):
            if merged:  # it went into the span before it
                merged = False
                continue
            rare = seen[heads[at][number]] < RARE_WORD
            is_wrong = (at, number) in wrong
            after = truth[number + 1] if number + 1 < len(truth) else None
            merged = is_wrong and after is not None and _merges(teacher, span, after, heads[at][number])
            said: dict[str, Any] | None = dict(span)
            if merged and after is not None:
                said = {**span, "end": after["end"]}
            elif is_wrong:
                said = _wrong_span(teacher, habits, page, span, heads[at][number], rare)
            if said is not None:
                out.append(said | {"p": teacher.sure(not is_wrong, item.id, number)})
        values.append(out)
    _add_spurious(teacher, items, words, truths, values, labels, round(habits.spurious_rate * len(places)))
    return [sorted(value, key=lambda span: (span["start"], span["end"], span["label"])) for value in values]


class _Page:
    """Which characters of an item's text are spoken for; its focus always is."""

    def __init__(self, item: Item, words: Sequence[CharSpan]) -> None:
        self.text = item.text
        self.words = words
        self.taken = [False] * len(item.text)
        if item.focus is not None:
            self.take(*item.focus)

    def take(self, start: int, end: int) -> None:
        self.taken[start:end] = [True] * (end - start)

    def inside(self, start: int, end: int) -> list[CharSpan]:
        return [word for word in self.words if word[0] >= start and word[1] <= end]

    def free_word(self, *, before: int | None = None, after: int | None = None) -> CharSpan | None:
        """The word just before or just after a position, if it is one and nobody has it."""
        side = [w for w in self.words if (before is None or w[1] <= before) and (after is None or w[0] >= after)]
        if not side:
            return None
        word = side[-1] if before is not None else side[0]
        return word if not any(self.taken[word[0] : word[1]]) and self.text[word[0]].isalnum() else None


def _head(text: str, span: Mapping[str, Any]) -> str:
    """The last word of a span, by which a surface is known."""
    surface = text[span["start"] : span["end"]].casefold().split()
    return surface[-1] if surface else ""


def _merges(teacher: SimulatedTeacher, span: Mapping[str, Any], after: Mapping[str, Any], head: str) -> bool:
    """Whether two spans that stand close, with at most a short word between, are taken for one."""
    return 0 < after["start"] - span["end"] <= MERGED_GAP and teacher.chance("merge", span["label"], head) < 0.5


def _wrong_span(
    teacher: SimulatedTeacher, habits: SpanHabits, page: _Page, span: Mapping[str, Any], head: str, rare: bool
) -> dict[str, Any] | None:
    """Another boundary, another label, or None for a miss; a rare surface is missed more often."""
    how = teacher.chance("how", span["label"], head) / (1.0 if rare else 1.2)
    if how < habits.boundary:
        moved = _moved(teacher, page, span, head)
        if moved is not None:
            page.take(moved["start"], moved["end"])
            return moved
    if how < habits.boundary + habits.relabel and span["label"] in habits.confused:
        return {**span, "label": teacher.one_of(habits.confused[span["label"]], span["label"], head)}
    return None


def _moved(teacher: SimulatedTeacher, page: _Page, span: Mapping[str, Any], head: str) -> dict[str, Any] | None:
    """A convention of its own: the first word left out, a word before or after taken in, the last word left out."""
    inner = page.inside(span["start"], span["end"])
    ways: list[Callable[[], tuple[int, int] | None]] = [
        lambda: (inner[1][0], span["end"]) if len(inner) > 1 else None,
        lambda: (word[0], span["end"]) if (word := page.free_word(before=span["start"])) else None,
        lambda: (span["start"], inner[-2][1]) if len(inner) > 1 else None,
        lambda: (span["start"], word[1]) if (word := page.free_word(after=span["end"])) else None,
    ]
    first = int(teacher.chance("way", span["label"], head) * len(ways))
    for way in ways[first:] + ways[:first]:
        bounds = way()
        if bounds is not None:
            return {**span, "start": bounds[0], "end": bounds[1]}
    return None


def _add_spurious(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    words: Sequence[Sequence[CharSpan]],
    truths: Sequence[Sequence[Mapping[str, Any]]],
    values: list[list[dict[str, Any]]],
    labels: Sequence[str],
    count: int,
) -> None:
    """Mark the most tempting words that nobody has: names (capitals, digits) first."""
    found: list[tuple[float, int, CharSpan]] = []
    for at, item in enumerate(items):
        page = _Page(item, words[at])
        for span in (*truths[at], *values[at]):
            page.take(span["start"], span["end"])
        for start, end in words[at]:
            word = item.text[start:end]
            if len(word) > 2 and word[0].isalnum() and not any(page.taken[start:end]):
                looks = 1.0 if start and (word[0].isupper() or word[0].isdigit()) else 0.0
                prone = teacher.proneness("spurious", word.casefold(), item.id, start, difficulty=looks)
                found.append((-prone, at, (start, end)))
    for _, at, (start, end) in sorted(found)[:count]:
        word = items[at].text[start:end].casefold()
        label = teacher.one_of(labels, "spurious", word)
        p = teacher.sure(False, items[at].id, start)
        values[at].append({"start": start, "end": end, "label": label, "p": p})


def fields(
    teacher: SimulatedTeacher,
    items: Sequence[Item],
    truths: Sequence[Mapping[str, Any]],
    specs: Sequence[FieldSpec],
    *,
    error_rate: float = 0.3,
    spurious: float = 0.1,
) -> list[Vote]:
    """Fields of one value each: missed, cut short, a date read wrongly or taken from another field, or made up."""
    places = [(at, spec) for at in range(len(items)) for spec in specs]
    filled = [(at, spec) for at, spec in places if truths[at][spec.name] is not None]
    empty = [(at, spec) for at, spec in places if truths[at][spec.name] is None]
    words = key_words([item.text for item in items])
    wrong: set[tuple[int, str]] = set()
    for some, rate in ((filled, error_rate), (empty, spurious)):
        prone = [teacher.proneness(spec.name, words[at], items[at].id, spec.name) for at, spec in some]
        wrong |= {(at, s.name) for (at, s), errs in zip(some, most_prone(prone, rate), strict=True) if errs}
    votes = []
    for at, item in enumerate(items):
        said: dict[str, Any] = {}
        for spec in specs:
            is_wrong = (at, spec.name) in wrong
            value = truths[at][spec.name]
            if is_wrong:
                value = _wrong_field(teacher, spec, specs, truths[at], words[at])
            said[spec.name] = value
        votes.append(teacher.vote(item, value=said))
    return votes


def _wrong_field(
    teacher: SimulatedTeacher, spec: FieldSpec, specs: Sequence[FieldSpec], truth: Mapping[str, Any], word: str
) -> str | None:
    """Never the truth; None, a miss, where nothing else can be said."""
    value = truth[spec.name]
    others = [truth[o.name] for o in specs if o.type == spec.type and o.name != spec.name and truth[o.name] is not None]
    options = [o for o in others[:2] if o != value]
    if value is not None:
        options += [cut for cut in (_swapped(value) if spec.type == "date" else _cut(value)) if cut != value]
        if teacher.chance("miss", spec.name, word) < 0.35:
            return None
    # A shorter text or another reading of the date is likelier than the content of another field.
    return teacher.one_of(options[::-1], spec.name, word) if options else None


def _swapped(date: str) -> list[str]:
    """Day and month exchanged where that is a date, and the day left blank."""
    year, month, day = date.split("-")
    exchanged = [f"{year}-{day}-{month}"] if day.isdigit() and int(day) <= 12 else []
    return [f"{year}-{month}-[]", *exchanged]


def _cut(text: str) -> list[str]:
    """The first of several parts, and the text without what stands in brackets."""
    without = re.sub(r"\s*[(“\"][^)”\"]*[)”\"]+", "", text).strip()
    words = text.split()
    shorter = [re.split(r"[;,/]", text)[0].strip(), without, " ".join(words[1:])]
    return [part for part in shorter if part]
