"""Phrases found as whole words in many texts, those of all rules in one pass over a text's words."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kinds.words import word_spans
from stillhouse.records import CharSpan


@dataclass(frozen=True, slots=True)
class Phrase:
    """The words of a phrase, and whose it is; with `cased` they are compared as they are written."""

    words: tuple[str, ...]
    owner: int
    cased: bool


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases by their folded first word, the longest first. Time to search grows with the text, not with the phrases."""

    by_first: Mapping[str, tuple[Phrase, ...]]

    @staticmethod
    def of(phrases: Iterable[tuple[str, int, bool]]) -> "Phrases":
        """Of (phrase, owner, cased); a phrase is read as words as a text is, so white space and line ends do not count."""
        by_first: dict[str, set[Phrase]] = defaultdict(set)
        for text, owner, cased in phrases:
            words = [text[start:end] for start, end in word_spans(text).tolist()]
            if words:
                said = tuple(words if cased else (word.casefold() for word in words))
                by_first[words[0].casefold()].add(Phrase(said, owner, cased))
        ordered = {
            first: tuple(sorted(found, key=lambda phrase: (-len(phrase.words), phrase.owner, phrase.words)))
            for first, found in by_first.items()
        }
        return Phrases(ordered)

    def find(self, text: str) -> list[tuple[int, CharSpan]]:
        """(owner, characters) of each phrase in the text, by place; of phrases of one owner that overlap the first and
        longest.
        """
        found: list[tuple[int, CharSpan]] = []
        if not self.by_first:
            return found
        spans = word_spans(text).tolist()
        words = [text[start:end] for start, end in spans]
        folded = [word.casefold() for word in words]
        free: dict[int, int] = {}  # where the next phrase of an owner may begin
        for at, first in enumerate(folded):
            for phrase in self.by_first.get(first, ()):
                after = at + len(phrase.words)
                said = words[at:after] if phrase.cased else folded[at:after]
                if at >= free.get(phrase.owner, 0) and tuple(said) == phrase.words:
                    found.append((phrase.owner, (spans[at][0], spans[after - 1][1])))
                    free[phrase.owner] = after
        return found
