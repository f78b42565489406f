"""From the words of a reply to labelled spans of the text: inline tags, or quotes with their occurrence."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prompts.align import align_quote, align_tagged, covered
from prompts.fold import fold
from prompts.labels import Spellings, resolve
from prompts.parse import Reading, abstain, unread
from prompts.reply import LONGEST_READ, confidence_of, only_object, without_thinking
from stillhouse.records import Origin, VoteStatus

LEAST_REPEATED = 0.7  # of a text's words: below that a reply is not the text with tags, and no tag means nothing
WORDS_TO_SAY_TWICE = 3  # that a text has at least, before a reply can hold it twice by more than chance
_OPENING = re.compile(r"\[([^\[\]|\n]{1,100})\|")
_JSON = re.compile(r"[\s`]*\{")


def read_tagged(content: str, text: str, labels: Spellings) -> Reading:
    """The text with inline tags [TYPE|surface], as {"tagged": "..."} or as it is; line breaks may stand as " / ".

    The value is a list of {"start", "end", "label"} in characters of `text`. A tag that the text itself has, letter for
    letter, is a part of the text. Without a tag the reply must repeat most of the text to mean that there is none.
    """
    reply, changed = without_thinking(content, LONGEST_READ)
    found = only_object(reply, {"tagged"})
    if found is not None:
        said = next(value for key, value in found.value.items() if key.casefold() == "tagged")
        if not isinstance(said, str):
            return abstain(0, "unreadable", "sample")
        reply, clean = said, found.whole and not changed
    elif _JSON.match(reply) and not text.lstrip().startswith("{"):
        return abstain(0, "unreadable", "sample")
    else:
        reply, clean = reply.strip(), not changed
    plain, tags, findings = _untagged(reply, text, labels)
    if covered(text, plain) < LEAST_REPEATED or _contradicts_itself(text, plain, tags):
        return unread(reply)
    spans = []
    places = align_tagged(text, plain, [tag.place for tag in tags])
    for tag, place in zip(tags, places, strict=True):
        if isinstance(place, str):
            findings[place] += 1
        elif text[slice(*place)].strip():
            clean = clean and tag.exactly
            spans.append({"start": place[0], "end": place[1], "label": tag.label})
    return _spans_reading(spans, findings, clean=clean, verbalised=False, same_label_only=False)


def read_quotes(content: str, text: str, labels: Spellings) -> Reading:
    """{"spans": [{"quote", "occurrence", "label", "confidence"?}, ...]}: the value is a list of spans of `text`.

    Spans of different labels may overlap; of two with one label, the later is left out.
    """
    reply, changed = without_thinking(content, LONGEST_READ)
    found = only_object(reply, {"spans"})
    listed = None if found is None else next(value for key, value in found.value.items() if key.casefold() == "spans")
    if found is None or not isinstance(listed, list):
        return unread(reply)
    clean = found.whole and not changed
    spans: list[dict[str, object]] = []
    findings: Counter[str] = Counter()
    for entry in listed:
        span = _quoted(entry, text, labels)
        if isinstance(span, str):
            findings[span] += 1
        else:
            spans.append(span)
    verbalised = any("p" in span for span in spans)
    return _spans_reading(spans, findings, clean=clean, verbalised=verbalised, same_label_only=True)


@dataclass(frozen=True, slots=True)
class _Tag:
    place: tuple[int, int]
    label: str
    exactly: bool


def _untagged(reply: str, text: str, labels: Spellings) -> tuple[str, list[_Tag], Counter[str]]:
    """The reply without its tags, and the tags as spans of that. A tag of an unknown label is taken out and counted."""
    plain: list[str] = []
    length = 0
    open_tags: list[tuple[int, str | None]] = []  # where each bracket began in `plain`; a name where it is a tag
    tags: list[_Tag] = []
    findings: Counter[str] = Counter()
    at = 0
    while at < len(reply):
        opening = _OPENING.match(reply, at) if reply[at] == "[" else None
        if opening is not None and not _literal(reply, opening, text):
            open_tags.append((length, opening.group(1)))
            at = opening.end()
            continue
        char = reply[at]
        at += 1
        if char == "[":
            open_tags.append((length, None))
        elif char == "]" and open_tags:
            start, name = open_tags.pop()
            if name is not None:
                label = resolve(name, labels)
                if label is None:
                    findings["unknown_label"] += 1
                else:
                    tags.append(_Tag((start, length), labels.names[label.index], label.exactly))
                continue
        plain.append(char)
        length += 1
    findings.update("unaligned" for _, name in open_tags if name is not None)
    tags.sort(key=lambda tag: (tag.place[0], -tag.place[1]))
    return "".join(plain), tags, findings


def _contradicts_itself(text: str, plain: str, tags: Sequence[_Tag]) -> bool:
    """Whether the reply has the text, or words of it, twice and tagged in two ways: which is the answer is not guessed."""
    ways = Counter((tag.label, fold(plain[slice(*tag.place)]).text.strip()) for tag in tags)
    whole = fold(text).text
    for words in {words for _, words in ways}:
        counts = [count for (_, tagged), count in ways.items() if tagged == words]
        if len(counts) > 1 and sum(counts) > whole.count(words):
            return True
    true, said = Counter(fold(text).words()), Counter(fold(plain).words())
    twice = sum(min(count, 2 * true[word]) for word, count in said.items() if word in true)
    if true.total() < WORDS_TO_SAY_TWICE or twice < (1.0 + LEAST_REPEATED) * true.total():
        return False
    return any(count % 2 for count in ways.values())


def _literal(reply: str, opening: re.Match[str], text: str) -> bool:
    """Whether what looks like a tag stands in the text itself."""
    closing = reply.find("]", opening.end())
    return closing >= 0 and reply[opening.start() : closing + 1] in text


def _quoted(entry: object, text: str, labels: Spellings) -> dict[str, object] | str:
    said = {key.casefold(): value for key, value in entry.items()} if isinstance(entry, dict) else {}
    quote, occurrence = said.get("quote"), said.get("occurrence")
    if not isinstance(quote, str):
        return "unaligned"
    label = resolve(said.get("label"), labels)
    if label is None:
        return "unknown_label"
    if isinstance(occurrence, str) and occurrence.isdecimal():
        occurrence = int(occurrence)
    place = align_quote(text, quote, occurrence if isinstance(occurrence, int) else None)
    if isinstance(place, str):
        return place
    span: dict[str, object] = {"start": place[0], "end": place[1], "label": labels.names[label.index]}
    confidence = confidence_of(said.get("confidence"))
    return span if confidence is None else {**span, "p": confidence}


def _spans_reading(
    spans: Sequence[dict[str, object]],
    findings: Counter[str],
    *,
    clean: bool,
    verbalised: bool,
    same_label_only: bool,
) -> Reading:
    origin: Origin = "verbalised" if verbalised else "sample"
    kept: list[dict[str, object]] = []
    for span in spans:
        start, end = _edges(span)
        others = [other for other in kept if not same_label_only or other["label"] == span["label"]]
        if any(_edges(other) == (start, end) and other["label"] == span["label"] for other in others):
            continue
        if any(start < _edges(other)[1] and _edges(other)[0] < end for other in others):
            findings["overlap"] += 1
            continue
        kept.append(span)
    if findings and not kept:
        return replace(abstain(0, "unreadable", "sample"), findings=dict(findings))
    kept.sort(key=lambda span: (*_edges(span), str(span["label"])))
    status: VoteStatus = "ok" if clean and not findings else "repaired"
    return Reading((), 0.0, origin, status, kept, dict(findings))


def _edges(span: Mapping[str, object]) -> tuple[int, int]:
    start, end = span["start"], span["end"]
    assert isinstance(start, int)
    assert isinstance(end, int)
    return start, end
