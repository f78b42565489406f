"""How many entities are found again in a text when the teacher that repeats it changes a tenth of its words.

    python -m benchmarks.alignment [--quick] [--seeds N] [--json OUT]

Each word is changed with the given chance: a typo, another case, typographic quotes, more or other white space, dropped
or doubled. A word at the edge of an entity is not dropped or doubled, since the teacher would have marked other words
then. Found means: start, end and label are exactly those of the untouched text. Entities of WNUT 2017 (if it is here)
and of the helpdesk; the alternatives are an exact search with the teacher's count of occurrences, and the first place.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.figures import SHARED, Figure, arguments, at_least, report
from prompts.align import align_quote, align_tagged
from stillhouse.records import CharSpan

HELPDESK = Path(__file__).resolve().parents[1] / "examples" / "helpdesk"
SHARE = 0.1  # of words changed
GOAL = 0.98
SEED = 20_17
TEXTS, QUICK_TEXTS = 600, 150
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Spans = tuple[CharSpan, ...]


@dataclass(frozen=True, slots=True)
class Echo:
    """What a careless teacher wrote: the text again, and where its entities are in that."""

    text: str
    spans: Spans


def corrupt(text: str, spans: Spans, rng: np.random.Generator, share: float = SHARE) -> Echo:
    """The text with about `share` of its words changed; `spans` do not overlap and start and end with words."""
    edges = {edge for span in spans for edge in span}
    inside = [False] * (len(text) + 1)
    for start, end in spans:
        inside[start:end] = [True] * (end - start)
    out: list[str] = []
    new = 0
    moved: dict[int, int] = {}
    cuts = sorted({0, len(text), *edges, *(edge for word in re.finditer(r"\S+", text) for edge in word.span())})
    for start, end in pairwise(cuts):
        piece = text[start:end]
        moved[start] = new
        if rng.random() < share:
            at_edge = inside[start] and bool({start, end} & edges)
            piece = _changed(piece, rng, may_drop=not at_edge)
        out.append(piece)
        new += len(piece)
        moved[end] = new
    return Echo("".join(out), tuple((moved[start], moved[end]) for start, end in spans))


def _changed(piece: str, rng: np.random.Generator, *, may_drop: bool) -> str:
    if piece.isspace():
        return str(rng.choice(["  ", "\u00a0", "\n", " / "]))
    ways = ["typo", "typo", "typo", "case", "quotes", *(["drop", "double"] if may_drop else [])]
    way = str(rng.choice(ways))
    if way == "case":
        return piece.swapcase()
    if way == "quotes":
        return piece.replace("'", "\u2019").replace('"', "\u201d")
    if way == "drop":
        return ""
    return f"{piece} {piece}" if way == "double" else _typo(piece, rng)


def _typo(word: str, rng: np.random.Generator) -> str:
    """One letter swapped with the next, left out, put in or replaced (after Damerau 1964); short words keep their first."""
    if len(word) < 3:
        return word + str(rng.choice(list(LETTERS)))
    at = int(rng.integers(len(word) - 1))
    letter = str(rng.choice(list(LETTERS)))
    return str(
        rng.choice(
            [
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + letter + word[at + 1 :],
            ]
        )
    )


def occurrence_of(text: str, span: CharSpan) -> int:
    """From 1, the number of this place among the places of the same words."""
    quote = text[slice(*span)]
    places = [m.start() for m in re.finditer(rf"(?<!\w){re.escape(quote)}(?!\w)", text)] or [
        m.start() for m in re.finditer(re.escape(quote), text)
    ]
    return 1 + sum(start < span[0] for start in places)


def recalls(texts: Sequence[tuple[str, Spans]], rng: np.random.Generator, share: float = SHARE) -> dict[str, float]:
    """The share of entities found exactly, by the way of asking; "..., placed wrongly" is the share put elsewhere."""
    hits: Counter[str] = Counter()
    count = 0
    for text, spans in texts:
        echo = corrupt(text, spans, rng, share)
        tagged = align_tagged(text, echo.text, echo.spans)
        for span, said, found in zip(spans, echo.spans, tagged, strict=True):
            quote, number = echo.text[slice(*said)], occurrence_of(text, span)
            places = [m.span() for m in re.finditer(re.escape(quote), text)]
            ways = {
                "inline tags": found,
                "quotes and occurrence": align_quote(text, quote, number),
                "exact search": places[number - 1] if number <= len(places) else "unaligned",
                "first place": places[0] if places else "unaligned",
            }
            count += 1
            for way, place in ways.items():
                hits[way] += place == span
                hits[f"{way}, placed wrongly"] += place != span and not isinstance(place, str)
    return {way: hit / count for way, hit in hits.items()}


def wnut17(most: int) -> list[tuple[str, Spans]]:
    """Texts of WNUT 2017 that have entities; empty where the data set is not here."""
    path = SHARED / "wnut17" / "test.jsonl.gz"
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return _with_entities((json.loads(line) for line in lines), "spans", most)


def helpdesk(most: int) -> list[tuple[str, Spans]]:
    """The helpdesk's gold texts that have entities."""
    with (HELPDESK / "gold_annotated.jsonl").open(encoding="utf-8") as lines:
        return _with_entities((json.loads(line) for line in lines), "entities", most)


def _with_entities(rows: Iterator[Mapping[str, object]], key: str, most: int) -> list[tuple[str, Spans]]:
    texts: list[tuple[str, Spans]] = []
    for row in rows:
        marked = row[key]
        if len(texts) < most and isinstance(marked, list) and marked:
            texts.append((str(row["text"]), tuple((span["start"], span["end"]) for span in marked)))
    return texts


def main() -> None:
    chosen = arguments(__doc__ or "")
    most = QUICK_TEXTS if chosen.quick else TEXTS
    figures: list[Figure] = []
    for name, texts in (("helpdesk", helpdesk(most)), ("wnut17", wnut17(most))):
        if not texts:
            print(f"skipped: the data set {name} is not here; it does not ship with the project")
            continue
        runs = [recalls(texts, np.random.default_rng(SEED + seed)) for seed in range(chosen.seeds or 3)]
        for way in runs[0]:
            mean = float(np.mean([run[way] for run in runs]))
            figure = f"{name}: entities found at 10 % changed words, {way}"
            is_ours = way in {"inline tags", "quotes and occurrence"}
            figures.append(at_least(figure, mean, GOAL) if is_ours else Figure(figure, round(mean, 4), "", None))
    report(figures, chosen.json)


if __name__ == "__main__":
    main()
