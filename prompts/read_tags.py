"""From the words of a reply to a tag for each given token."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from prompts.diff import same_parts
from prompts.fold import fold
from prompts.labels import Spellings, resolve
from prompts.parse import Reading, unread
from prompts.reply import LONGEST_READ, without_thinking
from stillhouse.records import VoteStatus

KEPT_COUNT = 0.9  # of the lines have their word's number: below that numbers mean nothing
LEAST_LIKENESS = 0.5  # of a line's word and the token it stands for by its place alone
_LINE = re.compile(r"^[\s\-*>`|]*(\d{1,6})\s*[:.)\t|]\s*(\S.*?)\s*$", re.MULTILINE)


def read_numbered_tags(content: str, words: Sequence[str], labels: Spellings) -> Reading:
    """Lines `i:word:TAG`, i from 1: the value is a list of tags in the order of `words`, None where none was readable.

    A line counts for the word whose number and spelling it has, or that it stands for in a diff of both lists. So a
    teacher that loses count does not shift all tags after that.
    """
    reply, changed = without_thinking(content, LONGEST_READ)
    lines = _lines(reply, words)
    tags: list[str | None] = [None] * len(words)
    findings: Counter[str] = Counter()
    clean = not changed
    for at, line in _assigned(lines, words).items():
        label = resolve(line.tag, labels)
        if label is None:
            findings["unknown_label"] += 1
        else:
            tags[at] = labels.names[label.index]
            clean = clean and label.exactly
    if wrong := abs(len(words) - len(lines)) or sum(tag is None for tag in tags) - findings["unknown_label"]:
        findings["count_mismatch"] = wrong
    if words and all(tag is None for tag in tags):
        return replace(unread(reply), findings=dict(findings))
    status: VoteStatus = "ok" if clean and not findings else "repaired"
    return Reading((), 0.0, "sample", status, list(tags), dict(findings))


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    word: str
    tag: str


def _lines(reply: str, words: Sequence[str]) -> list[_Line]:
    lines = []
    for found in _LINE.finditer(reply):
        number, rest = int(found.group(1)), found.group(2).rstrip(" `|")
        word = " ".join(words[number - 1].split()) if 1 <= number <= len(words) else ""
        if word and rest.startswith(f"{word}:"):  # words and tags may have colons themselves
            lines.append(_Line(number, word, rest[len(word) + 1 :].strip()))
        elif ":" in rest:
            said, _, tag = rest.rpartition(":")
            lines.append(_Line(number, said.strip(), tag.strip()))
    return lines


def _assigned(lines: Sequence[_Line], words: Sequence[str]) -> dict[int, _Line]:
    """Each line at the position of its word: by number and word where the teacher kept count, the rest by a diff.

    Of two lines for one token that do not agree none counts.
    """
    true = [fold(word).text.strip() for word in words]
    said = [fold(line.word).text.strip() for line in lines]
    counted = [
        0 < line.number <= len(true) and true[line.number - 1] == word for line, word in zip(lines, said, strict=True)
    ]
    if sum(counted) < KEPT_COUNT * len(lines):
        return _diffed(lines, said, true)
    places: dict[int, _Line] = {}
    twice: set[int] = set()
    for line, fits in zip(lines, counted, strict=True):
        if fits and places.setdefault(line.number - 1, line).tag != line.tag:
            twice.add(line.number - 1)
    fitting = {id(line) for line, fits in zip(lines, counted, strict=True) if fits}
    for at, line in _diffed(lines, said, true).items():
        if at not in places and id(line) not in fitting:
            places[at] = line
    return {at: line for at, line in places.items() if at not in twice}


def _diffed(lines: Sequence[_Line], said: Sequence[str], true: Sequence[str]) -> dict[int, _Line]:
    """By a diff of the words; between words that are the same, as many lines as words stand for them in order."""
    places: dict[int, _Line] = {}
    last_said = last_true = 0
    for i, j, n in [*same_parts(said, true), (len(said), len(true), 0)]:
        if i - last_said == j - last_true:
            for k in range(i - last_said):
                if SequenceMatcher(None, said[last_said + k], true[last_true + k]).ratio() >= LEAST_LIKENESS:
                    places[last_true + k] = lines[last_said + k]
        for k in range(n):
            places[j + k] = lines[i + k]
        last_said, last_true = i + n, j + n
    return places
