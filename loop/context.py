"""What people see beside an item, as Markdown: candidates, the paragraph of the guidelines that bears on it, items like it.

Whoever answers blind sees guidelines alone, chosen by the text and by nothing that was said of it: neither candidates nor
anybody's answers. Gold is never shown, nor what people said of the random share.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from argilla_setup.markdown import as_markdown
from loop.asked import Asked
from loop.learn import features_of
from loop.nearest import examples_for
from loop.progress import Display
from loop.project import Project
from loop.view import Corpus, agreed
from stillhouse.probabilities import Floats
from stillhouse.records import Item, Value, Way
from trainer.base import Base
from trainer.inputs import Inputs

CANDIDATES, LEAST_PROBABLE = 3, 0.05
NEIGHBOURS, LEAST_COSINE = 3, 0.5
TEXT_CHARS, PARAGRAPH_CHARS = 240, 900
HEADING, HEADING_SHOWN = re.compile(r"^ {0,3}#{1,6}\s+(.*\S)\s*$"), r"**\1**"
NAMED = 0.2  # of cosine: what it counts for a paragraph to name a candidate


@dataclass(frozen=True, eq=False)
class Surroundings:
    """All that context is taken from, at one moment."""

    project: Project
    base: Base
    corpus: Corpus
    asked: Asked

    def of(self, item_id: str, way: Way, believed: Floats | None) -> str:
        """Markdown for one asking, "" where there is nothing to say. `believed` (u, k) is what was believed of the item's
        units before; None for whoever answers blind.
        """
        at = self.corpus.number[item_id]
        if believed is None:
            return together([self._opinions(item_id) if way == "adjudicate" else [], self._guidelines(at, ())])
        found = self._candidates(believed)
        if way == "adjudicate":
            before = self._opinions(item_id)
        elif self._refused(item_id) and way == "label":
            before = ["Somebody said no to what was suggested before."]
        else:
            before = ["**In question**", "", *(self._candidate(*each) for each in found)] if found else []
        return together([before, self._guidelines(at, [name for name, _ in found]), self._like_it(at)])

    # -- candidates

    def _candidates(self, believed: Floats) -> list[tuple[str, float]]:
        """The likeliest labels with their probability: of a text, or of the unit where the label is likeliest."""
        if not len(believed):
            return []
        chance = {
            name: float(believed[:, list(columns)].sum(axis=1).max())
            for name, columns in self.corpus.kind.classes.items()
        }
        ranked = sorted(chance.items(), key=lambda pair: -pair[1])[:CANDIDATES]
        return [(name, probability) for name, probability in ranked if probability >= LEAST_PROBABLE]

    def _candidate(self, name: str, probability: float) -> str:
        description = self._described.get(name, "")
        return f"- **{one_line(name)}** ({probability:.0%})" + (f": {one_line(description)}" if description else "")

    @cached_property
    def _described(self) -> dict[str, str]:
        task = self.project.task
        labels = {label.name: label.description for label in task.labels}
        return labels | {field.name: field.description for field in task.fields}

    # -- guidelines

    def _guidelines(self, at: int, candidates: Sequence[str]) -> list[str]:
        if not self._paragraphs:
            return []
        score = self._paragraph_vectors @ self.corpus.texts[at]
        named = [any(names(paragraph, name) for name in candidates) for paragraph in self._paragraphs]
        best = int(np.argmax(score + NAMED * np.array(named)))
        return ["**From the guidelines**", "", *quoted(self._paragraphs[best])]

    @cached_property
    def _paragraphs(self) -> list[str]:
        """Empty where there is but one: people have it beside every item already."""
        found = paragraphs_of(self.project.task.guidelines_for_people)
        return found if len(found) > 1 else []

    @cached_property
    def _paragraph_vectors(self) -> NDArray[np.float32]:
        quiet = Display(quiet=True)  # few, and kept after the first time
        return features_of(self.project, self.base, Inputs(self._paragraphs), quiet, "the guidelines")

    # -- what people said

    def _opinions(self, item_id: str) -> list[str]:
        """Each opinion once and without a name, in an order that says nothing of who came first."""
        item = self.corpus.items[self.corpus.number[item_id]]
        said = [each.label for each in self.asked.said.get(item_id, ()) if each.label is not None]
        counts = Counter(self.corpus.kind.show(item, label) for label in said)
        lines = [f"- {one_line(shown)}" + (f" ({n} people)" if n > 1 else "") for shown, n in sorted(counts.items())]
        return ["**People said**", "", *lines] if lines else []

    def _refused(self, item_id: str) -> bool:
        return "verify" in self.asked.further.get(item_id, {})

    def _like_it(self, at: int) -> list[str]:
        if not self._answered:
            return []
        known = [number for number, _ in self._answered]
        (rows,) = examples_for(
            self.corpus.texts[at][None],
            self.corpus.texts[known],
            own=np.array([known.index(at) if at in known else -1]),
            labels=[frozenset([repr(value)]) for _, value in self._answered],
            count=NEIGHBOURS,
            cosine=np.inf,
        )
        near = [row for row in reversed(rows) if self.corpus.texts[known[row]] @ self.corpus.texts[at] >= LEAST_COSINE]
        lines = [self._neighbour(*self._answered[row]) for row in near]
        return ["**Like it, and answered by people**", "", *lines] if lines else []

    def _neighbour(self, number: int, value: Value) -> str:
        item: Item = self.corpus.items[number]
        shown = self.corpus.kind.show(item, value) or "nothing"
        return f"- {one_line(item.text)} → **{one_line(shown)}**"

    @cached_property
    def _answered(self) -> list[tuple[int, Value]]:
        """What people agreed on, but of no item that measures, in the order of the pool."""
        labels, _ = agreed(self.asked.answers)
        kept_out = {pick.item_id for pick in self.asked.picks if pick.blind or pick.inclusion_probability is not None}
        numbers: Mapping[str, int] = self.corpus.number
        return sorted(
            (numbers[item_id], value)
            for item_id, value in labels.items()
            if item_id not in kept_out and item_id in numbers
        )


def one_line(text: str) -> str:
    """Any text as Markdown that shows it and nothing else, cut where it is long."""
    flat = " ".join(text.split())
    return as_markdown(flat if len(flat) <= TEXT_CHARS else flat[: TEXT_CHARS - 1] + "…")


def paragraphs_of(guidelines: str) -> list[str]:
    """What stands between empty lines, a heading with what it is over."""
    found: list[str] = []
    for part in re.split(r"\n\s*\n", guidelines.strip()):
        if found and found[-1].lstrip().startswith("#") and "\n" not in found[-1].strip():
            found[-1] += "\n\n" + part.strip("\n")
        elif part.strip():
            found.append(part.strip("\n"))
    return found


def quoted(paragraph: str) -> list[str]:
    """The task's own Markdown as a quotation: its HTML shown, not rendered, and no heading larger than what it is beside."""
    cut = paragraph if len(paragraph) <= PARAGRAPH_CHARS else paragraph[: PARAGRAPH_CHARS - 1] + "…"
    safe = cut.replace("&", "&amp;").replace("<", "&lt;")
    return [f"> {HEADING.sub(HEADING_SHOWN, line)}".rstrip() for line in safe.splitlines()]


def names(paragraph: str, label: str) -> bool:
    """Whether the words of a label's name stand in the text."""
    wanted = re.escape(label.replace("_", " "))
    return re.search(rf"\b{wanted}\b", paragraph.replace("_", " "), re.IGNORECASE) is not None


def together(parts: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(part) for part in parts if part)
