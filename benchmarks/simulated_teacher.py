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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillhouse.probabilities import Floats
from stillhouse.records import CharSpan, Item, Value, Vote

PROMPT_ID = "simulated"
LABEL_SHARE, WORD_SHARE, VARIANT_SHARE, ITEM_SHARE = 0.3, 0.4, 0.15, 0.15  # of proneness
COMMON_WORD = 0.05  # a word in more of the texts than this says nothing about a text
RARE_WORD = 3  # a word in fewer texts than this cannot be learned from
NEIGHBOURS = 2
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
